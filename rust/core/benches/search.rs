//! Searching: rows read, nothing written. Each case beside a memory copy of as many bytes.

mod cases;

against_floor!(cases::search);

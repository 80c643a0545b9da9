//! Masking: turns are found and labels written. Each case is timed next to a memory copy of the same size.

mod cases;

against_floor!(cases::labels);

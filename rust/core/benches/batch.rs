//! Rows into a padded batch. Each case is timed next to a memory copy of as many bytes.

mod cases;

against_floor!(cases::batch);

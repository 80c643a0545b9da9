//! Rows into a padded batch. Each case is timed next to a memory copy of the same size.

mod cases;

against_floor!(cases::batch);

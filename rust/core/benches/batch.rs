//! Rows into a padded batch. Each case beside a memory copy of as many bytes.

mod cases;

against_floor!(cases::batch);

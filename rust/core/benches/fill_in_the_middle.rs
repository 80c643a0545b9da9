//! Fill-in-the-middle: cuts are drawn, documents are written. Each case is timed next to a memory copy of the same size.

mod cases;

against_floor!(cases::fill_in_the_middle);

//! Masked LM: tokens or words are chosen and replaced. Each case is timed next to a memory copy of the same size.

mod cases;

against_floor!(cases::masked_lm);

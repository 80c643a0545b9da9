//! Masked LM: tokens or words chosen and replaced. Each case is timed next to a memory copy of as many bytes.

mod cases;

against_floor!(cases::masked_lm);

//! Masked LM: tokens or words chosen and replaced. Each case beside a memory copy of as many bytes.

mod cases;

against_floor!(cases::masked_lm);

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spanmask_oracle::checks::masked_lm(data));

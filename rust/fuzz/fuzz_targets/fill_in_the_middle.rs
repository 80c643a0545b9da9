#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spanmask_oracle::checks::fill_in_the_middle(data));

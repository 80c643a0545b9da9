#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spanmask_oracle::checks::diffusion(data));

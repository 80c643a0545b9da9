//! Core and twins agree on the fuzzer's corpus and on random bytes, with each instruction set of this machine.
#![allow(clippy::unwrap_used, reason = "a test may fail where something is missing")]

use spanmask_core::SimdLevel;
use spanmask_oracle::checks::ALL;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Holds the name of the level that is tested. The core reads it once in a process, so each level has a process of its own.
const LEVEL: &str = "SPANMASK_SIMD";
/// Random inputs for each check.
const INPUTS: u64 = 200;

#[test]
fn core_and_twins_agree_at_every_level() {
    if let Ok(level) = std::env::var(LEVEL) {
        assert_eq!(SimdLevel::detect().name(), level);
        ALL.iter().for_each(|&(name, check)| run_all(name, check));
        return;
    }
    for level in SimdLevel::available() {
        let test = std::env::current_exe().unwrap();
        let done = Command::new(test).env(LEVEL, level.name()).output().unwrap();
        let printed = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(done.status.success(), "{}: {}", level.name(), printed.concat());
    }
}

fn run_all(name: &str, check: fn(&[u8])) {
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "{name} has a corpus");
    for file in corpus {
        check(&std::fs::read(file).unwrap());
    }
    for number in 0..INPUTS {
        check(&bytes(number));
    }
}

/// The inputs in the repository: a small set that reaches what a long run of the fuzzer reached, and those that once failed.
fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Up to 400 random bytes, by splitmix64.
fn bytes(number: u64) -> Vec<u8> {
    let mut state = number << 32;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    };
    let len = next() % 400;
    (0..len).map(|_| next() as u8).collect()
}

//! Runs one case a given number of times and nothing else, for callgrind. `benches/instructions.py` drives it.
//!
//! `instructions` lists the instruction set and the cases with their tokens; `instructions ID TIMES` runs one.
#![allow(clippy::expect_used, reason = "a benchmark may fail where something is missing")]

mod cases;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [id, times] = arguments.as_slice() else {
        println!("{}", instruction_set());
        cases::all().iter().for_each(|case| println!("{} {}", case.id, case.tokens));
        return;
    };
    let mut case = cases::named(cases::all(), id);
    for _ in 0..times.parse().expect("how many times") {
        (case.run)();
    }
}

/// What `level.rs` picks at run time; callgrind offers no AVX-512.
#[cfg(target_arch = "x86_64")]
fn instruction_set() -> &'static str {
    if is_x86_feature_detected!("avx512bw") {
        "AVX-512"
    } else if is_x86_feature_detected!("avx2") {
        "AVX2"
    } else {
        "baseline"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn instruction_set() -> &'static str {
    "baseline"
}

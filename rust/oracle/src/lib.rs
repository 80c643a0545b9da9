//! The kernels of `spanmask-core` once more, slow and obvious, and checks that compare the two.
//!
//! The twins follow `spanmask.reference` and the core's documentation, not its code: one row at a time, over `i64`, without any trick. A
//! check makes an input of arbitrary bytes, calls the core and the twin, and panics where they differ. `rust/fuzz` runs the checks under
//! a fuzzer; the tests of this crate run them on the fuzzer's corpus and on random bytes, with each instruction set of the machine.
//!
//! | module | twin of |
//! |---|---|
//! | [`turns`], [`labels`], [`batch`] | the core's modules of the same name |
//! | [`rng`], [`units`] | `rng`; `noise`: what may be hidden, and which spans are |
//! | [`corrupt`], [`masked_lm`], [`diffusion`], [`fill_in_the_middle`], [`infill`] | `noise`, one objective each |
//! | [`checks`] | none: they compare |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a check fails where something is wrong"
)]

pub mod batch;
pub mod checks;
pub mod corrupt;
pub mod diffusion;
pub mod fill_in_the_middle;
pub mod infill;
pub mod labels;
pub mod masked_lm;
pub mod rng;
pub mod turns;
pub mod units;

//! Token ids in, training targets out: which tokens carry loss, which spans are hidden.
//!
//! The kernels of `spanmask`. They know no Python, no threads and no global state (a thread may say that it wants to stop), and write into buffers that the caller owns (`*_into`).
//!
//! | module | decides |
//! |---|---|
//! | [`search`] | where a token sequence occurs in a row |
//! | [`turns`] | what a turn of a conversation is |
//! | [`labels`] | which tokens carry loss |
//! | [`noise`] | which spans are hidden, and what takes their place |
//! | [`rng`] | noise as a pure function of (seed, epoch, example) |
//! | [`batch`] | what a batch looks like: padded, or concatenated |
//! | [`stop`] | how a kernel ends before its rows do |
//!
//! Spans are half-open everywhere. Rows are read through [`ragged::Ragged`], whose bounds are checked once, when it is made.
#![deny(unsafe_code)]

pub mod batch;
mod bitblock;
pub mod error;
pub mod labels;
mod level;
pub mod noise;
pub mod ragged;
pub mod rng;
pub mod search;
pub mod stop;
pub mod token;
pub mod turns;

pub use error::Error;
pub use level::SimdLevel;
pub use ragged::Ragged;
pub use token::Token;

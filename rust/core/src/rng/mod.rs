//! Randomness as a pure function of (seed, epoch, key of the example): counter-based, no state between rows.
//!
//! [`philox`] gives the raw stream, [`bounded`] integers from it, [`trials`] positions, [`key`] the key of a row. Oracle:
//! `spanmask.reference.philox`, `lemire`, `trials` and `xxh3`, and NumPy's own `Philox`. What is drawn here is pinned by `vectors/`:
//! another stream is another algorithm version.

pub mod bounded;
pub mod key;
pub mod philox;
pub mod trials;

pub use philox::Stream;

/// Where noise comes from: with the key of an example, everything that decides its noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The run.
    pub seed: u64,
    /// The pass over the data.
    pub epoch: u64,
}

/// What a stream is drawn for. Each has a counter range of its own, so that a draw more in one moves nothing in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Which spans are hidden.
    Spans = 0,
    /// Which denoiser a row gets.
    Denoiser = 1,
    /// Which tokens a masked LM must predict.
    Choice = 2,
    /// What becomes of each of them: mask, random id, itself. 16-bit words; all others are 32-bit words.
    Fate = 3,
    /// Which random ids.
    RandomId = 4,
}

impl Source {
    /// The stream of one example for one purpose.
    pub fn stream<W>(self, key: u64, purpose: Purpose) -> Stream<W> {
        Stream::new([self.seed, key], [0, 0, self.epoch, purpose as u64])
    }
}

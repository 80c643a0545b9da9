//! Randomness as a pure function of (seed, epoch, key of the example): counter-based, no state between rows.
//!
//! [`philox`] gives the raw stream, [`bounded`] integers from it, [`trials`] positions, [`key`] the key of a row. Oracle:
//! `spanmask.reference` with the same file names, and NumPy's own `Philox`. `vectors/` pins what is drawn here: a different
//! stream is a different algorithm version.

pub mod bounded;
pub mod key;
pub mod philox;
pub mod trials;

pub use philox::Stream;

/// What decides the noise of an example, together with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedEpoch {
    /// Identifies the run.
    pub seed: u64,
    /// Identifies the pass over the data.
    pub epoch: u64,
}

/// What a stream is drawn for. Each has its own counter range, so an additional draw for one changes nothing for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Which spans are hidden.
    Spans = 0,
    /// Which denoiser a row gets.
    Denoiser = 1,
    /// Which tokens a masked LM must predict.
    Choice = 2,
    /// What replaces each of them: the mask token, a random id, or nothing.
    Replacement = 3,
    /// Which random ids are used.
    RandomId = 4,
    /// Which documents are filled in the middle, and where they are cut.
    FillInTheMiddle = 5,
    /// The mask ratio of masked diffusion.
    Rate = 6,
    /// Where in its part of the range a mask ratio is, if those of a batch are antithetic.
    RateOffset = 7,
    /// How long the spans of text infilling are.
    InfillLengths = 8,
    /// The order of sentences.
    Permutation = 9,
}

impl SeedEpoch {
    /// The stream of one example for one purpose.
    pub fn stream(self, key: u64, purpose: Purpose) -> Stream {
        Stream::new([self.seed, key], [0, 0, self.epoch, purpose as u64])
    }
}

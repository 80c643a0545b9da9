//! Several denoisers, and which of them a row gets (UL2; Tay et al. 2022).
//! Oracle: `spanmask.reference.mixture`.

use super::plan::{Plan, plan};
use crate::rng::bounded::{below, choose, cumulative};
use crate::rng::{Purpose, SeedEpoch, Stream};

/// What one denoiser hides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// Spans of a mean length that together hide `density` of the row.
    Spans {
        /// The fraction that is hidden, between 0 and 1.
        density: f64,
        /// At least 1.
        mean: f64,
    },
    /// The end of the row, which the model must produce from its beginning: prefix LM.
    Prefix(Split),
}

/// Where a prefix ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Split {
    /// The prefix leaves this fraction of the row after it.
    Density(f64),
    /// Anywhere inside the row, each position equally likely.
    Uniform,
}

/// One way to corrupt a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Denoiser {
    /// What it hides.
    pub objective: Objective,
    /// The token that tells the model which denoiser was used.
    pub mode_token: Option<u32>,
    /// Whether sentinels replace what is hidden. Without sentinels there must be a single span, at the end.
    pub sentinels: bool,
}

impl Objective {
    /// The plan for `len` tokens or words, at least 2. Only a uniform split draws from the stream.
    pub fn plan(&self, len: u32, stream: impl FnOnce() -> Stream) -> Plan {
        match *self {
            Self::Spans { density, mean } => plan(len, density, mean),
            Self::Prefix(Split::Density(density)) => Plan { spans: 1, ..plan(len, density, f64::from(len)) },
            Self::Prefix(Split::Uniform) => Plan { noise: 1 + below(&mut stream(), len - 1), spans: 1 },
        }
    }
}

/// Denoisers and their weights. Invariant: there is at least one denoiser, and one threshold for each.
#[derive(Debug, Clone)]
pub struct Mixture {
    denoisers: Vec<Denoiser>,
    upto: Vec<u64>,
}

impl Mixture {
    /// `None` for bad weights: their number is wrong, one is negative or not finite, or none is above zero.
    pub fn new(denoisers: Vec<Denoiser>, weights: &[f64]) -> Option<Self> {
        let upto = cumulative(weights).filter(|upto| upto.len() == denoisers.len())?;
        Some(Self { denoisers, upto })
    }

    /// The denoisers in order.
    pub fn denoisers(&self) -> &[Denoiser] {
        &self.denoisers
    }

    /// Whether the denoiser of a row is drawn.
    pub fn is_drawn(&self) -> bool {
        self.denoisers.len() > 1
    }

    /// The number of the denoiser that the example gets.
    pub fn choose(&self, seed_epoch: SeedEpoch, key: u64) -> usize {
        if self.is_drawn() { choose(&mut seed_epoch.stream(key, Purpose::Denoiser), &self.upto) } else { 0 }
    }
}

//! Several denoisers, and which of them a row gets (UL2; Tay et al. 2022).
//! Oracle: `spanmask.reference.mixture`.

use super::plan::{Plan, plan};
use crate::rng::bounded::{below, choose, cumulative};
use crate::rng::{Purpose, SeedEpoch, Stream};

/// What one denoiser hides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// Spans of a mean length, `density` of the row together.
    Spans {
        /// The fraction that is hidden, between 0 and 1.
        density: f64,
        /// At least 1.
        mean: f64,
    },
    /// The end of the row, to be produced from its beginning: prefix LM.
    Prefix(Split),
}

/// Where a prefix ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Split {
    /// So that this fraction of the row comes after it.
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
    /// Whether sentinels replace what is hidden. Without them there must be one span, at the end.
    pub sentinels: bool,
}

impl Objective {
    /// What is hidden of `len` tokens or words, at least 2. A uniform split draws; the others need no stream.
    pub fn plan(&self, len: u32, stream: impl FnOnce() -> Stream) -> Plan {
        match *self {
            Self::Spans { density, mean } => plan(len, density, mean),
            Self::Prefix(Split::Density(density)) => Plan { spans: 1, ..plan(len, density, f64::from(len)) },
            Self::Prefix(Split::Uniform) => Plan { noise: 1 + below(&mut stream(), len - 1), spans: 1 },
        }
    }
}

/// Denoisers and their weights. Invariant: at least one denoiser, one threshold each.
#[derive(Debug, Clone)]
pub struct Mixture {
    denoisers: Vec<Denoiser>,
    upto: Vec<u64>,
}

impl Mixture {
    /// `None` for bad weights: not one for each denoiser, one negative or not finite, or none above zero.
    pub fn new(denoisers: Vec<Denoiser>, weights: &[f64]) -> Option<Self> {
        let upto = cumulative(weights).filter(|upto| upto.len() == denoisers.len())?;
        Some(Self { denoisers, upto })
    }

    /// The denoisers in order.
    pub fn denoisers(&self) -> &[Denoiser] {
        &self.denoisers
    }

    /// Whether a draw decides which one a row gets.
    pub fn is_drawn(&self) -> bool {
        self.denoisers.len() > 1
    }

    /// The number of the denoiser that the example gets.
    pub fn choose(&self, seed_epoch: SeedEpoch, key: u64) -> usize {
        if self.is_drawn() { choose(&mut seed_epoch.stream(key, Purpose::Denoiser), &self.upto) } else { 0 }
    }
}

//! How rows are corrupted, and the options of a call.

use super::super::apply::Affixes;
use super::super::draw::Layout as SpanLayout;
use super::super::ids::IdSet;
use super::super::mixture::{Denoiser, Mixture, Objective, Split};
use super::super::plan::{Plan, fit, longest, plan};
use super::super::rules::Rules;
use crate::{Error, Ragged};
use core::ops::Range;

/// What happens to a row with more spans than there are sentinels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExhausted {
    /// [`Error::Exhausted`].
    Raise,
    /// Spans are drawn as planned; the last ones are joined.
    MergeLast,
    /// Fewer, longer spans are drawn.
    FewerSpans,
}

/// How rows are corrupted.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The denoisers, and how often each is used.
    pub mixture: Mixture,
    /// The sentinels, in the order in which spans use them.
    pub sentinels: Vec<u32>,
    /// Ids that no row may contain: the sentinels, or an empty set.
    pub forbidden: IdSet,
    /// Ends inputs and targets; a row's own EOS is removed first.
    pub eos: Option<u32>,
    /// Add one more sentinel at the end of targets.
    pub final_sentinel: bool,
    /// Where spans may be.
    pub layout: SpanLayout,
    /// What happens if there are too few sentinels.
    pub on_exhausted: OnExhausted,
    /// Ids that are never hidden.
    pub protected_ids: IdSet,
    /// Ids that are not hidden where a row begins with them. They matter in the uniform layout alone: the classic one never hides the first unit.
    pub bos_ids: IdSet,
}

impl Spec {
    /// The greatest number of spans for which there are sentinels.
    fn most_spans(&self) -> u32 {
        self.sentinels.len().saturating_sub(usize::from(self.final_sentinel)) as u32
    }

    /// How many of the `spans` spans of a row get a sentinel.
    ///
    /// Errors: [`Error::Exhausted`].
    pub(super) fn affordable(&self, row: usize, spans: u32) -> Result<u32, Error> {
        let most = self.most_spans();
        if spans > most && (self.on_exhausted == OnExhausted::Raise || most == 0) {
            let (spans, sentinels) = (spans as usize, self.sentinels.len());
            return Err(Error::Exhausted { row, spans, sentinels });
        }
        Ok(spans.min(most))
    }

    /// The ids that a denoiser writes before, between and after the tokens.
    pub fn affixes(&self, denoiser: &Denoiser) -> Affixes<'_> {
        Affixes {
            mode_token: denoiser.mode_token,
            sentinels: denoiser.sentinels.then_some(&self.sentinels),
            final_sentinel: self.final_sentinel,
            eos: self.eos,
        }
    }

    /// The greatest row length up to `most` whose outputs fit `limits` under a denoiser, the length of its targets, and its spans.
    ///
    /// `None` if not even two tokens fit. `spans` may exceed the number of sentinels: rows of this length are then errors.
    pub fn plan_lengths(&self, denoiser: &Denoiser, limits: Limits, most: u32) -> Option<(u32, u32, u32)> {
        let affixes = self.affixes(denoiser);
        let (density, plan_of): (f64, &dyn Fn(u32) -> Plan) = match denoiser.objective {
            Objective::Spans { density, mean } => (density, &move |len| plan(len, density, mean)),
            Objective::Prefix(Split::Density(density)) => {
                (density, &move |len| Plan { spans: 1, ..plan(len, density, f64::from(len)) })
            }
            Objective::Prefix(Split::Uniform) => {
                // Any split is possible: the longest inputs and the longest targets are each one token shorter than the row.
                let least = |len: u32| affixes.lengths(len as usize, 1, 1);
                let len = longest(most, |len| least(len).0 <= limits.inputs && least(2).1 <= limits.targets)?;
                let targets = affixes.lengths(len as usize, len as usize - 1, 1).1;
                return Some((len, u32::try_from(targets).ok()?, 1));
            }
        };
        let spans = |spans: u32| match self.on_exhausted {
            OnExhausted::Raise => spans,
            OnExhausted::MergeLast | OnExhausted::FewerSpans => spans.min(self.most_spans()),
        };
        let (len, targets) = fit(most, [limits.inputs, limits.targets], density, |len| {
            let plan = plan_of(len);
            affixes.lengths(len as usize, plan.noise as usize, spans(plan.spans) as usize)
        })?;
        Some((len, targets, spans(plan_of(len).spans)))
    }
}

/// Greatest lengths of inputs and targets. Of a row that does not fit, a beginning is used: see `Corruption::plan_into`.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The limit for inputs.
    pub inputs: usize,
    /// The limit for targets.
    pub targets: usize,
}

impl Limits {
    /// Whether outputs of these lengths fit.
    pub(super) fn hold(&self, inputs: usize, targets: usize) -> bool {
        inputs <= self.inputs && targets <= self.targets
    }
}

/// The options of a call, in addition to rows and spec.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowOptions<'a> {
    /// Keys of the rows, instead of hashes of their ids.
    pub keys: Option<&'a [u64]>,
    /// Density by row, instead of the denoiser's.
    pub densities: Option<&'a [f64]>,
    /// Mean span length by row, instead of the denoiser's.
    pub means: Option<&'a [f64]>,
    /// A flag for each token that is hidden: nothing is drawn.
    pub noise_mask: Option<Ragged<'a, bool>>,
    /// What may be hidden. `protected_ids` and `leading_ids` are set from the spec.
    pub rules: Rules<'a>,
    /// Fixed lengths.
    pub limits: Option<Limits>,
}

impl RowOptions<'_> {
    /// The same for the rows `range`.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self {
            keys: self.keys.map(|keys| &keys[range.clone()]),
            densities: self.densities.map(|all| &all[range.clone()]),
            means: self.means.map(|all| &all[range.clone()]),
            noise_mask: self.noise_mask.map(|mask| mask.slice(range.clone())),
            rules: self.rules.slice(range),
            limits: self.limits,
        }
    }

    /// Errors: [`Error::Length`] if an option has entries for another number of rows than `rows`.
    pub(super) fn check(&self, rows: usize) -> Result<(), Error> {
        let counts = [
            self.keys.map(<[_]>::len),
            self.densities.map(<[_]>::len),
            self.means.map(<[_]>::len),
            self.noise_mask.map(|mask| mask.len()),
        ];
        match counts.into_iter().flatten().find(|&got| got != rows) {
            Some(got) => Err(Error::Length { want: rows, got }),
            None => self.rules.check_rows(rows),
        }
    }
}

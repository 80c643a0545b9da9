//! Span corruption of many rows: first all lengths are planned, then one pass writes the outputs.
//! Oracle: `spanmask.reference.corrupt`.
//!
//! `spec` holds the settings, `plan_row` computes how long a row's outputs are, `write` writes them. This file draws the spans of a row,
//! which both need.

mod plan_row;
mod spec;
mod write;

pub use plan_row::RowPlan;
pub use spec::{Limits, OnExhausted, RowOptions, Spec};

use super::draw::{self, Layout as SpanLayout, Span, draw};
use super::mixture::{Denoiser, Objective};
use super::rules::skip_protected;
use super::words::expand;
use crate::rng::{Purpose, SeedEpoch};
use crate::stop::{self, poll_at};
use crate::{Error, Token};

/// Rows that are corrupted with the same settings.
#[derive(Debug, Clone, Copy)]
pub struct Corruption<'a, T> {
    rows: &'a [&'a [T]],
    spec: &'a Spec,
    seed_epoch: SeedEpoch,
    options: RowOptions<'a>,
    /// Whether lengths follow from the plan, without drawing.
    planned: bool,
}

/// Memory that is reused from row to row.
#[derive(Debug, Default)]
pub struct Scratch {
    draw: draw::Scratch,
    spans: Vec<Span>,
    units: Vec<Span>,
    protected: Vec<u32>,
    expanded: Vec<Span>,
    pack: Vec<[u8; 4]>,
}

impl<'a, T: Token> Corruption<'a, T> {
    /// Errors: [`Error::Length`] if an option has entries for another number of rows.
    pub fn new(
        rows: &'a [&'a [T]],
        spec: &'a Spec,
        seed_epoch: SeedEpoch,
        mut options: RowOptions<'a>,
    ) -> Result<Self, Error> {
        options.check(rows.len())?;
        options.rules.protected_ids = Some(&spec.protected_ids);
        options.rules.leading_ids = (spec.layout == SpanLayout::Uniform).then_some(&spec.bos_ids);
        let planned = options.noise_mask.is_none() && options.rules.is_free();
        Ok(Self { rows, spec, seed_epoch, options, planned })
    }

    /// The rows.
    pub fn rows(&self) -> &'a [&'a [T]] {
        self.rows
    }

    /// Denoiser `number`, with the values that the options override for row `i`.
    fn denoiser(&self, i: usize, number: usize) -> Denoiser {
        let mut denoiser = self.spec.mixture.denoisers()[number];
        if let Objective::Spans { density, mean } = &mut denoiser.objective {
            *density = self.options.densities.map_or(*density, |all| all[i]);
            *mean = self.options.means.map_or(*mean, |all| all[i]);
        }
        denoiser
    }

    /// Puts the spans of row `i` into `scratch.spans`; none if fewer than two of its units may be hidden.
    fn spans_of(
        &self,
        i: usize,
        body: &[T],
        denoiser: &Denoiser,
        key: u64,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        if let Some(mask) = self.options.noise_mask {
            runs_into(&mask.row(i)[..body.len()], &mut scratch.spans);
            return self.check_marks(i, body.len(), denoiser, &mut scratch.spans);
        }
        let len = if self.planned { body.len() as u32 } else { self.count_units(i, body, scratch) };
        scratch.spans.clear();
        if len < 2 {
            return Ok(());
        }
        let mut stream = self.seed_epoch.stream(key, Purpose::Spans);
        let mut plan = denoiser.objective.plan(len, || self.seed_epoch.stream(key, Purpose::Spans));
        if let Objective::Prefix(_) = denoiser.objective {
            scratch.spans.push(Span { start: len - plan.noise, stop: len });
        } else {
            let most = self.spec.affordable(i, plan.spans)?;
            if self.spec.on_exhausted == OnExhausted::FewerSpans {
                plan.spans = most;
            }
            draw(&mut stream, len, plan, self.spec.layout, most, &mut scratch.draw, &mut scratch.spans);
        }
        if self.planned {
            return Ok(());
        }
        if self.options.rules.has_words() {
            expand(&scratch.units, &mut scratch.spans, &mut scratch.expanded);
        } else {
            skip_protected(&scratch.protected, &mut scratch.spans, &mut scratch.expanded);
        }
        self.check_marks(i, body.len(), denoiser, &mut scratch.spans)
    }

    /// Finds which units of row `i` may be hidden, and counts them.
    fn count_units(&self, i: usize, body: &[T], scratch: &mut Scratch) -> u32 {
        if self.options.rules.has_words() {
            self.options.rules.units_into(i, body, &mut scratch.units);
            scratch.units.len() as u32
        } else {
            self.options.rules.protected_into(i, body, &mut scratch.protected);
            (body.len() - scratch.protected.len()) as u32
        }
    }

    /// Drops the spans without a sentinel, if the positions of spans are fixed: their tokens stay clear. Where no span has one, only the end
    /// of a row, of `len` tokens, can be hidden.
    fn check_marks(
        &self,
        row: usize,
        len: usize,
        denoiser: &Denoiser,
        spans: &mut Vec<Span>,
    ) -> Result<(), Error> {
        if denoiser.sentinels {
            let most = self.spec.affordable(row, spans.len() as u32)?;
            spans.truncate(most as usize);
        } else if spans.iter().any(|span| span.stop as usize != len) {
            return Err(Error::SplitPrefix { row });
        }
        Ok(())
    }
}

/// Writes the runs of a mask.
fn runs_into(mask: &[bool], runs: &mut Vec<Span>) {
    runs.clear();
    let mut open = false;
    for (at, &hidden) in mask.iter().enumerate() {
        poll_at(at, 1);
        let at = at as u32;
        match runs.last_mut() {
            Some(last) if hidden && open => last.stop = at + 1,
            _ if hidden => stop::push(runs, Span { start: at, stop: at + 1 }),
            _ => {}
        }
        open = hidden;
    }
}

//! Text infilling: spans are hidden, one mask for each, and sentences change places (BART; Lewis et al. 2020, section 2.2).
//! Oracle: `spanmask.reference.infill`.
//!
//! `spec` holds the settings, `sentences` permutes, `write` writes. This file draws the spans of a row, first to plan how long its inputs are,
//! then to write them. The targets are the row itself.

mod sentences;
mod spec;
mod write;

pub use spec::{Replace, RowOptions, SpanLengths, Spec};

use super::draw::{self, Span, draw_touching};
use super::ids::IdSet;
use super::row::{check_and_key, check_len};
use super::rules::{Rules, skip_protected};
use crate::error::Column;
use crate::rng::bounded::below;
use crate::rng::{Purpose, SeedEpoch};
use crate::stop::{self, poll_at};
use crate::{Error, Token};
use sentences::{before_trailing, leading};
use spec::share;

/// Rows that are infilled with the same settings.
#[derive(Debug, Clone, Copy)]
pub struct Infilling<'a, T> {
    rows: &'a [&'a [T]],
    spec: &'a Spec,
    seed_epoch: SeedEpoch,
    options: RowOptions<'a>,
}

/// What is known of a row before its tokens are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowPlan {
    /// Length of its inputs.
    pub inputs: usize,
    /// Length of its targets, which are the row.
    pub targets: usize,
    /// Hidden tokens.
    pub hidden: u32,
    /// The spans that they form; spans of different draws that touch count separately.
    pub spans: u32,
    /// Masks that hide nothing.
    pub inserted: u32,
    /// Sentences that are at another place than before. It is known once the row is written.
    pub moved: u32,
    /// Its key.
    pub key: u64,
    /// The tokens that may be hidden, if there is no other among them and nothing moves.
    pub together: Option<Span>,
}

/// Memory that is reused from row to row.
#[derive(Debug)]
pub struct Scratch<T> {
    draw: draw::Scratch,
    pack: Vec<[u8; 4]>,
    /// The hidden spans, in positions of the row (the permuted one, if sentences moved).
    spans: Vec<Span>,
    expanded: Vec<Span>,
    units: Vec<Span>,
    protected: Vec<u32>,
    /// Where each span ends among the hidden units.
    ends: Vec<u32>,
    /// The sentences, and the same in their new order, as positions of the original row.
    sentences: Vec<Span>,
    ordered: Vec<Span>,
    numbers: Vec<u32>,
    places: Vec<u32>,
    /// The row with its sentences in their new order.
    permuted: Vec<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Self {
            draw: draw::Scratch::default(),
            pack: Vec::new(),
            spans: Vec::new(),
            expanded: Vec::new(),
            units: Vec::new(),
            protected: Vec::new(),
            ends: Vec::new(),
            sentences: Vec::new(),
            ordered: Vec::new(),
            numbers: Vec::new(),
            places: Vec::new(),
            permuted: Vec::new(),
        }
    }
}

impl<'a, T: Token> Infilling<'a, T> {
    /// Errors: [`Error::Length`] if an option has entries for another number of rows.
    pub fn new(
        rows: &'a [&'a [T]],
        spec: &'a Spec,
        seed_epoch: SeedEpoch,
        options: RowOptions<'a>,
    ) -> Result<Self, Error> {
        options.check(rows.len())?;
        Ok(Self { rows, spec, seed_epoch, options })
    }

    /// What may be hidden.
    fn rules(&self) -> Rules<'a> {
        let by_ids = self.options.rules.words.is_none();
        Rules {
            protected_ids: Some(&self.spec.protected_ids),
            continuation_ids: self.spec.continuation_ids.as_ref().filter(|_| by_ids),
            word_end_ids: self.spec.word_end_ids.as_ref().filter(|_| by_ids),
            ..self.options.rules
        }
    }

    /// Plans row `i`.
    ///
    /// Errors: [`Error::IdRange`], [`Error::ColumnLength`], [`Error::RowLength`]; [`Error::Width`] for a row that is longer than inputs may be.
    fn whole_plan(&self, i: usize, scratch: &mut Scratch<T>) -> Result<RowPlan, Error> {
        let row = self.rows[i];
        check_len(i, row.len())?;
        self.options.rules.check(i, row.len())?;
        if let Some(got) = self.options.sentence_starts.map(|flags| flags.bounds(i).len())
            && got != row.len()
        {
            return Err(Error::ColumnLength { row: i, column: Column::SentenceStarts, ids: row.len(), got });
        }
        if let Some(width) = self.options.max_inputs.filter(|&width| row.len() > width) {
            return Err(Error::Width { row: i, len: row.len(), width });
        }
        let known = self.options.keys.map(|keys| keys[i]);
        let key = check_and_key(i, row, &IdSet::default(), known, &mut scratch.pack)?;
        let plan = RowPlan { targets: row.len(), key, ..RowPlan::default() };
        let rules = self.rules();
        if !rules.has_words() {
            rules.protected_into(i, row, &mut scratch.protected);
            let (len, protected) = (row.len() as u32, &scratch.protected);
            let stop = before_trailing(len, protected);
            let outside = leading(protected).min(stop) + (len - stop);
            let moves = self.spec.permute_sentence_ratio > 0.0 && rules.protected_mask.is_some();
            if outside == protected.len() as u32 && !moves {
                // All other tokens may be hidden, and stay together: where spans are changes no length.
                let start = leading(protected).min(stop);
                let stays = self.spec.permute_sentence_ratio <= 0.0;
                self.draw_ends(i, len - outside, key, scratch)?;
                let plan = RowPlan { together: stays.then_some(Span { start, stop }), ..plan };
                return Ok(self.planned(row.len(), plan, &scratch.ends));
            }
        }
        self.draw_row(i, &plan, scratch)?;
        Ok(self.counted(row.len(), plan, &scratch.spans))
    }

    /// The plan for spans that are not placed yet.
    fn planned(&self, len: usize, plan: RowPlan, ends: &[u32]) -> RowPlan {
        let mut before = 0;
        let spans = ends.iter().filter(|&&end| core::mem::replace(&mut before, end) < end).count() as u32;
        let plan = RowPlan { hidden: before, spans, inserted: ends.len() as u32 - spans, ..plan };
        self.with_inputs(len, plan)
    }

    /// The plan for spans that are placed.
    fn counted(&self, len: usize, plan: RowPlan, spans: &[Span]) -> RowPlan {
        let hidden = spans.iter().map(|span| span.stop - span.start).sum();
        let inserted = spans.iter().filter(|span| span.start == span.stop).count() as u32;
        self.with_inputs(len, RowPlan { hidden, spans: spans.len() as u32 - inserted, inserted, ..plan })
    }

    /// The plan with the length of inputs, and without the insertions that do not fit. Without any, inputs are not longer than the row.
    fn with_inputs(&self, len: usize, mut plan: RowPlan) -> RowPlan {
        let masks = match self.spec.replace {
            Replace::OneMask => plan.spans,
            Replace::EachToken => plan.hidden,
            Replace::Nothing => 0,
        };
        let inputs = len - plan.hidden as usize + masks as usize;
        if let Some(most) = self.options.max_inputs {
            plan.inserted = plan.inserted.min(u32::try_from(most - inputs).unwrap_or(u32::MAX));
        }
        plan.inputs = inputs + plan.inserted as usize;
        plan
    }

    /// Draws the noise of row `i`: `scratch.spans`, and `scratch.permuted` if sentences moved. Returns how many sentences did.
    fn draw_row(&self, i: usize, plan: &RowPlan, scratch: &mut Scratch<T>) -> Result<u32, Error> {
        let (row, rules, key) = (self.rows[i], self.rules(), plan.key);
        if let Some(Span { start, stop }) = plan.together {
            let hidden = self.draw_ends(i, stop - start, key, scratch)?;
            let Scratch { draw, ends, spans, .. } = scratch;
            let mut stream = self.seed_epoch.stream(key, Purpose::Spans);
            draw_touching(&mut stream, stop - start - hidden, ends, draw, spans);
            for (number, span) in spans.iter_mut().enumerate() {
                poll_at(number, 16);
                *span = Span { start: span.start + start, stop: span.stop + start };
            }
            return Ok(0);
        }
        rules.protected_into(i, row, &mut scratch.protected);
        let mut moved = 0;
        if self.spec.permute_sentence_ratio > 0.0 {
            moved = self.permute(i, row, key, scratch);
        }
        let listed = moved > 0 || rules.has_words();
        if listed {
            rules.units_into(i, row, &mut scratch.units);
        }
        if moved > 0 {
            scratch.move_sentences(row);
        }
        let len = if listed { scratch.units.len() } else { row.len() - scratch.protected.len() } as u32;
        let hidden = self.draw_ends(i, len, key, scratch)?;
        let Scratch { draw, ends, spans, units, protected, expanded, .. } = scratch;
        draw_touching(&mut self.seed_epoch.stream(key, Purpose::Spans), len - hidden, ends, draw, spans);
        if listed {
            expand_touching(units, spans, expanded);
        } else {
            skip_protected(protected, spans, expanded);
            // An insertion after the last token that may be hidden stays before the protected ones at the end.
            let stop = before_trailing(row.len() as u32, protected);
            for span in spans.iter_mut().rev().take_while(|span| span.start > stop) {
                *span = Span { start: stop, stop };
            }
        }
        Ok(moved)
    }

    /// Draws how long the spans of row `i` are, of which `len` units may be hidden: `scratch.ends`. Returns how many units are.
    fn draw_ends(&self, i: usize, len: u32, key: u64, scratch: &mut Scratch<T>) -> Result<u32, Error> {
        let hidden = share(len, self.options.ratios.map_or(self.spec.mask_ratio, |ratios| ratios[i]));
        let ends = &mut scratch.ends;
        ends.clear();
        if hidden == 0 {
            return Ok(0);
        }
        let mut stream = self.seed_epoch.stream(key, Purpose::InfillLengths);
        let mut left = hidden;
        while left > 0 {
            let length = self.spec.lengths.draw(&mut stream).min(left);
            left -= length;
            poll_at(ends.len(), 4);
            stop::push(ends, length);
            if ends.len() >= (u32::MAX - 2 - len) as usize {
                return Err(Error::RowLength { row: i, len: self.rows[i].len() }); // with more insertions than 32 bits can count
            }
        }
        // The last length was shortened to what was left: it may be any of the spans.
        let last = ends.len() - 1;
        ends.swap(below(&mut stream, last as u32 + 1) as usize, last);
        let mut sum = 0;
        ends.iter_mut().for_each(|end| {
            sum += *end;
            *end = sum;
        });
        Ok(hidden)
    }
}

/// Converts spans of units to spans of the row, in place, as `words::expand` does. Here spans may touch, and stay apart; an empty one stays
/// empty, directly before its unit, or after the last unit.
fn expand_touching(units: &[Span], spans: &mut Vec<Span>, scratch: &mut Vec<Span>) {
    scratch.clear();
    for (number, span) in spans.iter().enumerate() {
        poll_at(number, 16);
        let (start, stop) = (span.start as usize, span.stop as usize);
        if start == stop {
            let at = units.get(start).map(|unit| unit.start).or(units.last().map(|unit| unit.stop));
            if let Some(at) = at {
                stop::push(scratch, Span { start: at, stop: at });
            }
            continue;
        }
        let first = scratch.len();
        for unit in &units[start..stop] {
            match scratch[first..].last_mut() {
                Some(last) if last.stop == unit.start => last.stop = unit.stop,
                _ => stop::push(scratch, *unit),
            }
        }
    }
    core::mem::swap(spans, scratch);
}

//! Masked LM: tokens are replaced in place (Devlin et al. 2019; spans: Joshi et al. 2020).
//! Oracle: `spanmask.reference.masked_lm`.

use super::draw::{self, Span, draw_lengths};
use super::ids::IdSet;
use super::row::{check_and_key, check_len};
use super::rules::Rules;
use super::words::WordMap;
use crate::batch::Layout;
use crate::error::Column;
use crate::level::{Kernel, SimdLevel};
use crate::rng::bounded::{below, choose, threshold};
use crate::rng::trials::{GROUP, Trials};
use crate::rng::{Purpose, SeedEpoch, Stream};
use crate::stop::{self, poll, poll_at};
use crate::{Error, Ragged, Token};
use core::hint::select_unpredictable;
use core::ops::Range;

/// How tokens are chosen.
#[derive(Debug, Clone)]
pub enum Choice {
    /// Each token or word independently.
    Each(Box<Trials>),
    /// In spans, until this fraction of the row is reached. The lengths 1, 2, ... have running thresholds.
    Spans(f64, Vec<u64>),
}

/// How rows are masked.
#[derive(Debug, Clone)]
pub struct Spec {
    /// How tokens are chosen.
    pub choice: Choice,
    /// The id that hides a token.
    pub mask_token_id: u32,
    /// A chosen token becomes the mask if its random word is below this threshold (of 2^32).
    pub mask_below: u64,
    /// From `mask_below` up to this threshold it becomes a random id; above, it is not changed.
    pub random_below: u64,
    /// Where random ids come from.
    pub random_ids: RandomIds,
    /// Ids that are never chosen.
    pub protected_ids: IdSet,
    /// Ids that continue the word before them, if words are chosen whole and a call gives no words.
    pub continuation_ids: Option<IdSet>,
    /// Ids after which a word begins, even if the next id continues words. Only with `continuation_ids`.
    pub word_end_ids: Option<IdSet>,
    /// If nothing is chosen in a row, choose one of its units, each with the same probability.
    pub min_one: bool,
}

/// The ids below the size of a vocabulary, except the excluded ones.
#[derive(Debug, Clone)]
pub struct RandomIds {
    /// The number of ids.
    count: u32,
    /// For each excluded id, ascending: how many ids that are not excluded precede it.
    before: Vec<u32>,
}

impl RandomIds {
    /// The ids `0..vocab_size` without `excluded`. `None` if no id is left.
    pub fn new(vocab_size: u32, excluded: &IdSet) -> Option<Self> {
        let ids = excluded.ids().iter().take_while(|&&id| id < vocab_size);
        let before: Vec<u32> = ids.enumerate().map(|(number, id)| id - number as u32).collect();
        let count = vocab_size - before.len() as u32;
        (count > 0).then_some(Self { count, before })
    }

    /// The next random id.
    pub(super) fn draw(&self, stream: &mut Stream) -> u32 {
        let number = below(stream, self.count);
        let passed = match self.before.last() {
            // Most vocabularies begin with their special ids, so most numbers come after all of them.
            Some(&last) if number < last => self.before.partition_point(|&before| before <= number),
            _ => self.before.len(),
        };
        number + passed as u32
    }
}

/// The options of a call, in addition to rows and spec.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowOptions<'a> {
    /// Keys of the rows, instead of hashes of their ids.
    pub keys: Option<&'a [u64]>,
    /// Probability by row.
    pub probabilities: Option<&'a [f64]>,
    /// Probability by token, padding included; the spec must choose tokens independently. It replaces those of rows and spec.
    pub token_probabilities: Option<Ragged<'a, f64>>,
    /// What may be chosen. All ids are set from the spec.
    pub rules: Rules<'a>,
    /// Where each row's tokens start and stop in its slice; the rest is padding, which is copied. If `None`, all entries are tokens.
    pub bounds: Option<&'a [Range<usize>]>,
}

impl RowOptions<'_> {
    /// The same for the rows `range`.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self {
            keys: self.keys.map(|keys| &keys[range.clone()]),
            probabilities: self.probabilities.map(|all| &all[range.clone()]),
            token_probabilities: self.token_probabilities.map(|all| all.slice(range.clone())),
            bounds: self.bounds.map(|all| &all[range.clone()]),
            rules: self.rules.slice(range),
        }
    }

    /// The probabilities of the tokens of row `i`, which is `len` entries long, padding included.
    fn token_probabilities(&self, i: usize, len: usize) -> Result<Option<&[f64]>, Error> {
        let Some(all) = self.token_probabilities.map(|all| all.row(i)) else { return Ok(None) };
        if all.len() != len {
            return Err(Error::ColumnLength {
                row: i,
                column: Column::Probabilities,
                ids: len,
                got: all.len(),
            });
        }
        Ok(Some(self.bounds.map_or(all, |bounds| &all[bounds[i].clone()])))
    }

    fn check(&self, rows: usize) -> Result<(), Error> {
        let counts = [
            self.keys.map(<[_]>::len),
            self.probabilities.map(<[_]>::len),
            self.token_probabilities.map(|all| all.len()),
            self.bounds.map(<[_]>::len),
        ];
        match counts.into_iter().flatten().find(|&got| got != rows) {
            Some(got) => Err(Error::Length { want: rows, got }),
            None => self.rules.check_rows(rows),
        }
    }
}

/// What was done with a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowReport {
    /// Tokens with a label.
    pub chosen: u32,
    /// The row's key.
    pub key: u64,
}

/// What a batch looks like.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// The layout of all outputs.
    pub layout: Layout,
    /// Pads inputs.
    pub padding: i64,
    /// Pads labels, and is the label of tokens that were not chosen.
    pub ignore_index: i64,
}

/// The buffers of a batch. If `attention` is empty, it is not written.
#[derive(Debug)]
pub struct Outputs<'o> {
    /// The rows, with chosen tokens replaced.
    pub inputs: &'o mut [i64],
    /// 1 for tokens, 0 for padding.
    pub attention: &'o mut [i64],
    /// The chosen tokens.
    pub labels: &'o mut [i64],
    /// One entry per row.
    pub reports: &'o mut [RowReport],
}

/// Masks `rows` into a batch.
///
/// Errors: [`Error::Length`] for outputs or options of the wrong size, [`Error::Width`] for a row that the layout would truncate,
/// [`Error::IdRange`], [`Error::ColumnLength`], [`Error::RowLength`], [`Error::Probability`].
pub fn mask_tokens_into<T: Token>(
    rows: &[&[T]],
    spec: &Spec,
    seed_epoch: SeedEpoch,
    options: &RowOptions,
    batch: &Batch,
    outputs: Outputs,
) -> Result<(), Error> {
    options.check(rows.len())?;
    let Outputs { mut inputs, mut attention, mut labels, reports } = outputs;
    if reports.len() != rows.len() {
        return Err(Error::Length { want: rows.len(), got: reports.len() });
    }
    let rules = Rules {
        protected_ids: Some(&spec.protected_ids),
        continuation_ids: spec.continuation_ids.as_ref().filter(|_| options.rules.words.is_none()),
        word_end_ids: spec.word_end_ids.as_ref().filter(|_| options.rules.words.is_none()),
        ..options.rules
    };
    let call = Call { spec, seed_epoch, rules, options, ignore_index: batch.ignore_index };
    let mut scratch = Scratch::default();
    for (i, (whole, report)) in rows.iter().zip(reports).enumerate() {
        let (mut input, mut label);
        (input, inputs) = batch.layout.split_cell(i, 0..whole.len(), inputs)?;
        (label, labels) = batch.layout.split_cell(i, 0..whole.len(), labels)?;
        input.fill_padding(batch.padding);
        label.fill_padding(batch.ignore_index);
        if !attention.is_empty() {
            let mut cell;
            (cell, attention) = batch.layout.split_cell(i, 0..whole.len(), attention)?;
            cell.fill(1, 0);
        }
        let (mut row, mut input, mut label) = (*whole, input.content, label.content);
        if input.len() != row.len() {
            return Err(Error::Width { row: i, len: row.len(), width: input.len() });
        }
        if let Some(bounds) = options.bounds {
            (row, input, label) = inside(whole, &bounds[i], input, label, batch.ignore_index);
        }
        let probabilities = options.token_probabilities(i, whole.len())?;
        *report = call.mask_row(i, row, probabilities, input, label, &mut scratch)?;
    }
    if inputs.is_empty() && labels.is_empty() {
        Ok(())
    } else {
        Err(Error::Length { want: 0, got: inputs.len() })
    }
}

/// The tokens of a row with padding, and their part of the outputs; padding is copied, and has no labels.
fn inside<'a, 'o, T: Token>(
    whole: &'a [T],
    bounds: &Range<usize>,
    input: &'o mut [i64],
    label: &'o mut [i64],
    ignore_index: i64,
) -> (&'a [T], &'o mut [i64], &'o mut [i64]) {
    stop::copy(whole, input);
    stop::fill(label, ignore_index);
    (&whole[bounds.clone()], &mut input[bounds.clone()], &mut label[bounds.clone()])
}

/// The values that are the same for all rows of a call.
struct Call<'a> {
    spec: &'a Spec,
    seed_epoch: SeedEpoch,
    rules: Rules<'a>,
    options: &'a RowOptions<'a>,
    ignore_index: i64,
}

impl Call<'_> {
    /// Masks one row, into outputs of its length.
    fn mask_row<T: Token>(
        &self,
        i: usize,
        row: &[T],
        probabilities: Option<&[f64]>,
        input: &mut [i64],
        label: &mut [i64],
        scratch: &mut Scratch,
    ) -> Result<RowReport, Error> {
        check_len(i, row.len())?;
        self.rules.check(i, row.len())?;
        let known = self.options.keys.map(|keys| keys[i]);
        let key = check_and_key(i, row, &IdSet::default(), known, &mut scratch.pack)?;
        let mut masker = Masker {
            row,
            spec: self.spec,
            words: self.seed_epoch.stream(key, Purpose::Replacement),
            random_ids: self.seed_epoch.stream(key, Purpose::RandomId),
            input,
            label,
            ignore_index: self.ignore_index,
            written: 0,
            chosen: 0,
        };
        let mut choices = self.seed_epoch.stream(key, Purpose::Choice);
        let own = self.options.probabilities.map(|all| all[i]);
        match (&self.spec.choice, probabilities) {
            (Choice::Each(_), Some(probabilities)) => {
                self.mask_by_token(i, probabilities, &mut choices, &mut masker, scratch)?;
                if self.spec.min_one && masker.chosen == 0 {
                    let possible = |unit: &Span| threshold(probabilities[unit.start as usize]) > 0;
                    self.mask_one(i, possible, &mut choices, &mut masker, scratch);
                }
            }
            (Choice::Each(shared), None) => {
                let own = own.map(|probability| Trials::new(threshold(probability)));
                self.mask_each(i, own.as_ref().unwrap_or(shared), &mut choices, &mut masker, scratch);
                if self.spec.min_one && masker.chosen == 0 {
                    self.mask_one(i, |_| true, &mut choices, &mut masker, scratch);
                }
            }
            (Choice::Spans(shared, lengths), _) => {
                self.rules.units_into(i, row, &mut scratch.units);
                scratch.draw_spans(&mut choices, own.unwrap_or(*shared), self.spec.min_one, lengths);
                masker.write_unchanged(row.len());
                masker.hide_spans(&scratch.spans, &scratch.units);
            }
        }
        Ok(RowReport { chosen: masker.chosen, key })
    }

    /// Chooses tokens or words of row `i` independently. There is a trial for each token, so that a protected one does not change what
    /// happens to the others. A word is chosen with its first token.
    fn mask_each<T: Token>(
        &self,
        i: usize,
        trials: &Trials,
        choices: &mut Stream,
        masker: &mut Masker<T>,
        scratch: &mut Scratch,
    ) {
        let (row, words) = (masker.row, self.rules.has_words());
        if words {
            self.rules.map_words(i, row, &mut scratch.words);
        }
        let (mut at, mut found) = (0, [0; GROUP]);
        while at < row.len() {
            let found = trials.successes(choices, &mut at, row.len(), &mut found);
            self.hide_found(i, at, words, found, masker, scratch);
        }
    }

    /// Chooses one of the `possible` units of row `i`, in which nothing is chosen, if there is one that may be chosen.
    #[cold]
    fn mask_one<T: Token>(
        &self,
        i: usize,
        possible: impl Fn(&Span) -> bool,
        choices: &mut Stream,
        masker: &mut Masker<T>,
        scratch: &mut Scratch,
    ) {
        self.rules.units_into(i, masker.row, &mut scratch.units);
        scratch.units.retain(possible);
        if scratch.units.is_empty() {
            return;
        }
        let unit = scratch.units[below(choices, scratch.units.len() as u32) as usize];
        scratch.chosen.clear();
        stop::reserve(&mut scratch.chosen, (unit.stop - unit.start) as usize);
        scratch.chosen.extend(unit.start..unit.stop);
        masker.hide(&scratch.chosen, &mut scratch.random);
    }

    /// `mask_each` with a probability for each token, and a random word for each.
    #[inline(never)] // the usual case keeps its registers
    fn mask_by_token<T: Token>(
        &self,
        i: usize,
        probabilities: &[f64],
        choices: &mut Stream,
        masker: &mut Masker<T>,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let wrong = |probability: &f64| !(0.0..=1.0).contains(probability); // NaN too
        if let Some(position) = probabilities.iter().position(wrong) {
            return Err(Error::Probability { row: i, position, bits: probabilities[position].to_bits() });
        }
        let (row, words) = (masker.row, self.rules.has_words());
        if words {
            self.rules.map_words(i, row, &mut scratch.words);
        }
        let mut found = [0; GROUP];
        for (group, probabilities) in probabilities.chunks(GROUP).enumerate() {
            let first = group * GROUP;
            let mut count = 0;
            for (at, &probability) in (first as u32..).zip(probabilities) {
                // Each position is written, and kept or not by the count.
                found[count] = at;
                count += usize::from(u64::from(choices.next_u32()) < threshold(probability));
            }
            self.hide_found(i, first + probabilities.len(), words, &mut found[..count], masker, scratch);
        }
        Ok(())
    }

    /// Hides those of the positions `found`, which precede `at`, that are not protected; whole `words` if they begin one.
    #[inline(always)]
    fn hide_found<T: Token>(
        &self,
        i: usize,
        at: usize,
        words: bool,
        found: &mut [u32],
        masker: &mut Masker<T>,
        scratch: &mut Scratch,
    ) {
        let chosen = if words {
            scratch.words.positions_at(found, &mut scratch.chosen)
        } else {
            self.rules.free_among(i, masker.row, found)
        };
        masker.write_unchanged(chosen.last().map_or(at, |&last| at.max(last as usize + 1)));
        masker.hide(chosen, &mut scratch.random);
    }
}

/// A row is written and processed in pieces of this many tokens: with ids and labels, a piece fits in L2. Without pieces, a row
/// of 1M tokens took 13 to 17 % longer.
const PIECE: usize = 1 << 14;

/// A part of a row in which nothing is chosen yet.
struct Unchanged<'a, T> {
    row: &'a [T],
    input: &'a mut [i64],
    label: &'a mut [i64],
    ignore_index: i64,
}

impl<T: Token> Kernel for Unchanged<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        for ((input, label), token) in self.input.iter_mut().zip(self.label).zip(self.row) {
            (*input, *label) = (token.to_i64(), self.ignore_index);
        }
    }
}

/// Memory that is reused from row to row.
#[derive(Default)]
struct Scratch {
    pack: Vec<[u8; 4]>,
    words: WordMap,
    chosen: Vec<u32>,
    random: Vec<u32>,
    units: Vec<Span>,
    spans: Vec<Span>,
    lengths: Vec<u32>,
    draw: draw::Scratch,
}

impl Scratch {
    /// Draws spans of units: their lengths from `lengths`, `probability` of all units together (one at least, with `min_one`), with a clear
    /// unit between any two; every placement is equally likely.
    fn draw_spans(&mut self, stream: &mut Stream, probability: f64, min_one: bool, lengths: &[u64]) {
        self.spans.clear();
        let len = self.units.len() as u32;
        let drawn = (f64::from(len) * probability).round_ties_even() as u32;
        let noise = drawn.max(u32::from(min_one)).min(len);
        if noise == 0 {
            return;
        }
        self.lengths.clear(); // where each span ends among the hidden units
        let mut end = 0;
        while end < noise {
            // The clear units can only separate a limited number of spans: the last of these takes the rest.
            let left = noise - end;
            let last = self.lengths.len() as u32 == len - noise;
            let drawn = choose(stream, lengths) as u32 + 1;
            end += if last { left } else { drawn.min(left) };
            poll_at(self.lengths.len(), 4);
            stop::push(&mut self.lengths, end);
        }
        draw_lengths(stream, len - noise, &self.lengths, &mut self.draw, &mut self.spans);
    }
}

/// What replaces a chosen token.
#[derive(Clone, Copy)]
enum Replacement {
    Mask,
    RandomId,
    Itself,
}

/// One row while it is masked.
struct Masker<'a, T> {
    row: &'a [T],
    spec: &'a Spec,
    /// A random word decides what replaces a token, or the tokens of a span.
    words: Stream,
    random_ids: Stream,
    input: &'a mut [i64],
    label: &'a mut [i64],
    ignore_index: i64,
    /// How much of the outputs was written.
    written: usize,
    chosen: u32,
}

impl<T: Token> Masker<'_, T> {
    /// Writes the row as if nothing were chosen, up to position `to` at least.
    fn write_unchanged(&mut self, to: usize) {
        let stop = to.min(self.input.len());
        while self.written < stop {
            if self.written > 0 {
                poll();
            }
            let range = self.written..(self.written + PIECE).min(self.input.len());
            self.written = range.end;
            SimdLevel::detect().run(Unchanged {
                row: &self.row[range.clone()],
                input: &mut self.input[range.clone()],
                label: &mut self.label[range],
                ignore_index: self.ignore_index,
            });
        }
    }

    /// Draws what replaces the tokens at `chosen`, and replaces them.
    #[inline(never)] // it then has all registers
    fn hide(&mut self, chosen: &[u32], random: &mut Vec<u32>) {
        let len = self.row.len();
        let (row, input, label) = (self.row, &mut self.input[..len], &mut self.label[..len]);
        let (mask_id, mask_below) = (i64::from(self.spec.mask_token_id), self.spec.mask_below);
        let (random_range, mut randoms) = (self.spec.random_below - mask_below, 0);
        stop::resize(random, random.len().max(chosen.len()), 0);
        for &at in chosen {
            let place = at as usize;
            let (id, word) = (row[place].to_i64(), u64::from(self.words.next_u32()));
            // A branch here would not be predictable. Random ids come later: each position is written, and kept or not by the count.
            input[place] = select_unpredictable(word < mask_below, mask_id, id);
            label[place] = id;
            random[randoms] = at;
            randoms += usize::from(word.wrapping_sub(mask_below) < random_range);
        }
        for &at in &random[..randoms] {
            input[at as usize] = i64::from(self.spec.random_ids.draw(&mut self.random_ids));
        }
        self.chosen += chosen.len() as u32;
    }

    /// Replaces the tokens of `spans`, which count units: the same kind of replacement for all tokens of a span.
    fn hide_spans(&mut self, spans: &[Span], units: &[Span]) {
        for (number, span) in spans.iter().enumerate() {
            poll_at(number, 64);
            let replacement = self.next_replacement();
            for unit in &units[span.start as usize..span.stop as usize] {
                for at in unit.start..unit.stop {
                    self.replace(at as usize, replacement);
                }
            }
        }
    }

    fn next_replacement(&mut self) -> Replacement {
        let word = u64::from(self.words.next_u32());
        if word < self.spec.mask_below {
            Replacement::Mask
        } else if word < self.spec.random_below {
            Replacement::RandomId
        } else {
            Replacement::Itself
        }
    }

    /// Replaces the token at `at`.
    fn replace(&mut self, at: usize, replacement: Replacement) {
        let id = self.row[at].to_i64();
        self.input[at] = match replacement {
            Replacement::Mask => i64::from(self.spec.mask_token_id),
            Replacement::RandomId => i64::from(self.spec.random_ids.draw(&mut self.random_ids)),
            Replacement::Itself => id,
        };
        self.label[at] = id;
        self.chosen += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::at_every_level;

    #[test]
    fn every_level_copies_the_same() {
        fn check<T: Token>() {
            for len in [0, 1, 15, 16, 17, 63, 64, 65, 200] {
                let ids: Vec<i64> = (0..len).map(|i| i * 7919 % 60_000).collect();
                let row: Vec<T> = ids.iter().map(|&id| T::from_i64(id).unwrap()).collect();
                let written = at_every_level(|level| {
                    let (mut input, mut label) = (vec![0; row.len()], vec![0; row.len()]);
                    let (into, labels) = (&mut input, &mut label);
                    level.run(Unchanged { row: &row, input: into, label: labels, ignore_index: -100 });
                    (input, label)
                });
                assert_eq!(written, (ids, vec![-100; row.len()]));
            }
        }
        check::<u16>();
        check::<u32>();
        check::<i32>();
        check::<i64>();
    }
}

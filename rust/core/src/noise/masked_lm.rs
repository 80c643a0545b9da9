//! Masked LM: tokens replaced where they stand (Devlin et al. 2019; spans: Joshi et al. 2020).
//! Oracle: `spanmask.reference.masked_lm`.

use super::draw::{self, Span, draw_lengths};
use super::ids::IdSet;
use super::row::{check_and_key, check_len};
use super::units::{Marks, Rules};
use crate::batch::Layout;
use crate::level::{Level, Loop};
use crate::rng::bounded::{below, choose, threshold};
use crate::rng::trials::{GROUP, Trials};
use crate::rng::{Purpose, Source, Stream};
use crate::{Error, Ragged, Token};
use core::hint::select_unpredictable;
use core::ops::Range;

/// How tokens are chosen.
#[derive(Debug, Clone)]
pub enum Choice {
    /// Each token or word by itself.
    Each(Box<Trials>),
    /// In spans, until this share of the row is reached; running thresholds of the lengths 1, 2, ...
    Spans(f64, Vec<u64>),
}

/// How rows are masked.
#[derive(Debug, Clone)]
pub struct Spec {
    /// How they are chosen.
    pub choice: Choice,
    /// What hides a token.
    pub mask_id: u32,
    /// Of the chosen: those below become `mask_id`, of 2^32.
    pub mask_below: u64,
    /// Of the chosen: those from `mask_below` to here become a random id, the rest stay.
    pub random_below: u64,
    /// Where random ids come from.
    pub random_ids: RandomIds,
    /// Never chosen.
    pub protected_ids: IdSet,
    /// Ids that go on with the word in front of them, where words are chosen whole and rows say nothing else.
    pub continuation_ids: Option<IdSet>,
}

/// The ids below a vocabulary's size, less some.
#[derive(Debug, Clone)]
pub struct RandomIds {
    /// How many there are.
    count: u32,
    /// For each excluded id, ascending: how many others stand in front of it.
    before: Vec<u32>,
}

impl RandomIds {
    /// The ids `0..vocab_size` less `excluded`. `None` where none is left.
    pub fn new(vocab_size: u32, excluded: &IdSet) -> Option<Self> {
        let ids = excluded.ids().iter().take_while(|&&id| id < vocab_size);
        let before: Vec<u32> = ids.enumerate().map(|(number, id)| id - number as u32).collect();
        let count = vocab_size - before.len() as u32;
        (count > 0).then_some(Self { count, before })
    }

    fn draw(&self, stream: &mut Stream) -> u32 {
        let number = below(stream, self.count);
        let passed = match self.before.last() {
            // Special ids stand at the begin of most vocabularies, so that most numbers lie behind them all.
            Some(&last) if number < last => self.before.partition_point(|&before| before <= number),
            _ => self.before.len(),
        };
        number + passed as u32
    }
}

/// What a call is given beside rows and spec.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// Keys of the rows, instead of hashes of what they hold.
    pub keys: Option<&'a [u64]>,
    /// Probability by row.
    pub probabilities: Option<&'a [f64]>,
    /// What may be chosen. Protected ids and continuing ids are the spec's business.
    pub rules: Rules<'a>,
    /// What stands in labels where nothing was chosen.
    pub ignore_index: i64,
}

impl Extras<'_> {
    /// The same for the rows `range`.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self {
            keys: self.keys.map(|keys| &keys[range.clone()]),
            probabilities: self.probabilities.map(|all| &all[range.clone()]),
            rules: self.rules.slice(range),
            ..*self
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

/// Masks `rows` into `inputs`, what was there into `labels`; both are laid out by `layout`, padded with `padding` and the ignore index.
/// Masks are made before the layout cuts rows.
///
/// Errors: [`Error::Length`] for a buffer of another size, [`Error::IdRange`], [`Error::ColumnLength`], [`Error::RowLength`].
#[expect(clippy::too_many_arguments, reason = "two outputs, a layout and a report: each is one thing")]
pub fn mask_tokens_into<T: Token>(
    rows: &Ragged<T>,
    spec: &Spec,
    source: Source,
    extras: &Extras,
    layout: Layout,
    padding: i64,
    inputs: &mut [i64],
    labels: &mut [i64],
    report: &mut [RowReport],
) -> Result<(), Error> {
    let given = [extras.keys.map(<[_]>::len), extras.probabilities.map(<[_]>::len), Some(report.len())];
    if let Some(got) = given.into_iter().flatten().find(|&got| got != rows.len()) {
        return Err(Error::Length { want: rows.len(), got });
    }
    let want = layout.output_len(rows);
    if labels.len() != want {
        return Err(Error::Length { want, got: labels.len() });
    }
    let rules = Rules {
        protected_ids: Some(&spec.protected_ids),
        continuation_ids: spec.continuation_ids.as_ref().filter(|_| extras.rules.words.is_none()),
        ..extras.rules
    };
    let (mut scratch, mut found) = (Scratch::default(), [0; GROUP]);
    let level = Level::detect();
    let mut labels = labels;
    layout.for_each_cell(rows, inputs, |i, row, mut input| {
        let mut label;
        (label, labels) = layout.split_cell(i, rows.bounds(i), core::mem::take(&mut labels))?;
        check_len(i, row.len())?;
        rules.check(i, row.len())?;
        input.fill_padding(padding);
        label.fill_padding(extras.ignore_index);
        let (input, label, ignore_index) = (input.content, label.content, extras.ignore_index);
        let mut reached = untouched(level, row, input, label, ignore_index, 0..PIECE);
        let known = extras.keys.map(|keys| keys[i]);
        let key = check_and_key(i, row, &IdSet::default(), known, &mut scratch.pack)?;
        let mut masker = Masker {
            row,
            spec,
            fates: Fates::new(source.stream(key, Purpose::Fate), spec),
            random_ids: source.stream(key, Purpose::RandomId),
            input,
            label,
            chosen: 0,
        };
        let mut choices = source.stream(key, Purpose::Choice);
        match &spec.choice {
            Choice::Each(shared) => {
                let own = extras.probabilities.map(|all| Trials::new(threshold(all[i])));
                let trials = own.as_ref().unwrap_or(shared);
                let words = rules.has_words();
                if words {
                    rules.marks_into(i, row, &mut scratch.marks);
                }
                // Every token is tried, so that a protected one moves no other's luck. A word is chosen with its first.
                let mut at = 0;
                while at < row.len() {
                    let found = trials.successes(&mut choices, &mut at, row.len(), &mut found);
                    let chosen = if words {
                        scratch.marks.positions_at(found, &mut scratch.chosen)
                    } else {
                        rules.free_among(i, row, found)
                    };
                    let stop = chosen.last().map_or(at, |&last| at.max(last as usize + 1));
                    if stop > reached {
                        let range = reached..stop.next_multiple_of(PIECE);
                        reached = untouched(level, row, masker.input, masker.label, ignore_index, range);
                    }
                    masker.hide(chosen, &mut scratch.random);
                }
            }
            Choice::Spans(share, lengths) => {
                untouched(level, row, masker.input, masker.label, ignore_index, reached..row.len());
                let share = extras.probabilities.map_or(*share, |all| all[i]);
                rules.units_into(i, row, &mut scratch.units);
                scratch.draw_spans(&mut choices, share, lengths);
                for span in &scratch.spans {
                    let fate = masker.fates.next(); // one for the whole span
                    for unit in &scratch.units[span.start as usize..span.stop as usize] {
                        for at in unit.start..unit.stop {
                            masker.replace(at as usize, fate);
                        }
                    }
                }
            }
        }
        report[i] = RowReport { chosen: masker.chosen, key };
        Ok(())
    })
}

/// So much of a row is written and gone through at a time: with ids and labels, it fits L2.
const PIECE: usize = 1 << 14;

/// Writes a part of a row as if nothing were chosen; `range` may reach past the end. Returns how far that is.
fn untouched<T: Token>(
    level: Level,
    row: &[T],
    input: &mut [i64],
    label: &mut [i64],
    ignore_index: i64,
    range: Range<usize>,
) -> usize {
    let part = range.start.min(input.len())..range.end.min(input.len());
    level.run(Untouched {
        row: &row[part.clone()],
        input: &mut input[part.clone()],
        label: &mut label[part],
        ignore_index,
    });
    range.end
}

/// A part of a row of which nothing is chosen yet.
struct Untouched<'a, T> {
    row: &'a [T],
    input: &'a mut [i64],
    label: &'a mut [i64],
    ignore_index: i64,
}

impl<T: Token> Loop for Untouched<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        for ((input, label), token) in self.input.iter_mut().zip(self.label).zip(self.row) {
            (*input, *label) = (token.to_i64(), self.ignore_index);
        }
    }
}

#[derive(Default)]
struct Scratch {
    pack: Vec<[u8; 4]>,
    marks: Marks,
    chosen: Vec<u32>,
    random: Vec<u32>,
    units: Vec<Span>,
    spans: Vec<Span>,
    lengths: Vec<u32>,
    draw: draw::Scratch,
}

impl Scratch {
    /// Spans of units whose lengths are drawn from `lengths`, `probability` of all units together, none touching another; every way
    /// to place them is equally likely.
    fn draw_spans(&mut self, stream: &mut Stream, probability: f64, lengths: &[u64]) {
        self.spans.clear();
        let len = self.units.len() as u32;
        let noise = ((f64::from(len) * probability).round_ties_even() as u32).min(len);
        if noise == 0 {
            return;
        }
        self.lengths.clear(); // where each span ends among the hidden
        let mut end = 0;
        while end < noise {
            // The last of the spans that clear units can keep apart takes what is left.
            let left = noise - end;
            let last = self.lengths.len() as u32 == len - noise;
            let drawn = choose(stream, lengths) as u32 + 1;
            end += if last { left } else { drawn.min(left) };
            self.lengths.push(end);
        }
        draw_lengths(stream, len - noise, &self.lengths, &mut self.draw, &mut self.spans);
    }
}

/// What becomes of a chosen token.
#[derive(Clone, Copy)]
enum Fate {
    Mask,
    Random,
    Keep,
}

/// What becomes of the tokens of one row.
struct Fates {
    words: Stream<u16>,
    /// Words below it: mask. At most 2^16.
    mask_below: u32,
    /// Words from there to here: random.
    random_below: u32,
}

impl Fates {
    /// A word a token; the first one rounds the shares for all of them.
    fn new(mut words: Stream<u16>, spec: &Spec) -> Self {
        let first = words.next_u16();
        let (mask_below, random_below) = (rounded(spec.mask_below, first), rounded(spec.random_below, first));
        Self { words, mask_below, random_below }
    }

    fn next(&mut self) -> Fate {
        let word = u32::from(self.words.next_u16());
        if word < self.mask_below {
            Fate::Mask
        } else if word < self.random_below {
            Fate::Random
        } else {
            Fate::Keep
        }
    }
}

/// A threshold for 16-bit words of one for 32-bit words: rounded up as often as its low bits say, so that it holds on average.
fn rounded(threshold: u64, word: u16) -> u32 {
    ((threshold + u64::from(word)) >> 16) as u32
}

/// One row on its way.
struct Masker<'a, T> {
    row: &'a [T],
    spec: &'a Spec,
    fates: Fates,
    random_ids: Stream,
    input: &'a mut [i64],
    label: &'a mut [i64],
    chosen: u32,
}

impl<T: Token> Masker<'_, T> {
    /// Draws what becomes of the tokens at `chosen`, and replaces them.
    #[inline(never)] // has all registers then
    fn hide(&mut self, chosen: &[u32], random: &mut Vec<u32>) {
        let len = self.input.len();
        let (row, input, label) = (&self.row[..len], &mut self.input[..len], &mut self.label[..len]);
        let mut chosen = chosen;
        if chosen.last().is_some_and(|&last| last as usize >= len) {
            chosen = &chosen[..chosen.partition_point(|&at| (at as usize) < len)]; // behind the row's cut nothing is written
        }
        let (mask, mask_below) = (i64::from(self.spec.mask_id), self.fates.mask_below);
        let (random_replace_prob, mut randoms) = (self.fates.random_below - mask_below, 0);
        random.resize(random.len().max(chosen.len()), 0);
        for &at in chosen {
            let place = at as usize;
            let (id, word) = (row[place].to_i64(), u32::from(self.fates.words.next_u16()));
            // Nobody could predict a branch here. Random ids come later: a slot is written in any case, and kept by the count.
            input[place] = select_unpredictable(word < mask_below, mask, id);
            label[place] = id;
            random[randoms] = at;
            randoms += usize::from(word.wrapping_sub(mask_below) < random_replace_prob);
        }
        for &at in &random[..randoms] {
            input[at as usize] = i64::from(self.spec.random_ids.draw(&mut self.random_ids));
        }
        self.chosen += chosen.len() as u32;
    }

    /// Replaces the token at `at` in a way that was drawn. Behind the cut of a row nothing is written.
    fn replace(&mut self, at: usize, fate: Fate) {
        let Some((input, label)) = self.input.get_mut(at).zip(self.label.get_mut(at)) else { return };
        let id = self.row[at].to_i64();
        *input = match fate {
            Fate::Mask => i64::from(self.spec.mask_id),
            Fate::Random => i64::from(self.spec.random_ids.draw(&mut self.random_ids)),
            Fate::Keep => id,
        };
        *label = id;
        self.chosen += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn none_and_all_stay_none_and_all() {
        assert!((0..=u16::MAX).all(|word| rounded(0, word) == 0 && rounded(1 << 32, word) == 1 << 16));
    }

    proptest! {
        #[test]
        fn shares_hold_on_average(threshold in 0..=1u64 << 32) {
            prop_assert_eq!((0..=u16::MAX).map(|word| u64::from(rounded(threshold, word))).sum::<u64>(), threshold);
        }
    }
}

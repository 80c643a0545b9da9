//! What is hidden as one: a token, or a word. And which of them may be hidden.
//! Oracle: `spanmask.reference.units`.

use super::draw::Span;
use super::ids::IdSet;
use crate::block::{BLOCK, bits, places_into};
use crate::error::Column;
use crate::{Error, Ragged, Token};
use core::ops::Range;

/// Where words begin, given beside the rows.
#[derive(Debug, Clone, Copy)]
pub enum Words<'a> {
    /// A flag for each token that begins a word.
    Starts(Ragged<'a, bool>),
    /// A number for each token: a word goes on as long as it stays the same; a negative number is no word, and never hidden.
    Ids(Ragged<'a, i64>),
}

/// What may be hidden, and what belongs together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules<'a> {
    /// Ids that are never hidden; a word that holds one is not either.
    pub protected_ids: Option<&'a IdSet>,
    /// Ids that go on with the word in front of them.
    pub continuation_ids: Option<&'a IdSet>,
    /// A flag for each token that is never hidden.
    pub protected: Option<Ragged<'a, bool>>,
    /// Words, by token.
    pub words: Option<Words<'a>>,
}

impl<'a> Rules<'a> {
    /// Whether every token of every row may be hidden by itself.
    pub fn is_free(&self) -> bool {
        self.protected_ids.is_none_or(|ids| ids.ids().is_empty())
            && self.protected.is_none()
            && !self.has_words()
    }

    /// Whether words are hidden whole.
    pub fn has_words(&self) -> bool {
        self.words.is_some() || self.continuation_ids.is_some()
    }

    /// The same rules for the rows `range`.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self {
            protected: self.protected.map(|flags| flags.slice(range.clone())),
            words: self.words.map(|words| match words {
                Words::Starts(flags) => Words::Starts(flags.slice(range)),
                Words::Ids(ids) => Words::Ids(ids.slice(range)),
            }),
            ..*self
        }
    }

    /// Moves those of `places` to the front that may be hidden in row `i`, as far as single tokens go.
    #[inline(never)] // leaves registers to those around
    pub fn free_among<'p, T: Token>(&self, i: usize, row: &[T], places: &'p mut [u32]) -> &'p [u32] {
        let flags = self.protected.map(|flags| flags.row(i));
        let mut free = 0;
        for n in 0..places.len() {
            let at = places[n];
            let id = row[at as usize].to_i64() as u32;
            let held = self.protected_ids.is_some_and(|ids| ids.contains(id))
                || flags.is_some_and(|flags| flags[at as usize]);
            // Written in any case, kept by the count.
            places[free] = at;
            free += usize::from(!held);
        }
        &places[..free]
    }

    /// Errors: [`Error::ColumnLength`] where a column is not aligned with a row of `len` tokens.
    pub fn check(&self, i: usize, len: usize) -> Result<(), Error> {
        let column = |column, got| {
            if got == len { Ok(()) } else { Err(Error::ColumnLength { row: i, column, ids: len, got }) }
        };
        if let Some(flags) = self.protected {
            column(Column::Protected, flags.bounds(i).len())?;
        }
        match self.words {
            Some(Words::Starts(flags)) => column(Column::Words, flags.bounds(i).len()),
            Some(Words::Ids(ids)) => column(Column::Words, ids.bounds(i).len()),
            None => Ok(()),
        }
    }

    /// The units of row `i` that may be hidden, in order. `body` is the row, or its beginning; ids fit 32 bits, columns were checked.
    pub fn units_into<T: Token>(&self, i: usize, body: &[T], units: &mut Vec<Span>) {
        // The unit that is open, and whether it holds a token that is never hidden. None is open yet, and none may be taken.
        let (mut start, mut held) = (0, true);
        let mut count = 0;
        for (range, block) in blocks(body) {
            let first = range.start;
            let mut left = self.held(i, block, range.clone());
            let mut starts = self.starts(i, block, range);
            units.resize(units.len().max(count + BLOCK), Span::default());
            while starts != 0 {
                let at = (first + starts.trailing_zeros() as usize) as u32;
                let before = (starts & starts.wrapping_neg()).wrapping_sub(1);
                // Written in any case, kept by the count: where half of the ids are protected no predictor can know.
                units[count] = Span { start, stop: at };
                count += usize::from(!held & (left & before == 0));
                (start, held) = (at, false);
                left &= !before;
                starts &= starts.wrapping_sub(1);
            }
            held |= left != 0;
        }
        units.truncate(count);
        if !held {
            units.push(Span { start, stop: body.len() as u32 });
        }
    }

    /// Marks row `i` by token. Ids fit 32 bits, columns were checked.
    pub fn marks_into<T: Token>(&self, i: usize, row: &[T], marks: &mut Marks) {
        marks.len = row.len();
        marks.blocks.clear();
        let mark = |(range, block): (Range<usize>, &[T])| Mark {
            starts: self.starts(i, block, range.clone()),
            held: self.held(i, block, range),
        };
        marks.blocks.extend(blocks(row).map(mark));
    }

    /// Whether every token of row `i` may be hidden by itself.
    pub fn leave_free<T: Token>(&self, i: usize, body: &[T]) -> bool {
        !self.has_words() && blocks(body).all(|(range, block)| self.held(i, block, range) == 0)
    }

    /// The positions of row `i` that are never hidden, ascending. Where nothing is hidden as a word, all others are units.
    pub fn held_into<T: Token>(&self, i: usize, body: &[T], held: &mut Vec<u32>) {
        let mut found = 0;
        for (range, block) in blocks(body) {
            let first = range.start as u32;
            held.resize(held.len().max(found + BLOCK), 0);
            found += places_into(self.held(i, block, range), first, &mut held[found..]);
        }
        held.truncate(found);
    }

    /// One bit a token of `block`, which stands at `range` of row `i`: whether a unit begins with it.
    fn starts<T: Token>(&self, i: usize, block: &[T], range: Range<usize>) -> u64 {
        let all = u64::MAX >> (BLOCK - block.len());
        let starts = match (self.words, self.continuation_ids) {
            (Some(Words::Starts(flags)), _) => bits(flags.row(i)[range.clone()].iter().copied()),
            (Some(Words::Ids(ids)), _) => {
                let ids = ids.row(i);
                let (here, before) =
                    (&ids[range.clone()], &ids[range.start.saturating_sub(1)..range.end - 1]);
                // In front of the row's first token stands nothing: its block is shifted by one.
                let differ = bits(here[here.len() - before.len()..].iter().zip(before).map(|(a, b)| a != b));
                differ << (here.len() - before.len())
            }
            (None, Some(ids)) => !ids.find(block),
            (None, None) => all,
        };
        (starts | u64::from(range.start == 0)) & all
    }

    /// One bit a token of `block`, which stands at `range` of row `i`: whether it is never hidden.
    fn held<T: Token>(&self, i: usize, block: &[T], range: Range<usize>) -> u64 {
        let mut held = self.protected_ids.map_or(0, |ids| ids.find(block));
        if let Some(flags) = self.protected {
            held |= bits(flags.row(i)[range.clone()].iter().copied());
        }
        if let Some(Words::Ids(ids)) = self.words {
            held |= bits(ids.row(i)[range].iter().map(|&id| id < 0));
        }
        held
    }
}

/// The blocks of a row, and where each stands.
fn blocks<T>(row: &[T]) -> impl Iterator<Item = (Range<usize>, &[T])> {
    row.chunks(BLOCK).enumerate().map(|(n, block)| (n * BLOCK..n * BLOCK + block.len(), block))
}

/// Which tokens of a row begin a unit, and which are never hidden. For those who ask about few of a row's units.
#[derive(Debug, Default)]
pub struct Marks {
    blocks: Vec<Mark>,
    len: usize,
}

/// The same for one block, a bit a token.
#[derive(Debug, Clone, Copy)]
struct Mark {
    starts: u64,
    held: u64,
}

/// So many positions are written at once.
const AHEAD: usize = 4;

impl Marks {
    /// All positions of the units that begin at one of `places` (ascending), less units that hold a token that is never hidden.
    /// `places` and `scratch` are written over.
    pub fn positions_at<'s>(&self, places: &mut [u32], scratch: &'s mut Vec<u32>) -> &'s [u32] {
        // Written in any case, kept by the count: no predictor can know which places begin a word, nor how short it is.
        let mut heads = 0;
        for n in 0..places.len() {
            let at = places[n];
            places[heads] = at;
            heads += usize::from(bit(self.blocks[at as usize / BLOCK].starts, at as usize));
        }
        let mut count = 0;
        for &start in &places[..heads] {
            let (stop, held) = self.unit_at(start as usize);
            let len = (stop - start) as usize;
            let most = count + len + AHEAD;
            if scratch.len() < most {
                scratch.resize(2 * most, 0);
            }
            let positions = &mut scratch[count..];
            if let Some(ahead) = positions.first_chunk_mut::<AHEAD>() {
                *ahead = core::array::from_fn(|n| start + n as u32);
            }
            if len > AHEAD {
                count_up(&mut positions[..len], start);
            }
            count += if held { 0 } else { len };
        }
        &scratch[..count]
    }

    /// Where the unit that begins at `start` ends, and whether it holds a token that is never hidden.
    #[inline]
    fn unit_at(&self, start: usize) -> (u32, bool) {
        let (block, place) = (start / BLOCK, start % BLOCK);
        let Mark { starts, held } = self.blocks[block];
        let behind = starts & (u64::MAX << place << 1);
        if behind == 0 {
            return self.long_unit_at(start);
        }
        let stop = (block * BLOCK) as u32 | behind.trailing_zeros();
        let before = (behind & behind.wrapping_neg()).wrapping_sub(1);
        (stop, (held & before) >> place != 0)
    }

    /// The same for a unit that reaches into the next block, or to the row's end.
    #[inline(never)]
    fn long_unit_at(&self, start: usize) -> (u32, bool) {
        let behind = start / BLOCK + 1;
        let mut blocks = (behind..).zip(&self.blocks[behind..]);
        let next = blocks.find(|(_, mark)| mark.starts != 0);
        let stop =
            next.map_or(self.len, |(block, mark)| block * BLOCK + mark.starts.trailing_zeros() as usize);
        (stop as u32, (start..stop).any(|at| bit(self.blocks[at / BLOCK].held, at)))
    }
}

/// The bit of position `at` among those of its block.
#[inline(always)]
fn bit(bits: u64, at: usize) -> bool {
    bits >> (at % BLOCK) & 1 != 0
}

/// Writes `start`, `start + 1`, and so on.
#[cold]
#[inline(never)]
fn count_up(positions: &mut [u32], start: u32) {
    positions.iter_mut().zip(start..).for_each(|(position, at)| *position = at);
}

/// Spans of units -> spans of the row, in place. Where a unit in between may not be hidden, a span falls into several.
pub fn expand(units: &[Span], spans: &mut Vec<Span>, scratch: &mut Vec<Span>) {
    scratch.clear();
    for span in spans.iter() {
        for unit in &units[span.start as usize..span.stop as usize] {
            match scratch.last_mut() {
                // Units of two spans never touch: a clear one stands between them.
                Some(last) if last.stop == unit.start => last.stop = unit.stop,
                _ => scratch.push(*unit),
            }
        }
    }
    core::mem::swap(spans, scratch);
}

/// Spans of tokens that may be hidden, counted among themselves -> spans of the row, in place. Where one of the `held` stands in
/// between, a span falls into several.
pub fn step_over(held: &[u32], spans: &mut Vec<Span>, scratch: &mut Vec<Span>) {
    if held.is_empty() {
        return;
    }
    scratch.clear();
    let mut passed = 0; // so many of the held stand in front
    let next = |passed: u32| held.get(passed as usize).map(|&at| at - passed);
    for span in spans.iter() {
        while next(passed).is_some_and(|clear| clear <= span.start) {
            passed += 1;
        }
        let mut start = span.start + passed;
        while let Some(clear) = next(passed).filter(|&clear| clear < span.stop) {
            let stop = clear + passed;
            if start < stop {
                scratch.push(Span { start, stop });
            }
            start = stop + 1;
            passed += 1;
        }
        scratch.push(Span { start, stop: span.stop + passed });
    }
    core::mem::swap(spans, scratch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn units_found_by_their_first_token_are_those_of_the_row(
            tokens in prop::collection::vec((prop::bool::weighted(0.3), prop::bool::weighted(0.1)), 0..300),
            tried in prop::collection::vec(any::<bool>(), 300),
        ) {
            let (starts, held): (Vec<bool>, Vec<bool>) = tokens.iter().copied().unzip();
            let ids = vec![0i64; starts.len()];
            let offsets = [0, starts.len() as i64];
            let rules = Rules {
                protected: Some(Ragged::new(&held, &offsets).unwrap()),
                words: Some(Words::Starts(Ragged::new(&starts, &offsets).unwrap())),
                ..Rules::default()
            };
            let (mut units, mut marks, mut scratch) = (Vec::new(), Marks::default(), Vec::new());
            rules.units_into(0, &ids, &mut units);
            units.retain(|unit| tried[unit.start as usize]);
            rules.marks_into(0, &ids, &mut marks);
            let mut places: Vec<u32> = (0..ids.len() as u32).filter(|&at| tried[at as usize]).collect();
            let want: Vec<u32> = units.iter().flat_map(|unit| unit.start..unit.stop).collect();
            prop_assert_eq!(marks.positions_at(&mut places, &mut scratch), want);
        }

        #[test]
        fn stepping_over_the_held_is_expanding_the_others(
            held in prop::collection::vec(any::<bool>(), 0..300),
            cuts in prop::collection::btree_set(0u32..300, 0..40),
        ) {
            let mut units = Vec::new();
            let ids = vec![0i64; held.len()];
            let offsets = [0, held.len() as i64];
            let rules = Rules { protected: Some(Ragged::new(&held, &offsets).unwrap()), ..Rules::default() };
            rules.units_into(0, &ids, &mut units);
            let cuts: Vec<u32> = cuts.into_iter().filter(|&cut| cut < units.len() as u32).collect();
            let mut spans: Vec<Span> =
                cuts.as_chunks::<2>().0.iter().map(|&[start, stop]| Span { start, stop }).collect();
            let mut expanded = spans.clone();
            expand(&units, &mut expanded, &mut Vec::new());
            let mut places = Vec::new();
            rules.held_into(0, &ids, &mut places);
            step_over(&places, &mut spans, &mut Vec::new());
            prop_assert_eq!(spans, expanded);
            prop_assert_eq!(rules.leave_free(0, &ids), !held.contains(&true));
        }
    }
}

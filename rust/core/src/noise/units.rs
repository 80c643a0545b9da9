//! What is hidden as one: a token, or a word. And which of them may be hidden.
//! Oracle: `spanmask.reference.units`.

use super::draw::Span;
use super::ids::IdSet;
use crate::block::{BLOCK, bits};
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
    pub continuing_ids: Option<&'a IdSet>,
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
        self.words.is_some() || self.continuing_ids.is_some()
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

    /// Whether position `at` of row `i` may be hidden, as far as single tokens go.
    #[inline]
    pub fn may_hide<T: Token>(&self, i: usize, at: usize, token: T) -> bool {
        !self.protected_ids.is_some_and(|ids| ids.contains(token.to_i64() as u32))
            && !self.protected.is_some_and(|flags| flags.row(i)[at])
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
        let (mut first, mut count) = (0, 0);
        for block in body.chunks(BLOCK) {
            let held_bits = self.held(i, block, first..first + block.len());
            let mut starts = self.starts(i, block, first..first + block.len());
            let mut left = held_bits;
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
            first += block.len();
        }
        units.truncate(count);
        if !held {
            units.push(Span { start, stop: body.len() as u32 });
        }
    }

    /// Marks row `i` by token. Ids fit 32 bits, columns were checked.
    pub fn marks_into<T: Token>(&self, i: usize, row: &[T], marks: &mut Marks) {
        marks.len = row.len();
        marks.starts.clear();
        marks.held.clear();
        let mut first = 0;
        for block in row.chunks(BLOCK) {
            let range = first..first + block.len();
            marks.starts.push(self.starts(i, block, range.clone()));
            marks.held.push(self.held(i, block, range));
            first += block.len();
        }
    }

    /// Whether every token of row `i` may be hidden by itself.
    pub fn leave_free<T: Token>(&self, i: usize, body: &[T]) -> bool {
        let mut blocks = body.chunks(BLOCK).enumerate();
        let held = |(n, block): (usize, &[T])| self.held(i, block, n * BLOCK..n * BLOCK + block.len());
        !self.has_words() && blocks.all(|block| held(block) == 0)
    }

    /// The positions of row `i` that are never hidden, ascending. Where nothing is hidden as a word, all others are units.
    pub fn held_into<T: Token>(&self, i: usize, body: &[T], held: &mut Vec<u32>) {
        held.clear();
        let mut first = 0;
        for block in body.chunks(BLOCK) {
            let mut bits = self.held(i, block, first..first + block.len());
            while bits != 0 {
                held.push(first as u32 + bits.trailing_zeros());
                bits &= bits - 1;
            }
            first += block.len();
        }
    }

    /// One bit a token of `block`, which stands at `range` of row `i`: whether a unit begins with it.
    fn starts<T: Token>(&self, i: usize, block: &[T], range: Range<usize>) -> u64 {
        let all = u64::MAX >> (BLOCK - block.len());
        let starts = match (self.words, self.continuing_ids) {
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

/// Which tokens of a row begin a unit, and which are never hidden: a bit each. For those who ask about few of a row's units.
#[derive(Debug, Default)]
pub struct Marks {
    starts: Vec<u64>,
    held: Vec<u64>,
    len: usize,
}

impl Marks {
    /// All positions of the units that begin at one of `places` (ascending), less units that hold a token that is never hidden.
    pub fn positions_at(&self, places: &mut [u32], positions: &mut Vec<u32>) {
        // Written in any case, kept by the count: no predictor can know which places begin a word, nor how short it is.
        let mut heads = 0;
        for n in 0..places.len() {
            let at = places[n] as usize;
            places[heads] = at as u32;
            heads += (self.starts[at / BLOCK] >> (at % BLOCK) & 1) as usize;
        }
        let mut count = 0;
        for &start in &places[..heads] {
            let (stop, held) = self.unit_at(start as usize);
            let len = (stop - start) as usize;
            if positions.len() < count + len + AHEAD {
                positions.resize(2 * (count + len + AHEAD), 0);
            }
            for first in (0..len).step_by(AHEAD) {
                if let Some(ahead) = positions[count + first..].first_chunk_mut::<AHEAD>() {
                    *ahead = core::array::from_fn(|n| start + (first + n) as u32);
                }
            }
            count += if held { 0 } else { len };
        }
        positions.truncate(count);
    }

    /// Where the unit that begins at `start` ends, and whether it holds a token that is never hidden.
    #[inline]
    fn unit_at(&self, start: usize) -> (u32, bool) {
        let (block, place) = (start / BLOCK, start % BLOCK);
        let behind = self.starts[block] & (u64::MAX << place << 1);
        if behind != 0 {
            let inside = behind.wrapping_sub(1) & !behind & (u64::MAX << place);
            return ((block * BLOCK) as u32 + behind.trailing_zeros(), self.held[block] & inside != 0);
        }
        // It reaches into the next block.
        let stop = self.next_start(block + 1);
        let held = (start..stop as usize).any(|at| self.held[at / BLOCK] >> (at % BLOCK) & 1 != 0);
        (stop, held)
    }

    /// The first unit's beginning from `block` on; the row's end where none begins any more.
    fn next_start(&self, block: usize) -> u32 {
        let mut blocks = (block..).zip(&self.starts[block..]);
        let found = blocks.find(|(_, starts)| **starts != 0);
        found.map_or(self.len, |(block, starts)| block * BLOCK + starts.trailing_zeros() as usize) as u32
    }
}

/// Positions that are written at once.
const AHEAD: usize = 4;

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
            let (mut units, mut positions) = (Vec::new(), Vec::new());
            let mut marks = Marks::default();
            rules.units_into(0, &ids, &mut units);
            units.retain(|unit| tried[unit.start as usize]);
            rules.marks_into(0, &ids, &mut marks);
            let mut places: Vec<u32> = (0..ids.len() as u32).filter(|&at| tried[at as usize]).collect();
            marks.positions_at(&mut places, &mut positions);
            prop_assert_eq!(positions, units.iter().flat_map(|unit| unit.start..unit.stop).collect::<Vec<_>>());
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

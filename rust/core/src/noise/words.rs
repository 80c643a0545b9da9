//! Words: which tokens are hidden or chosen together.
//! Oracle: `spanmask.reference.words`.

use super::draw::Span;
use super::ids::IdSet;
use crate::bitblock::{BLOCK, bits};
use crate::stop::{self, poll_at};
use crate::{Ragged, Token};
use core::ops::Range;

/// Where words begin, given in addition to the rows.
#[derive(Debug, Clone, Copy)]
pub enum Words<'a> {
    /// A flag for each token that begins a word.
    Starts(Ragged<'a, bool>),
    /// A number for each token: a word continues as long as the number stays the same. A token with a negative number belongs to no word and
    /// is never hidden.
    Ids(Ragged<'a, i64>),
}

impl Words<'_> {
    /// The words of the rows `range`.
    pub fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Self::Starts(flags) => Self::Starts(flags.slice(range)),
            Self::Ids(ids) => Self::Ids(ids.slice(range)),
        }
    }
}

/// One bit for each token of `block`, which is at `range` of row `i`: whether a word begins with it. Without words and continuation ids,
/// each token is a word. [`after_word_ends`] has further ones.
pub(super) fn word_starts<T: Token>(
    words: Option<Words>,
    continuation_ids: Option<&IdSet>,
    i: usize,
    block: &[T],
    range: Range<usize>,
) -> u64 {
    let all = u64::MAX >> (BLOCK - block.len());
    let starts = match (words, continuation_ids) {
        (Some(Words::Starts(flags)), _) => bits(flags.row(i)[range.clone()].iter().copied()),
        (Some(Words::Ids(ids)), _) => {
            let ids = ids.row(i);
            let (here, before) = (&ids[range.clone()], &ids[range.start.saturating_sub(1)..range.end - 1]);
            // No token precedes the first one of a row: its block is shifted by one.
            let differ = bits(here[here.len() - before.len()..].iter().zip(before).map(|(a, b)| a != b));
            differ << (here.len() - before.len())
        }
        (None, Some(ids)) => !ids.find(block),
        (None, None) => all,
    };
    (starts | u64::from(range.start == 0)) & all
}

/// One bit for each token of `block`: whether it follows one of `word_end_ids`. `last` is whether the token before the block is one of
/// them, and is set to whether the last token of the block is.
#[inline]
pub(super) fn after_word_ends<T: Token>(word_end_ids: &IdSet, block: &[T], last: &mut bool) -> u64 {
    let found = word_end_ids.find(block);
    let after = found << 1 | u64::from(*last);
    *last = found >> (block.len() - 1) & 1 != 0;
    after & u64::MAX >> (BLOCK - block.len())
}

/// Which tokens of a row begin a word, and which are protected. For callers that look up few of a row's words.
#[derive(Debug, Default)]
pub struct WordMap {
    blocks: Vec<WordBlock>,
    len: usize,
}

/// The same for one block, with a bit for each token.
#[derive(Debug, Clone, Copy)]
struct WordBlock {
    starts: u64,
    protected: u64,
}

/// Positions written at once. Most words are shorter. Without this block, `mask_tokens` on whole words (32 x 512) took 13 to 19 % longer.
const AHEAD: usize = 4;

impl WordMap {
    /// Maps a row of `len` tokens. `blocks`: the tokens that begin a word, and those that are protected, one bit each, block by block.
    pub(super) fn fill(&mut self, len: usize, blocks: impl Iterator<Item = (u64, u64)>) {
        self.len = len;
        self.blocks.clear();
        stop::reserve(&mut self.blocks, len.div_ceil(BLOCK));
        self.blocks.extend(blocks.map(|(starts, protected)| WordBlock { starts, protected }));
    }

    /// Lets a word begin after each token of `row`, the mapped one, that is in `word_end_ids`. A pass of its own, so that vocabularies
    /// without such ids do not take more instructions.
    #[inline(never)]
    pub(super) fn begin_after<T: Token>(&mut self, word_end_ids: &IdSet, row: &[T]) {
        let mut last = false;
        for (map, block) in self.blocks.iter_mut().zip(row.chunks(BLOCK)) {
            map.starts |= after_word_ends(word_end_ids, block, &mut last);
        }
    }

    /// All positions of the words that begin at one of `places` (ascending), without words that contain a protected token.
    /// `places` and `scratch` are overwritten.
    pub fn positions_at<'s>(&self, places: &mut [u32], scratch: &'s mut Vec<u32>) -> &'s [u32] {
        // Each place is written, and kept or not by the count: a branch could not predict which places begin a word, or how short it is.
        let mut heads = 0;
        for n in 0..places.len() {
            let at = places[n];
            places[heads] = at;
            heads += usize::from(bit(self.blocks[at as usize / BLOCK].starts, at as usize));
        }
        let mut count = 0;
        for &start in &places[..heads] {
            let (stop, protected) = self.word_at(start as usize);
            let len = (stop - start) as usize;
            let most = count + len + AHEAD;
            if scratch.len() < most {
                stop::resize(scratch, 2 * most, 0);
            }
            let positions = &mut scratch[count..];
            if let Some(ahead) = positions.first_chunk_mut::<AHEAD>() {
                *ahead = core::array::from_fn(|n| start + n as u32);
            }
            if len > AHEAD {
                count_up(&mut positions[..len], start);
            }
            count += if protected { 0 } else { len };
        }
        &scratch[..count]
    }

    /// Where the word that begins at `start` ends, and whether it contains a protected token.
    #[inline]
    fn word_at(&self, start: usize) -> (u32, bool) {
        let (block, place) = (start / BLOCK, start % BLOCK);
        let WordBlock { starts, protected } = self.blocks[block];
        let later = starts & (u64::MAX << place << 1);
        if later == 0 {
            return self.long_word_at(start);
        }
        let stop = (block * BLOCK) as u32 | later.trailing_zeros();
        let before = (later & later.wrapping_neg()).wrapping_sub(1);
        (stop, (protected & before) >> place != 0)
    }

    /// The same for a word that extends into the next block, or to the end of the row.
    #[inline(never)]
    fn long_word_at(&self, start: usize) -> (u32, bool) {
        let next = start / BLOCK + 1;
        let mut blocks = (next..).zip(&self.blocks[next..]);
        let found = blocks.find(|(_, map)| map.starts != 0);
        let stop =
            found.map_or(self.len, |(block, map)| block * BLOCK + map.starts.trailing_zeros() as usize);
        (stop as u32, (start..stop).any(|at| bit(self.blocks[at / BLOCK].protected, at)))
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

/// The blocks of a row, and the positions of each.
pub(super) fn blocks<T>(row: &[T]) -> impl Iterator<Item = (Range<usize>, &[T])> {
    row.chunks(BLOCK).enumerate().map(|(n, block)| {
        poll_at(n, BLOCK);
        (n * BLOCK..n * BLOCK + block.len(), block)
    })
}

/// Converts spans of units to spans of the row, in place. A span is split where a unit between its first and its last may not be hidden.
pub fn expand(units: &[Span], spans: &mut Vec<Span>, scratch: &mut Vec<Span>) {
    scratch.clear();
    for (number, span) in spans.iter().enumerate() {
        poll_at(number, 16);
        for unit in &units[span.start as usize..span.stop as usize] {
            match scratch.last_mut() {
                // Units of two spans are never adjacent: there is a clear unit between them.
                Some(last) if last.stop == unit.start => last.stop = unit.stop,
                _ => stop::push(scratch, *unit),
            }
        }
    }
    core::mem::swap(spans, scratch);
}

#[cfg(test)]
mod tests {
    use super::super::rules::Rules;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_found_by_their_first_token_are_those_of_the_row(
            tokens in prop::collection::vec((prop::bool::weighted(0.3), prop::bool::weighted(0.1)), 0..300),
            tried in prop::collection::vec(any::<bool>(), 300),
        ) {
            let (starts, protected): (Vec<bool>, Vec<bool>) = tokens.iter().copied().unzip();
            let ids = vec![0i64; starts.len()];
            let offsets = [0, starts.len() as i64];
            let rules = Rules {
                protected_mask: Some(Ragged::new(&protected, &offsets).unwrap()),
                words: Some(Words::Starts(Ragged::new(&starts, &offsets).unwrap())),
                ..Rules::default()
            };
            let (mut units, mut words, mut scratch) = (Vec::new(), WordMap::default(), Vec::new());
            rules.units_into(0, &ids, &mut units);
            units.retain(|unit| tried[unit.start as usize]);
            rules.map_words(0, &ids, &mut words);
            let mut places: Vec<u32> = (0..ids.len() as u32).filter(|&at| tried[at as usize]).collect();
            let want: Vec<u32> = units.iter().flat_map(|unit| unit.start..unit.stop).collect();
            prop_assert_eq!(words.positions_at(&mut places, &mut scratch), want);
        }

        #[test]
        fn a_word_begins_after_each_word_end(
            row in prop::collection::vec(0i64..60, 0..300),
            continuing in prop::collection::btree_set(0u32..60, 0..60),
            ends in prop::collection::btree_set(0u32..60, 1..20),
        ) {
            let (continuation_ids, word_end_ids) = (IdSet::new(continuing), IdSet::new(ends));
            let rules = Rules {
                continuation_ids: Some(&continuation_ids),
                word_end_ids: Some(&word_end_ids),
                ..Rules::default()
            };
            let (mut units, mut words, mut scratch) = (Vec::new(), WordMap::default(), Vec::new());
            rules.units_into(0, &row, &mut units);
            let is_start = |at: &usize| {
                *at == 0
                    || !continuation_ids.contains(row[*at] as u32)
                    || word_end_ids.contains(row[at - 1] as u32)
            };
            let starts: Vec<u32> = (0..row.len()).filter(is_start).map(|at| at as u32).collect();
            prop_assert_eq!(units.iter().map(|unit| unit.start).collect::<Vec<_>>(), starts);
            prop_assert_eq!(units.last().map_or(0, |unit| unit.stop as usize), row.len());
            rules.map_words(0, &row, &mut words);
            let mut places: Vec<u32> = (0..row.len() as u32).collect();
            prop_assert_eq!(words.positions_at(&mut places, &mut scratch), (0..row.len() as u32).collect::<Vec<_>>());
        }
    }
}

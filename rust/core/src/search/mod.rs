//! Where token sequences occur in a row.
//!
//! A [`Searcher`] owns its needles. For each token it decides whether any needle begins with it, in blocks that the compiler turns into
//! vector compares ([`vector`]); only where one does, it compares whole needles. [`naive`] is the oracle of the tests.

pub mod naive;
pub mod vector;

use crate::Token;
use core::ops::Range;
use vector::First;

/// Up to this many needles, or candidates of a block, are examined one by one.
const FEW: usize = 8;

/// Finds several token sequences in one pass over a row.
#[derive(Debug, Clone)]
pub struct Searcher<T> {
    /// Sorted by length, longest first, then as listed: of the needles that occur at one position, the longest comes first.
    needles: Vec<Needle<T>>,
    first: First<T>,
    /// By the number of a first token: which needles of the list begin with it.
    groups: Vec<Range<usize>>,
}

/// One sequence. It is never empty.
#[derive(Debug, Clone)]
struct Needle<T> {
    tokens: Vec<T>,
    /// Its number in the list that the searcher was made from.
    id: usize,
}

impl<T: Token> Searcher<T> {
    /// Needles are numbered as listed. A needle with an id that does not fit `T` occurs in no row and is left out, as is an empty one.
    pub fn new<'n>(needles: impl IntoIterator<Item = &'n [i64]>) -> Self {
        let mut kept: Vec<Needle<T>> = Vec::new();
        for (id, needle) in needles.into_iter().enumerate() {
            let tokens: Option<Vec<T>> = needle.iter().map(|&token| T::from_i64(token)).collect();
            kept.extend(tokens.filter(|tokens| !tokens.is_empty()).map(|tokens| Needle { tokens, id }));
        }
        kept.sort_by(|a, b| b.tokens.cmp(&a.tokens).then(a.id.cmp(&b.id)));
        let first = First::new(kept.iter().rev().map(|needle| needle.tokens[0]));
        let mut end = kept.len();
        let groups = kept.chunk_by(|a, b| a.tokens[0] == b.tokens[0]).rev().map(|group| {
            end -= group.len();
            end..end + group.len()
        });
        Self { first, groups: groups.collect(), needles: kept }
    }

    /// Whether nothing can be found.
    pub fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// Positions in `row`, ascending: all positions at which a needle occurs, and some at which only its first token does.
    pub fn candidates<'a>(&'a self, row: &'a [T]) -> impl Iterator<Item = usize> + 'a {
        let mut unfiltered = 0; // the next blocks that are not filtered
        self.first.candidates(row, move |block, bits| {
            if (bits.count_ones() as usize) <= self.needles.len().max(FEW) || unfiltered > 0 {
                unfiltered = u32::saturating_sub(unfiltered, 1);
                return bits;
            }
            let matching = self.matching(row, block, bits);
            if 2 * matching.count_ones() > bits.count_ones() {
                unfiltered = 16; // many needles in a row: comparing them twice raised nested markers from 4 to 10 ns per token
            }
            matching
        })
    }

    /// The candidates `bits` of the block that starts at `block` at which a needle occurs.
    ///
    /// A row may hold nothing but first tokens, or long prefixes of needles. All positions of a block are compared with a needle's next token
    /// at once, and a prefix that adjacent needles of the list have in common is compared once.
    fn matching(&self, row: &[T], block: usize, bits: u64) -> u64 {
        let (mut matching, mut prefixes, mut tokens) = (0, Vec::new(), &[][..]);
        for needle in &self.needles {
            prefixes.truncate(tokens.iter().zip(&needle.tokens).take_while(|(a, b)| a == b).count());
            tokens = &needle.tokens;
            for (i, &token) in tokens.iter().enumerate().skip(prefixes.len()) {
                let left = prefixes.last().copied().unwrap_or(bits);
                if left == 0 {
                    break;
                }
                prefixes.push(left & self.first.equal(row.get(block + i..).unwrap_or_default(), token));
            }
            if prefixes.len() == tokens.len() {
                matching |= prefixes.last().copied().unwrap_or(0);
            }
        }
        matching
    }

    /// The needles that occur at `position`, longest first, then as listed: (number, length).
    pub fn matches_at<'a>(
        &'a self,
        row: &'a [T],
        position: usize,
    ) -> impl Iterator<Item = (usize, usize)> + 'a {
        let tail = &row[position..];
        let mut needles = self.needles.as_slice();
        if needles.len() > FEW {
            let group = tail.first().and_then(|&token| self.first.find(token));
            needles = group.map_or(&[], |number| &needles[self.groups[number].clone()]);
        }
        needles
            .iter()
            .filter(move |needle| starts_with(tail, &needle.tokens))
            .map(|needle| (needle.id, needle.tokens.len()))
    }

    /// Every match in `row`, overlapping ones too, by position, then longest first: (position, number).
    pub fn find_all<'a>(&'a self, row: &'a [T]) -> impl Iterator<Item = (usize, usize)> + 'a {
        self.candidates(row)
            .flat_map(move |position| self.matches_at(row, position).map(move |(id, _)| (position, id)))
    }
}

/// `row.starts_with(needle)`, without a call of a library function: needles have only a few tokens.
fn starts_with<T: Token>(row: &[T], needle: &[T]) -> bool {
    row.len() >= needle.len() && row.iter().zip(needle).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check<T: Token>(row: &[i64], needles: &[Vec<i64>]) {
        let typed: Vec<T> = row.iter().map(|&id| T::from_i64(id).unwrap()).collect();
        let searcher = Searcher::<T>::new(needles.iter().map(Vec::as_slice));
        let found: Vec<_> = searcher.find_all(&typed).collect();
        assert_eq!(found, naive::find_all(row, needles));
    }

    proptest! {
        #[test]
        fn find_all_equals_the_naive_search(
            row in prop::collection::vec(0i64..4, 0..300),
            needles in prop::collection::vec(prop::collection::vec(0i64..4, 1..5), 0..12),
        ) {
            check::<u16>(&row, &needles);
            check::<u32>(&row, &needles);
            check::<i32>(&row, &needles);
            check::<i64>(&row, &needles);
        }

        #[test]
        fn many_first_tokens_equal_the_naive_search(
            row in prop::collection::vec(0i64..2000, 0..600),
            needles in prop::collection::vec(prop::collection::vec(0i64..2000, 1..3), 0..80),
        ) {
            check::<u16>(&row, &needles);
            check::<i64>(&row, &needles);
        }
    }

    #[test]
    fn sparse_needles_are_found_at_every_offset_of_a_block() {
        for position in 0..200 {
            let mut row = vec![7i64; 200];
            row[position] = -200;
            check::<i32>(&row, &[vec![-200]]);
            check::<i64>(&row, &[vec![-200], vec![7, -200], vec![-200, 7]]);
        }
    }

    #[test]
    fn needles_that_do_not_fit_the_type_occur_nowhere() {
        let searcher = Searcher::<u16>::new([&[-200i64][..], &[70_000], &[3], &[]]);
        assert_eq!(searcher.find_all(&[3, 5, 3]).collect::<Vec<_>>(), [(0, 2), (2, 2)]);
    }
}

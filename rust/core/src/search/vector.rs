//! Finds the tokens that are one of a few given tokens, one window of tokens at a time.
//!
//! The compares are plain loops over fixed-size blocks: the compiler vectorizes them for each instruction set that [`SimdLevel`] knows.

use crate::Token;
use crate::bitblock::{self, BLOCK};
use crate::level::{Kernel, SimdLevel};
use crate::stop::poll_at;

/// Tokens per window: one bit for each of its blocks in a `u64`. With int64, these are 32 KiB: a window stays in the first cache while
/// its blocks are examined.
const WINDOW: usize = 64 * BLOCK;
/// Up to this many first tokens are compared one by one.
const COMPARED: usize = 4;
/// Three or more are recognized by their range if it is at most this wide: special tokens are adjacent in a vocabulary.
const NARROW: usize = 256;
/// Others are looked up, by the low bits of an id. An entry is a byte, a searcher has 64 KiB: a bitmap of 8 KiB took
/// two to three times as long.
const TABLE: usize = 1 << 16;

/// The distinct first tokens of all needles.
#[derive(Debug, Clone)]
pub struct First<T> {
    /// Ascending.
    tokens: Vec<T>,
    /// By the distance from the lowest: the number among `tokens`. Empty if the range from the lowest to the highest does not identify
    /// them well enough.
    narrow: Vec<Option<u16>>,
    /// Whether some token has these low bits, by the bits. Empty if there are few tokens.
    table: Vec<bool>,
    level: SimdLevel,
}

impl<T: Token> First<T> {
    /// Made from `tokens` in ascending order; repeats are dropped.
    pub fn new(tokens: impl Iterator<Item = T>) -> Self {
        let mut tokens: Vec<T> = tokens.collect();
        tokens.dedup();
        let mut narrow = Vec::new();
        if let [low, _, .., high] = *tokens.as_slice()
            && distance(low, high) <= NARROW
        {
            narrow.resize(distance(low, high) + 1, None);
            tokens.iter().zip(0..).for_each(|(&token, number)| narrow[distance(low, token)] = Some(number));
        }
        let (mut table, mut level) = (Vec::new(), SimdLevel::detect());
        if narrow.is_empty() && tokens.len() > COMPARED {
            table.resize(TABLE, false);
            tokens.iter().for_each(|&token| table[place(token)] = true);
            level = SimdLevel::BASELINE; // the vector instructions for lookups take half as long again
        }
        Self { tokens, narrow, table, level }
    }

    /// The positions of these tokens in `row`, ascending, that pass `filter`. Its arguments are the start of a block and one bit for each of
    /// its positions.
    pub fn candidates<'a, F: FnMut(usize, u64) -> u64>(
        &'a self,
        row: &'a [T],
        filter: F,
    ) -> Candidates<'a, T, F> {
        Candidates { first: self, row, filter, next_window: 0, window: 0, blocks: 0, block: 0, bits: 0 }
    }

    /// One bit for each of the first 64 tokens of `row`: whether it is `token`.
    pub fn equal(&self, row: &[T], token: T) -> u64 {
        self.level.run(Equal(&row[..row.len().min(BLOCK)], token))
    }

    /// One bit for each block of `window`: whether it may hold one of these tokens; 1 for the block that the row's end cuts short.
    #[inline(always)]
    fn blocks(&self, window: &[T]) -> u64 {
        let (whole, tail) = window.as_chunks::<BLOCK>();
        let mut blocks = if tail.is_empty() { 0 } else { 1 << whole.len() };
        for (i, block) in whole.iter().enumerate() {
            if self.may_hold(block) {
                blocks |= 1 << i;
            }
        }
        blocks
    }

    /// Nothing is short-circuited: there are only compares and ORs.
    #[inline(always)]
    fn may_hold(&self, block: &[T; BLOCK]) -> bool {
        match *self.tokens.as_slice() {
            [] => false,
            // With `range` here, the whole call took a twelfth longer.
            [low, .., high] if !self.narrow.is_empty() => {
                block.iter().fold(false, |any, &token| any | (low <= token) & (token <= high))
            }
            [a] => any(block, [a]),
            [a, b] => any(block, [a, b]),
            [a, b, c] => any(block, [a, b, c]),
            [a, b, c, d] => any(block, [a, b, c, d]),
            _ => match <&[bool; TABLE]>::try_from(self.table.as_slice()) {
                Ok(table) => block.iter().fold(false, |any, &token| any | table[place(token)]),
                Err(_) => true,
            },
        }
    }

    /// One bit for each token of `block`: whether it is one of these.
    #[inline(always)]
    fn bits(&self, block: &[T]) -> u64 {
        match *self.tokens.as_slice() {
            [] => 0,
            [a] => bits(block, |token| token == a),
            [a, b] => bits(block, |token| (token == a) | (token == b)),
            [a, b, c] => bits(block, |token| (token == a) | (token == b) | (token == c)),
            [a, b, c, d] => bits(block, |token| (token == a) | (token == b) | (token == c) | (token == d)),
            _ => self.bits_of_many(block),
        }
    }

    /// The same for many tokens: few others pass their range or the table.
    #[inline(always)]
    fn bits_of_many(&self, block: &[T]) -> u64 {
        let mut may_be = match self.range() {
            Some((low, high)) => bits(block, |token| (low <= token) & (token <= high)),
            None => bits(block, |token| self.table[place(token)]),
        };
        let mut bits = 0;
        while may_be != 0 {
            let i = may_be.trailing_zeros();
            bits |= u64::from(self.find(block[i as usize]).is_some()) << i;
            may_be &= may_be - 1;
        }
        bits
    }

    /// The number of `token` among these, counted from the lowest.
    pub fn find(&self, token: T) -> Option<usize> {
        match self.range() {
            Some((low, _)) if token < low => None,
            Some((low, _)) => self.narrow.get(distance(low, token)).copied().flatten().map(usize::from),
            None => self.tokens.binary_search(&token).ok(),
        }
    }

    /// The lowest and the highest, if their range identifies these tokens well enough.
    #[inline(always)]
    fn range(&self) -> Option<(T, T)> {
        match *self.tokens.as_slice() {
            [low, .., high] if !self.narrow.is_empty() => Some((low, high)),
            _ => None,
        }
    }
}

/// [`First::blocks`] of a window.
struct Blocks<'a, T>(&'a First<T>, &'a [T]);

impl<T: Token> Kernel for Blocks<'_, T> {
    type Out = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        self.0.blocks(self.1)
    }
}

/// [`First::bits`] of a block.
struct Bits<'a, T>(&'a First<T>, &'a [T]);

impl<T: Token> Kernel for Bits<'_, T> {
    type Out = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        self.0.bits(self.1)
    }
}

/// Which tokens of a block are equal to this one.
struct Equal<'a, T>(&'a [T], T);

impl<T: Token> Kernel for Equal<'_, T> {
    type Out = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        bits(self.0, |token| token == self.1)
    }
}

/// The distance between two ids.
#[inline(always)]
fn distance<T: Token>(a: T, b: T) -> usize {
    b.to_i64().abs_diff(a.to_i64()) as usize
}

/// The position of `token` in the table.
#[inline(always)]
fn place<T: Token>(token: T) -> usize {
    usize::from(token.low_bits())
}

/// Whether one of `firsts` occurs in the block.
#[inline(always)]
fn any<T: Token, const N: usize>(block: &[T; BLOCK], firsts: [T; N]) -> bool {
    block.iter().fold(false, |any, &token| firsts.iter().fold(any, |any, &first| any | (token == first)))
}

/// One bit for each token of `block`: whether it is a first token.
#[inline(always)]
fn bits<T: Token>(block: &[T], is_first: impl Fn(T) -> bool) -> u64 {
    match <&[T; BLOCK]>::try_from(block) {
        Ok(whole) => bitblock::bits(whole.iter().map(|&token| is_first(token))),
        Err(_) => bitblock::bits(block.iter().map(|&token| is_first(token))), // the row's end
    }
}

/// Iterator over the positions of first tokens, see [`First::candidates`].
///
/// It reads one window ahead: for a caller that stops early, at most [`WINDOW`] tokens were compared needlessly.
#[derive(Debug, Clone)]
pub struct Candidates<'a, T, F> {
    first: &'a First<T>,
    row: &'a [T],
    filter: F,
    next_window: usize,
    /// The start of the window whose remaining blocks are in `blocks`, one bit each.
    window: usize,
    blocks: u64,
    /// The start of the block whose remaining candidates are in `bits`, one bit each.
    block: usize,
    bits: u64,
}

impl<T: Token, F: FnMut(usize, u64) -> u64> Iterator for Candidates<'_, T, F> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.bits == 0 {
            while self.blocks == 0 {
                let rest = self.row.get(self.next_window..).filter(|rest| !rest.is_empty())?;
                poll_at(self.next_window / WINDOW, WINDOW);
                self.window = self.next_window;
                self.next_window += WINDOW;
                self.blocks = self.first.level.run(Blocks(self.first, &rest[..rest.len().min(WINDOW)]));
            }
            self.block = self.window + self.blocks.trailing_zeros() as usize * BLOCK;
            self.blocks &= self.blocks - 1;
            let rest = &self.row[self.block..];
            let bits = self.first.level.run(Bits(self.first, &rest[..rest.len().min(BLOCK)]));
            self.bits = (self.filter)(self.block, bits);
        }
        let bit = self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(self.block + bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::at_every_level;

    #[test]
    fn every_level_finds_the_same() {
        let row: Vec<i64> = (0..10_000).map(|i| (i * 7919) % 61).collect();
        for count in 0..12 {
            for &level in SimdLevel::available() {
                let first = First { level, ..First::new((0..count).map(|t| t * 5)) };
                let want: Vec<usize> = (0..row.len()).filter(|&i| first.tokens.contains(&row[i])).collect();
                assert_eq!(
                    first.candidates(&row, |_, bits| bits).collect::<Vec<_>>(),
                    want,
                    "{level:?}, {count} first tokens"
                );
            }
        }
    }

    #[test]
    fn every_level_compares_the_same() {
        fn check<T: Token>() {
            let row: Vec<T> = (0..200).map(|i| T::from_i64(i * 31 % 7).unwrap()).collect();
            let token = T::from_i64(3).unwrap();
            for start in 0..=row.len() {
                let rest = &row[start..];
                let want =
                    (0..rest.len().min(BLOCK)).filter(|&i| rest[i] == token).fold(0, |bits, i| bits | 1 << i);
                let equal = |level| First { level, ..First::new([token].into_iter()) }.equal(rest, token);
                assert_eq!(at_every_level(equal), want, "from {start}");
            }
        }
        check::<u16>();
        check::<u32>();
        check::<i32>();
        check::<i64>();
    }
}

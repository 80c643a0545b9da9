//! "Is this token one of a few?", a block of tokens at a time.
//!
//! The compares are plain loops over fixed-size blocks: the compiler vectorizes them for the instruction set of the function they are
//! inlined into. [`Level`] picks that function once a row, from what the processor has.
#![allow(unsafe_code)] // calls of `target_feature` functions, behind a run-time check

use crate::Token;

/// Tokens a block: one bit each in a `u64`.
const BLOCK: usize = 64;
/// Up to this many first tokens are compared one by one; above, a table of low bytes answers first.
const FEW: usize = 4;

/// The distinct first tokens of all needles.
#[derive(Debug, Clone)]
pub struct First<T> {
    tokens: Vec<T>,
    /// `table[low byte]`: whether some first token has it. Consulted only where there are more than [`FEW`].
    table: [bool; 256],
}

impl<T: Token> First<T> {
    /// `tokens` in ascending order; repeats are dropped.
    pub fn new(tokens: impl Iterator<Item = T>) -> Self {
        let mut tokens: Vec<T> = tokens.collect();
        tokens.dedup();
        let mut table = [false; 256];
        for token in &tokens {
            table[usize::from(token.low_byte())] = true;
        }
        Self { tokens, table }
    }

    /// The positions of these tokens in `row`, ascending.
    pub fn candidates<'a>(&'a self, row: &'a [T]) -> Candidates<'a, T> {
        Candidates { first: self, row, level: Level::detect(), next_block: 0, base: 0, bits: 0 }
    }

    /// One bit a token of `block`: whether it is one of these.
    #[inline(always)]
    fn bits(&self, block: &[T]) -> u64 {
        let mut bits = 0;
        for (i, token) in block.iter().enumerate() {
            let hit = if self.tokens.len() <= FEW {
                self.tokens.iter().any(|first| first == token)
            } else {
                self.table[usize::from(token.low_byte())] && self.tokens.binary_search(token).is_ok()
            };
            bits |= u64::from(hit) << i;
        }
        bits
    }

    /// The first block at or behind token `from` that may hold one of these, as (its start, its bits).
    #[inline(always)]
    fn next_block(&self, row: &[T], from: usize) -> Option<(usize, u64)> {
        match *self.tokens.as_slice() {
            [] => None,
            [a] => self.scan(row, from, |t| t == a),
            [a, b] => self.scan(row, from, |t| (t == a) | (t == b)),
            [a, b, c] => self.scan(row, from, |t| (t == a) | (t == b) | (t == c)),
            [a, b, c, d] => self.scan(row, from, |t| (t == a) | (t == b) | (t == c) | (t == d)),
            _ => self.scan(row, from, |t| self.table[usize::from(t.low_byte())]),
        }
    }

    /// Skips whole blocks in which `maybe` holds for no token: one branch a block, none a token.
    #[inline(always)]
    fn scan(&self, row: &[T], mut from: usize, maybe: impl Fn(T) -> bool) -> Option<(usize, u64)> {
        while from < row.len() {
            let block = &row[from..row.len().min(from + BLOCK)];
            let any = match <&[T; BLOCK]>::try_from(block) {
                Ok(whole) => whole.iter().fold(false, |any, &token| any | maybe(token)),
                Err(_) => true, // the row's tail
            };
            if any {
                let bits = self.bits(block);
                if bits != 0 {
                    return Some((from, bits));
                }
            }
            from += BLOCK;
        }
        None
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn next_block_avx2(&self, row: &[T], from: usize) -> Option<(usize, u64)> {
        self.next_block(row, from)
    }
}

/// The instruction set that a search runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// What every machine of the target has (SSE2 on x86-64, NEON on aarch64).
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Level {
    fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
        {
            return Self::Avx2;
        }
        Self::Baseline
    }
}

/// Iterator over the positions of first tokens, see [`First::candidates`].
#[derive(Debug, Clone)]
pub struct Candidates<'a, T> {
    first: &'a First<T>,
    row: &'a [T],
    level: Level,
    next_block: usize,
    base: usize,
    bits: u64,
}

impl<T: Token> Iterator for Candidates<'_, T> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.bits == 0 {
            let found = match self.level {
                Level::Baseline => self.first.next_block(self.row, self.next_block),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Level::Avx2` is made only by `Level::detect`, which saw the features.
                Level::Avx2 => unsafe { self.first.next_block_avx2(self.row, self.next_block) },
            };
            let Some((base, bits)) = found else {
                self.next_block = self.row.len(); // stays exhausted
                return None;
            };
            (self.base, self.bits, self.next_block) = (base, bits, base + BLOCK);
        }
        let bit = self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(self.base + bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_finds_the_same() {
        let row: Vec<i64> = (0..1000).map(|i| (i * 7919) % 61).collect();
        for count in 0..12 {
            let first = First::new((0..count).map(|t| t * 5));
            let want: Vec<usize> = (0..row.len()).filter(|&i| first.tokens.contains(&row[i])).collect();
            let fastest = first.candidates(&row);
            let baseline = Candidates { level: Level::Baseline, ..fastest.clone() };
            assert_eq!(fastest.collect::<Vec<_>>(), want);
            assert_eq!(baseline.collect::<Vec<_>>(), want);
        }
    }
}

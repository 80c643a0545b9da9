//! "Is this token one of a few?", a block of tokens at a time.
//!
//! The compares are plain loops over fixed-size blocks: the compiler vectorizes them for the instruction set of the function they are
//! inlined into. [`Level`] picks that function once a row, from what the processor has.
#![allow(unsafe_code)] // calls of `target_feature` functions, behind a run-time check

use crate::Token;

/// Tokens a block: one bit each in a `u64`.
const BLOCK: usize = 64;
/// Tokens that are compared side by side: a few vectors of any instruction set.
const LANES: usize = 16;

/// The distinct first tokens of all needles.
#[derive(Debug, Clone)]
pub struct First<T> {
    tokens: Vec<T>,
    /// `table[low byte]`: whether some first token has it. Asked where there are too many to compare with each.
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

    /// The first block at or behind token `from` that may hold one of these, as (its start, its bits).
    #[inline(always)]
    fn next_block(&self, row: &[T], from: usize) -> Option<(usize, u64)> {
        match *self.tokens.as_slice() {
            [] => None,
            [a] => self.scan(row, from, [a]),
            [a, b] => self.scan(row, from, [a, b]),
            [a, b, c] => self.scan(row, from, [a, b, c]),
            [a, b, c, d] => self.scan(row, from, [a, b, c, d]),
            _ => self.scan_table(row, from),
        }
    }

    /// Skips whole blocks that hold none of `firsts`: one branch a block, none a token.
    #[inline(always)]
    fn scan<const N: usize>(&self, row: &[T], mut from: usize, firsts: [T; N]) -> Option<(usize, u64)> {
        while from < row.len() {
            let block = &row[from..row.len().min(from + BLOCK)];
            let any = match <&[T; BLOCK]>::try_from(block) {
                Ok(whole) => holds_any(whole, firsts),
                Err(_) => true, // the row's tail
            };
            if any {
                let bits =
                    bits(block, |token| firsts.iter().fold(false, |hit, &first| hit | (token == first)));
                if bits != 0 {
                    return Some((from, bits));
                }
            }
            from += BLOCK;
        }
        None
    }

    /// The same for many first tokens: a table of low bytes lets few others through, and a binary search tells those.
    #[inline(always)]
    fn scan_table(&self, row: &[T], mut from: usize) -> Option<(usize, u64)> {
        let may_be = |token: T| self.table[usize::from(token.low_byte())];
        while from < row.len() {
            let block = &row[from..row.len().min(from + BLOCK)];
            let mut candidates = bits(block, may_be);
            let mut bits = 0;
            while candidates != 0 {
                let i = candidates.trailing_zeros();
                bits |= u64::from(self.tokens.binary_search(&block[i as usize]).is_ok()) << i;
                candidates &= candidates - 1;
            }
            if bits != 0 {
                return Some((from, bits));
            }
            from += BLOCK;
        }
        None
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2")]
    fn next_block_avx512(&self, row: &[T], from: usize) -> Option<(usize, u64)> {
        self.next_block(row, from)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn next_block_avx2(&self, row: &[T], from: usize) -> Option<(usize, u64)> {
        self.next_block(row, from)
    }
}

/// Whether one of `firsts` stands in the block. Lanes are kept apart until the end, so that compares and ORs are all there is.
#[inline(always)]
fn holds_any<T: Token, const N: usize>(block: &[T; BLOCK], firsts: [T; N]) -> bool {
    let mut lanes = [T::NO_LANE; LANES];
    for tokens in block.as_chunks::<LANES>().0 {
        for (lane, &token) in lanes.iter_mut().zip(tokens) {
            for first in firsts {
                *lane = lane.or_lanes(token.equal_lane(first));
            }
        }
    }
    lanes.iter().fold(T::NO_LANE, |any, &lane| any.or_lanes(lane)) != T::NO_LANE
}

/// One bit a token of `block`: whether it is a first token.
#[inline(always)]
fn bits<T: Token>(block: &[T], is_first: impl Fn(T) -> bool) -> u64 {
    let Ok(whole) = <&[T; BLOCK]>::try_from(block) else {
        return block.iter().enumerate().fold(0, |bits, (i, &token)| bits | u64::from(is_first(token)) << i);
    };
    // A byte a token, then eight bytes into eight bits by one multiplication.
    let hits = whole.map(|token| u8::from(is_first(token)));
    hits.as_chunks::<8>().0.iter().enumerate().fold(0, |bits, (i, &eight)| {
        let packed = u64::from_le_bytes(eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits | packed << (8 * i)
    })
}

/// The instruction set that a search runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// What every machine of the target has (SSE2 on x86-64, NEON on aarch64).
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2") {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
        }
        Self::Baseline
    }

    /// All that this machine has: every x86-64 processor with AVX-512 has AVX2.
    #[cfg(test)]
    fn available() -> Vec<Self> {
        match Self::detect() {
            Self::Baseline => vec![Self::Baseline],
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => vec![Self::Baseline, Self::Avx2],
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => vec![Self::Baseline, Self::Avx2, Self::Avx512],
        }
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
                #[cfg(target_arch = "x86_64")]
                // SAFETY: likewise.
                Level::Avx512 => unsafe { self.first.next_block_avx512(self.row, self.next_block) },
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
            for level in Level::available() {
                let found = Candidates { level, ..first.candidates(&row) };
                assert_eq!(found.collect::<Vec<_>>(), want, "{level:?}, {count} first tokens");
            }
        }
    }
}

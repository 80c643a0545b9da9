//! Sets of token ids: sentinels, protected tokens.

use crate::Token;
use crate::bitblock::{BLOCK, bits};
use crate::level::{Kernel, SimdLevel};

/// A set of ids, with a lookup for each token.
#[derive(Debug, Clone)]
pub struct IdSet {
    /// The distinct ids, ascending.
    ids: Vec<u32>,
    low: u32,
    /// `low..=low + reach` holds them all.
    reach: u32,
    /// By the distance from `low`: whether an id is in the set, with one more entry for ids outside of the range. It is empty if every id of
    /// the range is in the set, or if the range is too wide for a table. An entry is a byte: with a bit, whole words took a sixth longer.
    table: Vec<bool>,
    /// The instruction set of [`IdSet::find`].
    level: SimdLevel,
}

impl Default for IdSet {
    /// The empty set. Its range is the highest id alone, which no vocabulary contains.
    fn default() -> Self {
        Self { ids: Vec::new(), low: u32::MAX, reach: 0, table: Vec::new(), level: SimdLevel::BASELINE }
    }
}

/// Up to this many ids are compared one by one.
const FEW: usize = 8;

/// Wider ranges are searched by bisection: a table of this many ids takes 4 MiB.
const WIDEST_TABLE: u32 = 1 << 22;

impl IdSet {
    /// The set of these ids.
    pub fn new(ids: impl IntoIterator<Item = u32>) -> Self {
        let mut ids: Vec<u32> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        let (Some(&low), Some(&high)) = (ids.first(), ids.last()) else { return Self::default() };
        let reach = high - low;
        let mut table = Vec::new();
        if reach as usize >= ids.len() && reach < WIDEST_TABLE {
            table.resize(reach as usize + 2, false);
            ids.iter().for_each(|id| table[(id - low) as usize] = true);
        }
        Self { ids, low, reach, table, level: SimdLevel::detect() }
    }

    /// The ids, ascending.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Whether `id` may be in the set; if so, check [`IdSet::contains`]. It is branch-free: a whole row is ruled out in one pass.
    #[inline(always)]
    pub fn in_range(&self, id: u32) -> bool {
        id.wrapping_sub(self.low) <= self.reach
    }

    /// Whether `id` is in the set.
    #[inline]
    pub fn contains(&self, id: u32) -> bool {
        if !self.in_range(id) {
            return false;
        }
        match self.table.get((id - self.low) as usize) {
            Some(&found) => found,
            None => self.is_range() || self.ids.binary_search(&id).is_ok(),
        }
    }

    /// Whether every id of the range is in the set.
    fn is_range(&self) -> bool {
        self.reach as usize + 1 == self.ids.len()
    }

    /// One bit for each token of `block`, at most [`BLOCK`] of them: whether its id, which fits 32 bits, is in the set.
    #[inline]
    pub fn find<T: Token>(&self, block: &[T]) -> u64 {
        self.level.run(Find { set: self, block })
    }
}

/// The kernel of [`IdSet::find`].
struct Find<'a, T> {
    set: &'a IdSet,
    block: &'a [T],
}

impl<T: Token> Kernel for Find<'_, T> {
    type Out = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let Self { set, block } = self;
        if let Ok(whole) = <&[T; BLOCK]>::try_from(block) {
            // Special ids are rare: most blocks are ruled out by compares and ORs alone.
            let ids = whole.map(|token| token.to_i64() as u32);
            if set.is_range() {
                let any = ids.iter().fold(false, |any, &id| any | set.in_range(id));
                return if any { bits(ids.iter().map(|&id| set.in_range(id))) } else { 0 };
            }
            let may_hold = if set.ids.len() <= FEW {
                set.ids.iter().fold(false, |any, one| ids.iter().fold(any, |any, id| any | (id == one)))
            } else {
                ids.iter().fold(false, |any, &id| any | set.in_range(id))
            };
            if !may_hold {
                return 0;
            }
        }
        let ids = block.iter().map(|token| token.to_i64() as u32);
        if set.table.is_empty() {
            return bits(ids.map(|id| set.contains(id)));
        }
        // The lookup has no branch, since it could not be predicted.
        bits(ids.map(|id| {
            let place = id.wrapping_sub(set.low).min(set.reach + 1);
            set.table[place as usize]
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::at_every_level;

    #[test]
    fn a_set_contains_its_ids_and_no_other() {
        for ids in [
            vec![],
            vec![7],
            vec![3, 4, 5],
            vec![0, 100, 64, 63, 100],
            vec![0, 9, u32::MAX],
            vec![5, 1 << 30],
        ] {
            let set = IdSet::new(ids.iter().copied());
            for probe in (0..200).chain([1 << 30, u32::MAX - 1, u32::MAX]) {
                assert_eq!(set.contains(probe), ids.contains(&probe), "{probe} in {ids:?}");
            }
            for row in
                [(0..64).collect::<Vec<u32>>(), (200..264).collect(), vec![7; 64], vec![4, 100, 5, 1 << 30]]
            {
                let expected = row.iter().rev().fold(0, |bits, id| bits << 1 | u64::from(ids.contains(id)));
                let find = |level| IdSet { level, ..set.clone() }.find(&row);
                assert_eq!(at_every_level(find), expected, "{row:?} in {ids:?}");
                let find = |level| IdSet { level, ..set.clone() }.find(&row[..row.len() - 1]);
                let short = expected & u64::MAX.unbounded_shr(65 - row.len() as u32);
                assert_eq!(at_every_level(find), short, "{row:?} in {ids:?}");
            }
        }
    }
}

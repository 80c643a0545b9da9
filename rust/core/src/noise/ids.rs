//! Sets of token ids: sentinels, protected tokens.

/// A set of ids, asked once a token.
#[derive(Debug, Clone)]
pub struct IdSet {
    /// The ids, ascending, each once.
    ids: Vec<u32>,
    low: u32,
    /// `low..=low + reach` holds them all.
    reach: u32,
    /// One bit an id of that range; empty where every one is in the set, or the range is too wide for a table.
    bits: Vec<u64>,
}

impl Default for IdSet {
    /// No id. Its range is the highest id alone, which no vocabulary holds.
    fn default() -> Self {
        Self { ids: Vec::new(), low: u32::MAX, reach: 0, bits: Vec::new() }
    }
}

/// Wider ranges are searched by halves: a table of 2^22 bits is 512 KiB.
const WIDEST_TABLE: u32 = 1 << 22;

impl IdSet {
    /// The set of these ids.
    pub fn new(ids: impl IntoIterator<Item = u32>) -> Self {
        let mut ids: Vec<u32> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        let (Some(&low), Some(&high)) = (ids.first(), ids.last()) else { return Self::default() };
        let reach = high - low;
        let mut bits = Vec::new();
        if reach as usize >= ids.len() && reach < WIDEST_TABLE {
            bits.resize((reach / 64 + 1) as usize, 0);
            for id in &ids {
                bits[((id - low) / 64) as usize] |= 1 << ((id - low) % 64);
            }
        }
        Self { ids, low, reach, bits }
    }

    /// The ids, ascending.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Whether `id` may be in the set; a yes needs [`IdSet::contains`]. Branch-free: a whole row is ruled out in one pass.
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
        let place = id - self.low;
        match self.bits.get((place / 64) as usize) {
            Some(word) => word >> (place % 64) & 1 == 1,
            None => self.reach as usize + 1 == self.ids.len() || self.ids.binary_search(&id).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_its_ids_and_no_other() {
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
        }
    }
}

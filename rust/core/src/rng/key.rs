//! Keys of examples: 64-bit hashes of what they contain.
//! Oracle: `spanmask.reference.key`.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The key of a row: XXH3 over its ids as little-endian 32-bit integers, which is how `ids` stores them.
pub fn row_key(ids: &[[u8; 4]]) -> u64 {
    xxh3_64(ids.as_flattened())
}

/// The key of a long row, part by part.
#[derive(Default)]
pub struct RowKey(Xxh3);

impl RowKey {
    /// Adds ids that continue the row.
    pub fn update(&mut self, ids: &[[u8; 4]]) {
        self.0.update(ids.as_flattened());
    }

    /// The key.
    pub fn finish(&self) -> u64 {
        self.0.digest()
    }
}

/// The key of a name: XXH3 over its bytes.
pub fn name_key(name: &[u8]) -> u64 {
    xxh3_64(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_xxh3() {
        assert_eq!(row_key(&[]), 0x2d06_8005_38d3_94c2); // XXH3-64 of nothing, as its authors publish it
        assert_eq!(row_key(&[[1, 0, 0, 0], [0, 1, 0, 0]]), name_key(&[1, 0, 0, 0, 0, 1, 0, 0]));
    }
}

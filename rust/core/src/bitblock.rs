//! Blocks of 64 tokens: one bit of a word for each token.

/// Tokens per block: one bit each in a `u64`.
pub const BLOCK: usize = 64;

/// Flags, at most [`BLOCK`] of them, as bits: the first one lowest.
#[inline(always)]
pub fn bits(flags: impl Iterator<Item = bool>) -> u64 {
    // First one byte per flag, so that compares are vectorized; then one multiplication turns eight bytes into eight bits.
    let mut bytes = [0; BLOCK];
    bytes.iter_mut().zip(flags).for_each(|(byte, flag)| *byte = u8::from(flag));
    bytes.as_chunks::<8>().0.iter().rev().fold(0, |bits, &eight| {
        bits << 8 | u64::from_le_bytes(eight).wrapping_mul(0x0102_0408_1020_4080) >> 56
    })
}

/// Bits as bytes, 0 or 1: the lowest bit first. The inverse of [`bits`].
#[inline(always)]
pub fn bytes(bits: u64) -> [u8; BLOCK] {
    let mut bytes = [0; BLOCK];
    for (eight, byte) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(bits.to_le_bytes()) {
        // Each byte of the product has all eight bits; one of them is kept in each, and moved to its top bit by the addition.
        let kept = u64::from(byte).wrapping_mul(0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
        let ones = (kept + 0x7f7f_7f7f_7f7f_7f7f) >> 7 & 0x0101_0101_0101_0101;
        *eight = ones.to_le_bytes();
    }
    bytes
}

/// This many places are written at once.
const AHEAD: usize = 4;

/// Writes the positions of the set bits, the lowest first, counted from `first`, and returns their number. `out` holds at least [`BLOCK`]
/// entries, and more entries than set bits may be written.
///
/// How many bits are set cannot be predicted: they are taken four at a time, and the next word overwrites the excess.
#[inline(always)]
pub fn set_bits_into(mut bits: u64, first: u32, out: &mut [u32]) -> usize {
    let count = bits.count_ones() as usize;
    for places in out.as_chunks_mut::<AHEAD>().0.iter_mut().take(count.div_ceil(AHEAD)) {
        for place in places {
            *place = first.wrapping_add(bits.trailing_zeros());
            bits &= bits.wrapping_sub(1);
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_flag_is_the_lowest_bit() {
        let word = 0x9e37_79b9_7f4a_7c15u64;
        for len in [0, 1, 7, 8, 9, 63, 64] {
            let want = word & 1u64.unbounded_shl(len as u32).wrapping_sub(1);
            assert_eq!(bits((0..len).map(|i| word >> i & 1 == 1)), want, "{len} flags");
            assert_eq!(bits(bytes(want).into_iter().map(|byte| byte == 1)), want, "{len} bits");
        }
    }

    #[test]
    fn positions_of_set_bits() {
        for bits in [0, 1, 1 << 63, 0x8000_0000_0000_0101, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
            let mut out = [0; BLOCK];
            let count = set_bits_into(bits, 100, &mut out);
            let want: Vec<u32> = (0..64).filter(|i| bits >> i & 1 == 1).map(|i| 100 + i).collect();
            assert_eq!(out[..count], want);
        }
    }
}

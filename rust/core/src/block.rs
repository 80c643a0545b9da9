//! Blocks of 64 tokens: what is asked of each comes as one bit in a word.

/// Tokens a block: one bit each in a `u64`.
pub const BLOCK: usize = 64;

/// Flags, at most [`BLOCK`] of them, as bits: the first one lowest.
#[inline(always)]
pub fn bits(flags: impl Iterator<Item = bool>) -> u64 {
    // A byte a flag, so that compares stay side by side; then eight bytes into eight bits by one multiplication.
    let mut bytes = [0; BLOCK];
    bytes.iter_mut().zip(flags).for_each(|(byte, flag)| *byte = u8::from(flag));
    bytes.as_chunks::<8>().0.iter().rev().fold(0, |bits, &eight| {
        bits << 8 | u64::from_le_bytes(eight).wrapping_mul(0x0102_0408_1020_4080) >> 56
    })
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
        }
    }
}

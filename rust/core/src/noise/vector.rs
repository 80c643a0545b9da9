//! Long rows on processors with AVX2: ids checked and hashed in one pass, 16 tokens at a time.
//! Oracle: `check_and_key` without it, whose key is `row_key`'s.
#![allow(unsafe_code)] // the call of a `target_feature` function, behind a run-time check

use super::ids::IdSet;
use crate::Token;

/// Whether an id of `body` does not fit 32 bits or is in the range of `forbidden`, and the key of `body` (of no use in the first case).
///
/// `None` where this machine has no AVX2, or for short rows, which XXH3 hashes in another way.
#[inline]
pub fn check_and_key<T: Token>(body: &[T], forbidden: &IdSet) -> Option<(bool, u64)> {
    #[cfg(target_arch = "x86_64")]
    if body.len() > avx2::SHORT && is_x86_feature_detected!("avx2") {
        // SAFETY: AVX2 was just seen. Compiled for every x86-64, a row of 568 int64 takes 150 ns instead of 85, an eighth of `corrupt`.
        return Some(unsafe { avx2::check_and_key(body, forbidden) });
    }
    None
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{IdSet, Token};
    use core::arch::x86_64::*;

    /// XXH3's constants; the algorithm is spelled out in `spanmask.reference.xxh3`.
    const SUMS: [u64; 8] = [
        0xC2B2_AE3D,
        0x9E37_79B1_85EB_CA87,
        0xC2B2_AE3D_27D4_EB4F,
        0x1656_67B1_9E37_79F9,
        0x85EB_CA77_C2B2_AE63,
        0x85EB_CA77,
        0x27D4_EB2F_1656_67C5,
        0x9E37_79B1,
    ];
    const SECRET: [u8; 192] = [
        0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c, 0xde,
        0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f, 0xcb, 0x79,
        0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21, 0xb8, 0x08, 0x46,
        0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c, 0x3c, 0x28, 0x52, 0xbb,
        0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3, 0x71, 0x64, 0x48, 0x97, 0xa2,
        0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8, 0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c,
        0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d, 0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59,
        0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64, 0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3,
        0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb, 0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3,
        0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e, 0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8,
        0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce, 0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb,
        0xca, 0xbb, 0x4b, 0x40, 0x7e,
    ];
    /// Tokens of 32 bits in a stripe of 64 bytes, and stripes until the sums are scrambled.
    const STRIPE: usize = 16;
    const SCRAMBLED: usize = 16;
    /// Rows up to 240 bytes are hashed in another way.
    pub const SHORT: usize = 60;

    #[target_feature(enable = "avx2")]
    pub fn check_and_key<T: Token>(body: &[T], forbidden: &IdSet) -> (bool, u64) {
        let (low, reach) = forbidden.range();
        let mut row = Row {
            sums: [four(&SUMS[..4]), four(&SUMS[4..])],
            high: _mm256_setzero_si256(),
            outside: _mm256_set1_epi32(-1),
            low: _mm256_set1_epi32(low as i32),
            reach: _mm256_set1_epi32(reach as i32),
        };
        // The last stripe ends with the row, and shares tokens with the one before; a row is never stripes alone.
        let stripes = (body.len() - 1) / STRIPE;
        for number in 0..=stripes {
            let (from, secret) = if number < stripes {
                (number * STRIPE, 8 * (number % SCRAMBLED))
            } else {
                (body.len() - STRIPE, 192 - 64 - 7)
            };
            // One call: it must be inlined, so that the sums stay in registers.
            if let (Some(stripe), Some(secret)) = (body[from..].first_chunk(), SECRET[secret..].first_chunk())
            {
                row.add(stripe, secret);
            }
            if number % SCRAMBLED == SCRAMBLED - 1 && number < stripes {
                row.scramble();
            }
        }
        let high = _mm256_testz_si256(row.high, _mm256_set1_epi64x(!0xffff_ffff)) == 0;
        let hit = _mm256_movemask_epi8(row.outside) != -1;
        (high || hit, row.key(4 * body.len() as u64))
    }

    /// A row on its way.
    struct Row {
        /// XXH3's eight sums.
        sums: [__m256i; 2],
        /// Bits that stand in some token.
        high: __m256i,
        /// All ones in a lane as long as no id was in the forbidden range, which follows.
        outside: __m256i,
        low: __m256i,
        reach: __m256i,
    }

    impl Row {
        #[inline]
        #[target_feature(enable = "avx2")]
        fn add<T: Token>(&mut self, stripe: &[T; STRIPE], secret: &[u8; 64]) {
            let (tokens, secret) = (stripe.as_chunks::<8>().0, secret.as_chunks::<32>().0);
            for ((sums, tokens), secret) in self.sums.iter_mut().zip(tokens).zip(secret) {
                let [a, b] = [0, 4].map(|at| &tokens[at..at + 4]);
                let ids = |a: T| a.to_i64();
                let a = _mm256_setr_epi64x(ids(a[0]), ids(a[1]), ids(a[2]), ids(a[3]));
                let b = _mm256_setr_epi64x(ids(b[0]), ids(b[1]), ids(b[2]), ids(b[3]));
                self.high = _mm256_or_si256(self.high, _mm256_or_si256(a, b));
                // The low halves of eight ids: within each half of the register first, then the halves in order.
                let halves =
                    _mm256_shuffle_ps::<0b10_00_10_00>(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
                let ids = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_castps_si256(halves));
                let place = _mm256_sub_epi32(ids, self.low);
                let inside = _mm256_cmpeq_epi32(_mm256_min_epu32(place, self.reach), place);
                self.outside = _mm256_andnot_si256(inside, self.outside);
                let keyed = _mm256_xor_si256(ids, bytes(secret));
                let product = _mm256_mul_epu32(keyed, _mm256_srli_epi64::<32>(keyed));
                let swapped = _mm256_shuffle_epi32::<0b01_00_11_10>(ids);
                *sums = _mm256_add_epi64(*sums, _mm256_add_epi64(product, swapped));
            }
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn scramble(&mut self) {
            let prime = _mm256_set1_epi64x(SUMS[7] as i64);
            for (sums, secret) in self.sums.iter_mut().zip(SECRET[192 - 64..].as_chunks::<32>().0) {
                let mixed = _mm256_xor_si256(*sums, _mm256_srli_epi64::<47>(*sums));
                let mixed = _mm256_xor_si256(mixed, bytes(secret));
                let high = _mm256_mul_epu32(_mm256_srli_epi64::<32>(mixed), prime);
                *sums = _mm256_add_epi64(_mm256_mul_epu32(mixed, prime), _mm256_slli_epi64::<32>(high));
            }
        }

        /// The hash of so many bytes.
        #[target_feature(enable = "avx2")]
        fn key(&self, bytes: u64) -> u64 {
            let pairs = self.sums.map(|sums| {
                [_mm256_extracti128_si256::<0>(sums), _mm256_extracti128_si256::<1>(sums)]
                    .map(|pair| [_mm_extract_epi64::<0>(pair) as u64, _mm_extract_epi64::<1>(pair) as u64])
            });
            let mut total = bytes.wrapping_mul(SUMS[1]);
            for (pair, secret) in pairs.as_flattened().iter().zip(SECRET[11..].as_chunks::<16>().0) {
                let [a, b] = [0, 1].map(|i| pair[i] ^ u64::from_le_bytes(secret.as_chunks::<8>().0[i]));
                let product = u128::from(a) * u128::from(b);
                total = total.wrapping_add(product as u64 ^ (product >> 64) as u64);
            }
            total = (total ^ total >> 37).wrapping_mul(0x1656_6791_9E37_79F9);
            total ^ total >> 32
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn four(words: &[u64]) -> __m256i {
        _mm256_setr_epi64x(words[0] as i64, words[1] as i64, words[2] as i64, words[3] as i64)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn bytes(bytes: &[u8; 32]) -> __m256i {
        let words = bytes.as_chunks::<8>().0;
        four(&[0, 1, 2, 3].map(|i| u64::from_le_bytes(words[i])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::key::row_key;

    /// A row of this length whose ids need all 32 bits.
    fn row(len: usize) -> Vec<i64> {
        (0..len as i64).map(|i| (i + 1) * 2_654_435_769 % 4_294_967_291).collect()
    }

    #[test]
    fn keys_are_those_of_the_portable_hash() {
        for len in (0..1100).chain([2272, 4096, 5000]) {
            let ids = row(len);
            let bytes: Vec<[u8; 4]> = ids.iter().map(|&id| (id as u32).to_le_bytes()).collect();
            if let Some(got) = check_and_key(&ids, &IdSet::default()) {
                assert_eq!(got, (false, row_key(&bytes)), "{len} tokens");
            }
        }
        let ids = row(300).into_iter().map(|id| id as u16).collect::<Vec<u16>>();
        let bytes: Vec<[u8; 4]> = ids.iter().map(|&id| u32::from(id).to_le_bytes()).collect();
        assert!(check_and_key(&ids, &IdSet::default()).is_none_or(|got| got == (false, row_key(&bytes))));
    }

    #[test]
    fn no_bad_id_is_missed() {
        let forbidden = IdSet::new([7, 8, 9]);
        for len in [61, 64, 65, 80, 300] {
            for at in 0..len {
                for bad in [-1, 1 << 32, i64::MIN, 7, 9] {
                    let mut ids: Vec<i64> = (10..10 + len as i64).collect();
                    ids[at] = bad;
                    assert!(
                        check_and_key(&ids, &forbidden).is_none_or(|(bad, _)| bad),
                        "{bad} at {at} of {len}"
                    );
                }
            }
            assert!(check_and_key(&vec![10i64; len], &forbidden).is_none_or(|(bad, _)| !bad));
        }
    }
}

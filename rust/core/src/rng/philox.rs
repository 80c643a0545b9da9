//! Philox 4x64-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

/// Round multipliers and Weyl increments of the paper's table 2.
const MULTIPLIERS: [u64; 2] = [0xD2E7_470E_E14C_6C93, 0xCA5A_8263_9512_1157];
const WEYL: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xBB67_AE85_84CA_A73B];
const ROUNDS: usize = 10;

/// Blocks that are made at once: their multiplications do not wait for each other. With one, masked LM took 16 to 18 % longer and T5 4 to
/// 8 %; with four, masked LM 5 to 8 %, because most rows of 512 tokens need fewer words.
const LANES: usize = 2;

/// 32-bit words that are made at once: 8 per block.
const WORDS: usize = LANES * 8;

/// One block: the bijection of `counter` under `key`.
pub fn block(key: [u64; 2], counter: [u64; 4]) -> [u64; 4] {
    blocks(key, [counter])[0]
}

#[inline(always)]
fn blocks<const N: usize>(mut key: [u64; 2], mut counters: [[u64; 4]; N]) -> [[u64; 4]; N] {
    for _ in 0..ROUNDS {
        for counter in &mut counters {
            let product = [0, 1].map(|i| u128::from(MULTIPLIERS[i]) * u128::from(counter[2 * i]));
            let [(high0, low0), (high1, low1)] = product.map(|p| ((p >> 64) as u64, p as u64));
            *counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        }
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counters
}

/// Random 32-bit words of one key and counter, in NumPy's order: the counter advances before the first block, each block yields its four
/// 64-bit words in order, and the lower half of each comes first.
#[derive(Debug, Clone)]
pub struct Stream {
    key: [u64; 2],
    counter: [u64; 4],
    words: [u32; WORDS],
    /// How many of `words` were used.
    next: usize,
}

impl Stream {
    /// The stream after `counter`. Rows never come near 2^64 blocks, so only its first word advances.
    pub fn new(key: [u64; 2], counter: [u64; 4]) -> Self {
        Self { key, counter, words: [0; WORDS], next: WORDS }
    }

    #[inline(never)] // leaves registers for the callers: masked LM is 7 % faster
    fn refill(&mut self) {
        let mut counters = [self.counter; LANES];
        for (lane, counter) in counters.iter_mut().enumerate() {
            counter[0] = counter[0].wrapping_add(lane as u64 + 1);
        }
        self.counter[0] = self.counter[0].wrapping_add(LANES as u64);
        let made = blocks(self.key, counters);
        for (halves, word) in self.words.as_chunks_mut().0.iter_mut().zip(made.as_flattened()) {
            *halves = [*word as u32, (word >> 32) as u32];
        }
        self.next = 0;
    }

    /// The next word.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.next >= WORDS {
            self.refill();
        }
        let word = self.words[self.next];
        self.next = self.next.wrapping_add(1); // at most `WORDS`
        word
    }

    /// The next words, as many as `out` holds.
    pub fn words_into(&mut self, out: &mut [u32]) {
        let left = out.len().min(WORDS - self.next);
        let (first, rest) = out.split_at_mut(left);
        first.copy_from_slice(&self.words[self.next..self.next + left]);
        self.next += left;
        for part in rest.chunks_mut(WORDS) {
            self.refill();
            part.copy_from_slice(&self.words[..part.len()]);
            self.next = part.len();
        }
    }

    /// Passes over `count` words.
    pub fn skip(&mut self, mut count: usize) {
        while self.next < WORDS && count > 0 {
            (self.next, count) = (self.next + 1, count - 1);
        }
        self.counter[0] = self.counter[0].wrapping_add((count / WORDS * LANES) as u64);
        for _ in 0..count % WORDS {
            self.next_u32();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the authors' own test suite (Random123, `kat_vectors`): zeros, ones, digits of pi.
    #[test]
    fn known_answers() {
        let cases = [
            (
                [0; 2],
                [0; 4],
                [0x16554d9eca36314c, 0xdb20fe9d672d0fdc, 0xd7e772cee186176b, 0x7e68b68aec7ba23b],
            ),
            (
                [u64::MAX; 2],
                [u64::MAX; 4],
                [0x87b092c3013fe90b, 0x438c3c67be8d0224, 0x9cc7d7c69cd777b6, 0xa09caebf594f0ba0],
            ),
            (
                [0x452821e638d01377, 0xbe5466cf34e90c6c],
                [0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0, 0x082efa98ec4e6c89],
                [0xa528f45403e61d95, 0x38c72dbd566e9788, 0xa5a1610e72fd18b5, 0x57bd43b5e52b7fe6],
            ),
        ];
        for (key, counter, want) in cases {
            assert_eq!(block(key, counter), want);
        }
    }

    /// Takes `count` words from a stream at once, after some single ones, and one by one from another: both go on alike.
    fn check_many(take: impl Fn(&mut Stream, usize, &[u32])) {
        for drawn in [0, 1, 15, 16, 17] {
            for count in [0, 1, 15, 16, 17, 31, 64, 100] {
                let (mut one, mut other) = (Stream::new([1, 2], [0; 4]), Stream::new([1, 2], [0; 4]));
                for _ in 0..drawn {
                    one.next_u32();
                    other.next_u32();
                }
                let words: Vec<u32> = (0..count).map(|_| other.next_u32()).collect();
                take(&mut one, count, &words);
                assert_eq!([(); 20].map(|()| one.next_u32()), [(); 20].map(|()| other.next_u32()));
            }
        }
    }

    #[test]
    fn skipping_is_drawing() {
        check_many(|stream, count, _| stream.skip(count));
    }

    #[test]
    fn many_words_are_those_that_come_one_by_one() {
        check_many(|stream, count, words| {
            let mut drawn = vec![0; count];
            stream.words_into(&mut drawn);
            assert_eq!(drawn, words);
        });
    }

    #[test]
    fn words_come_in_order_and_the_lower_half_first() {
        let mut words = Stream::new([1, 2], [0, 0, 3, 4]);
        for number in 1..20 {
            for word in block([1, 2], [number, 0, 3, 4]) {
                assert_eq!([(); 2].map(|()| words.next_u32()), [word as u32, (word >> 32) as u32]);
            }
        }
    }
}

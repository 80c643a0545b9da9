//! Randomness, spelled out.

use spanmask_core::rng::Purpose;
use xxhash_rust::xxh3::xxh3_64;

/// What decides the noise of one row.
#[derive(Debug, Clone, Copy)]
pub struct Seeds {
    /// Identifies the run.
    pub seed: u64,
    /// Identifies the pass over the data.
    pub epoch: u64,
    /// Identifies the row.
    pub key: u64,
}

impl Seeds {
    /// The random words of the row for one purpose.
    pub fn words(self, purpose: Purpose) -> Words {
        Words { key: [self.seed, self.key], counter: [0, 0, self.epoch, purpose as u64], halves: Vec::new() }
    }
}

/// Random words, one after the other.
#[derive(Debug)]
pub struct Words {
    key: [u64; 2],
    counter: [u64; 4],
    /// The words that are left of the current block, the next one last.
    halves: Vec<u32>,
}

impl Words {
    /// The next 32-bit word.
    pub fn next_word(&mut self) -> u64 {
        if self.halves.is_empty() {
            self.counter[0] += 1;
            let block = philox(self.key, self.counter);
            self.halves = block.iter().flat_map(|&word| [word as u32, (word >> 32) as u32]).rev().collect();
        }
        u64::from(self.halves.pop().unwrap())
    }
}

/// Philox 4x64 with ten rounds, as the paper's figure shows it.
fn philox(mut key: [u64; 2], counter: [u64; 4]) -> [u64; 4] {
    let [mut x0, mut x1, mut x2, mut x3] = counter;
    for _ in 0..10 {
        let first = u128::from(x0) * 0xD2E7_470E_E14C_6C93;
        let second = u128::from(x2) * 0xCA5A_8263_9512_1157;
        x0 = (second >> 64) as u64 ^ x1 ^ key[0];
        x1 = second as u64;
        x2 = (first >> 64) as u64 ^ x3 ^ key[1];
        x3 = first as u64;
        key[0] = key[0].wrapping_add(0x9E37_79B9_7F4A_7C15);
        key[1] = key[1].wrapping_add(0xBB67_AE85_84CA_A73B);
    }
    [x0, x1, x2, x3]
}

/// A uniform number below `bound`.
pub fn below(words: &mut Words, bound: usize) -> usize {
    loop {
        let product = words.next_word() * bound as u64;
        if product % (1 << 32) >= (1 << 32) % bound as u64 {
            return (product >> 32) as usize;
        }
    }
}

/// A word below it is a success.
pub fn threshold(probability: f64) -> u64 {
    (probability.clamp(0.0, 1.0) * 2f64.powi(32)).round_ties_even() as u64
}

/// The number of the entry, of some with these weights, to which the next word belongs.
pub fn choose(words: &mut Words, weights: &[f64]) -> usize {
    let word = words.next_word();
    let total: f64 = weights.iter().sum();
    let last = weights.iter().rposition(|&weight| weight > 0.0).unwrap();
    let mut sum = 0.0;
    for (number, weight) in weights.iter().enumerate() {
        sum += weight;
        if number == last || word < threshold(sum / total) {
            return number;
        }
    }
    unreachable!("the last entry with a weight takes the rest")
}

/// Which of `count` trials succeed: one word for each success, and one for every 64 failures in a row.
pub fn successes(words: &mut Words, threshold: u64, count: usize) -> Vec<usize> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < count {
        let (word, mut failures, mut limit) = (words.next_word(), 0, 1u128 << 32);
        while failures < 64 {
            limit = (limit * ((1 << 32) - u128::from(threshold))) >> 32;
            if u128::from(word) >= limit {
                break;
            }
            failures += 1;
        }
        at += failures;
        if failures < 64 {
            found.push(at);
            at += 1;
        }
    }
    found.retain(|&at| at < count);
    found
}

/// The key of a row. Its ids fit in 32 bits.
pub fn key(row: &[i64]) -> u64 {
    let bytes: Vec<u8> = row.iter().flat_map(|&id| (id as u32).to_le_bytes()).collect();
    xxh3_64(&bytes)
}

//! Integers below a bound, and choices by weight: from 32-bit words, without floats.
//! Oracle: `spanmask.reference.bounded`.

use super::Stream;

/// A uniform integer in `0..bound`. `bound` is at least 1.
///
/// Lemire, "Fast random integer generation in an interval" (TOMACS 2019), on 32-bit words: the high half of word times bound. Words
/// whose low half is in the biased part are drawn again.
#[inline(never)] // inlined, the draw of a row's spans took a third longer
pub fn below(stream: &mut Stream, bound: u32) -> u32 {
    debug_assert!(bound > 0);
    let mut product = u64::from(stream.next_u32()) * u64::from(bound);
    if (product as u32) < bound {
        let biased = bound.wrapping_neg() % bound; // 2^32 mod bound
        while (product as u32) < biased {
            product = u64::from(stream.next_u32()) * u64::from(bound);
        }
    }
    (product >> 32) as u32
}

/// A probability in 32 bits: a word below it is a success. 2^32 always succeeds.
pub fn threshold(probability: f64) -> u64 {
    (probability.clamp(0.0, 1.0) * 4_294_967_296.0).round_ties_even() as u64
}

/// Running thresholds of weights: entry `i` is the probability of the entries up to `i`; the last is 2^32.
///
/// `None` if there are no weights, one is negative or infinite, or none is above zero.
pub fn cumulative(weights: &[f64]) -> Option<Vec<u64>> {
    let total: f64 = weights.iter().sum();
    if !total.is_finite() || total <= 0.0 || weights.iter().any(|&w| w < 0.0) {
        return None;
    }
    let mut sum = 0.0;
    let mut upto: Vec<u64> = weights.iter().map(|w| (sum += w, threshold(sum / total)).1).collect();
    // Rounding must not leave a gap after the last entry with a weight, and must not give a weight to the entries after it.
    let last = weights.iter().rposition(|&w| w > 0.0)?;
    upto[last..].fill(1 << 32);
    Some(upto)
}

/// The entry of running thresholds to which the next word belongs.
pub fn choose(stream: &mut Stream, upto: &[u64]) -> usize {
    let word = u64::from(stream.next_u32());
    upto.partition_point(|&limit| limit <= word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seed: u64) -> Stream {
        Stream::new([seed, 0], [0; 4])
    }

    #[test]
    fn below_is_uniform_where_a_modulus_would_not_be() {
        // 3 * 2^30: a quarter of all words is rejected; each third must get a third. 5 sigma of 30,000 draws.
        let (mut stream, bound) = (stream(1), 3 << 30);
        let mut counts = [0i32; 3];
        for _ in 0..30_000 {
            counts[(below(&mut stream, bound) >> 30) as usize] += 1;
        }
        assert!(counts.iter().all(|n| (n - 10_000).abs() < 5 * 82), "{counts:?}");
    }

    #[test]
    fn below_one_is_zero_and_takes_one_word() {
        let (mut a, mut b) = (stream(2), stream(2));
        assert_eq!(below(&mut a, 1), 0);
        b.next_u32();
        assert_eq!(a.next_u32(), b.next_u32());
    }

    #[test]
    fn weights() {
        assert_eq!(cumulative(&[1.0, 0.0, 1.0, 0.0]).unwrap(), [1 << 31, 1 << 31, 1 << 32, 1 << 32]);
        for bad in [&[][..], &[0.0], &[-1.0, 2.0], &[f64::NAN], &[f64::INFINITY]] {
            assert!(cumulative(bad).is_none(), "{bad:?}");
        }
        let upto = cumulative(&[0.0, 3.0, 0.0]).unwrap();
        assert!((0..100).all(|seed| choose(&mut stream(seed), &upto) == 1));
    }
}

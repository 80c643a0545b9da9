//! Which of several trials with the same probability succeed.
//! Oracle: `spanmask.reference.trials`.

use super::Stream;

/// One word decides at most this many trials.
const RUN: usize = 64;

/// Up to this many successes are found at once.
pub const GROUP: usize = 256;

/// Words with the same high bits have the same entry in the guide.
const GUIDE_BITS: u32 = 9;

/// Trials that all succeed with the same probability.
///
/// A 32-bit word gives the number of failures before the next success, which has a geometric distribution, by inversion: one word for each
/// success. One word for each trial would be seven times as many at 15 %. If [`RUN`] trials fail, the next word continues from there.
#[derive(Debug, Clone)]
pub struct Trials {
    /// Entry `k`: the number of words, the lowest ones, for which `k + 1` trials fail.
    fail: [u64; RUN],
    /// By the high bits of a word, its failures: the first number, and one more for words below the second; the first is more than [`RUN`]
    /// if that does not determine them (guide tables: Chen and Asau, AIIE Transactions 6, 1974).
    guide: Option<Box<[(u32, u32); 1 << GUIDE_BITS]>>,
}

impl Trials {
    /// Trials that succeed with probability `threshold / 2^32`.
    pub fn new(threshold: u64) -> Self {
        let fails = u128::from((1 << 32) - threshold);
        let mut left = 1 << 32;
        let fail = [(); RUN].map(|()| {
            left = ((u128::from(left) * fails) >> 32) as u64;
            left
        });
        Self { fail, guide: None }
    }

    /// The same with a guide, which takes 2 to 3 us to make and finds a success in a third of the time: without it, `mask_tokens` on 128 x
    /// 8,192 tokens at a probability of .5 took 27 % longer.
    pub fn guided(threshold: u64) -> Self {
        let trials = Self::new(threshold);
        let mut guide = Box::new([(0, 0); 1 << GUIDE_BITS]);
        for (entry, low) in guide.iter_mut().zip((0u32..).step_by(1 << (32 - GUIDE_BITS))) {
            let (least, most) = (trials.failures(low | u32::MAX >> GUIDE_BITS), trials.failures(low));
            *entry = match most - least {
                0 => (least as u32, 0),
                1 => (least as u32, trials.fail[least] as u32),
                _ => (RUN as u32 + 1, 0),
            };
        }
        Self { guide: Some(guide), ..trials }
    }

    /// The failures before the next success; [`RUN`] if none of [`RUN`] trials succeeds.
    fn failures(&self, word: u32) -> usize {
        self.fail.partition_point(|&fail| u64::from(word) < fail)
    }

    /// Which of the trials `at..count` succeed, ascending: the next [`GROUP`] of them, or all. `at` moves past the trials that are decided.
    #[inline]
    pub fn successes<'a>(
        &self,
        stream: &mut Stream,
        at: &mut usize,
        count: usize,
        found: &'a mut [u32; GROUP],
    ) -> &'a mut [u32] {
        match &self.guide {
            Some(guide) => {
                find(stream, at, count, found, |word| match guide[(word >> (32 - GUIDE_BITS)) as usize] {
                    (least, limit) if least <= RUN as u32 => least as usize + usize::from(word < limit),
                    _ => self.failures(word),
                })
            }
            None => find(stream, at, count, found, |word| self.failures(word)),
        }
    }
}

#[inline(never)] // if it is inlined into the loop over rows, no registers are left
fn find<'a>(
    stream: &mut Stream,
    at: &mut usize,
    count: usize,
    found: &'a mut [u32; GROUP],
    failures: impl Fn(u32) -> usize,
) -> &'a mut [u32] {
    let (mut here, mut n) = (*at, 0);
    while here < count && n < GROUP {
        let failures = failures(stream.next_u32());
        here += failures;
        // Each position is written, and kept or not by the count.
        found[n] = here as u32;
        let success = usize::from(failures < RUN);
        n += success;
        here += success;
    }
    *at = here;
    let past = found[..n].last().is_some_and(|&last| last as usize >= count);
    &mut found[..n - usize::from(past)]
}

#[cfg(test)]
mod tests {
    use super::super::bounded::threshold;
    use super::*;
    use proptest::prelude::*;

    fn all(trials: &Trials, seed: u64, count: usize) -> Vec<u32> {
        let (mut stream, mut at, mut found) = (Stream::new([seed, 0], [0; 4]), 0, [0; GROUP]);
        let mut all = Vec::new();
        while at < count {
            all.extend_from_slice(trials.successes(&mut stream, &mut at, count, &mut found));
        }
        all
    }

    #[test]
    fn each_trial_succeeds_as_often_as_the_threshold_says() {
        for p in [0.0, 0.001, 0.15, 0.5, 0.999, 1.0] {
            let trials = Trials::guided(threshold(p));
            let mut counts = [0i32; 100];
            for seed in 0..10_000 {
                all(&trials, seed, 100).iter().for_each(|&at| counts[at as usize] += 1);
            }
            let (want, sigma) = (10_000.0 * p, (10_000.0 * p * (1.0 - p)).sqrt());
            for (at, &count) in counts.iter().enumerate() {
                assert!((f64::from(count) - want).abs() <= 5.0 * sigma, "{p}, trial {at}: {count}");
            }
        }
    }

    #[test]
    fn probabilities_of_one_and_zero_are_exact() {
        assert_eq!(all(&Trials::guided(1 << 32), 1, 1000), (0..1000).collect::<Vec<u32>>());
        assert_eq!(all(&Trials::guided(0), 1, 1000), []);
    }

    proptest! {
        #[test]
        fn a_guide_changes_nothing(p in 0.0..=1.0f64, seed: u64, count in 0usize..2000) {
            prop_assert_eq!(all(&Trials::guided(threshold(p)), seed, count), all(&Trials::new(threshold(p)), seed, count));
        }

        #[test]
        fn a_guide_determines_every_word(p in 0.0..=1.0f64, word: u32) {
            let trials = Trials::guided(threshold(p));
            let (least, limit) = trials.guide.as_ref().unwrap()[(word >> (32 - GUIDE_BITS)) as usize];
            let failures = trials.failures(word);
            prop_assert!(least as usize > RUN || failures == least as usize + usize::from(word < limit));
        }
    }
}

//! How much is hidden, and the lengths of inputs and targets. Both are known before anything is drawn.
//! Oracle: `spanmask.reference.plan`.

/// How many tokens of a row are hidden, in how many spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Hidden tokens; fewer than all.
    pub noise: u32,
    /// The spans that they form; at least one clear token precedes each.
    pub spans: u32,
}

/// The plan for `len` tokens (or words, if words are hidden whole), at least 2.
///
/// Halves are rounded to even, as NumPy and Python round. The upper clamp on `spans` keeps a clear token before each span: the
/// published scripts crash where it has an effect.
#[inline]
pub fn plan(len: u32, density: f64, mean: f64) -> Plan {
    debug_assert!(len >= 2);
    let noise = ((f64::from(len) * density).round_ties_even() as u32).clamp(1, len - 1);
    let spans = ((f64::from(noise) / mean).round_ties_even() as u32).clamp(1, noise.min(len - noise));
    Plan { noise, spans }
}

/// The greatest length up to `most` for which `fits` holds, if it holds up to some length and not beyond; otherwise a length for which it holds
/// and the next one does not. `None` if it does not hold for 2.
pub fn longest(most: u32, mut fits: impl FnMut(u32) -> bool) -> Option<u32> {
    if most < 2 || !fits(2) {
        return None;
    }
    let (mut good, mut bad) = (2, most.checked_add(1)?);
    // Lengths are doubled first: `most` may be the greatest `u32`, but the answer is usually small.
    let mut step = 1024;
    while good + 1 < bad {
        let probe = if bad - good > step { good + step } else { good + (bad - good) / 2 };
        if fits(probe) {
            good = probe;
            step = step.saturating_mul(2);
        } else {
            bad = probe;
        }
    }
    Some(good)
}

/// The greatest row length whose inputs fit `inputs_length`, and the length of its targets; both with one EOS.
///
/// `None` if no row of two tokens fits, that is, below 3.
pub fn plan_lengths(inputs_length: u32, density: f64, mean: f64) -> Option<(u32, u32)> {
    fit(u32::MAX - 3, [inputs_length as usize, usize::MAX], density, |len| {
        let plan = plan(len, density, mean);
        let added = plan.spans as usize + 1; // sentinels and EOS
        ((len - plan.noise) as usize + added, plan.noise as usize + added)
    })
}

/// The greatest row length up to `most` whose inputs and targets fit the two `limits`, and the length of its targets. `lengths` gives both for a
/// row length, and they grow with it.
///
/// At density .5 two row lengths may fill the same inputs. There, the shorter one wins, whose targets are not longer than its inputs.
pub fn fit(
    most: u32,
    limits: [usize; 2],
    density: f64,
    lengths: impl Fn(u32) -> (usize, usize),
) -> Option<(u32, u32)> {
    let mut len = longest(most, |len| lengths(len).0 <= limits[0] && lengths(len).1 <= limits[1])?;
    let (inputs, targets) = lengths(len);
    if density == 0.5 && len > 2 && targets > inputs && lengths(len - 1).0 == inputs {
        len -= 1;
    }
    Some((len, u32::try_from(lengths(len).1).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_lengths() {
        for (density, mean, inputs, want, spans) in [
            (0.15, 3.0, 512, (568, 114), 28),
            (0.15, 3.0, 2048, (2274, 456), 114),
            (0.5, 3.0, 512, (766, 512), 128),
            (0.5, 8.0, 512, (908, 512), 57),
            (0.15, 64.0, 512, (600, 92), 1),
        ] {
            assert_eq!(plan_lengths(inputs, density, mean), Some(want));
            assert_eq!(plan(want.0, density, mean).spans, spans);
        }
        assert_eq!(plan_lengths(2, 0.15, 3.0), None);
        assert_eq!(plan_lengths(3, 0.15, 3.0), Some((2, 3)));
    }

    #[test]
    fn the_longest_row_is_always_found() {
        for limit in (2..300).chain([1023, 1026, 1027, 5000, 1 << 20, u32::MAX - 1]) {
            assert_eq!(longest(u32::MAX - 1, |len| len <= limit), Some(limit));
        }
        assert_eq!(longest(7, |_| true), Some(7));
        assert_eq!(longest(7, |_| false), None);
    }

    #[test]
    fn halves_round_to_even() {
        assert_eq!(plan(10, 0.25, 1.0), Plan { noise: 2, spans: 2 });
        assert_eq!(plan(3, 0.5, 1.0), Plan { noise: 2, spans: 1 }); // the scripts crash here
        assert_eq!(plan(2, 0.01, 3.0), Plan { noise: 1, spans: 1 });
    }
}

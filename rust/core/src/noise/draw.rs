//! Which spans are hidden: drawn from a row's stream, without floats.
//! Oracle: `spanmask.reference.draw`.

use super::plan::Plan;
use crate::bitblock::{BLOCK, set_bits_into};
use crate::rng::{Stream, bounded::below};
use crate::stop;

/// A half-open span of token (or word) positions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Its first position.
    pub start: u32,
    /// The position after its last.
    pub stop: u32,
}

/// Where a row may begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// It begins clear and ends hidden.
    Classic,
    /// Clear or hidden at both ends: every mask with this number of tokens and spans is equally likely.
    Uniform,
}

/// Memory that is reused from row to row.
#[derive(Debug, Default)]
pub struct Scratch {
    bits: Vec<u64>,
    noise: Vec<u32>,
    clear: Vec<u32>,
}

/// Draws a uniform composition of `total` into `parts`: the end of each part, ascending; the last is `total`.
///
/// `parts - 1` cuts among `total - 1` places, each choice equally likely, by Floyd's sampling (Bentley and Floyd, CACM 1987): one draw
/// for each cut, into a bitmap from which the cuts are read in order. `total >= parts >= 1`.
fn composition(stream: &mut Stream, total: u32, parts: u32, bits: &mut Vec<u64>, ends: &mut Vec<u32>) {
    debug_assert!(1 <= parts && parts <= total);
    bits.clear();
    stop::resize(bits, total.div_ceil(64) as usize, 0);
    let first = total - parts;
    for part in stop::parts((parts - 1) as usize, 4) {
        for place in first + part.start as u32..first + part.end as u32 {
            let drawn = below(stream, place.wrapping_add(1)); // `place` is below `total`
            // If a place is taken, the new one is used. Few are taken, so a branch that is sometimes mispredicted is faster than waiting for
            // each answer.
            let taken = bits[(drawn / 64) as usize] >> (drawn % 64) & 1 == 1;
            let cut = if taken { place } else { drawn };
            bits[(cut / 64) as usize] |= 1 << (cut % 64);
        }
    }
    bits[((total - 1) / 64) as usize] |= 1 << ((total - 1) % 64); // the end of the last part
    ends.clear();
    stop::resize(ends, parts as usize + BLOCK, 0);
    let mut found = 0;
    for (first, &word) in (1u32..).step_by(BLOCK).zip(bits.iter()) {
        found += set_bits_into(word, first, &mut ends[found..]);
    }
    ends.truncate(parts as usize);
}

/// Draws the spans of a row of `len` that `plan` was made for, in order. At most `most` of them are kept: those drawn later join the last
/// one, and so do the clear parts between them.
pub fn draw(
    stream: &mut Stream,
    len: u32,
    plan: Plan,
    layout: Layout,
    most: u32,
    scratch: &mut Scratch,
    spans: &mut Vec<Span>,
) {
    let Scratch { bits, noise, clear } = scratch;
    let count = plan.spans;
    composition(stream, plan.noise, count, bits, noise);
    let rest = len - plan.noise;
    match layout {
        Layout::Classic => composition(stream, rest, count, bits, clear),
        Layout::Uniform => {
            // The outer parts may be empty: each gets an extra token while drawing. That of the first part is subtracted from every end.
            composition(stream, rest + 2, count + 1, bits, clear);
            clear.iter_mut().for_each(|end| *end -= 1);
        }
    }
    spans.clear();
    let kept = count.min(most).max(1) as usize;
    let last = count as usize - 1;
    let mut hidden = 0;
    stop::reserve(spans, kept);
    for j in 0..kept {
        let j = if j + 1 == kept { last } else { j };
        spans.push(Span { start: clear[j] + hidden, stop: clear[j] + noise[j] });
        hidden = noise[j];
    }
}

/// Places spans of given lengths among `rest` clear tokens, with a clear token between any two. Every placement is equally likely. `ends`:
/// where each span ends among the hidden tokens, ascending; at most `rest + 1` entries.
pub fn draw_lengths(
    stream: &mut Stream,
    rest: u32,
    ends: &[u32],
    scratch: &mut Scratch,
    spans: &mut Vec<Span>,
) {
    let Scratch { bits, clear, .. } = scratch;
    composition(stream, rest + 2, ends.len() as u32 + 1, bits, clear);
    spans.clear();
    stop::reserve(spans, ends.len());
    let mut hidden = 0;
    for (&clear, &end) in clear.iter().zip(ends) {
        spans.push(Span { start: clear - 1 + hidden, stop: clear - 1 + end });
        hidden = end;
    }
}

/// Places spans of given lengths among `rest` clear tokens, in this order. Spans may be empty, and may touch: every arrangement of the spans and
/// the clear tokens is equally likely. `ends`: where each span ends among the hidden tokens, ascending; together with `rest` fewer than
/// `u32::MAX` entries.
pub fn draw_touching(
    stream: &mut Stream,
    rest: u32,
    ends: &[u32],
    scratch: &mut Scratch,
    spans: &mut Vec<Span>,
) {
    let Scratch { bits, clear, .. } = scratch;
    let count = ends.len() as u32;
    // A clear part may be empty: each gets an extra token while drawing.
    composition(stream, rest + count + 1, count + 1, bits, clear);
    spans.clear();
    stop::reserve(spans, ends.len());
    let mut hidden = 0;
    for (number, (&cut, &end)) in (0..count).zip(clear.iter().zip(ends)) {
        let before = cut - 1 - number;
        spans.push(Span { start: before + hidden, stop: before + end });
        hidden = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(ends: &[u32]) -> Vec<u32> {
        ends.iter().scan(0, |from, &end| Some(end - core::mem::replace(from, end))).collect()
    }

    #[test]
    fn compositions_are_uniform() {
        // 6 into 3: 10 compositions, 20,000 draws. Chi-square with 9 degrees of freedom: above 33.7 once in 10,000 streams.
        let mut counts = std::collections::HashMap::new();
        let mut stream = Stream::new([5, 0], [0; 4]);
        let (mut bits, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..20_000 {
            composition(&mut stream, 6, 3, &mut bits, &mut ends);
            *counts.entry(parts(&ends)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 10);
        let chi: f64 = counts.values().map(|&n| (f64::from(n) - 2000.0).powi(2) / 2000.0).sum();
        assert!(chi < 33.7, "{chi}: {counts:?}");
    }

    #[test]
    fn touching_arrangements_are_uniform() {
        // Two spans, one of them empty, among 3 clear tokens: 10 arrangements, 20,000 draws; the limit as above.
        let mut counts = std::collections::HashMap::new();
        let (mut stream, mut spans) = (Stream::new([6, 0], [0; 4]), Vec::new());
        for _ in 0..20_000 {
            draw_touching(&mut stream, 3, &[2, 2], &mut Scratch::default(), &mut spans);
            assert!(
                spans[0].stop - spans[0].start == 2 && spans[1].start == spans[1].stop && spans[1].stop <= 5
            );
            *counts.entry((spans[0].start, spans[1].start)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 10);
        let chi: f64 = counts.values().map(|&n| (f64::from(n) - 2000.0).powi(2) / 2000.0).sum();
        assert!(chi < 33.7, "{chi}: {counts:?}");
    }

    proptest! {
        #[test]
        fn spans_are_as_planned(len in 2u32..500, density in 0.0..1.0f64, mean in 1.0..20.0f64, most in 1u32..40, seed: u64, uniform: bool) {
            let plan = super::super::plan::plan(len, density, mean);
            let mut spans = Vec::new();
            let layout = if uniform { Layout::Uniform } else { Layout::Classic };
            draw(&mut Stream::new([seed, 1], [0; 4]), len, plan, layout, most, &mut Scratch::default(), &mut spans);
            prop_assert_eq!(spans.len() as u32, plan.spans.min(most));
            prop_assert_eq!(spans.iter().map(|s| s.stop - s.start).sum::<u32>(), plan.noise);
            prop_assert!(spans.iter().all(|s| s.start < s.stop && s.stop <= len));
            prop_assert!(spans.windows(2).all(|w| w[0].stop < w[1].start));
            if !uniform {
                prop_assert!(spans[0].start > 0);
                prop_assert_eq!(spans[spans.len() - 1].stop, len);
            }
        }
    }
}

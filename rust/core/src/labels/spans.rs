//! The spans of one row that carry loss, with their weights.

use super::Shift;
use crate::stop;
use core::ops::Range;

/// A half-open span of token positions and its loss weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub start: usize,
    pub stop: usize,
    pub weight: f32,
}

impl Span {
    /// The positions of the span's labels in an output of `len` places.
    pub fn places(&self, shift: Shift, len: usize) -> Range<usize> {
        let stop = self.stop.saturating_sub(shift.distance()).min(len);
        // No label is before the row.
        self.start.saturating_sub(shift.distance()).min(stop)..stop
    }
}

/// Spans of one row. Invariant: they ascend, hold at least one token each, do not overlap, and touch only where weights differ;
/// [`Spans::push`] keeps it.
#[derive(Debug, Clone, Default)]
pub struct Spans(pub Vec<Span>);

impl Spans {
    /// Adds a span after all others; joins it to the last one if the two touch and have the same weight. A part that overlaps the last
    /// one is cut off; an empty span adds nothing.
    pub fn push(&mut self, span: Range<usize>, weight: f32) {
        let last_stop = self.0.last().map_or(0, |last| last.stop);
        let start = span.start.max(last_stop);
        if start >= span.end {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.stop == start && last.weight == weight => last.stop = span.end,
            _ => stop::push(&mut self.0, Span { start, stop: span.end, weight }),
        }
    }

    /// Gives `weight` to every position of the row that is in no span.
    pub fn fill_gaps(&mut self, row_len: usize, weight: f32) {
        let mut free_from = 0;
        for span in core::mem::take(&mut self.0) {
            self.push(free_from..span.start, weight);
            self.push(span.start..span.stop, span.weight);
            free_from = span.stop;
        }
        self.push(free_from..row_len, weight);
    }

    /// Removes the positions of `holes`, which ascend by start and may overlap.
    pub fn subtract(&mut self, holes: &[Range<usize>]) {
        if holes.is_empty() {
            return;
        }
        let mut holes = holes.iter().peekable();
        for span in core::mem::take(&mut self.0) {
            let mut start = span.start;
            while let Some(hole) = holes.peek() {
                if hole.start >= span.stop {
                    break;
                }
                self.push(start..hole.start.max(start), span.weight);
                start = start.max(hole.end);
                if hole.end > span.stop {
                    break; // the hole may extend into the next span
                }
                holes.next();
            }
            self.push(start..span.stop, span.weight);
        }
    }

    /// Whether some span has a position in `range`.
    pub fn overlap(&self, range: Range<usize>) -> bool {
        self.0.iter().any(|span| span.start < range.end && range.start < span.stop)
    }

    /// How many of the labels that the spans put into the first `len` places are not ignored in `labels`.
    pub fn labels_within(&self, shift: Shift, len: usize, labels: &[i64], ignore: i64) -> usize {
        let count = |span: &Span| {
            let places = span.places(shift, len);
            let (first, stop) = (places.start + shift.distance(), places.end + shift.distance());
            labels[first..stop].iter().filter(|&&label| label != ignore).count()
        };
        self.0.iter().map(count).sum()
    }

    /// How many labels the spans put into the first `len` places.
    pub fn tokens_within(&self, shift: Shift, len: usize) -> usize {
        self.0.iter().map(|span| span.places(shift, len).len()).sum()
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of holes, some with one hole")]
mod tests {
    use super::*;

    fn spans(list: &[(usize, usize, f32)]) -> Spans {
        let mut spans = Spans::default();
        for &(start, stop, weight) in list {
            spans.push(start..stop, weight);
        }
        spans
    }

    #[test]
    fn touching_spans_of_one_weight_join() {
        assert_eq!(
            spans(&[(0, 2, 1.0), (2, 2, 1.0), (2, 4, 1.0), (4, 5, 0.5)]).0,
            spans(&[(0, 4, 1.0), (4, 5, 0.5)]).0
        );
    }

    #[test]
    fn holes_are_removed_everywhere() {
        for (holes, left) in [
            (&[0..2][..], &[(2, 6, 1.0), (8, 12, 1.0)][..]),
            (&[3..4], &[(1, 3, 1.0), (4, 6, 1.0), (8, 12, 1.0)]),
            (&[5..9], &[(1, 5, 1.0), (9, 12, 1.0)]),
            (&[0..20], &[]),
            (&[6..8], &[(1, 6, 1.0), (8, 12, 1.0)]),
            (&[1..2, 2..3, 10..30], &[(3, 6, 1.0), (8, 10, 1.0)]),
            (&[1..10, 2..3, 11..12], &[(10, 11, 1.0)]),
        ] {
            let mut whole = spans(&[(1, 6, 1.0), (8, 12, 1.0)]);
            whole.subtract(holes);
            assert_eq!(whole.0, spans(left).0, "{holes:?}");
        }
    }

    #[test]
    fn gaps_are_filled() {
        let mut some = spans(&[(1, 3, 1.0), (5, 6, 0.0)]);
        some.fill_gaps(7, 0.5);
        assert_eq!(some.0, spans(&[(0, 1, 0.5), (1, 3, 1.0), (3, 5, 0.5), (5, 6, 0.0), (6, 7, 0.5)]).0);
    }
}

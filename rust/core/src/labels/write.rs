//! Spans -> labels and loss weights of one row.

use super::Shift;
use super::spans::Span;
use crate::Token;
use crate::batch::Cell;
use crate::level::{Kernel, SimdLevel};
use crate::stop::{self, EVERY, poll_at};

/// A row whose labels are to be written.
pub struct Row<'a, T> {
    pub ids: &'a [T],
    /// The spans that carry loss.
    pub spans: &'a [Span],
    /// Existing labels, one for each id. They are intersected.
    pub labels: Option<&'a [i64]>,
}

impl<T: Token> Row<'_, T> {
    /// Writes labels, and weights if there is a cell for them. The cells may be shorter than the row: the rest is cut off.
    pub fn write_into(
        &self,
        level: SimdLevel,
        shift: Shift,
        ignore: i64,
        mut cell: Cell<i64>,
        weights: Option<Cell<f32>>,
    ) {
        cell.fill_padding(ignore);
        level.run(Labels { ids: self.ids, spans: self.spans, ignore, shift, out: &mut *cell.content });
        if let Some(labels) = self.labels {
            intersect(&labels[shift.distance().min(labels.len())..], ignore, cell.content);
        }
        if let Some(mut weights) = weights {
            weights.fill_padding(0.0);
            weights_into(self.spans, shift, cell.content, ignore, weights.content);
        }
    }
}

/// Copies `ids` inside the spans, writes `ignore` elsewhere.
struct Labels<'a, T> {
    ids: &'a [T],
    spans: &'a [Span],
    ignore: i64,
    shift: Shift,
    out: &'a mut [i64],
}

impl<T: Token> Kernel for Labels<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let Self { ids, spans, ignore, shift, out } = self;
        let (mut at, mut next) = (0, EVERY); // each place is written once: spans are few and long, and so are the gaps
        for span in spans {
            stop::poll_past(at, &mut next);
            let places = span.places(shift, out.len());
            stop::fill(&mut out[at..places.start], ignore);
            let first = places.start + shift.distance();
            stop::copy(&ids[first..first + places.len()], &mut out[places.clone()]);
            at = places.end;
        }
        stop::fill(&mut out[at..], ignore);
    }
}

/// Keeps `ignore` in `out`, and replaces every other label with that of `labels`, which may be `ignore` too.
fn intersect(labels: &[i64], ignore: i64, out: &mut [i64]) {
    for (part, (out, labels)) in out.chunks_mut(EVERY).zip(labels.chunks(EVERY)).enumerate() {
        poll_at(part, EVERY);
        for (out, &label) in out.iter_mut().zip(labels) {
            *out = if *out == ignore { ignore } else { label };
        }
    }
}

/// Writes each span's weight where `labels` train, 0 elsewhere.
fn weights_into(spans: &[Span], shift: Shift, labels: &[i64], ignore: i64, out: &mut [f32]) {
    stop::fill(out, 0.0);
    let mut next = EVERY;
    for span in spans {
        let places = span.places(shift, out.len());
        let mut at = places.start;
        for (weights, labels) in out[places.clone()].chunks_mut(EVERY).zip(labels[places].chunks(EVERY)) {
            for (weight, label) in weights.iter_mut().zip(labels) {
                *weight = if *label == ignore { 0.0 } else { span.weight };
            }
            at += weights.len();
            stop::poll_past(at, &mut next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::at_every_level;

    #[test]
    fn every_level_writes_the_same() {
        fn check<T: Token>() {
            let ids: Vec<T> = (0..150).map(|i| T::from_i64(i + 40).unwrap()).collect();
            for (start, stop, last) in [(0, 1, 1), (3, 70, 75), (31, 33, 150), (64, 128, 129), (5, 5, 5)] {
                let spans =
                    [(start, stop), (stop + 2, last)].map(|(start, stop)| Span { start, stop, weight: 0.5 });
                let spans: Vec<Span> = spans.into_iter().filter(|span| span.start < span.stop).collect();
                let row = Row { ids: &ids, spans: &spans, labels: None };
                for (shift, len) in
                    [(Shift::None, 150), (Shift::Left, 150), (Shift::None, 67), (Shift::Left, 67)]
                {
                    let written = at_every_level(|level| {
                        let mut out = vec![0; len + 2];
                        let (before, rest) = out.split_at_mut(1);
                        let (content, after) = rest.split_at_mut(len);
                        row.write_into(level, shift, -100, Cell { before, content, after }, None);
                        out
                    });
                    let hidden = |at: usize| spans.iter().any(|span| (span.start..span.stop).contains(&at));
                    let label = |place: usize| {
                        let at = place + shift.distance();
                        if at < 150 && hidden(at) { at as i64 + 40 } else { -100 }
                    };
                    let want: Vec<i64> =
                        [-100].into_iter().chain((0..len).map(label)).chain([-100]).collect();
                    assert_eq!(written, want, "{spans:?} {shift:?}");
                }
            }
        }
        check::<u16>();
        check::<u32>();
        check::<i32>();
        check::<i64>();
    }
}

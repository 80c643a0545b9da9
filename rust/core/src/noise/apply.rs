//! Spans -> inputs and targets. The only place that knows what a corrupted row looks like.
//! Oracle: `spanmask.reference.corrupt`.

use super::draw::Span;
use crate::Token;
use crate::level::{Level, Loop};

/// What goes around the tokens of a row.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// In front of the inputs.
    pub mode: Option<u32>,
    /// In place of each span; none where a target simply goes on from its inputs. At least as many as spans, and one more with
    /// `final_sentinel`.
    pub sentinels: Option<&'a [u32]>,
    /// One more sentinel behind the last span of the targets.
    pub final_sentinel: bool,
    /// Behind inputs and targets.
    pub eos: Option<u32>,
}

impl Frame<'_> {
    /// Lengths of inputs and targets for a row of `len` tokens, `hidden` of them in `spans` spans.
    pub fn lengths(&self, len: usize, hidden: usize, spans: usize) -> (usize, usize) {
        let marks = if self.sentinels.is_some() { spans } else { 0 };
        let eos = usize::from(self.eos.is_some());
        let last = usize::from(self.final_sentinel && self.sentinels.is_some());
        (usize::from(self.mode.is_some()) + len - hidden + marks + eos, hidden + marks + last + eos)
    }
}

/// Tokens copied at once where a run stays, and where it is hidden.
const CLEAR: usize = 32;
const HIDDEN: usize = 8;

/// A place in an output, moving on. Writing past the end writes nothing: the caller compares where it stopped with what it planned.
struct Cursor<'o> {
    out: &'o mut [i64],
    at: usize,
}

impl Cursor<'_> {
    #[inline(always)]
    fn push(&mut self, id: u32) {
        if let Some(place) = self.out.get_mut(self.at) {
            *place = i64::from(id);
        }
        self.at += 1;
    }

    /// Copies a run. Most are short (three tokens, seventeen): where there is room, one fixed block is copied, and what is too much is
    /// overwritten by what comes next. A `memcpy` call, or a loop with a vectorized body and a tail, costs several times as much. A
    /// block should hold most runs, since nobody can predict which are longer.
    #[inline(always)]
    fn extend<T: Token, const BLOCK: usize>(&mut self, row: &[T], start: usize, stop: usize) {
        let len = stop - start;
        let source = row.get(start..).and_then(|rest| rest.first_chunk::<BLOCK>());
        let target = self.out.get_mut(self.at..).and_then(|rest| rest.first_chunk_mut::<BLOCK>());
        match source.zip(target) {
            Some((source, target)) if len <= BLOCK => *target = source.map(Token::to_i64),
            _ => copy(&row[start..stop], self.out.get_mut(self.at..).unwrap_or_default()),
        }
        self.at += len;
    }
}

/// A long run, or one near an end of the row or of the output.
#[inline(never)] // leaves registers to the short ones
fn copy<T: Token>(run: &[T], out: &mut [i64]) {
    let len = run.len().min(out.len());
    T::copy_into(&run[..len], &mut out[..len]);
}

/// Writes inputs and targets of one row. `spans` ascend inside the row and neither overlap nor touch.
///
/// Returns how much there was to write; what the caller allocated from [`Frame::lengths`] is filled exactly where they agree.
pub fn apply<T: Token>(
    row: &[T],
    spans: &[Span],
    frame: &Frame,
    inputs: &mut [i64],
    targets: &mut [i64],
) -> (usize, usize) {
    Level::detect().run(Apply { row, spans, frame, inputs, targets })
}

/// [`apply`].
struct Apply<'a, T> {
    row: &'a [T],
    spans: &'a [Span],
    frame: &'a Frame<'a>,
    inputs: &'a mut [i64],
    targets: &'a mut [i64],
}

impl<T: Token> Loop for Apply<'_, T> {
    type Out = (usize, usize);

    #[inline(always)]
    fn run(self) -> (usize, usize) {
        let Self { row, spans, frame, inputs, targets } = self;
        let (mut inputs, mut targets) = (Cursor { out: inputs, at: 0 }, Cursor { out: targets, at: 0 });
        if let Some(mode) = frame.mode {
            inputs.push(mode);
        }
        let mut clear = 0;
        for (number, span) in spans.iter().enumerate() {
            let (start, stop) = (span.start as usize, span.stop as usize);
            inputs.extend::<T, CLEAR>(row, clear, start);
            if let Some(&sentinel) = frame.sentinels.and_then(|sentinels| sentinels.get(number)) {
                inputs.push(sentinel);
                targets.push(sentinel);
            }
            targets.extend::<T, HIDDEN>(row, start, stop);
            clear = stop;
        }
        inputs.extend::<T, CLEAR>(row, clear, row.len());
        if frame.final_sentinel
            && let Some(&sentinel) = frame.sentinels.and_then(|sentinels| sentinels.get(spans.len()))
        {
            targets.push(sentinel);
        }
        if let Some(eos) = frame.eos {
            inputs.push(eos);
            targets.push(eos);
        }
        (inputs.at, targets.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corrupted(frame: &Frame, spans: &[(u32, u32)], len: i64) -> (Vec<i64>, Vec<i64>) {
        let row: Vec<i64> = (0..len).collect();
        let spans: Vec<Span> = spans.iter().map(|&(start, stop)| Span { start, stop }).collect();
        let hidden = spans.iter().map(|s| (s.stop - s.start) as usize).sum();
        let lengths = frame.lengths(row.len(), hidden, spans.len());
        let (mut inputs, mut targets) = (vec![-1; lengths.0], vec![-1; lengths.1]);
        assert_eq!(apply(&row, &spans, frame, &mut inputs, &mut targets), lengths);
        (inputs, targets)
    }

    #[test]
    fn spans_go_to_the_targets_behind_their_sentinels() {
        let frame =
            Frame { mode: None, sentinels: Some(&[99, 98, 97]), final_sentinel: false, eos: Some(50) };
        let (inputs, targets) = corrupted(&frame, &[(1, 3), (4, 5)], 6);
        assert_eq!((inputs, targets), (vec![0, 99, 3, 98, 5, 50], vec![99, 1, 2, 98, 4, 50]));
        let frame = Frame { mode: Some(70), final_sentinel: true, ..frame };
        let (inputs, targets) = corrupted(&frame, &[(0, 2)], 2);
        assert_eq!((inputs, targets), (vec![70, 99, 50], vec![99, 0, 1, 98, 50]));
    }

    #[test]
    fn without_sentinels_targets_go_on_from_inputs() {
        let frame = Frame { mode: None, sentinels: None, final_sentinel: false, eos: None };
        assert_eq!(corrupted(&frame, &[(2, 4)], 4), (vec![0, 1], vec![2, 3]));
    }

    #[test]
    fn long_runs_are_copied_whole() {
        let frame = Frame { mode: None, sentinels: Some(&[99]), final_sentinel: false, eos: Some(50) };
        let (inputs, targets) = corrupted(&frame, &[(20, 41)], 60);
        let expected: Vec<i64> = (0..20).chain([99]).chain(41..60).chain([50]).collect();
        assert_eq!(inputs, expected);
        assert_eq!(targets, [99].into_iter().chain(20..41).chain([50]).collect::<Vec<i64>>());
    }
}

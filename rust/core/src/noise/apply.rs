//! Spans -> inputs and targets. The only place that knows what a corrupted row looks like.
//! Oracle: `spanmask.reference.corrupt`.

use super::draw::Span;
use crate::Token;
use crate::level::{Kernel, SimdLevel};
use crate::stop::{self, poll_at};

/// The ids that are written before, between and after the tokens of a row.
#[derive(Debug, Clone, Copy)]
pub struct Affixes<'a> {
    /// Written before the inputs.
    pub mode_token: Option<u32>,
    /// The sentinels that replace spans; `None` if a target simply continues its inputs. There is at least one for each span, and one more
    /// with `final_sentinel`.
    pub sentinels: Option<&'a [u32]>,
    /// Add one more sentinel after the last span of the targets.
    pub final_sentinel: bool,
    /// Written after inputs and targets.
    pub eos: Option<u32>,
}

impl Affixes<'_> {
    /// Lengths of inputs and targets for a row of `len` tokens, `hidden` of them in `spans` spans.
    pub fn lengths(&self, len: usize, hidden: usize, spans: usize) -> (usize, usize) {
        let sentinels = if self.sentinels.is_some() { spans } else { 0 };
        let eos = usize::from(self.eos.is_some());
        let last = usize::from(self.final_sentinel && self.sentinels.is_some());
        (
            usize::from(self.mode_token.is_some()) + len - hidden + sentinels + eos,
            hidden + sentinels + last + eos,
        )
    }
}

/// Tokens that are copied at once, of clear and of hidden runs. Without such blocks, span corruption took 15 to 40 % longer.
pub(super) const CLEAR: usize = 32;
const HIDDEN: usize = 8;

/// A position in an output, which moves on as tokens are written. Nothing is written past the end: the caller compares the final position
/// with its plan.
pub(super) struct Cursor<'o> {
    pub(super) out: &'o mut [i64],
    pub(super) at: usize,
}

impl Cursor<'_> {
    #[inline(always)]
    pub(super) fn push(&mut self, id: u32) {
        if let Some(place) = self.out.get_mut(self.at) {
            *place = i64::from(id);
        }
        self.at += 1;
    }

    /// Copies a run. Most runs are short (three tokens, seventeen): if there is space, one fixed block is copied, and the next run
    /// overwrites the excess. A `memcpy` call, or a loop with a vectorized body and a tail, costs several times as much. A block should
    /// hold most runs, since the processor cannot predict which runs are longer.
    #[inline(always)]
    pub(super) fn extend<T: Token, const BLOCK: usize>(&mut self, row: &[T], start: usize, stop: usize) {
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

/// Copies a long run, or one near the end of the row or of the output.
#[inline(never)] // leaves registers for the short runs
fn copy<T: Token>(run: &[T], out: &mut [i64]) {
    let len = run.len().min(out.len());
    stop::copy(&run[..len], &mut out[..len]);
}

/// Writes inputs and targets of one row. `spans` ascend inside the row; there is a clear token between any two of them.
///
/// Returns the two lengths that were required: outputs of [`Affixes::lengths`] are filled exactly.
pub fn apply<T: Token>(
    row: &[T],
    spans: &[Span],
    affixes: &Affixes,
    inputs: &mut [i64],
    targets: &mut [i64],
) -> (usize, usize) {
    SimdLevel::detect().run(Apply { row, spans, affixes, inputs, targets })
}

/// Writes which token of the row each place of its inputs stands for: a sentinel for the first token of its span, a mode token for the
/// first of the row, EOS for the one at `eos`. `len`: the tokens that are used; -1 is written if there are none.
///
/// Returns the length that was required, as [`apply`] does for inputs.
pub fn sources_into(len: u32, eos: u32, spans: &[Span], affixes: &Affixes, sources: &mut [i64]) -> usize {
    if len == 0 {
        sources.fill(-1);
        return sources.len();
    }
    let mut sources = Cursor { out: sources, at: 0 };
    let mut clear = 0;
    if affixes.mode_token.is_some() {
        sources.push(0);
    }
    for (number, span) in spans.iter().enumerate() {
        poll_at(number, 16);
        (clear..span.start).for_each(|at| sources.push(at));
        if affixes.sentinels.is_some() {
            sources.push(span.start);
        }
        clear = span.stop;
    }
    (clear..len).for_each(|at| sources.push(at));
    if affixes.eos.is_some() {
        sources.push(eos);
    }
    sources.at
}

/// The kernel of [`apply`].
struct Apply<'a, T> {
    row: &'a [T],
    spans: &'a [Span],
    affixes: &'a Affixes<'a>,
    inputs: &'a mut [i64],
    targets: &'a mut [i64],
}

impl<T: Token> Kernel for Apply<'_, T> {
    type Out = (usize, usize);

    #[inline(always)]
    fn run(self) -> (usize, usize) {
        let Self { row, spans, affixes, inputs, targets } = self;
        let (mut inputs, mut targets) = (Cursor { out: inputs, at: 0 }, Cursor { out: targets, at: 0 });
        if let Some(mode_token) = affixes.mode_token {
            inputs.push(mode_token);
        }
        let mut clear = 0;
        for part in stop::parts(spans.len(), 16) {
            for (number, span) in part.clone().zip(&spans[part]) {
                let (start, stop) = (span.start as usize, span.stop as usize);
                inputs.extend::<T, CLEAR>(row, clear, start);
                if let Some(&sentinel) = affixes.sentinels.and_then(|sentinels| sentinels.get(number)) {
                    inputs.push(sentinel);
                    targets.push(sentinel);
                }
                targets.extend::<T, HIDDEN>(row, start, stop);
                clear = stop;
            }
        }
        inputs.extend::<T, CLEAR>(row, clear, row.len());
        if affixes.final_sentinel
            && let Some(&sentinel) = affixes.sentinels.and_then(|sentinels| sentinels.get(spans.len()))
        {
            targets.push(sentinel);
        }
        if let Some(eos) = affixes.eos {
            inputs.push(eos);
            targets.push(eos);
        }
        (inputs.at, targets.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::at_every_level;

    fn corrupted(affixes: &Affixes, spans: &[(u32, u32)], len: i64) -> (Vec<i64>, Vec<i64>) {
        let row: Vec<i64> = (0..len).collect();
        let spans: Vec<Span> = spans.iter().map(|&(start, stop)| Span { start, stop }).collect();
        let hidden = spans.iter().map(|s| (s.stop - s.start) as usize).sum();
        let lengths = affixes.lengths(row.len(), hidden, spans.len());
        let (mut inputs, mut targets) = (vec![-1; lengths.0], vec![-1; lengths.1]);
        assert_eq!(apply(&row, &spans, affixes, &mut inputs, &mut targets), lengths);
        fn typed<T: Token>(row: &[i64], spans: &[Span], affixes: &Affixes, written: &(Vec<i64>, Vec<i64>)) {
            let row: Vec<T> = row.iter().map(|&id| T::from_i64(id).unwrap()).collect();
            let at_level = at_every_level(|level| {
                let (mut inputs, mut targets) = (vec![-1; written.0.len()], vec![-1; written.1.len()]);
                let (into, hidden) = (&mut inputs, &mut targets);
                level.run(Apply { row: &row, spans, affixes, inputs: into, targets: hidden });
                (inputs, targets)
            });
            assert_eq!(at_level, *written);
        }
        let written = (inputs, targets);
        typed::<u16>(&row, &spans, affixes, &written);
        typed::<u32>(&row, &spans, affixes, &written);
        typed::<i32>(&row, &spans, affixes, &written);
        typed::<i64>(&row, &spans, affixes, &written);
        written
    }

    #[test]
    fn spans_go_to_the_targets_after_their_sentinels() {
        let affixes = Affixes {
            mode_token: None,
            sentinels: Some(&[99, 98, 97]),
            final_sentinel: false,
            eos: Some(50),
        };
        let (inputs, targets) = corrupted(&affixes, &[(1, 3), (4, 5)], 6);
        assert_eq!((inputs, targets), (vec![0, 99, 3, 98, 5, 50], vec![99, 1, 2, 98, 4, 50]));
        let affixes = Affixes { mode_token: Some(70), final_sentinel: true, ..affixes };
        let (inputs, targets) = corrupted(&affixes, &[(0, 2)], 2);
        assert_eq!((inputs, targets), (vec![70, 99, 50], vec![99, 0, 1, 98, 50]));
    }

    #[test]
    fn without_sentinels_targets_continue_inputs() {
        let affixes = Affixes { mode_token: None, sentinels: None, final_sentinel: false, eos: None };
        assert_eq!(corrupted(&affixes, &[(2, 4)], 4), (vec![0, 1], vec![2, 3]));
    }

    #[test]
    fn long_runs_are_copied_whole() {
        let affixes =
            Affixes { mode_token: None, sentinels: Some(&[99]), final_sentinel: false, eos: Some(50) };
        let (inputs, targets) = corrupted(&affixes, &[(20, 41)], 60);
        let expected: Vec<i64> = (0..20).chain([99]).chain(41..60).chain([50]).collect();
        assert_eq!(inputs, expected);
        assert_eq!(targets, [99].into_iter().chain(20..41).chain([50]).collect::<Vec<i64>>());
    }
}

//! Planned rows -> inputs and targets.

use super::super::apply::{CLEAR, Cursor};
use super::super::draw::Span;
use super::super::seq_to_seq::{Lengths, SeqToSeq};
use super::{Infilling, Replace, RowPlan, Scratch, Spec};
use crate::level::{Kernel, SimdLevel};
use crate::rng::{Purpose, Stream};
use crate::stop::{self, poll_at};
use crate::{Error, Token};
use core::ops::Range;

impl Lengths for RowPlan {
    fn lengths(&self) -> (usize, usize) {
        (self.inputs, self.targets)
    }
}

impl<T: Token> SeqToSeq for Infilling<'_, T> {
    type Plan = RowPlan;
    type Scratch = Scratch<T>;

    fn row_lengths(&self) -> impl ExactSizeIterator<Item = usize> {
        self.rows.iter().map(|row| row.len())
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self { rows: &self.rows[range.clone()], options: self.options.slice(range), ..*self }
    }

    fn plan_row(&self, i: usize, scratch: &mut Scratch<T>) -> Result<RowPlan, Error> {
        self.whole_plan(i, scratch)
    }

    fn write_row(
        &self,
        i: usize,
        plan: &mut RowPlan,
        scratch: &mut Scratch<T>,
        inputs: &mut [i64],
        targets: &mut [i64],
    ) -> Result<(), Error> {
        for (want, got) in [(plan.inputs, inputs.len()), (self.rows[i].len(), targets.len())] {
            if want != got {
                return Err(Error::Length { want, got });
            }
        }
        stop::copy(self.rows[i], targets);
        plan.moved = self.draw_row(i, plan, scratch)?;
        keep_insertions(&mut scratch.spans, plan.inserted);
        let masks = Masks {
            spec: self.spec,
            replacements: self.seed_epoch.stream(plan.key, Purpose::Replacement),
            random_ids: self.seed_epoch.stream(plan.key, Purpose::RandomId),
        };
        let row = if plan.moved > 0 { &scratch.permuted } else { self.rows[i] };
        let written = SimdLevel::detect().run(Apply { row, spans: &scratch.spans, masks, inputs });
        // They differ only if another thread wrote to the row or to a column since it was planned.
        if written == plan.inputs { Ok(()) } else { Err(Error::Changed { row: i }) }
    }

    /// A mask stands for the first token that it hides, an inserted one for the token after it (at the end of the row, before it).
    fn write_sources(&self, i: usize, plan: &RowPlan, scratch: &mut Scratch<T>, out: &mut [i64]) {
        let len = self.rows[i].len() as u32;
        if plan.moved > 0 {
            scratch.origins(len);
        } else {
            scratch.numbers.clear();
            stop::reserve(&mut scratch.numbers, len as usize);
            scratch.numbers.extend(0..len);
        }
        let Scratch { numbers: origins, spans, .. } = scratch;
        let origin = |at: u32| origins.get(at as usize).or(origins.last()).copied().unwrap_or(0);
        let mut sources = Cursor { out, at: 0 };
        let mut clear = 0;
        for (number, span) in spans.iter().enumerate() {
            poll_at(number, 16);
            (clear..span.start).for_each(|at| sources.push(origin(at)));
            match self.spec.replace {
                Replace::EachToken => (span.start..span.stop).for_each(|at| sources.push(origin(at))),
                Replace::OneMask if span.start < span.stop => sources.push(origin(span.start)),
                Replace::OneMask | Replace::Nothing => {}
            }
            if span.start == span.stop {
                sources.push(origin(span.start));
            }
            clear = span.stop;
        }
        (clear..len).for_each(|at| sources.push(origin(at)));
        debug_assert_eq!(sources.at, plan.inputs, "as many sources as inputs");
    }
}

/// Keeps the first `count` insertions of a row, and all spans that hide a token.
fn keep_insertions(spans: &mut Vec<Span>, count: u32) {
    let mut left = count;
    spans.retain(|span| {
        let is_empty = span.start == span.stop;
        let kept = !is_empty || left > 0;
        left -= u32::from(is_empty && kept);
        kept
    });
}

/// What replaces spans.
struct Masks<'a> {
    spec: &'a Spec,
    /// A random word decides whether a span gets random ids.
    replacements: Stream,
    random_ids: Stream,
}

impl Masks<'_> {
    /// Writes what replaces a span of `len` tokens.
    #[inline(always)]
    fn push(&mut self, len: u32, inputs: &mut Cursor) {
        let count = match self.spec.replace {
            _ if len == 0 => 1,
            Replace::OneMask => 1,
            Replace::EachToken => len,
            Replace::Nothing => return,
        };
        match &self.spec.random {
            Some((below, random_ids)) if u64::from(self.replacements.next_u32()) < *below => {
                (0..count).for_each(|_| inputs.push(random_ids.draw(&mut self.random_ids)));
            }
            _ => (0..count).for_each(|_| inputs.push(self.spec.mask_token_id)),
        }
    }
}

/// The kernel that writes the inputs of one row.
struct Apply<'a, T> {
    row: &'a [T],
    spans: &'a [Span],
    masks: Masks<'a>,
    inputs: &'a mut [i64],
}

impl<T: Token> Kernel for Apply<'_, T> {
    type Out = usize;

    #[inline(always)]
    fn run(self) -> usize {
        let Self { row, spans, mut masks, inputs } = self;
        let mut inputs = Cursor { out: inputs, at: 0 };
        let mut clear = 0;
        for (number, span) in spans.iter().enumerate() {
            poll_at(number, 16);
            let (start, stop) = (span.start as usize, span.stop as usize);
            inputs.extend::<T, CLEAR>(row, clear, start);
            masks.push(span.stop - span.start, &mut inputs);
            clear = stop;
        }
        inputs.extend::<T, CLEAR>(row, clear, row.len());
        inputs.at
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::seq_to_seq::{Batch, Outputs};
    use super::super::{RowOptions, SpanLengths};
    use super::*;
    use crate::batch::{Layout, Shape};
    use crate::level::at_every_level;
    use crate::noise::ids::IdSet;
    use crate::rng::SeedEpoch;

    fn spec() -> Spec {
        Spec {
            mask_token_id: 9,
            mask_ratio: 0.5,
            lengths: SpanLengths::new(&[1.0, 1.0, 1.0]).unwrap(),
            replace: Replace::OneMask,
            random: None,
            permute_sentence_ratio: 1.0,
            sentence_end_ids: IdSet::new([3]),
            protected_ids: IdSet::new([0]),
            continuation_ids: None,
            word_end_ids: None,
        }
    }

    #[test]
    fn every_level_writes_the_same() {
        let row: Vec<u16> = (0..200).map(|at| 1000 + at).collect();
        let spans = [(0, 0), (3, 5), (5, 40), (77, 77), (190, 200)].map(|(start, stop)| Span { start, stop });
        for (replace, count) in
            [(Replace::OneMask, 1), (Replace::EachToken, usize::MAX), (Replace::Nothing, 0)]
        {
            let spec = Spec { replace, ..spec() };
            let mut want: Vec<i64> = vec![9];
            let mut at = 0;
            for (start, stop) in [(3, 5), (5, 40), (77, 77), (190, 200)] {
                want.extend((at..start).map(|at| 1000 + at));
                let masks = if start == stop { 1 } else { count.min((stop - start) as usize) };
                want.extend(vec![9; masks]);
                at = stop;
            }
            let written = at_every_level(|level| {
                let mut inputs = vec![0; want.len()];
                let stream = || SeedEpoch { seed: 1, epoch: 2 }.stream(3, Purpose::Replacement);
                let masks = Masks { spec: &spec, replacements: stream(), random_ids: stream() };
                let written = level.run(Apply { row: &row, spans: &spans, masks, inputs: &mut inputs });
                (written, inputs)
            });
            assert_eq!(written, (want.len(), want));
        }
    }

    const PACKED: Layout = Layout { shape: Shape::Packed, max_len: usize::MAX };
    const BATCH: Batch =
        Batch { inputs: PACKED, labels: PACKED, padding: 0, ignore_index: 0, decoder_start: 0 };

    #[test]
    fn outputs_of_another_size_are_errors() {
        let (spec, row) = (spec(), [0u16, 1, 2, 3, 4, 5, 3, 0]);
        let (rows, seed_epoch) = ([&row[..], &row[..5]], SeedEpoch { seed: 1, epoch: 2 });
        let infilling = Infilling::new(&rows, &spec, seed_epoch, RowOptions::default()).unwrap();
        let mut plans = [RowPlan::default(); 2];
        infilling.plan_into(&mut plans).unwrap();
        let (inputs, labels) = (plans[0].inputs + plans[1].inputs, row.len() + 5);
        for (more_inputs, more_labels, fits) in [(0, 0, true), (-1, 0, false), (0, -1, false)] {
            let mut written = plans;
            let (mut input, mut label) = (
                vec![0; inputs.checked_add_signed(more_inputs).unwrap()],
                vec![0; labels.checked_add_signed(more_labels).unwrap()],
            );
            let outputs = Outputs {
                inputs: &mut input,
                attention: &mut [],
                labels: &mut label,
                decoder: &mut [],
                sources: &mut [],
            };
            assert_eq!(infilling.write_into(&mut written, &BATCH, outputs).is_ok(), fits);
        }
        let mut wrong = RowPlan { inputs: plans[0].inputs + 1, ..plans[0] };
        let (mut input, mut label) = (vec![0; plans[0].inputs], vec![0; row.len()]);
        let error =
            infilling.write_row(0, &mut wrong, &mut Scratch::default(), &mut input, &mut label).unwrap_err();
        assert_eq!(error, Error::Length { want: plans[0].inputs + 1, got: plans[0].inputs });
    }

    #[test]
    fn options_for_another_number_of_rows_are_errors() {
        let (spec, seed_epoch) = (spec(), SeedEpoch { seed: 1, epoch: 2 });
        let rows: [&[u16]; 1] = [&[1, 2]];
        let options = RowOptions { ratios: Some(&[0.1, 0.2]), ..RowOptions::default() };
        let error = Infilling::new(&rows, &spec, seed_epoch, options).unwrap_err();
        assert_eq!(error, Error::Length { want: 1, got: 2 });
    }
}

//! Planned rows -> a batch, in one pass, row by row.

use super::FillInTheMiddle;
use super::plan::{Document, RowPlan};
use super::spec::{Length, Loss, SpmFormat};
use crate::batch::Layout;
use crate::stop::{self, EVERY};
use crate::{Error, Token};
use core::ops::Range;

/// What a batch looks like.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// The layout of all outputs.
    pub layout: Layout,
    /// Pads inputs.
    pub padding: i64,
    /// Pads labels, and is the label of tokens without loss.
    pub ignore_index: i64,
}

/// The buffers of a batch. If `attention` or `sources` is empty, it is not written.
#[derive(Debug)]
pub struct Outputs<'o> {
    /// The rows with their documents transformed.
    pub inputs: &'o mut [i64],
    /// 1 for tokens, 0 for padding.
    pub attention: &'o mut [i64],
    /// The inputs, or `ignore_index` for tokens without loss.
    pub labels: &'o mut [i64],
    /// Which token of its row each place of the inputs stands for; -1 for padding.
    pub sources: &'o mut [i64],
}

impl<T: Token> FillInTheMiddle<'_, T> {
    /// Writes all rows as planned, padding included.
    ///
    /// Errors: [`Error::Length`] and [`Error::Width`] if an output was made for other plans.
    pub fn write_into(
        &self,
        plans: &[RowPlan],
        mut documents: &[Document],
        batch: &Batch,
        outputs: Outputs,
    ) -> Result<(), Error> {
        let Outputs { mut inputs, mut attention, mut labels, mut sources } = outputs;
        if plans.len() != self.rows.len() {
            return Err(Error::Length { want: self.rows.len(), got: plans.len() });
        }
        for (i, plan) in plans.iter().enumerate() {
            let (want, got) = (plan.transformed as usize, documents.len());
            let own;
            (own, documents) = documents.split_at_checked(want).ok_or(Error::Length { want, got })?;
            let mut input = batch.layout.next_cell(i, 0..plan.len, &mut inputs)?;
            let mut label = batch.layout.next_cell(i, 0..plan.len, &mut labels)?;
            input.fill_padding(batch.padding);
            label.fill_padding(batch.ignore_index);
            if !attention.is_empty() {
                let mut cell = batch.layout.next_cell(i, 0..plan.len, &mut attention)?;
                cell.fill(1, 0);
            }
            self.write_row(i, own, &Ids(self.rows[i]), input.content);
            stop::copy(input.content, label.content);
            let mut next = EVERY;
            for prompt in self.prompts(own, plan.len) {
                stop::poll_past(prompt.end, &mut next);
                stop::fill(&mut label.content[prompt], batch.ignore_index);
            }
            if !sources.is_empty() {
                let mut cell = batch.layout.next_cell(i, 0..plan.len, &mut sources)?;
                cell.fill_padding(-1);
                self.write_row(i, own, &Positions, cell.content);
            }
        }
        if inputs.is_empty() && labels.is_empty() {
            Ok(())
        } else {
            Err(Error::Length { want: 0, got: inputs.len().max(labels.len()) })
        }
    }

    /// Writes row `i` with these documents transformed, as much of it as `out` has places for.
    fn write_row(&self, i: usize, documents: &[Document], values: &impl Values, out: &mut [i64]) {
        let spec = self.spec;
        let mut writer = Writer { values, out, at: 0 };
        let (mut position, mut next) = (0, EVERY);
        for document in documents {
            stop::poll_past(position as usize, &mut next);
            let &Document { start, first, second, kept, stop, spm, .. } = document;
            // A marker stands for the token that follows it in the row, if the document has one there.
            let last = stop.max(1) - 1;
            let [prefix_at, middle_at, suffix_at] = [start, first, second].map(|at| at.min(last));
            writer.part(position, start);
            match (spm, spec.spm_format) {
                (false, _) => {
                    writer.marker(spec.prefix, prefix_at);
                    writer.part(start, first);
                    writer.marker(spec.suffix, suffix_at);
                    writer.part(second, kept);
                    writer.marker(spec.middle, middle_at);
                }
                (true, SpmFormat::Joint) => {
                    writer.marker(spec.prefix, prefix_at);
                    writer.marker(spec.suffix, suffix_at);
                    writer.part(second, kept);
                    writer.marker(spec.middle, middle_at);
                    writer.part(start, first);
                }
                (true, format) => {
                    writer.marker(spec.suffix, suffix_at);
                    writer.part(second, kept);
                    writer.marker(spec.prefix, prefix_at);
                    writer.part(start, first);
                    if format == SpmFormat::Plain {
                        writer.marker(spec.middle, middle_at);
                    }
                }
            }
            writer.part(first, second);
            if let Some(eot) = spec.eot {
                writer.marker(eot, last);
            }
            position = stop;
        }
        writer.part(position, self.rows[i].len() as u32); // in 32 bits, as `check_len` made sure
    }

    /// The places of the output without loss, in a row that becomes `len` long.
    pub(super) fn prompts(&self, documents: &[Document], len: usize) -> impl Iterator<Item = Range<usize>> {
        let spec = self.spec;
        let documents = if spec.loss == Loss::Middle { documents } else { &[] };
        documents.iter().scan(0, move |grown, document| {
            let &Document { start, first, second, kept, spm, .. } = document;
            let at = start as usize + *grown;
            let end = at + spec.markers(spm) + (first - start) as usize + (kept - second) as usize;
            if spec.length != Length::Keep {
                *grown += spec.added(spm);
            }
            Some(at.min(len)..end.min(len))
        })
    }
}

/// What is written for the tokens of a row, and for the ids that are added.
trait Values {
    fn part_into(&self, range: Range<usize>, out: &mut [i64]);

    fn marker(&self, id: u32, source: u32) -> i64;
}

/// The ids of a row.
struct Ids<'a, T>(&'a [T]);

impl<T: Token> Values for Ids<'_, T> {
    fn part_into(&self, range: Range<usize>, out: &mut [i64]) {
        stop::copy(&self.0[range], out);
    }

    fn marker(&self, id: u32, _: u32) -> i64 {
        i64::from(id)
    }
}

/// The positions in a row.
struct Positions;

impl Values for Positions {
    fn part_into(&self, range: Range<usize>, out: &mut [i64]) {
        out.iter_mut().zip(range).for_each(|(place, at)| *place = at as i64);
    }

    fn marker(&self, _: u32, source: u32) -> i64 {
        i64::from(source)
    }
}

/// Writes values one after the other, and drops those that have no place.
struct Writer<'o, V> {
    values: &'o V,
    out: &'o mut [i64],
    at: usize,
}

impl<V: Values> Writer<'_, V> {
    /// The tokens `from..to` of the row.
    fn part(&mut self, from: u32, to: u32) {
        let (from, room) = (from as usize, &mut self.out[self.at..]);
        let len = (to as usize - from).min(room.len());
        self.values.part_into(from..from + len, &mut room[..len]);
        self.at += len;
    }

    /// An id that is added; `source` is the token that it stands for.
    fn marker(&mut self, id: u32, source: u32) {
        if let Some(place) = self.out.get_mut(self.at) {
            *place = self.values.marker(id, source);
            self.at += 1;
        }
    }
}

//! Noise that makes an input and a target of each row: rows are planned, so that the size of a batch is known, then written in one pass.

use crate::Error;
use crate::batch::{Layout, Shape, decoder_inputs_into};
use core::ops::Range;

/// What a batch looks like. Rows of inputs and rows of labels have separate layouts.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// The layout of inputs and attention mask.
    pub inputs: Layout,
    /// The layout of labels and decoder inputs.
    pub labels: Layout,
    /// Pads inputs and decoder inputs.
    pub padding: i64,
    /// Pads labels.
    pub ignore_index: i64,
    /// The first id of decoder inputs.
    pub decoder_start: i64,
}

/// The buffers of a batch. If `attention`, `decoder` or `sources` is empty, it is not written.
#[derive(Debug)]
pub struct Outputs<'o> {
    /// Rows with noise.
    pub inputs: &'o mut [i64],
    /// 1 for tokens, 0 for padding.
    pub attention: &'o mut [i64],
    /// The tokens that the model must produce.
    pub labels: &'o mut [i64],
    /// The labels shifted by one place, after the start token.
    pub decoder: &'o mut [i64],
    /// Which token of its row each place of the inputs stands for; -1 for padding.
    pub sources: &'o mut [i64],
}

/// The plan of a row.
pub trait Lengths {
    /// The lengths of its inputs and of its targets.
    fn lengths(&self) -> (usize, usize);
}

/// Rows that get noise with the same settings.
pub trait SeqToSeq: Sized {
    /// What is known of a row before its tokens are written.
    type Plan: Lengths + Clone + Default;
    /// Memory that is reused from row to row.
    type Scratch: Default;

    /// The length of each row.
    fn row_lengths(&self) -> impl ExactSizeIterator<Item = usize>;

    /// The same for the rows `range`, numbered from 0 again.
    fn slice(&self, range: Range<usize>) -> Self;

    /// Plans row `i`.
    ///
    /// Errors: whatever makes the row unusable.
    fn plan_row(&self, i: usize, scratch: &mut Self::Scratch) -> Result<Self::Plan, Error>;

    /// Writes inputs and targets of row `i` as planned, and completes its plan.
    ///
    /// Errors: whatever makes the row unusable; [`Error::Length`] if `inputs` or `targets` is not as long as planned; [`Error::Changed`] if the
    /// row was planned with other contents.
    fn write_row(
        &self,
        i: usize,
        plan: &mut Self::Plan,
        scratch: &mut Self::Scratch,
        inputs: &mut [i64],
        targets: &mut [i64],
    ) -> Result<(), Error>;

    /// Writes which token of row `i` each place of its inputs stands for. `scratch` holds the noise that [`SeqToSeq::write_row`] has drawn.
    fn write_sources(&self, i: usize, plan: &Self::Plan, scratch: &mut Self::Scratch, out: &mut [i64]);

    /// Plans all rows.
    ///
    /// Errors: as [`SeqToSeq::plan_row`].
    fn plan_into(&self, plans: &mut [Self::Plan]) -> Result<(), Error> {
        let mut scratch = Self::Scratch::default();
        plans.iter_mut().enumerate().try_for_each(|(i, plan)| {
            *plan = self.plan_row(i, &mut scratch)?;
            Ok(())
        })
    }

    /// Writes all rows as planned, padding included, and completes the plans.
    ///
    /// Errors: as [`SeqToSeq::write_row`]; [`Error::Length`] and [`Error::Width`] if an output was made for other plans.
    fn write_into(&self, plans: &mut [Self::Plan], batch: &Batch, outputs: Outputs) -> Result<(), Error> {
        let Outputs { mut inputs, mut attention, mut labels, mut decoder, mut sources } = outputs;
        let mut scratch = Self::Scratch::default();
        for (i, plan) in plans.iter_mut().enumerate() {
            let (input_len, label_len) = plan.lengths();
            let mut input = batch.inputs.next_cell(i, 0..input_len, &mut inputs)?;
            let before = labels.len();
            let mut label = batch.labels.next_cell(i, 0..label_len, &mut labels)?;
            let label_width = before - labels.len();
            input.fill_padding(batch.padding);
            label.fill_padding(batch.ignore_index);
            self.write_row(i, plan, &mut scratch, input.content, label.content)?;
            if !attention.is_empty() {
                batch.inputs.next_cell(i, 0..input_len, &mut attention)?.fill(1, 0);
            }
            if !sources.is_empty() {
                let mut cell = batch.inputs.next_cell(i, 0..input_len, &mut sources)?;
                cell.fill_padding(-1);
                self.write_sources(i, plan, &mut scratch, cell.content);
            }
            if !decoder.is_empty() {
                let packed = Layout { shape: Shape::Packed, max_len: usize::MAX };
                let cell = packed.next_cell(i, 0..label_width, &mut decoder)?;
                decoder_inputs_into(&label, batch.decoder_start, batch.padding, cell.content);
            }
        }
        Ok(())
    }
}

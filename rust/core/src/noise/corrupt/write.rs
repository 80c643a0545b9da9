//! Planned rows -> a batch, in one pass, row by row.

use super::super::apply::{apply, sources_into};
use super::super::row::{check_and_key, without_eos};
use super::{Corruption, RowPlan, Scratch, Span};
use crate::batch::{Layout, Shape, decoder_inputs_into};
use crate::stop;
use crate::{Error, Token};

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
    /// Corrupted rows.
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

impl<T: Token> Corruption<'_, T> {
    /// Writes all rows as planned, padding included, and completes the plans with their keys.
    ///
    /// Errors: as [`Corruption::write_row`]; [`Error::Length`] and [`Error::Width`] if an output was made for other plans.
    pub fn write_into(&self, plans: &mut [RowPlan], batch: &Batch, outputs: Outputs) -> Result<(), Error> {
        let Outputs { mut inputs, mut attention, mut labels, mut decoder, mut sources } = outputs;
        let mut scratch = Scratch::default();
        for (i, plan) in plans.iter_mut().enumerate() {
            let (mut input, mut label);
            (input, inputs) = batch.inputs.split_cell(i, 0..plan.inputs, inputs)?;
            let before = labels.len();
            (label, labels) = batch.labels.split_cell(i, 0..plan.targets, labels)?;
            let label_width = before - labels.len();
            input.fill_padding(batch.padding);
            label.fill_padding(batch.ignore_index);
            self.write_row(i, plan, &mut scratch, input.content, label.content)?;
            if !attention.is_empty() {
                let mut cell;
                (cell, attention) = batch.inputs.split_cell(i, 0..plan.inputs, attention)?;
                cell.fill(1, 0);
            }
            if !sources.is_empty() {
                let mut cell;
                (cell, sources) = batch.inputs.split_cell(i, 0..plan.inputs, sources)?;
                cell.fill_padding(-1);
                self.write_sources(i, plan, &scratch.spans, cell.content);
            }
            if !decoder.is_empty() {
                let packed = Layout { shape: Shape::Packed, max_len: usize::MAX };
                let cell;
                (cell, decoder) = packed.split_cell(i, 0..label_width, decoder)?;
                decoder_inputs_into(&label, batch.decoder_start, batch.padding, cell.content);
            }
        }
        Ok(())
    }

    /// Writes inputs and targets of row `i` as planned, and completes its plan with its key.
    ///
    /// Errors: [`Error::IdRange`], [`Error::Sentinel`]; [`Error::Length`] if `inputs` or `targets` is not as long as planned;
    /// [`Error::Changed`] if the row was planned with other contents.
    pub fn write_row(
        &self,
        i: usize,
        plan: &mut RowPlan,
        scratch: &mut Scratch,
        inputs: &mut [i64],
        targets: &mut [i64],
    ) -> Result<(), Error> {
        for (want, got) in [(plan.inputs, inputs.len()), (plan.targets, targets.len())] {
            if want != got {
                return Err(Error::Length { want, got });
            }
        }
        let row = self.rows[i];
        let body = without_eos(row, self.spec.eos);
        let known = plan.key.or(self.options.keys.map(|keys| keys[i]));
        let key = check_and_key(i, body, &self.spec.forbidden, known, &mut scratch.pack)?;
        plan.key = Some(key);
        let Some(number) = plan.denoiser else {
            stop::copy(&row[..inputs.len()], inputs);
            return Ok(());
        };
        let body = body.get(..plan.used as usize).ok_or(Error::Changed { row: i })?;
        let denoiser = self.denoiser(i, number as usize);
        self.spans_of(i, body, &denoiser, key, scratch)?;
        let written = apply(body, &scratch.spans, &self.spec.affixes(&denoiser), inputs, targets);
        // They differ only if another thread wrote to the row or to a column since it was planned. The outputs would then have places that
        // nobody wrote.
        if written == (plan.inputs, plan.targets) { Ok(()) } else { Err(Error::Changed { row: i }) }
    }

    /// Writes which token of row `i` each place of its inputs stands for. `spans`: those that [`Corruption::write_row`] has drawn.
    fn write_sources(&self, i: usize, plan: &RowPlan, spans: &[Span], out: &mut [i64]) {
        let Some(number) = plan.denoiser else {
            out.iter_mut().zip(0..).for_each(|(place, at)| *place = at);
            return;
        };
        let row = self.rows[i];
        let whole = plan.used as usize == without_eos(row, self.spec.eos).len();
        // Where a row is cut, its own EOS is cut off too: the last token that is left stands for the new one.
        let eos = if whole { row.len() as u32 } else { plan.used }.saturating_sub(1);
        let affixes = self.spec.affixes(&self.denoiser(i, number as usize));
        let written = sources_into(plan.used, eos, spans, &affixes, out);
        debug_assert_eq!(written, plan.inputs, "as many sources as inputs");
    }

    /// Writes which tokens of all rows are hidden, a flag for each token.
    ///
    /// Errors: [`Error::IdRange`], [`Error::Sentinel`]; [`Error::Length`] if `out` is not as long as all rows together.
    pub fn mask_into(&self, plans: &[RowPlan], out: &mut [bool]) -> Result<(), Error> {
        let (want, got) = (self.rows.iter().map(|row| row.len()).sum(), out.len());
        if want != got {
            return Err(Error::Length { want, got });
        }
        stop::fill(out, false);
        let (mut scratch, mut rest) = (Scratch::default(), out);
        for (i, plan) in plans.iter().enumerate() {
            let mask;
            (mask, rest) = rest.split_at_mut(self.rows[i].len());
            let Some(number) = plan.denoiser else { continue };
            let body = without_eos(self.rows[i], self.spec.eos);
            let known = plan.key.or(self.options.keys.map(|keys| keys[i]));
            let key = check_and_key(i, body, &self.spec.forbidden, known, &mut scratch.pack)?;
            let denoiser = self.denoiser(i, number as usize);
            let body = body.get(..plan.used as usize).ok_or(Error::Changed { row: i })?;
            self.spans_of(i, body, &denoiser, key, &mut scratch)?;
            for span in &scratch.spans {
                mask[span.start as usize..span.stop as usize].fill(true);
            }
        }
        Ok(())
    }
}

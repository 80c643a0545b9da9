//! Planned rows -> inputs and targets, or a mask.

use super::super::apply::{apply, sources_into};
use super::super::row::{check_and_key, without_eos};
use super::super::seq_to_seq::{Lengths, SeqToSeq};
use super::{Corruption, RowPlan, Scratch};
use crate::stop::{self, EVERY};
use crate::{Error, Token};
use core::ops::Range;

impl Lengths for RowPlan {
    fn lengths(&self) -> (usize, usize) {
        (self.inputs, self.targets)
    }
}

impl<T: Token> SeqToSeq for Corruption<'_, T> {
    type Plan = RowPlan;
    type Scratch = Scratch;

    fn row_lengths(&self) -> impl ExactSizeIterator<Item = usize> {
        self.rows.iter().map(|row| row.len())
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self { rows: &self.rows[range.clone()], options: self.options.slice(range), ..*self }
    }

    fn plan_row(&self, i: usize, scratch: &mut Scratch) -> Result<RowPlan, Error> {
        self.planned_part(i, scratch)
    }

    /// Completes the plan with the row's key. Errors: [`Error::IdRange`], [`Error::Sentinel`], and those of every [`SeqToSeq`].
    fn write_row(
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

    fn write_sources(&self, i: usize, plan: &RowPlan, scratch: &mut Scratch, out: &mut [i64]) {
        let Some(number) = plan.denoiser else {
            out.iter_mut().zip(0..).for_each(|(place, at)| *place = at);
            return;
        };
        let row = self.rows[i];
        let whole = plan.used as usize == without_eos(row, self.spec.eos).len();
        // Where a row is cut, its own EOS is cut off too: the last token that is left stands for the new one.
        let eos = if whole { row.len() as u32 } else { plan.used }.saturating_sub(1);
        let affixes = self.spec.affixes(&self.denoiser(i, number as usize));
        let written = sources_into(plan.used, eos, &scratch.spans, &affixes, out);
        debug_assert_eq!(written, plan.inputs, "as many sources as inputs");
    }
}

impl<T: Token> Corruption<'_, T> {
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
            let mut next = EVERY;
            for span in &scratch.spans {
                stop::poll_past(span.start as usize, &mut next);
                mask[span.start as usize..span.stop as usize].fill(true);
            }
        }
        Ok(())
    }
}

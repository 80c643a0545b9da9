//! The lengths of a row's outputs, mostly without drawing.

use super::super::mixture::{Denoiser, Objective, Split};
use super::super::plan::longest;
use super::super::row::{check_and_key, check_len, without_eos};
use super::{Corruption, Scratch};
use crate::error::Column;
use crate::rng::Purpose;
use crate::{Error, Token};

/// What is known of a row before its tokens are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowPlan {
    /// Length of its inputs.
    pub inputs: usize,
    /// Length of its targets; 0 if the row is copied unchanged.
    pub targets: usize,
    /// How many of its tokens are used, without its EOS.
    pub used: u32,
    /// How many of these tokens are hidden.
    pub hidden: u32,
    /// The number of hidden spans.
    pub spans: u32,
    /// The number of its denoiser; `None` if the row is copied unchanged.
    pub denoiser: Option<u32>,
    /// Its key, once it was needed.
    pub key: Option<u64>,
}

impl<T: Token> Corruption<'_, T> {
    /// Plans all rows.
    pub fn plan_into(&self, plans: &mut [RowPlan]) -> Result<(), Error> {
        let mut scratch = Scratch::default();
        plans.iter_mut().enumerate().try_for_each(|(i, plan)| {
            *plan = self.plan_row(i, &mut scratch)?;
            Ok(())
        })
    }

    fn plan_row(&self, i: usize, scratch: &mut Scratch) -> Result<RowPlan, Error> {
        let row = self.rows[i];
        check_len(i, row.len())?;
        let body = without_eos(row, self.spec.eos);
        let unchanged = RowPlan { inputs: row.len(), used: body.len() as u32, ..RowPlan::default() };
        if body.len() < 2 {
            return self.within_limits(i, unchanged);
        }
        self.check_columns(i, row.len())?;
        let mut plan = unchanged;
        plan.key = self.options.keys.map(|keys| keys[i]);
        if self.needs_key() && plan.key.is_none() {
            plan.key = Some(check_and_key(i, body, &self.spec.forbidden, None, &mut scratch.pack)?);
        }
        let number = match plan.key {
            Some(key) if self.options.noise_mask.is_none() => self.spec.mixture.choose(self.seed_epoch, key),
            _ => 0,
        };
        let denoiser = self.denoiser(i, number);
        plan.denoiser = Some(number as u32);
        self.shorten(i, &denoiser, &mut plan);
        loop {
            if plan.used < 2 {
                return self.within_limits(i, RowPlan { key: plan.key, ..unchanged });
            }
            let Some(planned) = self.plan_part(i, &body[..plan.used as usize], &denoiser, plan, scratch)?
            else {
                return self.within_limits(i, RowPlan { key: plan.key, ..unchanged });
            };
            let over = self.options.limits.map_or(0, |limits| {
                let (inputs, targets) = (planned.inputs, planned.targets);
                inputs.saturating_sub(limits.inputs).max(targets.saturating_sub(limits.targets))
            });
            if over == 0 {
                return Ok(planned);
            }
            plan.used = plan.used.saturating_sub(over.min(u32::MAX as usize) as u32);
        }
    }

    /// Errors: [`Error::ColumnLength`] if a column is not aligned with row `i`, which has `len` tokens.
    fn check_columns(&self, i: usize, len: usize) -> Result<(), Error> {
        self.options.rules.check(i, len)?;
        match self.options.noise_mask.map(|mask| mask.bounds(i).len()) {
            Some(got) if got != len => {
                Err(Error::ColumnLength { row: i, column: Column::NoiseMask, ids: len, got })
            }
            _ => Ok(()),
        }
    }

    /// Finds the longest beginning of row `i` that fits the limits, if lengths follow from the plan: they grow with the row, so nothing
    /// has to be drawn.
    fn shorten(&self, i: usize, denoiser: &Denoiser, plan: &mut RowPlan) {
        let Some(limits) = self.options.limits else { return };
        if !self.planned || !matches!(denoiser.objective, Objective::Spans { .. }) {
            return;
        }
        let fits = |len| {
            let plan = self.planned_row(i, denoiser, len, 0).unwrap_or_default();
            plan.inputs <= limits.inputs && plan.targets <= limits.targets
        };
        if !fits(plan.used) {
            plan.used = longest(plan.used, fits).unwrap_or(0);
        }
    }

    /// The plan for a beginning of row `i`; `None` if fewer than two of its units may be hidden.
    fn plan_part(
        &self,
        i: usize,
        part: &[T],
        denoiser: &Denoiser,
        plan: RowPlan,
        scratch: &mut Scratch,
    ) -> Result<Option<RowPlan>, Error> {
        let key = plan.key.unwrap_or(0);
        let drawn = self.options.noise_mask.is_none();
        if self.planned || drawn && self.options.rules.leave_free(i, part) {
            let RowPlan { inputs, targets, hidden, spans, .. } =
                self.planned_row(i, denoiser, plan.used, key)?;
            return Ok(Some(RowPlan { inputs, targets, hidden, spans, ..plan }));
        }
        self.spans_of(i, part, denoiser, key, scratch)?;
        if scratch.spans.is_empty() && drawn {
            return Ok(None);
        }
        let hidden: u32 = scratch.spans.iter().map(|span| span.stop - span.start).sum();
        let spans = scratch.spans.len();
        let affixes = self.spec.affixes(denoiser);
        let (inputs, targets) = affixes.lengths(plan.used as usize, hidden as usize, spans);
        Ok(Some(RowPlan { inputs, targets, hidden, spans: spans as u32, ..plan }))
    }

    /// Errors: [`Error::Width`] for a row that is copied unchanged and does not fit, since no plan chose its length.
    fn within_limits(&self, row: usize, plan: RowPlan) -> Result<RowPlan, Error> {
        match self.options.limits {
            Some(limits) if plan.inputs > limits.inputs => {
                Err(Error::Width { row, len: plan.inputs, width: limits.inputs })
            }
            _ => Ok(plan),
        }
    }

    /// Whether lengths depend on the key.
    fn needs_key(&self) -> bool {
        let uniform = |denoiser: &Denoiser| denoiser.objective == Objective::Prefix(Split::Uniform);
        self.options.noise_mask.is_none()
            && (!self.planned
                || self.spec.mixture.is_drawn()
                || self.spec.mixture.denoisers().iter().any(uniform))
    }

    /// The lengths for `len` tokens that may all be hidden.
    fn planned_row(&self, i: usize, denoiser: &Denoiser, len: u32, key: u64) -> Result<RowPlan, Error> {
        let plan = denoiser.objective.plan(len, || self.seed_epoch.stream(key, Purpose::Spans));
        let spans = if denoiser.sentinels { self.spec.affordable(i, plan.spans)? } else { plan.spans };
        let affixes = self.spec.affixes(denoiser);
        let (inputs, targets) = affixes.lengths(len as usize, plan.noise as usize, spans as usize);
        Ok(RowPlan { inputs, targets, hidden: plan.noise, spans, ..RowPlan::default() })
    }
}

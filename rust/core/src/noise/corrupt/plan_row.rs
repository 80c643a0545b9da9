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
    /// Plans row `i`.
    ///
    /// Of a row that does not fit the limits, a beginning is used: the longest that fits, if lengths follow from the settings, since they then grow
    /// with the row. If they depend on the draw, neither do they grow with each token, nor may every beginning be drawn: a beginning is found by
    /// bisection that fits, and that would not fit with one more token. A beginning that needs more sentinels than there are does not fit.
    pub(super) fn planned_part(&self, i: usize, scratch: &mut Scratch) -> Result<RowPlan, Error> {
        let row = self.rows[i];
        check_len(i, row.len())?;
        let body = without_eos(row, self.spec.eos);
        if body.len() < 2 {
            return Ok(self.unchanged(i, body, RowPlan::default()));
        }
        self.check_columns(i, row.len())?;
        let mut plan = RowPlan { key: self.options.keys.map(|keys| keys[i]), ..RowPlan::default() };
        if self.needs_key() && plan.key.is_none() {
            plan.key = Some(check_and_key(i, body, &self.spec.forbidden, None, &mut scratch.pack)?);
        }
        let number = match plan.key {
            Some(key) if self.options.noise_mask.is_none() => self.spec.mixture.choose(self.seed_epoch, key),
            _ => 0,
        };
        let denoiser = self.denoiser(i, number);
        plan.denoiser = Some(number as u32);
        let mut plan_of = |len: usize| self.plan_part(i, &body[..len], &denoiser, plan, scratch);
        let Some(limits) = self.options.limits else { return plan_of(body.len()) };
        // Each token is in the inputs or in the targets: longer beginnings need not be drawn.
        let most = body.len().min(limits.inputs.saturating_add(limits.targets));
        let longest_part = plan_of(most);
        match longest_part {
            Ok(part) if most == body.len() && limits.hold(part.inputs, part.targets) => return Ok(part),
            Ok(_) | Err(Error::Exhausted { .. }) => {}
            Err(error) => return Err(error),
        }
        let fits = |len| plan_of(len as usize).is_ok_and(|part| limits.hold(part.inputs, part.targets));
        match longest(most as u32, fits) {
            Some(len) => plan_of(len as usize),
            None => longest_part.and_then(|RowPlan { inputs, targets, .. }| {
                let over_inputs = inputs > limits.inputs;
                let (len, width) =
                    if over_inputs { (inputs, limits.inputs) } else { (targets, limits.targets) };
                Err(Error::Width { row: i, len, width })
            }),
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

    /// The plan for a beginning of row `i`; it is copied unchanged if fewer than two of its units may be hidden.
    fn plan_part(
        &self,
        i: usize,
        part: &[T],
        denoiser: &Denoiser,
        plan: RowPlan,
        scratch: &mut Scratch,
    ) -> Result<RowPlan, Error> {
        let (used, key) = (part.len() as u32, plan.key.unwrap_or(0));
        let drawn = self.options.noise_mask.is_none();
        if drawn && part.len() < 2 {
            return Ok(self.unchanged(i, part, plan));
        }
        if self.planned || drawn && self.options.rules.leave_free(i, part) {
            let RowPlan { inputs, targets, hidden, spans, .. } = self.planned_row(i, denoiser, used, key)?;
            return Ok(RowPlan { inputs, targets, hidden, spans, used, ..plan });
        }
        self.spans_of(i, part, denoiser, key, scratch)?;
        if scratch.spans.is_empty() && drawn {
            return Ok(self.unchanged(i, part, plan));
        }
        let hidden: u32 = scratch.spans.iter().map(|span| span.stop - span.start).sum();
        let spans = scratch.spans.len();
        let affixes = self.spec.affixes(denoiser);
        let (inputs, targets) = affixes.lengths(part.len(), hidden as usize, spans);
        Ok(RowPlan { inputs, targets, hidden, spans: spans as u32, used, ..plan })
    }

    /// The plan for a beginning of row `i` that is copied unchanged: with the row's own EOS, if it is the whole row and fits.
    fn unchanged(&self, i: usize, part: &[T], plan: RowPlan) -> RowPlan {
        let row = self.rows[i];
        let most = self.options.limits.map_or(usize::MAX, |limits| limits.inputs);
        let whole = part.len() == without_eos(row, self.spec.eos).len() && row.len() <= most;
        let inputs = if whole { row.len() } else { part.len() };
        RowPlan { inputs, used: part.len() as u32, key: plan.key, ..RowPlan::default() }
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

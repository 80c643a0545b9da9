//! Span corruption of many rows: first how long everything gets, then one pass that writes it.
//! Oracle: `spanmask.reference.corrupt`.

use super::apply::{Frame, apply};
use super::draw::{self, Layout as SpanLayout, Span, draw};
use super::ids::IdSet;
use super::mixture::{Denoiser, Mixture, Objective, Split};
use super::plan::{Plan, fit, longest, plan};
use super::row::{check_and_key, check_len, without_eos};
use super::units::{Rules, expand, step_over};
use crate::batch::{Layout, Shape};
use crate::error::Column;
use crate::rng::{Purpose, Source};
use crate::{Error, Ragged, Token};
use core::ops::Range;

/// What becomes of a row with more spans than there are sentinels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExhausted {
    /// [`Error::Exhausted`].
    Raise,
    /// Drawn as planned; the last spans become one.
    Merge,
    /// Drawn with fewer, longer spans.
    Cap,
}

/// How rows are corrupted.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The ways, and how often each is used.
    pub mixture: Mixture,
    /// In the order in which spans take them.
    pub sentinels: Vec<u32>,
    /// Ids that no row may hold: the sentinels, or none.
    pub forbidden: IdSet,
    /// At the end of inputs and targets; a row's own is set aside.
    pub eos: Option<u32>,
    /// One more sentinel at the end of targets.
    pub final_sentinel: bool,
    /// Where spans may stand.
    pub layout: SpanLayout,
    /// Too few sentinels.
    pub on_exhausted: OnExhausted,
    /// Never hidden.
    pub protected_ids: IdSet,
}

impl Spec {
    /// How many spans have a sentinel.
    fn most_spans(&self) -> u32 {
        self.sentinels.len().saturating_sub(usize::from(self.final_sentinel)) as u32
    }

    /// What a denoiser puts around and between the tokens.
    pub fn frame(&self, denoiser: &Denoiser) -> Frame<'_> {
        Frame {
            mode: denoiser.mode,
            sentinels: denoiser.sentinels.then_some(&self.sentinels),
            final_sentinel: self.final_sentinel,
            eos: self.eos,
        }
    }
}

impl Spec {
    /// The greatest row length whose inputs fit `inputs_length` under a denoiser, the length of its targets, and its spans.
    ///
    /// `None` where not even two tokens fit. `spans` may be more than there are sentinels: then rows of this length are errors.
    pub fn plan_lengths(&self, denoiser: &Denoiser, inputs_length: usize) -> Option<(u32, u32, u32)> {
        let frame = self.frame(denoiser);
        let (density, plan_of): (f64, &dyn Fn(u32) -> Plan) = match denoiser.objective {
            Objective::Spans { density, mean } => (density, &move |len| plan(len, density, mean)),
            Objective::Prefix(Split::Density(density)) => {
                (density, &move |len| Plan { spans: 1, ..plan(len, density, f64::from(len)) })
            }
            Objective::Prefix(Split::Uniform) => {
                // Anything may come: the longest inputs and the longest targets, each one token short of the row.
                let lengths = |len: u32| frame.lengths(len as usize, 1, 1).0;
                let len = longest(u32::MAX - 3, |len| lengths(len) <= inputs_length)?;
                let targets = frame.lengths(len as usize, len as usize - 1, 1).1;
                return Some((len, u32::try_from(targets).ok()?, 1));
            }
        };
        let spans = |spans: u32| match self.on_exhausted {
            OnExhausted::Raise => spans,
            OnExhausted::Merge | OnExhausted::Cap => spans.min(self.most_spans()),
        };
        let (len, targets) = fit(inputs_length, density, |len| {
            let plan = plan_of(len);
            frame.lengths(len as usize, plan.noise as usize, spans(plan.spans) as usize)
        })?;
        Some((len, targets, spans(plan_of(len).spans)))
    }
}

/// Greatest lengths of inputs and targets; rows are cut until theirs fit.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of the inputs.
    pub inputs: usize,
    /// Of the targets.
    pub targets: usize,
}

/// What a call is given beside rows and spec.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// Keys of the rows, instead of hashes of what they hold.
    pub keys: Option<&'a [u64]>,
    /// Density by row, instead of the denoiser's.
    pub densities: Option<&'a [f64]>,
    /// Mean span length by row, instead of the denoiser's.
    pub means: Option<&'a [f64]>,
    /// What is hidden, by token: nothing is drawn.
    pub noise_mask: Option<Ragged<'a, bool>>,
    /// What may be hidden. `protected_ids` is the spec's business.
    pub rules: Rules<'a>,
    /// Fixed lengths.
    pub limits: Option<Limits>,
}

impl Extras<'_> {
    /// The same for the rows `range`.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self {
            keys: self.keys.map(|keys| &keys[range.clone()]),
            densities: self.densities.map(|all| &all[range.clone()]),
            means: self.means.map(|all| &all[range.clone()]),
            noise_mask: self.noise_mask.map(|mask| mask.slice(range.clone())),
            rules: self.rules.slice(range),
            limits: self.limits,
        }
    }

    fn check(&self, rows: usize) -> Result<(), Error> {
        let counts = [
            self.keys.map(<[_]>::len),
            self.densities.map(<[_]>::len),
            self.means.map(<[_]>::len),
            self.noise_mask.map(|mask| mask.len()),
            self.rules.protected.map(|flags| flags.len()),
        ];
        match counts.into_iter().flatten().find(|&got| got != rows) {
            Some(got) => Err(Error::Length { want: rows, got }),
            None => Ok(()),
        }
    }
}

/// What is known of a row before its tokens are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowPlan {
    /// Length of its inputs.
    pub inputs: usize,
    /// Length of its targets; 0 where the row is copied through.
    pub targets: usize,
    /// How many of its tokens are used, without its EOS.
    pub taken: u32,
    /// How many of those are hidden.
    pub hidden: u32,
    /// In how many spans.
    pub spans: u32,
    /// The number of its denoiser; `None` where the row is copied through.
    pub denoiser: Option<u32>,
    /// Its key, once someone needed it.
    pub key: Option<u64>,
}

/// Memory that goes from row to row.
#[derive(Debug, Default)]
pub struct Scratch {
    draw: draw::Scratch,
    spans: Vec<Span>,
    units: Vec<Span>,
    held: Vec<u32>,
    expanded: Vec<Span>,
    pack: Vec<[u8; 4]>,
}

/// Rows to be corrupted in one way.
#[derive(Debug, Clone, Copy)]
pub struct Corruption<'a, T> {
    rows: &'a [&'a [T]],
    spec: &'a Spec,
    source: Source,
    extras: Extras<'a>,
    /// Lengths follow from the plan, without drawing.
    planned: bool,
}

impl<'a, T: Token> Corruption<'a, T> {
    /// Errors: [`Error::Length`] where something given by row has another number of rows.
    pub fn new(
        rows: &'a [&'a [T]],
        spec: &'a Spec,
        source: Source,
        mut extras: Extras<'a>,
    ) -> Result<Self, Error> {
        extras.check(rows.len())?;
        extras.rules.protected_ids = Some(&spec.protected_ids);
        let planned = extras.noise_mask.is_none() && extras.rules.is_free();
        Ok(Self { rows, spec, source, extras, planned })
    }

    /// The rows.
    pub fn rows(&self) -> &'a [&'a [T]] {
        self.rows
    }

    /// The same for the rows `range`; their number within it counts from 0 again.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self { rows: &self.rows[range.clone()], extras: self.extras.slice(range), ..*self }
    }

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
        let untouched = RowPlan { inputs: row.len(), taken: body.len() as u32, ..RowPlan::default() };
        if body.len() < 2 {
            return self.within_limits(i, untouched);
        }
        self.extras.rules.check(i, row.len())?;
        if let Some(mask) = self.extras.noise_mask
            && mask.bounds(i).len() != row.len()
        {
            let got = mask.bounds(i).len();
            return Err(Error::ColumnLength { row: i, column: Column::NoiseMask, ids: row.len(), got });
        }
        let mut plan = untouched;
        plan.key = self.extras.keys.map(|keys| keys[i]);
        if self.needs_key() && plan.key.is_none() {
            plan.key = Some(check_and_key(i, body, &self.spec.forbidden, None, &mut scratch.pack)?);
        }
        let number = match plan.key {
            Some(key) if self.extras.noise_mask.is_none() => self.spec.mixture.choose(self.source, key),
            _ => 0,
        };
        let denoiser = self.denoiser(i, number);
        let frame = self.spec.frame(&denoiser);
        plan.denoiser = Some(number as u32);
        if let Some(limits) = self.extras.limits
            && self.planned
            && matches!(denoiser.objective, Objective::Spans { .. })
        {
            // Lengths grow with the row: the longest beginning that fits is found without drawing.
            let fits = |len| {
                let plan = self.planned_row(i, &denoiser, len, 0).unwrap_or_default();
                plan.inputs <= limits.inputs && plan.targets <= limits.targets
            };
            if !fits(plan.taken) {
                plan.taken = longest(plan.taken, fits).unwrap_or(0);
            }
        }
        loop {
            if plan.taken < 2 {
                return self.within_limits(i, RowPlan { key: plan.key, ..untouched });
            }
            let part = &body[..plan.taken as usize];
            let planned =
                self.planned || self.extras.noise_mask.is_none() && self.extras.rules.leave_free(i, part);
            let RowPlan { inputs, targets, hidden, spans, .. } = if planned {
                self.planned_row(i, &denoiser, plan.taken, plan.key.unwrap_or(0))?
            } else {
                self.spans_of(i, part, &denoiser, plan.key.unwrap_or(0), scratch)?;
                if scratch.spans.is_empty() && self.extras.noise_mask.is_none() {
                    // Less than two tokens may be hidden: nothing to learn here.
                    return self.within_limits(i, RowPlan { key: plan.key, ..untouched });
                }
                let hidden: u32 = scratch.spans.iter().map(|span| span.stop - span.start).sum();
                let spans = scratch.spans.len();
                let (inputs, targets) = frame.lengths(plan.taken as usize, hidden as usize, spans);
                RowPlan { inputs, targets, hidden, spans: spans as u32, ..plan }
            };
            let over = self.extras.limits.map_or(0, |limits| {
                inputs.saturating_sub(limits.inputs).max(targets.saturating_sub(limits.targets))
            });
            if over == 0 {
                return Ok(RowPlan { inputs, targets, hidden, spans, ..plan });
            }
            plan.taken = plan.taken.saturating_sub(over.min(u32::MAX as usize) as u32);
        }
    }

    /// A row that is copied through has a length that no plan chose.
    fn within_limits(&self, row: usize, plan: RowPlan) -> Result<RowPlan, Error> {
        match self.extras.limits {
            Some(limits) if plan.inputs > limits.inputs => {
                Err(Error::Width { row, len: plan.inputs, width: limits.inputs })
            }
            _ => Ok(plan),
        }
    }

    /// Whether lengths depend on the key.
    fn needs_key(&self) -> bool {
        let uniform = |denoiser: &Denoiser| denoiser.objective == Objective::Prefix(Split::Uniform);
        self.extras.noise_mask.is_none()
            && (!self.planned
                || self.spec.mixture.is_drawn()
                || self.spec.mixture.denoisers().iter().any(uniform))
    }

    /// Denoiser `number` with what row `i` overrides.
    fn denoiser(&self, i: usize, number: usize) -> Denoiser {
        let mut denoiser = self.spec.mixture.denoisers()[number];
        if let Objective::Spans { density, mean } = &mut denoiser.objective {
            *density = self.extras.densities.map_or(*density, |all| all[i]);
            *mean = self.extras.means.map_or(*mean, |all| all[i]);
        }
        denoiser
    }

    fn planned_row(&self, i: usize, denoiser: &Denoiser, len: u32, key: u64) -> Result<RowPlan, Error> {
        let plan = denoiser.objective.plan(len, || self.source.stream(key, Purpose::Spans));
        let spans = if denoiser.sentinels { self.affordable(i, plan.spans)? } else { plan.spans };
        let frame = self.spec.frame(denoiser);
        let (inputs, targets) = frame.lengths(len as usize, plan.noise as usize, spans as usize);
        Ok(RowPlan { inputs, targets, hidden: plan.noise, spans, ..RowPlan::default() })
    }

    /// How many of `spans` spans get a sentinel.
    fn affordable(&self, row: usize, spans: u32) -> Result<u32, Error> {
        let most = self.spec.most_spans();
        if spans > most && (self.spec.on_exhausted == OnExhausted::Raise || most == 0) {
            let (spans, sentinels) = (spans as usize, self.spec.sentinels.len());
            return Err(Error::Exhausted { row, spans, sentinels });
        }
        Ok(spans.min(most))
    }

    /// Puts the spans of row `i` into `scratch.spans`.
    fn spans_of(
        &self,
        i: usize,
        body: &[T],
        denoiser: &Denoiser,
        key: u64,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        if let Some(mask) = self.extras.noise_mask {
            runs_into(&mask.row(i)[..body.len()], &mut scratch.spans);
            return self.keep_affordable(i, denoiser, &mut scratch.spans);
        }
        let mut len = body.len() as u32;
        if !self.planned {
            len = self.choosable(i, body, scratch);
            if len < 2 {
                scratch.spans.clear();
                return Ok(());
            }
        }
        let mut stream = self.source.stream(key, Purpose::Spans);
        let mut plan = denoiser.objective.plan(len, || self.source.stream(key, Purpose::Spans));
        if let Objective::Prefix(_) = denoiser.objective {
            scratch.spans.clear();
            scratch.spans.push(Span { start: len - plan.noise, stop: len });
        } else {
            let most = self.affordable(i, plan.spans)?;
            if self.spec.on_exhausted == OnExhausted::Cap {
                plan.spans = most;
            }
            draw(&mut stream, len, plan, self.spec.layout, most, &mut scratch.draw, &mut scratch.spans);
        }
        if !self.planned {
            if self.extras.rules.has_words() {
                expand(&scratch.units, &mut scratch.spans, &mut scratch.expanded);
            } else {
                step_over(&scratch.held, &mut scratch.spans, &mut scratch.expanded);
            }
            return self.keep_affordable(i, denoiser, &mut scratch.spans);
        }
        Ok(())
    }

    /// Finds what may be hidden of row `i`, and counts it: words, or tokens.
    fn choosable(&self, i: usize, body: &[T], scratch: &mut Scratch) -> u32 {
        if self.extras.rules.has_words() {
            self.extras.rules.units_into(i, body, &mut scratch.units);
            scratch.units.len() as u32
        } else {
            self.extras.rules.held_into(i, body, &mut scratch.held);
            (body.len() - scratch.held.len()) as u32
        }
    }

    /// Where spans stand where they must, those without a sentinel stay clear.
    fn keep_affordable(&self, row: usize, denoiser: &Denoiser, spans: &mut Vec<Span>) -> Result<(), Error> {
        if denoiser.sentinels {
            let most = self.affordable(row, spans.len() as u32)?;
            spans.truncate(most as usize);
        }
        Ok(())
    }

    /// Writes inputs and targets of row `i` as planned, and completes its plan with its key.
    ///
    /// Errors: [`Error::IdRange`], [`Error::Sentinel`]; [`Error::Length`] where `inputs` or `targets` is not as long as planned.
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
        let known = plan.key.or(self.extras.keys.map(|keys| keys[i]));
        let key = check_and_key(i, body, &self.spec.forbidden, known, &mut scratch.pack)?;
        plan.key = Some(key);
        let Some(number) = plan.denoiser else {
            for (place, token) in inputs.iter_mut().zip(row) {
                *place = token.to_i64();
            }
            return Ok(());
        };
        let body = &body[..plan.taken as usize];
        let denoiser = self.denoiser(i, number as usize);
        self.spans_of(i, body, &denoiser, key, scratch)?;
        let written = apply(body, &scratch.spans, &self.spec.frame(&denoiser), inputs, targets);
        debug_assert_eq!(written, (plan.inputs, plan.targets), "plan and draw agree");
        Ok(())
    }

    /// Writes which tokens of row `i` are hidden: `out` is as long as the row.
    pub fn mask_row(
        &self,
        i: usize,
        plan: &RowPlan,
        scratch: &mut Scratch,
        out: &mut [bool],
    ) -> Result<(), Error> {
        out.fill(false);
        let Some(number) = plan.denoiser else { return Ok(()) };
        let body = without_eos(self.rows[i], self.spec.eos);
        let known = plan.key.or(self.extras.keys.map(|keys| keys[i]));
        let key = check_and_key(i, body, &self.spec.forbidden, known, &mut scratch.pack)?;
        let denoiser = self.denoiser(i, number as usize);
        self.spans_of(i, &body[..plan.taken as usize], &denoiser, key, scratch)?;
        for span in &scratch.spans {
            out[span.start as usize..span.stop as usize].fill(true);
        }
        Ok(())
    }
}

/// What a batch looks like. Rows of inputs and of targets have layouts of their own.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// Of inputs and attention mask.
    pub inputs: Layout,
    /// Of labels and decoder inputs.
    pub labels: Layout,
    /// Around inputs and decoder inputs.
    pub padding: i64,
    /// Around labels.
    pub ignore_index: i64,
    /// In front of decoder inputs.
    pub decoder_start: i64,
}

/// Where a batch goes. `attention` and `decoder` may be empty: then they are not written.
#[derive(Debug)]
pub struct Outputs<'o> {
    /// Corrupted rows.
    pub inputs: &'o mut [i64],
    /// 1 at their tokens, 0 at padding.
    pub attention: &'o mut [i64],
    /// What must be produced.
    pub labels: &'o mut [i64],
    /// The labels one place later, behind the start token.
    pub decoder: &'o mut [i64],
}

impl<T: Token> Corruption<'_, T> {
    /// Writes all rows as planned, padding included, and completes the plans with their keys. One pass, a row at a time.
    ///
    /// Errors: as [`Corruption::write_row`]; [`Error::Length`] and [`Error::Width`] where an output was made for other plans.
    pub fn write_into(&self, plans: &mut [RowPlan], batch: &Batch, outputs: Outputs) -> Result<(), Error> {
        let Outputs { mut inputs, mut attention, mut labels, mut decoder } = outputs;
        let mut scratch = Scratch::default();
        for (i, plan) in plans.iter_mut().enumerate() {
            let (mut input, mut label);
            (input, inputs) = batch.inputs.split_cell(i, 0..plan.inputs, inputs)?;
            let at = labels.len();
            (label, labels) = batch.labels.split_cell(i, 0..plan.targets, labels)?;
            let label_width = at - labels.len();
            input.fill_padding(batch.padding);
            label.fill_padding(batch.ignore_index);
            self.write_row(i, plan, &mut scratch, input.content, label.content)?;
            if !attention.is_empty() {
                let mut cell;
                (cell, attention) = batch.inputs.split_cell(i, 0..plan.inputs, attention)?;
                cell.fill_padding(0);
                cell.content.fill(1);
            }
            if !decoder.is_empty() {
                let whole = Layout { shape: Shape::Packed, max_len: usize::MAX };
                let cell;
                (cell, decoder) = whole.split_cell(i, 0..label_width, decoder)?;
                // The whole cell moves on by one, padding too: what transformers' models do with labels.
                let before = label.before.iter().map(|_| batch.padding);
                let after = label.after.iter().map(|_| batch.padding);
                let shifted = before.chain(label.content.iter().copied()).chain(after);
                for (place, id) in
                    cell.content.iter_mut().zip(core::iter::once(batch.decoder_start).chain(shifted))
                {
                    *place = id;
                }
            }
        }
        Ok(())
    }
}

/// The runs of a mask.
fn runs_into(mask: &[bool], runs: &mut Vec<Span>) {
    runs.clear();
    let mut open = false;
    for (at, &hidden) in mask.iter().enumerate() {
        let at = at as u32;
        match runs.last_mut() {
            Some(last) if hidden && open => last.stop = at + 1,
            _ if hidden => runs.push(Span { start: at, stop: at + 1 }),
            _ => {}
        }
        open = hidden;
    }
}

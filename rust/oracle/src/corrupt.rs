//! Span corruption of one row and its inverse, spelled out.

use crate::rng::{Seeds, below, choose, key};
use crate::units::{Columns, Rules, Span, draw, expand, plan, units_of};
use spanmask_core::noise::corrupt::OnExhausted;
use spanmask_core::noise::mixture::{Denoiser, Objective, Split};
use spanmask_core::rng::Purpose;

/// How rows are corrupted.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the core's spec")]
pub struct Spec {
    pub denoisers: Vec<Denoiser>,
    pub weights: Vec<f64>,
    pub sentinels: Vec<i64>,
    /// No row may contain a sentinel.
    pub forbid: bool,
    pub eos: Option<i64>,
    pub final_sentinel: bool,
    pub uniform: bool,
    pub on_exhausted: OnExhausted,
    pub protected_ids: Vec<i64>,
    pub bos_ids: Vec<i64>,
}

/// What a call gives for one row.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the fields are those of the core's options")]
pub struct Options {
    pub key: Option<u64>,
    pub density: Option<f64>,
    pub mean: Option<f64>,
    pub noise_mask: Option<Vec<bool>>,
    pub columns: Columns,
    /// Greatest lengths of inputs and targets.
    pub limits: Option<(usize, usize)>,
}

/// One corrupted row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Corrupted {
    /// Its inputs.
    pub inputs: Vec<i64>,
    /// Which token of the row each of them stands for.
    pub sources: Vec<i64>,
    /// Its targets.
    pub targets: Vec<i64>,
    /// What is hidden.
    pub spans: Vec<Span>,
    /// How many of its tokens are used, without its EOS.
    pub used: usize,
}

/// Why a row cannot be corrupted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refused {
    /// An id that no vocabulary contains.
    Range,
    /// It contains a sentinel.
    Sentinel,
    /// There are too few sentinels.
    Exhausted,
    /// A prefix without a sentinel leaves tokens out.
    SplitPrefix,
    /// No beginning of two tokens fits the limits.
    Limits,
}

/// Corrupts one row.
pub fn corrupt(
    row: &[i64],
    spec: &Spec,
    seed: u64,
    epoch: u64,
    options: &Options,
) -> Result<Corrupted, Refused> {
    let body = match row.split_last() {
        Some((last, body)) if Some(*last) == spec.eos => body,
        _ => row,
    };
    for id in body {
        if u32::try_from(*id).is_err() {
            return Err(Refused::Range);
        }
        if spec.forbid && spec.sentinels.contains(id) {
            return Err(Refused::Sentinel);
        }
    }
    let seeds = Seeds { seed, epoch, key: options.key.unwrap_or_else(|| key(body)) };
    let call = Call { row, body, spec, options, seeds, denoiser: denoiser(spec, seeds, options) };
    let Some((most_inputs, most_targets)) = options.limits.filter(|_| body.len() > 1) else {
        return call.outputs(body.len());
    };
    let fits = |used: usize| {
        call.outputs(used)
            .is_ok_and(|out| out.inputs.len() <= most_inputs && out.targets.len() <= most_targets)
    };
    if fits(body.len()) {
        return call.outputs(body.len());
    }
    if let Err(refused @ Refused::SplitPrefix) = call.outputs(body.len().min(most_inputs + most_targets)) {
        return Err(refused);
    }
    if call.is_free() {
        // Each token is among the inputs or the targets.
        return match (2..=body.len().min(most_inputs + most_targets)).rev().find(|&used| fits(used)) {
            Some(used) => call.outputs(used),
            None => Err(Refused::Limits),
        };
    }
    if !fits(2) {
        return Err(Refused::Limits);
    }
    let (mut good, mut bad, mut step) = (2, body.len().min(most_inputs + most_targets) + 1, 1024);
    while good + 1 < bad {
        let probe = if bad - good > step { good + step } else { (good + bad) / 2 };
        if fits(probe) {
            (good, step) = (probe, 2 * step);
        } else {
            bad = probe;
        }
    }
    call.outputs(good)
}

/// The denoiser of a row, with the values that the options override.
fn denoiser(spec: &Spec, seeds: Seeds, options: &Options) -> Denoiser {
    let number = if spec.denoisers.len() > 1 && options.noise_mask.is_none() {
        choose(&mut seeds.words(Purpose::Denoiser), &spec.weights)
    } else {
        0
    };
    let mut denoiser = spec.denoisers[number];
    if let Objective::Spans { density, mean } = &mut denoiser.objective {
        *density = options.density.unwrap_or(*density);
        *mean = options.mean.unwrap_or(*mean);
    }
    denoiser
}

struct Call<'a> {
    row: &'a [i64],
    body: &'a [i64],
    spec: &'a Spec,
    options: &'a Options,
    seeds: Seeds,
    denoiser: Denoiser,
}

impl Call<'_> {
    /// Whether lengths grow with the beginning that is used.
    fn is_free(&self) -> bool {
        let Columns { protected, word_ids, word_starts } = &self.options.columns;
        let leading = self.spec.uniform && !self.spec.bos_ids.is_empty();
        self.options.noise_mask.is_some()
            || (protected.is_none() && word_ids.is_none() && word_starts.is_none())
                && self.spec.protected_ids.is_empty()
                && !leading
                && self.denoiser.objective != Objective::Prefix(Split::Uniform)
    }

    /// The outputs of the first `used` tokens.
    fn outputs(&self, used: usize) -> Result<Corrupted, Refused> {
        let part = &self.body[..used];
        let most = self.options.limits.map_or(usize::MAX, |limits| limits.0);
        let whole = used == self.body.len() && self.row.len() <= most;
        let inputs = if whole { self.row.to_vec() } else { part.to_vec() };
        let sources = (0..inputs.len() as i64).collect();
        let unchanged = Corrupted { inputs, sources, used, ..Corrupted::default() };
        if self.body.len() < 2 || used < 2 {
            return Ok(unchanged);
        }
        if let Some(mask) = &self.options.noise_mask {
            let spans = self.afford(used, runs(&mask[..used]))?;
            return Ok(self.corrupted(part, spans));
        }
        let rules = Rules {
            protected_ids: self.spec.protected_ids.clone(),
            leading_ids: if self.spec.uniform { self.spec.bos_ids.clone() } else { Vec::new() },
            ..Rules::default()
        };
        let Columns { protected, word_ids, word_starts } = self.options.columns.clone();
        let columns = Columns {
            protected: protected.map(|all| all[..used].to_vec()),
            word_ids: word_ids.map(|all| all[..used].to_vec()),
            word_starts: word_starts.map(|all| all[..used].to_vec()),
        };
        let spans = self.draw(used, &units_of(part, &rules, &columns))?;
        if spans.is_empty() { Ok(unchanged) } else { Ok(self.corrupted(part, spans)) }
    }

    /// What is hidden in the first `used` tokens, if these units of them may be hidden.
    fn draw(&self, used: usize, units: &[Span]) -> Result<Vec<Span>, Refused> {
        let len = units.len();
        if len < 2 {
            return Ok(Vec::new());
        }
        let (spec, mut words) = (self.spec, self.seeds.words(Purpose::Spans));
        let drawn = match self.denoiser.objective {
            Objective::Prefix(Split::Uniform) => vec![(len - 1 - below(&mut words, len - 1), len)],
            Objective::Prefix(Split::Density(density)) => vec![(len - plan(len, density, len as f64).0, len)],
            Objective::Spans { density, mean } => {
                let (noise, count) = plan(len, density, mean);
                let most = self.affordable(count)?;
                let planned = if spec.on_exhausted == OnExhausted::FewerSpans { most } else { count };
                draw(&mut words, len, noise, planned, spec.uniform, most)
            }
        };
        self.afford(used, expand(units, &drawn))
    }

    /// The spans that get a sentinel. Without sentinels, only the end of the `used` tokens can be hidden.
    fn afford(&self, used: usize, mut spans: Vec<Span>) -> Result<Vec<Span>, Refused> {
        if !self.denoiser.sentinels && spans.iter().any(|&(_, stop)| stop != used) {
            return Err(Refused::SplitPrefix);
        }
        if self.denoiser.sentinels {
            spans.truncate(self.affordable(spans.len())?);
        }
        Ok(spans)
    }

    /// How many of `count` spans get a sentinel.
    fn affordable(&self, count: usize) -> Result<usize, Refused> {
        let most = self.spec.sentinels.len().saturating_sub(usize::from(self.spec.final_sentinel));
        if count > most && (self.spec.on_exhausted == OnExhausted::Raise || most == 0) {
            return Err(Refused::Exhausted);
        }
        Ok(count.min(most))
    }

    /// Inputs and targets for given spans.
    fn corrupted(&self, part: &[i64], spans: Vec<Span>) -> Corrupted {
        let (mut inputs, mut targets, mut position) = (Vec::new(), Vec::new(), 0);
        inputs.extend(self.denoiser.mode_token.map(|token| (i64::from(token), 0)));
        let clear = |from: usize, to: usize| (from..to).map(|at| (part[at], at));
        for (number, &(start, stop)) in spans.iter().enumerate() {
            inputs.extend(clear(position, start));
            if self.denoiser.sentinels {
                inputs.push((self.spec.sentinels[number], start));
                targets.push(self.spec.sentinels[number]);
            }
            targets.extend_from_slice(&part[start..stop]);
            position = stop;
        }
        inputs.extend(clear(position, part.len()));
        if self.denoiser.sentinels && self.spec.final_sentinel {
            targets.push(self.spec.sentinels[spans.len()]);
        }
        if let Some(eos) = self.spec.eos {
            let whole = part.len() == self.body.len();
            inputs.push((eos, if whole { self.row.len() } else { part.len() } - 1));
            targets.push(eos);
        }
        Corrupted {
            sources: inputs.iter().map(|&(_, source)| source as i64).collect(),
            inputs: inputs.into_iter().map(|(id, _)| id).collect(),
            targets,
            spans,
            used: part.len(),
        }
    }
}

/// The runs of a mask.
fn runs(mask: &[bool]) -> Vec<Span> {
    let mut runs: Vec<Span> = Vec::new();
    for at in (0..mask.len()).filter(|&at| mask[at]) {
        match runs.last_mut() {
            Some(last) if last.1 == at => last.1 = at + 1,
            _ => runs.push((at, at + 1)),
        }
    }
    runs
}

/// The row from which inputs and targets were made, without its EOS; `None` if their sentinels are not the same in the same order.
pub fn merge(
    inputs: &[i64],
    targets: &[i64],
    sentinels: &[i64],
    eos: Option<i64>,
    mode_tokens: &[i64],
) -> Option<Vec<i64>> {
    let mut visible = without_eos(inputs, eos);
    if targets.is_empty() {
        return Some(visible.to_vec());
    }
    if visible.first().is_some_and(|first| mode_tokens.contains(first)) {
        visible = &visible[1..];
    }
    // The runs of tokens between the sentinels of the targets. The first run continues the inputs.
    let mut runs = vec![Vec::new()];
    let mut names = Vec::new();
    for &token in without_eos(targets, eos) {
        if sentinels.contains(&token) {
            names.push(token);
            runs.push(Vec::new());
        } else {
            runs.last_mut()?.push(token);
        }
    }
    let places: Vec<i64> = visible.iter().copied().filter(|token| sentinels.contains(token)).collect();
    let has_final = names.len() == places.len() + 1 && runs.last().is_some_and(Vec::is_empty);
    if !names.starts_with(&places) || !(names.len() == places.len() || has_final) {
        return None;
    }
    let (mut row, mut number) = (Vec::new(), 0);
    for &token in visible {
        if sentinels.contains(&token) {
            number += 1;
            row.extend_from_slice(&runs[number]);
        } else {
            row.push(token);
        }
    }
    row.extend_from_slice(&runs[0]);
    Some(row)
}

fn without_eos(ids: &[i64], eos: Option<i64>) -> &[i64] {
    match ids.split_last() {
        Some((last, rest)) if Some(*last) == eos => rest,
        _ => ids,
    }
}

//! Masked LM of one row, spelled out.

use crate::rng::{Seeds, Words, below, choose, key, successes, threshold};
use crate::units::{Columns, Rules, Span, composition, place, units_of};
use spanmask_core::rng::Purpose;

/// How tokens are chosen.
#[derive(Debug, Clone)]
pub enum Choice {
    /// Each token or word independently, with this probability.
    Each(f64),
    /// In spans, until this fraction of the row is reached. The lengths 1, 2, ... have these weights.
    Spans(f64, Vec<f64>),
}

/// How rows are masked.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the core's spec")]
pub struct Spec {
    pub choice: Choice,
    pub mask_token_id: i64,
    pub mask_replace_prob: f64,
    pub random_replace_prob: f64,
    /// Random ids are those below it that are not excluded.
    pub vocab_size: i64,
    pub excluded: Vec<i64>,
    pub rules: Rules,
    pub min_one: bool,
}

/// What a call gives for one row.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The key, instead of a hash.
    pub key: Option<u64>,
    /// The probability of the row.
    pub probability: Option<f64>,
    /// The probability of each token.
    pub probabilities: Option<Vec<f64>>,
    /// What may be chosen.
    pub columns: Columns,
}

/// Inputs and labels of one row, whose ids fit in 32 bits.
pub fn mask_tokens(
    row: &[i64],
    spec: &Spec,
    seed: u64,
    epoch: u64,
    options: &Options,
    ignore_index: i64,
) -> (Vec<i64>, Vec<i64>) {
    let seeds = Seeds { seed, epoch, key: options.key.unwrap_or_else(|| key(row)) };
    let mut words = seeds.words(Purpose::Replacement);
    let mut random_ids = seeds.words(Purpose::RandomId);
    let allowed: Vec<i64> = (0..spec.vocab_size).filter(|id| !spec.excluded.contains(id)).collect();
    let (mut inputs, mut labels) = (row.to_vec(), vec![ignore_index; row.len()]);
    for group in chosen_groups(row, spec, seeds.words(Purpose::Choice), options) {
        let word = words.next_word();
        for at in group {
            labels[at] = row[at];
            if word < threshold(spec.mask_replace_prob) {
                inputs[at] = spec.mask_token_id;
            } else if word < threshold(spec.mask_replace_prob + spec.random_replace_prob) {
                inputs[at] = allowed[below(&mut random_ids, allowed.len())];
            }
        }
    }
    (inputs, labels)
}

/// The chosen positions: a group for each span, whose tokens get one kind of replacement, or for each token.
fn chosen_groups(row: &[i64], spec: &Spec, mut choices: Words, options: &Options) -> Vec<Vec<usize>> {
    let mut rules = spec.rules.clone();
    if options.columns.word_ids.is_some() || options.columns.word_starts.is_some() {
        rules.continuation_ids = None;
    }
    let units = units_of(row, &rules, &options.columns);
    let positions = |units: &[Span]| units.iter().flat_map(|&(start, stop)| start..stop).collect();
    match &spec.choice {
        Choice::Spans(fraction, weights) => {
            let fraction = options.probability.unwrap_or(*fraction);
            let spans = spans_of(units.len(), fraction, weights, spec.min_one, &mut choices);
            spans.into_iter().map(|(start, stop)| positions(&units[start..stop])).collect()
        }
        Choice::Each(probability) => {
            let probability = options.probability.unwrap_or(*probability);
            let tried: Vec<usize> = match &options.probabilities {
                None => successes(&mut choices, threshold(probability), row.len()),
                Some(all) => (0..row.len()).filter(|&at| choices.next_word() < threshold(all[at])).collect(),
            };
            let mut chosen: Vec<Span> =
                units.iter().copied().filter(|unit| tried.binary_search(&unit.0).is_ok()).collect();
            if spec.min_one && chosen.is_empty() {
                let possible =
                    |unit: &Span| options.probabilities.as_ref().is_none_or(|all| threshold(all[unit.0]) > 0);
                let eligible: Vec<Span> = units.into_iter().filter(possible).collect();
                if !eligible.is_empty() {
                    chosen.push(eligible[below(&mut choices, eligible.len())]);
                }
            }
            let all: Vec<usize> = positions(&chosen);
            all.into_iter().map(|at| vec![at]).collect()
        }
    }
}

/// Lengths are drawn until the fraction is reached, then positions, with a clear unit between any two spans.
fn spans_of(len: usize, fraction: f64, weights: &[f64], min_one: bool, choices: &mut Words) -> Vec<Span> {
    let noise = ((len as f64 * fraction).round_ties_even() as usize).max(usize::from(min_one)).min(len);
    let (mut lengths, mut left) = (Vec::new(), noise);
    while left > 0 {
        let drawn = choose(choices, weights) + 1;
        let len = if lengths.len() == len - noise { left } else { drawn.min(left) };
        lengths.push(len);
        left -= len;
    }
    if lengths.is_empty() {
        return Vec::new();
    }
    let mut gaps = composition(choices, len - noise + 2, lengths.len() + 1);
    gaps[0] -= 1;
    place(&gaps, &lengths)
}

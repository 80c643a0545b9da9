//! Masked diffusion, spelled out.

use crate::rng::{Seeds, threshold};
use spanmask_core::noise::diffusion::Weighting;
use spanmask_core::rng::Purpose;

/// How rows are masked.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the core's spec")]
pub struct Spec {
    pub mask_token_id: i64,
    pub eps: f64,
    pub protected_ids: Vec<i64>,
    pub weighting: Weighting,
}

/// What a call gives for one row.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the fields are those of the core's options")]
pub struct Options {
    pub ratio: Option<f64>,
    pub protected: Option<Vec<bool>>,
    pub labels: Option<Vec<i64>>,
    pub factors: Option<Vec<f32>>,
    /// An id that continues the row up to this length, if something in it may be masked.
    pub fill: Option<(i64, usize)>,
}

/// One masked row.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of the core's outputs")]
pub struct Diffused {
    pub inputs: Vec<i64>,
    pub labels: Vec<i64>,
    pub weights: Vec<f32>,
    pub ratio: f64,
    pub eligible: usize,
}

/// Masks a row, whose ids fit in 32 bits.
pub fn diffuse(row: &[i64], spec: &Spec, seeds: Seeds, options: &Options, ignore_index: i64) -> Diffused {
    let ratio = options.ratio.unwrap_or_else(|| ratio_of(spec.eps, uniform(seeds, Purpose::Rate)));
    let factor = |at: usize| options.factors.as_ref().map_or(1.0, |factors| factors[at]);
    let may_be_masked = |at: usize| {
        !spec.protected_ids.contains(&row[at])
            && !options.protected.as_ref().is_some_and(|flags| flags[at])
            && options.labels.as_ref().is_none_or(|labels| labels[at] != ignore_index)
            && factor(at) > 0.0
    };
    let mut tokens: Vec<(i64, bool, f32)> =
        (0..row.len()).map(|at| (row[at], may_be_masked(at), factor(at))).collect();
    if let Some((id, len)) = options.fill.filter(|_| tokens.iter().any(|token| token.1)) {
        tokens.resize(len.max(row.len()), (id, true, 1.0));
    }
    let eligible = tokens.iter().filter(|token| token.1).count();
    let weight = match spec.weighting {
        Weighting::Token => 1.0 / ratio,
        Weighting::Row => 1.0 / (ratio * eligible as f64),
    };
    let mut words = seeds.words(Purpose::Choice);
    let mut out = Diffused { inputs: vec![], labels: vec![], weights: vec![], ratio, eligible };
    for (id, may, factor) in tokens {
        // Each token has a word, so that one that may not be masked does not change what happens to the others.
        let masked = words.next_word() < threshold(ratio) && may;
        out.inputs.push(if masked { spec.mask_token_id } else { id });
        out.labels.push(if masked { id } else { ignore_index });
        out.weights.push(if masked { weight as f32 * factor } else { 0.0 });
    }
    out
}

/// Mask ratios of a batch: the range has as many parts as there are rows, and the row with the n-th lowest number gets the n-th part.
pub fn antithetic_ratios(rows: &[Seeds], eps: f64) -> Vec<f64> {
    let mut ranked: Vec<usize> = (0..rows.len()).collect();
    ranked.sort_by(|&a, &b| uniform(rows[a], Purpose::Rate).total_cmp(&uniform(rows[b], Purpose::Rate)));
    let mut ratios = vec![0.0; rows.len()];
    for (part, row) in ranked.into_iter().enumerate() {
        let place = part as f64 + uniform(rows[row], Purpose::RateOffset);
        ratios[row] = ratio_of(eps, place / rows.len() as f64);
    }
    ratios
}

/// A number from 0 to 1, 1 excluded.
fn uniform(seeds: Seeds, purpose: Purpose) -> f64 {
    seeds.words(purpose).next_word() as f64 / 2f64.powi(32)
}

fn ratio_of(eps: f64, number: f64) -> f64 {
    eps + (1.0 - eps) * number
}

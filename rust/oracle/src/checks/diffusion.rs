//! Masked diffusion: drawn, given and antithetic ratios; labels, flags and factors; rows that are cut, filled or padded.

use super::input::{Flat, Input, narrow, wide};
use super::with_type;
use crate::batch::{lay_out, padded};
use crate::diffusion::{Diffused, Options, Spec, antithetic_ratios, diffuse};
use crate::rng::{Seeds, key};
use spanmask_core::batch::{Layout, Shape, Side};
use spanmask_core::noise::diffusion::{
    self as core, Batch, Outputs, RowOptions, RowReport, Weighting, diffuse_into,
};
use spanmask_core::noise::ids::IdSet;
use spanmask_core::rng::SeedEpoch;
use spanmask_core::{Error, Token};
use std::ops::Range;

const IGNORE: i64 = -100;
const PADDING: i64 = -5;
const FILL: u32 = 12;

pub fn check(input: &mut Input) {
    with_type!(input, typed);
}

fn typed<T: Token>(input: &mut Input) {
    let spec = Spec {
        mask_token_id: 11,
        eps: (1 + input.below(500)) as f64 / 1000.0,
        protected_ids: input.ids(3),
        weighting: input.pick(&[Weighting::Token, Weighting::Row]),
    };
    let rows: Vec<Vec<T>> = input.rows();
    let with_bounds = input.rarely(4);
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cut = input.maybe(3, |input| input.below(longest + 2)).filter(|_| !with_bounds);
    let max_len = cut.unwrap_or(usize::MAX);
    let bounds: Vec<Range<usize>> = rows
        .iter()
        .map(|row| if with_bounds { input.below(row.len() + 1)..row.len() } else { 0..row.len() })
        .collect();
    let inner: Vec<Vec<i64>> = rows.iter().zip(&bounds).map(|(row, at)| wide(&row[at.clone()])).collect();
    let kept: Vec<Vec<i64>> = inner.iter().map(|row| row[..row.len().min(max_len)].to_vec()).collect();
    let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
    let layout = match input.below(3) {
        1 => padded(&lengths, Side::Right, max_len, 8),
        2 => padded(&lengths, Side::Left, max_len, 3),
        _ => Layout { shape: Shape::Packed, max_len },
    };
    let fill_up = input.rarely(3) && matches!(layout.shape, Shape::Padded { side: Side::Right, .. });
    let width = match layout.shape {
        Shape::Padded { width, .. } => width,
        _ => 0,
    };
    // `max_len` cuts what a cell holds, so rows are not filled beyond it.
    let fill_up = fill_up && width <= max_len;
    let fill = fill_up.then_some((i64::from(FILL), width)).filter(|_| !with_bounds);
    let (given, flagged, labelled, weighted) =
        (input.rarely(4), input.rarely(4), input.rarely(4), input.rarely(4));
    let options: Vec<Options> = inner
        .iter()
        .map(|row| Options {
            ratio: given.then(|| (1 + input.below(255)) as f64 / 255.0),
            protected: flagged.then(|| input.flags(row.len())),
            labels: labelled.then(|| {
                let flags = input.flags(row.len());
                row.iter().zip(flags).map(|(&id, flag)| if flag { IGNORE } else { id }).collect()
            }),
            factors: weighted.then(|| {
                let some: Vec<f32> = (0..3).map(|_| input.pick(&[1.0, 0.0, 0.5])).collect();
                (0..row.len()).map(|at| some[at % 3]).collect()
            }),
            fill,
        })
        .collect();
    let seed_epoch = SeedEpoch { seed: input.word(), epoch: input.below(3) as u64 };
    let keys: Option<Vec<u64>> = input.rarely(4).then(|| rows.iter().map(|_| input.word()).collect());
    let seeds = |i: usize| {
        let key = keys.as_ref().map_or_else(|| key(&kept[i]), |keys| keys[i]);
        Seeds { seed: seed_epoch.seed, epoch: seed_epoch.epoch, key }
    };

    let ratios: Option<Vec<f64>> = options.iter().map(|row| row.ratio).collect();
    let flags = Flat::new(options.iter().map(|row| row.protected.clone()));
    let given_labels = Flat::new(options.iter().map(|row| row.labels.clone()));
    let factors = Flat::new(options.iter().map(|row| row.factors.clone()));
    let row_options = RowOptions {
        keys: keys.as_deref(),
        ratios: ratios.as_deref(),
        protected_mask: flags.as_ref().map(Flat::ragged),
        labels: given_labels.as_ref().map(Flat::ragged),
        weights: factors.as_ref().map(Flat::ragged),
        bounds: with_bounds.then_some(&bounds),
    };
    let slices: Vec<&[T]> = rows.iter().map(Vec::as_slice).collect();
    let batch = Batch { layout, padding: PADDING, ignore_index: IGNORE, fill: fill_up.then_some(FILL) };
    let places = match layout.shape {
        Shape::Padded { width, .. } => width * rows.len(),
        _ => lengths.iter().map(|&len| len.min(max_len)).sum(),
    };
    let [mut inputs, mut attention, mut labels] = [(); 3].map(|()| vec![i64::MIN; places]);
    let mut weights = vec![f32::NAN; places];
    let mut reports = vec![RowReport::default(); rows.len()];
    let compiled = core::Spec {
        mask_token_id: spec.mask_token_id as u32,
        eps: spec.eps,
        protected_ids: IdSet::new(narrow(&spec.protected_ids)),
        weighting: spec.weighting,
    };
    let outputs = Outputs {
        inputs: &mut inputs,
        attention: &mut attention,
        labels: &mut labels,
        weights: &mut weights,
        reports: &mut reports,
    };
    let done = diffuse_into(&slices, &compiled, seed_epoch, &row_options, &batch, outputs);
    let bad = |row: &Vec<i64>| row.iter().any(|&id| u32::try_from(id).is_err());
    if let Some(bad) = kept.iter().position(bad) {
        assert!(matches!(done, Err(Error::IdRange { row, .. }) if row == bad), "{done:?}");
        return;
    }
    assert_eq!(done, Ok(()));
    let (mut want_inputs, mut want_labels, mut want_weights, mut ones) = (vec![], vec![], vec![], vec![]);
    for (i, row) in kept.iter().enumerate() {
        let Diffused { inputs, labels, weights, ratio, eligible } =
            diffuse(row, &spec, seeds(i), &options[i], IGNORE);
        let masked = labels.iter().filter(|&&label| label != IGNORE).count() as u32;
        let want = RowReport { ratio, eligible: eligible as u32, masked, key: seeds(i).key };
        assert_eq!(reports[i], want);
        let before = bounds[i].start;
        ones.push(vec![1; before + inputs.len()]);
        want_inputs.push([wide(&rows[i][..before]), inputs].concat());
        want_labels.push([vec![IGNORE; before], labels].concat());
        want_weights.push([vec![0.0; before], weights].concat());
    }
    let starts = vec![0; rows.len()];
    let context = || format!("{spec:?} {options:?} {kept:?} {batch:?} {seed_epoch:?}");
    assert_eq!(inputs, lay_out(&want_inputs, &starts, layout, PADDING), "{}", context());
    assert_eq!(labels, lay_out(&want_labels, &starts, layout, IGNORE), "{}", context());
    assert_eq!(weights, lay_out(&want_weights, &starts, layout, 0.0), "{}", context());
    assert_eq!(attention, lay_out(&ones, &starts, layout, 0), "{}", context());

    let keys = core::row_keys(&slices, layout, &row_options).unwrap();
    assert_eq!(keys, (0..rows.len()).map(|i| seeds(i).key).collect::<Vec<_>>());
    let all: Vec<Seeds> = (0..rows.len()).map(seeds).collect();
    assert_eq!(core::antithetic_ratios(&keys, seed_epoch, spec.eps), antithetic_ratios(&all, spec.eps));
}

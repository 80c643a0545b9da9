//! Span corruption, its inverse, and the inverse of anything.

use super::input::{Flat, FlatColumns, Input, narrow, wide};
use super::seq_to_seq::write;
use super::with_type;
use crate::corrupt::{Corrupted, Options, Refused, Spec, corrupt, merge};
use spanmask_core::noise::corrupt::{self as core, Corruption, Limits, OnExhausted, RowOptions, RowPlan};
use spanmask_core::noise::draw;
use spanmask_core::noise::ids::IdSet;
use spanmask_core::noise::merge::Merger;
use spanmask_core::noise::mixture::{Denoiser, Mixture, Objective, Split};
use spanmask_core::noise::rules::Rules;
use spanmask_core::noise::seq_to_seq::SeqToSeq;
use spanmask_core::rng::SeedEpoch;
use spanmask_core::{Error, Token};

pub fn check(input: &mut Input) {
    with_type!(input, typed);
}

fn denoiser(input: &mut Input) -> Denoiser {
    let density = (1 + input.below(99)) as f64 / 100.0;
    let objective = match input.below(4) {
        2 => Objective::Prefix(Split::Uniform),
        3 => Objective::Prefix(Split::Density(density)),
        _ => Objective::Spans { density, mean: 1.0 + input.below(40) as f64 / 4.0 },
    };
    let is_prefix = matches!(objective, Objective::Prefix(_));
    Denoiser {
        objective,
        mode_token: input.maybe(3, |input| input.below(14) as u32),
        sentinels: !(is_prefix && input.flag()),
    }
}

fn spec(input: &mut Input) -> Spec {
    let denoisers: Vec<Denoiser> = (0..1 + input.below(3)).map(|_| denoiser(input)).collect();
    let first = input.pick(&[20, 20, 4]); // the ids of rows are below 10
    let mut weights: Vec<f64> = denoisers.iter().map(|_| input.below(4) as f64).collect();
    weights[0] += 1.0;
    Spec {
        denoisers,
        weights,
        sentinels: (0..1 + input.below(12) as i64).map(|n| first + n).rev().collect(),
        forbid: input.flag(),
        eos: input.maybe(2, |input| input.below(12) as i64),
        final_sentinel: input.rarely(3),
        uniform: input.flag(),
        on_exhausted: input.pick(&[OnExhausted::MergeLast, OnExhausted::FewerSpans, OnExhausted::Raise]),
        protected_ids: if input.rarely(3) { input.ids(2) } else { Vec::new() },
        bos_ids: if input.rarely(3) { input.ids(2) } else { Vec::new() },
    }
}

fn compiled(spec: &Spec) -> core::Spec {
    core::Spec {
        mixture: Mixture::new(spec.denoisers.clone(), &spec.weights).unwrap(),
        sentinels: narrow(&spec.sentinels),
        forbidden: if spec.forbid { IdSet::new(narrow(&spec.sentinels)) } else { IdSet::default() },
        eos: spec.eos.map(|eos| eos as u32),
        final_sentinel: spec.final_sentinel,
        layout: if spec.uniform { draw::Layout::Uniform } else { draw::Layout::Classic },
        on_exhausted: spec.on_exhausted,
        protected_ids: IdSet::new(narrow(&spec.protected_ids)),
        bos_ids: IdSet::new(narrow(&spec.bos_ids)),
    }
}

/// What each row is given.
fn options(input: &mut Input, lengths: &[usize]) -> Vec<Options> {
    let columns =
        if input.rarely(3) { input.columns(lengths) } else { vec![Default::default(); lengths.len()] };
    let (keys, densities, means) = (input.rarely(4), input.rarely(6), input.rarely(6));
    let masked = input.rarely(6);
    let limits = input.maybe(3, |input| (3 + input.below(40), 3 + input.below(40)));
    let row = |(&len, columns)| Options {
        key: keys.then(|| input.word()),
        density: densities.then(|| (1 + input.below(99)) as f64 / 100.0),
        mean: means.then(|| 1.0 + input.below(20) as f64 / 2.0),
        noise_mask: masked.then(|| input.flags(len)),
        columns,
        limits,
    };
    lengths.iter().zip(columns).map(row).collect()
}

fn typed<T: Token>(input: &mut Input) {
    let spec = spec(input);
    let rows: Vec<Vec<T>> = input.rows();
    let ids: Vec<Vec<i64>> = rows.iter().map(|row| wide(row)).collect();
    let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
    let options = options(input, &lengths);
    let seed_epoch = SeedEpoch { seed: input.word(), epoch: input.below(3) as u64 };
    let expected: Vec<Result<Corrupted, Refused>> = ids
        .iter()
        .zip(&options)
        .map(|(row, options)| corrupt(row, &spec, seed_epoch.seed, seed_epoch.epoch, options))
        .collect();

    let all =
        |value: &dyn Fn(&Options) -> Option<f64>| -> Option<Vec<f64>> { options.iter().map(value).collect() };
    let keys: Option<Vec<u64>> = options.iter().map(|row| row.key).collect();
    let (densities, means) = (all(&|row| row.density), all(&|row| row.mean));
    let noise_mask = Flat::new(options.iter().map(|row| row.noise_mask.clone()));
    let columns: Vec<_> = options.iter().map(|row| row.columns.clone()).collect();
    let columns = FlatColumns::new(&columns);
    let row_options = RowOptions {
        keys: keys.as_deref(),
        densities: densities.as_deref(),
        means: means.as_deref(),
        noise_mask: noise_mask.as_ref().map(Flat::ragged),
        rules: Rules { protected_mask: columns.protected(), words: columns.words(), ..Rules::default() },
        limits: options[0].limits.map(|(inputs, targets)| Limits { inputs, targets }),
    };
    let slices: Vec<&[T]> = rows.iter().map(Vec::as_slice).collect();
    let compiled = compiled(&spec);
    let call = Corruption::new(&slices, &compiled, seed_epoch, row_options).unwrap();
    let mut plans = vec![RowPlan::default(); rows.len()];
    if let Err(error) = call.plan_into(&mut plans) {
        refused(error, &expected);
        return;
    }
    let written = match write(input, &call, &mut plans) {
        Ok(written) => written,
        Err(error) => {
            refused(error, &expected);
            return;
        }
    };
    let want: Vec<Corrupted> =
        expected.into_iter().map(|row| row.expect("the core takes this row")).collect();
    let context = || format!("{spec:?} {options:?} {ids:?}");
    let rows: Vec<[&[i64]; 3]> = want.iter().map(|row| [&*row.inputs, &row.sources, &row.targets]).collect();
    written.check(&rows, context);

    let mut mask = vec![true; lengths.iter().sum()];
    call.mask_into(&plans, &mut mask).unwrap();
    let hidden: Vec<bool> = (want.iter().zip(&lengths))
        .flat_map(|(row, &len)| {
            (0..len).map(|at| row.spans.iter().any(|span| (span.0..span.1).contains(&at)))
        })
        .collect();
    assert_eq!(mask, hidden, "{}", context());
    for (i, row) in want.iter().enumerate() {
        inverse(&spec, &ids[i], row);
    }
    merge_anything::<T>(input, &spec);
}

/// The core refuses a row for the same reason as the twin.
fn refused(error: Error, expected: &[Result<Corrupted, Refused>]) {
    let of_row = |row: usize| expected[row].clone().expect_err("the twin takes this row");
    match error {
        Error::IdRange { row, .. } => assert_eq!(of_row(row), Refused::Range),
        Error::Sentinel { row, .. } => assert_eq!(of_row(row), Refused::Sentinel),
        Error::SplitPrefix { row } => assert!(expected[row].is_err()),
        Error::Exhausted { row, .. } | Error::Width { row, .. } => {
            assert!(matches!(
                of_row(row),
                Refused::Exhausted | Refused::Limits | Refused::Range | Refused::Sentinel
            ));
        }
        other => panic!("{other}"),
    }
}

/// Merging gives the row back, if none of its ids means something else there.
fn inverse(spec: &Spec, row: &[i64], made: &Corrupted) {
    let mode_tokens: Vec<i64> = spec.denoisers.iter().filter_map(|d| d.mode_token.map(i64::from)).collect();
    let special = |id: &i64| spec.sentinels.contains(id) || mode_tokens.contains(id) || Some(*id) == spec.eos;
    let body = &row[..made.used];
    if body.iter().any(special) || mode_tokens.iter().any(|id| spec.sentinels.contains(id)) {
        return;
    }
    // A mask that hides nothing, without EOS: empty targets mean that the row was copied unchanged, and a mode token would be one of its ids.
    if made.targets.is_empty() && made.inputs.first().is_some_and(|first| mode_tokens.contains(first)) {
        return;
    }
    let merger = Merger {
        sentinels: IdSet::new(narrow(&spec.sentinels)),
        eos: spec.eos.map(|eos| eos as u32),
        mode_tokens: IdSet::new(narrow(&mode_tokens)),
    };
    let mut merged = Vec::new();
    merger.merge(&made.inputs, &made.targets, &mut merged).unwrap();
    assert_eq!(merged, body, "{spec:?} {made:?}");
}

/// Inputs and targets that need not belong together.
fn merge_anything<T: Token>(input: &mut Input, spec: &Spec) {
    let (inputs, targets): (Vec<T>, Vec<T>) = (input.row(), input.row());
    let (sentinels, modes) = (input.ids(3), input.ids(1));
    let merger = Merger {
        sentinels: IdSet::new(narrow(&sentinels)),
        eos: spec.eos.map(|eos| eos as u32),
        mode_tokens: IdSet::new(narrow(&modes)),
    };
    let mut row = Vec::new();
    let done = merger.merge(&inputs, &targets, &mut row);
    let want = merge(&wide(&inputs), &wide(&targets), &sentinels, spec.eos, &modes);
    assert_eq!(
        done.ok().map(|()| row),
        want,
        "{inputs:?} {targets:?} {sentinels:?} {:?} {modes:?}",
        spec.eos
    );
}

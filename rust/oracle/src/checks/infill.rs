//! Text infilling: spans, insertions, deletions, random ids, sentences that change places, words, limits.

use super::input::{Flat, FlatColumns, Input, narrow, wide};
use super::masked_lm::id_rules;
use super::seq_to_seq::write;
use super::with_type;
use crate::infill::{Infilled, Options, Spec, infill};
use crate::rng::{Seeds, key};
use spanmask_core::noise::ids::IdSet;
use spanmask_core::noise::infill::{self as core, Infilling, Replace, RowOptions, RowPlan, SpanLengths};
use spanmask_core::noise::masked_lm::RandomIds;
use spanmask_core::noise::rules::Rules as CoreRules;
use spanmask_core::noise::seq_to_seq::SeqToSeq;
use spanmask_core::rng::SeedEpoch;
use spanmask_core::rng::bounded::threshold;
use spanmask_core::{Error, Token};

pub fn check(input: &mut Input) {
    with_type!(input, typed);
}

fn spec(input: &mut Input) -> Spec {
    let mut lengths = input.list(5, |input| input.below(5) as f64);
    lengths.push(0.0);
    lengths.push(1.0); // some length above 0
    Spec {
        mask_token_id: 11,
        mask_ratio: input.share(),
        lengths,
        replace: input.pick(&[Replace::OneMask, Replace::EachToken, Replace::Nothing]),
        random: input.maybe(3, |input| {
            let excluded = input.ids(3);
            (input.share(), (0..20).filter(|id| !excluded.contains(id)).collect())
        }),
        permute_sentence_ratio: if input.flag() { input.share() } else { 0.0 },
        sentence_end_ids: input.ids(2),
        rules: id_rules(input),
    }
}

fn compiled(spec: &Spec) -> core::Spec {
    let set = |ids: &Vec<i64>| IdSet::new(narrow(ids));
    let random = |(share, ids): &(f64, Vec<i64>)| {
        let excluded: Vec<i64> = (0..20).filter(|id| !ids.contains(id)).collect();
        (threshold(*share), RandomIds::new(20, &set(&excluded)).unwrap())
    };
    core::Spec {
        mask_token_id: spec.mask_token_id as u32,
        mask_ratio: spec.mask_ratio,
        lengths: SpanLengths::new(&spec.lengths).unwrap(),
        replace: spec.replace,
        random: spec.random.as_ref().map(random),
        permute_sentence_ratio: spec.permute_sentence_ratio,
        sentence_end_ids: set(&spec.sentence_end_ids),
        protected_ids: set(&spec.rules.protected_ids),
        continuation_ids: spec.rules.continuation_ids.as_ref().map(set),
        word_end_ids: spec.rules.continuation_ids.is_some().then(|| set(&spec.rules.word_end_ids)),
    }
}

fn typed<T: Token>(input: &mut Input) {
    let spec = spec(input);
    let rows: Vec<Vec<T>> = input.rows();
    let ids: Vec<Vec<i64>> = rows.iter().map(|row| wide(row)).collect();
    let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
    let columns =
        if input.rarely(3) { input.columns(&lengths) } else { vec![Default::default(); rows.len()] };
    let (ratios, sentences) = (input.rarely(4), input.rarely(4));
    let max_inputs = input.maybe(3, |input| lengths.iter().max().unwrap() + input.below(8));
    let options: Vec<Options> = (lengths.iter().zip(columns))
        .map(|(&len, columns)| Options {
            ratio: ratios.then(|| input.share()),
            columns,
            sentence_starts: sentences.then(|| input.flags(len)),
            max_inputs,
        })
        .collect();
    let keys: Option<Vec<u64>> = input.maybe(4, |input| rows.iter().map(|_| input.word()).collect());
    let seed_epoch = SeedEpoch { seed: input.word(), epoch: input.below(3) as u64 };

    let ratios: Option<Vec<f64>> = options.iter().map(|row| row.ratio).collect();
    let sentence_starts = Flat::new(options.iter().map(|row| row.sentence_starts.clone()));
    let columns: Vec<_> = options.iter().map(|row| row.columns.clone()).collect();
    let columns = FlatColumns::new(&columns);
    let row_options = RowOptions {
        keys: keys.as_deref(),
        ratios: ratios.as_deref(),
        rules: CoreRules {
            protected_mask: columns.protected(),
            words: columns.words(),
            ..CoreRules::default()
        },
        sentence_starts: sentence_starts.as_ref().map(Flat::ragged),
        max_inputs,
    };
    let slices: Vec<&[T]> = rows.iter().map(Vec::as_slice).collect();
    let compiled = compiled(&spec);
    let call = Infilling::new(&slices, &compiled, seed_epoch, row_options).unwrap();
    let mut plans = vec![RowPlan::default(); rows.len()];
    let planned = call.plan_into(&mut plans);
    let bad = |row: &Vec<i64>| row.iter().any(|&id| u32::try_from(id).is_err());
    if let Some(bad) = ids.iter().position(bad) {
        assert!(matches!(planned, Err(Error::IdRange { row, .. }) if row == bad), "{planned:?}");
        return;
    }
    assert_eq!(planned, Ok(()));
    let key_of = |i: usize| keys.as_ref().map_or_else(|| key(&ids[i]), |keys| keys[i]);
    let want: Vec<Infilled> = (0..rows.len())
        .map(|i| {
            let seeds = Seeds { seed: seed_epoch.seed, epoch: seed_epoch.epoch, key: key_of(i) };
            infill(&ids[i], &spec, seeds, &options[i])
        })
        .collect();
    let context = || format!("{spec:?} {options:?} {ids:?} {seed_epoch:?}");
    let input_lengths: Vec<usize> = plans.iter().map(|plan| plan.inputs).collect();
    assert_eq!(input_lengths, want.iter().map(|row| row.inputs.len()).collect::<Vec<_>>(), "{}", context());
    let written = write(input, &call, &mut plans).unwrap();
    for (i, (plan, row)) in plans.iter().zip(&want).enumerate() {
        let same = RowPlan {
            inputs: row.inputs.len(),
            targets: ids[i].len(),
            hidden: row.hidden as u32,
            spans: row.spans as u32,
            inserted: row.inserted as u32,
            moved: row.moved as u32,
            key: key_of(i),
            together: plan.together,
        };
        assert_eq!(*plan, same, "{}", context());
    }
    let rows: Vec<[&[i64]; 3]> =
        want.iter().zip(&ids).map(|(row, ids)| [&*row.inputs, &row.sources, ids]).collect();
    written.check(&rows, context);
}

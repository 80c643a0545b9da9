//! Masked LM: tokens, words, spans; probabilities of calls, rows and tokens; padding inside rows.

use super::input::{Flat, FlatColumns, Input, narrow, wide};
use super::with_type;
use crate::batch::{lay_out, padded};
use crate::masked_lm::{Choice, Options, Spec, mask_tokens};
use crate::rng::key;
use crate::units::Rules;
use spanmask_core::batch::{Layout, Shape, Side};
use spanmask_core::noise::ids::IdSet;
use spanmask_core::noise::masked_lm::{
    self as core, Batch, Outputs, RandomIds, RowOptions, RowReport, mask_tokens_into,
};
use spanmask_core::noise::rules::Rules as CoreRules;
use spanmask_core::rng::SeedEpoch;
use spanmask_core::rng::bounded::{cumulative, threshold};
use spanmask_core::rng::trials::Trials;
use spanmask_core::{Error, Token};
use std::ops::Range;

const IGNORE: i64 = -100;
const PADDING: i64 = -5;

pub fn check(input: &mut Input) {
    with_type!(input, typed);
}

/// What may be hidden, by ids.
pub fn id_rules(input: &mut Input) -> Rules {
    let continuation_ids = input.maybe(3, |input| input.ids(4));
    Rules {
        protected_ids: input.ids(3),
        leading_ids: Vec::new(),
        word_end_ids: if continuation_ids.is_some() { input.ids(2) } else { Vec::new() },
        continuation_ids,
    }
}

fn spec(input: &mut Input) -> Spec {
    let mask_replace_prob = input.share();
    let choice = match input.below(3) {
        1 => Choice::Spans(input.share(), (0..1 + input.below(5)).map(|n| 0.8f64.powi(n as i32)).collect()),
        _ => Choice::Each(input.share()),
    };
    Spec {
        choice,
        mask_token_id: 11,
        mask_replace_prob,
        random_replace_prob: (1.0 - mask_replace_prob) * input.share(),
        vocab_size: 12 + input.below(30) as i64,
        excluded: input.ids(3),
        rules: id_rules(input),
        min_one: input.flag(),
    }
}

fn compiled(spec: &Spec) -> core::Spec {
    let set = |ids: &Vec<i64>| IdSet::new(narrow(ids));
    core::Spec {
        choice: match &spec.choice {
            Choice::Each(probability) => {
                core::Choice::Each(Box::new(Trials::guided(threshold(*probability))))
            }
            Choice::Spans(fraction, weights) => core::Choice::Spans(*fraction, cumulative(weights).unwrap()),
        },
        mask_token_id: spec.mask_token_id as u32,
        mask_below: threshold(spec.mask_replace_prob),
        random_below: threshold(spec.mask_replace_prob + spec.random_replace_prob),
        random_ids: RandomIds::new(spec.vocab_size as u32, &set(&spec.excluded)).unwrap(),
        protected_ids: set(&spec.rules.protected_ids),
        continuation_ids: spec.rules.continuation_ids.as_ref().map(set),
        word_end_ids: spec.rules.continuation_ids.is_some().then(|| set(&spec.rules.word_end_ids)),
        min_one: spec.min_one,
    }
}

fn typed<T: Token>(input: &mut Input) {
    let spec = spec(input);
    let rows: Vec<Vec<T>> = input.rows();
    // Where the tokens of each row are; the rest is padding.
    let with_bounds = input.rarely(4);
    let bounds: Vec<Range<usize>> = rows
        .iter()
        .map(|row| if with_bounds { input.below(row.len() + 1)..row.len() } else { 0..row.len() })
        .collect();
    let inner: Vec<Vec<i64>> = rows.iter().zip(&bounds).map(|(row, at)| wide(&row[at.clone()])).collect();
    let lengths: Vec<usize> = inner.iter().map(Vec::len).collect();
    let columns =
        if input.rarely(3) { input.columns(&lengths) } else { vec![Default::default(); rows.len()] };
    let each = matches!(spec.choice, Choice::Each(_));
    let (keys, by_row, by_token) = (input.rarely(4), input.rarely(4), each && input.rarely(4));
    let seed_epoch = SeedEpoch { seed: input.word(), epoch: input.below(3) as u64 };
    let options: Vec<Options> = (lengths.iter().zip(columns))
        .map(|(&len, columns)| Options {
            key: keys.then(|| input.word()),
            probability: by_row.then(|| input.share()),
            probabilities: by_token.then(|| {
                let some: Vec<f64> = (0..1 + input.below(4)).map(|_| input.share()).collect();
                (0..len).map(|at| some[at % some.len()]).collect()
            }),
            columns,
        })
        .collect();

    let keys: Option<Vec<u64>> = options.iter().map(|row| row.key).collect();
    let probabilities: Option<Vec<f64>> = options.iter().map(|row| row.probability).collect();
    let by_token = Flat::new(options.iter().zip(&bounds).map(|(row, at)| {
        let own = row.probabilities.clone()?;
        Some([vec![0.5; at.start], own].concat())
    }));
    let columns: Vec<_> = options.iter().map(|row| row.columns.clone()).collect();
    let columns = FlatColumns::new(&columns);
    let row_options = RowOptions {
        keys: keys.as_deref(),
        probabilities: probabilities.as_deref(),
        token_probabilities: by_token.as_ref().map(Flat::ragged),
        rules: CoreRules {
            protected_mask: columns.protected(),
            words: columns.words(),
            ..CoreRules::default()
        },
        bounds: with_bounds.then_some(&bounds),
    };
    let slices: Vec<&[T]> = rows.iter().map(Vec::as_slice).collect();
    let whole: Vec<usize> = rows.iter().map(Vec::len).collect();
    let layout = match input.below(3) {
        1 => padded(&whole, Side::Right, usize::MAX, 8),
        2 => padded(&whole, Side::Left, usize::MAX, 1),
        _ => Layout { shape: Shape::Packed, max_len: usize::MAX },
    };
    let batch = Batch { layout, padding: PADDING, ignore_index: IGNORE };
    let places = match layout.shape {
        Shape::Padded { width, .. } => width * rows.len(),
        _ => whole.iter().sum(),
    };
    let [mut inputs, mut attention, mut labels] = [(); 3].map(|()| vec![i64::MIN; places]);
    let mut reports = vec![RowReport::default(); rows.len()];
    let outputs = Outputs {
        inputs: &mut inputs,
        attention: &mut attention,
        labels: &mut labels,
        reports: &mut reports,
    };
    let done = mask_tokens_into(&slices, &compiled(&spec), seed_epoch, &row_options, &batch, outputs);
    let bad = |row: &Vec<i64>| row.iter().any(|&id| u32::try_from(id).is_err());
    if let Some(bad) = inner.iter().position(bad) {
        assert!(matches!(done, Err(Error::IdRange { row, .. }) if row == bad), "{done:?}");
        return;
    }
    assert_eq!(done, Ok(()));
    let (mut want_inputs, mut want_labels) = (Vec::new(), Vec::new());
    for (i, row) in inner.iter().enumerate() {
        let SeedEpoch { seed, epoch } = seed_epoch;
        let (masked, labels) = mask_tokens(row, &spec, seed, epoch, &options[i], IGNORE);
        let chosen = labels.iter().filter(|&&label| label != IGNORE).count() as u32;
        assert_eq!(reports[i], RowReport { chosen, key: options[i].key.unwrap_or_else(|| key(row)) });
        let before = bounds[i].start;
        want_inputs.push([wide(&rows[i][..before]), masked].concat());
        want_labels.push([vec![IGNORE; before], labels].concat());
    }
    let starts = vec![0; rows.len()];
    let context = || format!("{spec:?} {options:?} {inner:?} {seed_epoch:?}");
    assert_eq!(inputs, lay_out(&want_inputs, &starts, layout, PADDING), "{}", context());
    assert_eq!(labels, lay_out(&want_labels, &starts, layout, IGNORE), "{}", context());
    let ones: Vec<Vec<i64>> = whole.iter().map(|&len| vec![1; len]).collect();
    assert_eq!(attention, lay_out(&ones, &starts, layout, 0));
}

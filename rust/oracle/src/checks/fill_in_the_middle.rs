//! Fill-in-the-middle: drawn and given splits, cuts, and the inverse.

use super::input::{Input, narrow, wide};
use super::with_type;
use crate::batch::{lay_out, padded};
use crate::fill_in_the_middle::{Filled, Spec, fill_in_the_middle, merge_documents};
use crate::rng::{Seeds, key};
use spanmask_core::batch::{Layout, Shape, Side};
use spanmask_core::noise::fill_in_the_middle::{
    self as core, Batch, FillInTheMiddle, Length, Level, Loss, Outputs, RowOptions, RowPlan, Split, Splits,
    SpmFormat,
};
use spanmask_core::noise::ids::IdSet;
use spanmask_core::rng::SeedEpoch;
use spanmask_core::rng::bounded::threshold;
use spanmask_core::{Error, Token};

const IGNORE: i64 = -100;
const PADDING: i64 = -5;

pub fn check(input: &mut Input) {
    with_type!(input, typed);
}

fn spec(input: &mut Input) -> Spec {
    let first = input.pick(&[20, 20, 5]); // the ids of rows are below 10
    Spec {
        prefix: first,
        middle: first + 1,
        suffix: first + 2,
        eot: input.maybe(2, |_| first + 3),
        boundaries: input.ids(2),
        rate: input.share(),
        spm_rate: input.share(),
        spm_format: input.pick(&[SpmFormat::Joint, SpmFormat::Plain, SpmFormat::Unmarked]),
        level: input.pick(&[Level::Document, Level::Context]),
        length: input.pick(&[Length::Grow, Length::Keep, Length::Cut]),
        loss: input.pick(&[Loss::All, Loss::Middle]),
    }
}

fn compiled(spec: &Spec, forbid: bool) -> core::Spec {
    let markers = [Some(spec.prefix), Some(spec.middle), Some(spec.suffix), spec.eot];
    core::Spec {
        prefix: spec.prefix as u32,
        middle: spec.middle as u32,
        suffix: spec.suffix as u32,
        eot: spec.eot.map(|eot| eot as u32),
        boundaries: IdSet::new(narrow(&spec.boundaries)),
        forbidden: IdSet::new(markers.into_iter().flatten().filter(|_| forbid).map(|id| id as u32)),
        below: threshold(spec.rate),
        spm_below: threshold(spec.spm_rate),
        spm_format: spec.spm_format,
        level: spec.level,
        length: spec.length,
        loss: spec.loss,
    }
}

fn typed<T: Token>(input: &mut Input) {
    let (spec, forbid) = (spec(input), input.flag());
    let rows: Vec<Vec<T>> = input.rows();
    let ids: Vec<Vec<i64>> = rows.iter().map(|row| wide(row)).collect();
    let max_len = input.maybe(2, |input| input.below(40)).unwrap_or(usize::MAX);
    let keys: Option<Vec<u64>> = input.maybe(4, |input| rows.iter().map(|_| input.word()).collect());
    let rates: Option<Vec<f64>> = input.maybe(4, |input| rows.iter().map(|_| input.share()).collect());
    let splits: Option<Vec<Vec<Split>>> = input.maybe(4, |input| {
        let row = |row: &Vec<T>| {
            let split = |document: u32, input: &mut Input| {
                let (first, more) = (input.below(row.len() + 1), input.below(8));
                let spm = input.flag();
                input.flag().then_some(Split {
                    document,
                    spm,
                    first: first as u32,
                    second: (first + more) as u32,
                })
            };
            (0..input.below(4) as u32).filter_map(|document| split(document, input)).collect()
        };
        rows.iter().map(row).collect()
    });
    let seed_epoch = SeedEpoch { seed: input.word(), epoch: input.below(3) as u64 };

    let slices: Vec<&[T]> = rows.iter().map(Vec::as_slice).collect();
    let all: Vec<Split> = splits.iter().flatten().flatten().copied().collect();
    let mut offsets = vec![0];
    for row in splits.iter().flatten() {
        offsets.push(offsets[offsets.len() - 1] + row.len() as i64);
    }
    let options = RowOptions {
        keys: keys.as_deref(),
        rates: rates.as_deref(),
        splits: splits.is_some().then(|| Splits::new(&offsets, &all).unwrap()),
        max_len,
    };
    let compiled = compiled(&spec, forbid);
    let call = FillInTheMiddle::new(&slices, &compiled, seed_epoch, options).unwrap();
    let (mut plans, mut documents) = (vec![RowPlan::default(); rows.len()], Vec::new());
    let planned = call.plan_into(&mut plans, &mut documents);

    let key_of = |i: usize| keys.as_ref().map_or_else(|| key(&ids[i]), |keys| keys[i]);
    let expected = |i: usize| -> Option<Filled> {
        let (rate, splits) =
            (rates.as_ref().map(|rates| rates[i]), splits.as_ref().map(|all| all[i].as_slice()));
        let seeds = Seeds { seed: seed_epoch.seed, epoch: seed_epoch.epoch, key: key_of(i) };
        fill_in_the_middle(&ids[i], &spec, seeds, rate, splits, max_len, IGNORE)
    };
    let markers = [Some(spec.prefix), Some(spec.middle), Some(spec.suffix), spec.eot];
    for (i, row) in ids.iter().enumerate() {
        // The first row that cannot be transformed is named.
        let range = row.iter().any(|&id| u32::try_from(id).is_err());
        let marker = forbid && row.iter().any(|&id| markers.contains(&Some(id)));
        let failed = |same: fn(&Error) -> Option<usize>| {
            let row = planned.as_ref().err().and_then(same);
            assert_eq!(row, Some(i), "{planned:?}");
        };
        if range || marker {
            failed(|error| match error {
                Error::IdRange { row, .. } | Error::Sentinel { row, .. } => Some(*row),
                _ => None,
            });
            return;
        }
        if expected(i).is_none() {
            failed(|error| match error {
                Error::Split { row, .. } | Error::SplitDocument { row, .. } => Some(*row),
                _ => None,
            });
            return;
        }
    }
    assert_eq!(planned, Ok(()));
    let want: Vec<Filled> = (0..rows.len()).map(|i| expected(i).unwrap()).collect();
    for (i, (plan, filled)) in plans.iter().zip(&want).enumerate() {
        let labelled = filled.labels.iter().filter(|&&label| label != IGNORE).count();
        let (documents, transformed) = (filled.documents as u32, filled.transformed as u32);
        let same = RowPlan { len: filled.inputs.len(), key: key_of(i), documents, transformed, labelled };
        assert_eq!(*plan, same, "{spec:?} {splits:?} {ids:?}");
    }
    let lengths: Vec<usize> = plans.iter().map(|plan| plan.len).collect();
    let layout = match input.below(3) {
        1 => padded(&lengths, Side::Right, usize::MAX, 8),
        2 => padded(&lengths, Side::Left, usize::MAX, 1),
        _ => Layout { shape: Shape::Packed, max_len: usize::MAX },
    };
    let places = match layout.shape {
        Shape::Padded { width, .. } => width * rows.len(),
        _ => lengths.iter().sum(),
    };
    let [mut inputs, mut attention, mut labels, mut sources] = [(); 4].map(|()| vec![i64::MIN; places]);
    let outputs = Outputs {
        inputs: &mut inputs,
        attention: &mut attention,
        labels: &mut labels,
        sources: &mut sources,
    };
    let batch = Batch { layout, padding: PADDING, ignore_index: IGNORE };
    call.write_into(&plans, &documents, &batch, outputs).unwrap();
    let starts = vec![0; rows.len()];
    let context = || format!("{spec:?} {splits:?} {max_len} {ids:?} {seed_epoch:?}");
    let of = |value: fn(&Filled) -> &Vec<i64>| want.iter().map(|row| value(row).clone()).collect::<Vec<_>>();
    assert_eq!(inputs, lay_out(&of(|row| &row.inputs), &starts, layout, PADDING), "{}", context());
    assert_eq!(labels, lay_out(&of(|row| &row.labels), &starts, layout, IGNORE), "{}", context());
    assert_eq!(sources, lay_out(&of(|row| &row.sources), &starts, layout, -1), "{}", context());
    let ones: Vec<Vec<i64>> = lengths.iter().map(|&len| vec![1; len]).collect();
    assert_eq!(attention, lay_out(&ones, &starts, layout, 0));

    // The splits of the documents, given back, transform the rows in the same way.
    let mut offsets = vec![0];
    for plan in &plans {
        offsets.push(offsets[offsets.len() - 1] + i64::from(plan.transformed));
    }
    let all: Vec<Split> = documents.iter().map(core::Document::split).collect();
    let again = RowOptions { splits: Some(Splits::new(&offsets, &all).unwrap()), ..options };
    let again = FillInTheMiddle::new(&slices, &compiled, seed_epoch, again).unwrap();
    let (mut same_plans, mut same_documents) = (plans.clone(), Vec::new());
    again.plan_into(&mut same_plans, &mut same_documents).unwrap();
    assert_eq!((same_plans, same_documents), (plans, documents), "{}", context());

    for (row, filled) in ids.iter().zip(&want) {
        let has_marker = row.iter().any(|&id| markers.contains(&Some(id)));
        let is_boundary = spec.boundaries.iter().any(|&id| markers.contains(&Some(id)));
        if max_len == usize::MAX && spec.length == Length::Grow && !has_marker && !is_boundary {
            let mut merged = Vec::new();
            compiled.merge(&filled.inputs, &mut merged).unwrap();
            assert_eq!(&merged, row, "{}", context());
        }
    }
    let any: Vec<T> = input.row();
    let mut merged = Vec::new();
    let done = compiled.merge(&any, &mut merged);
    assert_eq!(done.ok().map(|()| merged), merge_documents(&wide(&any), &spec), "{spec:?} {any:?}");
}

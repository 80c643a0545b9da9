//! The golden vectors: one set for Rust and Python. A change here changes the data of everyone who resumes a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail where something is missing"
)]

use serde_json::Value;
use spanmask_core::Ragged;
use spanmask_core::batch::{Layout as BatchLayout, Shape};
use spanmask_core::noise::corrupt::{Corruption, OnExhausted, RowOptions, RowPlan, Scratch, Spec};
use spanmask_core::noise::diffusion::{self, Weighting, antithetic_ratios, diffuse_into};
use spanmask_core::noise::draw::Layout;
use spanmask_core::noise::fill_in_the_middle::{
    self as fim, FillInTheMiddle, Length, Level, Loss, SpmFormat,
};
use spanmask_core::noise::ids::IdSet;
use spanmask_core::noise::infill::{self, Infilling, Replace, SpanLengths};
use spanmask_core::noise::masked_lm::{self, Choice, RandomIds, mask_tokens_into};
use spanmask_core::noise::mixture::{Denoiser, Mixture, Objective, Split};
use spanmask_core::noise::plan::{plan, plan_lengths};
use spanmask_core::noise::seq_to_seq::SeqToSeq;
use spanmask_core::rng::bounded::{below, cumulative, threshold};
use spanmask_core::rng::key::row_key;
use spanmask_core::rng::trials::{GROUP, Trials};
use spanmask_core::rng::{Purpose, SeedEpoch, Stream};

fn vectors(name: &str) -> Value {
    let path = format!("{}/../../vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap()
}

fn numbers<T: TryFrom<u64>>(value: &Value) -> Vec<T> {
    list(value).iter().map(|value| T::try_from(number(value)).ok().unwrap()).collect()
}

#[test]
fn raw_stream() {
    for case in list(&vectors("rng")["philox"]) {
        let counter = [0, 0, number(&case["epoch"]), number(&case["purpose"])];
        let key = [number(&case["seed"]), number(&case["key"])];
        let mut words = Stream::new(key, counter);
        for word in numbers::<u64>(&case["words"]) {
            assert_eq!([0, 32].map(|_| words.next_u32()), [0, 32].map(|from| (word >> from) as u32));
        }
    }
}

#[test]
fn bounded_integers_and_trials() {
    let vectors = vectors("rng");
    for case in list(&vectors["below"]) {
        let mut stream = Stream::new([number(&case["seed"]), 0], [0; 4]);
        for value in numbers::<u32>(&case["values"]) {
            assert_eq!(below(&mut stream, number(&case["bound"]) as u32), value);
        }
    }
    for case in list(&vectors["trials"]) {
        let mut stream = Stream::new([number(&case["seed"]), 0], [0, 0, 0, Purpose::Choice as u64]);
        let trials = Trials::guided(threshold(case["probability"].as_f64().unwrap()));
        let (mut at, count, mut found, mut all) =
            (0, number(&case["count"]) as usize, [0; GROUP], Vec::new());
        while at < count {
            all.extend_from_slice(trials.successes(&mut stream, &mut at, count, &mut found));
        }
        assert_eq!(all, numbers::<u32>(&case["successes"]));
    }
}

#[test]
fn keys() {
    for case in list(&vectors("rng")["keys"]) {
        let row: Vec<[u8; 4]> = numbers::<u32>(&case["row"]).iter().map(|id| id.to_le_bytes()).collect();
        assert_eq!(row_key(&row), number(&case["key"]));
    }
}

#[test]
fn plans() {
    for case in list(&vectors("plans")) {
        let (density, mean) = (case["density"].as_f64().unwrap(), case["mean"].as_f64().unwrap());
        for row in list(&case["plans"]) {
            let row = numbers::<u32>(row);
            let plan = plan(row[0], density, mean);
            assert_eq!([plan.noise, plan.spans], row[1..]);
        }
        for row in list(&case["lengths"]) {
            let row = numbers::<u32>(row);
            assert_eq!(plan_lengths(row[0], density, mean), Some((row[1], row[2])));
        }
    }
}

fn spans(density: f64, mean: f64) -> Denoiser {
    Denoiser { objective: Objective::Spans { density, mean }, mode_token: None, sentinels: true }
}

fn prefix(split: Split, mode_token: Option<u32>, sentinels: bool) -> Denoiser {
    Denoiser { objective: Objective::Prefix(split), mode_token, sentinels }
}

/// The specs by the names of `tests/support/golden_vectors.py`.
fn spec(name: &str) -> Spec {
    let (denoisers, weights) = match name {
        "t5" => (vec![spans(0.15, 3.0)], vec![1.0]),
        "article" => (vec![spans(0.55, 1.5)], vec![1.0]),
        "uniform" => (vec![spans(0.3, 2.0)], vec![1.0]),
        "fewer_spans" | "merge_last" => (vec![spans(0.5, 1.0)], vec![1.0]),
        "protected" => (vec![spans(0.5, 3.0)], vec![1.0]),
        "ul2" => {
            let settings = [(0.15, 3.0), (0.15, 8.0), (0.5, 3.0), (0.5, 8.0), (0.15, 64.0), (0.5, 64.0)];
            let mut all: Vec<Denoiser> =
                settings.into_iter().map(|(density, mean)| spans(density, mean)).collect();
            all.push(prefix(Split::Density(0.25), None, true));
            (all, vec![1.0; 7])
        }
        "ul2r" => {
            let settings = [(0.15, 3.0), (0.15, 32.0), (0.5, 3.0)];
            let mut all: Vec<Denoiser> =
                settings.into_iter().map(|(density, mean)| spans(density, mean)).collect();
            all.push(prefix(Split::Uniform, None, true));
            (all, vec![0.25, 0.125, 0.125, 0.5])
        }
        "prefix" => (vec![prefix(Split::Uniform, Some(32100), false)], vec![1.0]),
        other => panic!("no spec {other}"),
    };
    let few = matches!(name, "fewer_spans" | "merge_last");
    let sentinels: Vec<u32> = (0..if few { 3 } else { 100 }).map(|place| 32099 - place).collect();
    Spec {
        mixture: Mixture::new(denoisers, &weights).unwrap(),
        forbidden: IdSet::new(sentinels.iter().copied()),
        sentinels,
        eos: Some(1),
        final_sentinel: name == "merge_last",
        layout: if name == "uniform" { Layout::Uniform } else { Layout::Classic },
        on_exhausted: match name {
            "fewer_spans" => OnExhausted::FewerSpans,
            "merge_last" => OnExhausted::MergeLast,
            _ => OnExhausted::Raise,
        },
        protected_ids: IdSet::new(if name == "protected" { vec![100, 103, 111] } else { Vec::new() }),
        bos_ids: IdSet::default(),
    }
}

#[test]
fn corruptions() {
    for case in list(&vectors("corrupt")) {
        let spec = spec(case["spec"].as_str().unwrap());
        let row = numbers::<u32>(&case["row"]);
        let rows = [row.as_slice()];
        let seed_epoch = SeedEpoch { seed: number(&case["seed"]), epoch: number(&case["epoch"]) };
        let corruption = Corruption::new(&rows, &spec, seed_epoch, RowOptions::default()).unwrap();
        let mut plans = [RowPlan::default()];
        corruption.plan_into(&mut plans).unwrap();
        let [plan] = &mut plans;
        let (mut inputs, mut labels) = (vec![0; plan.inputs], vec![0; plan.targets]);
        corruption.write_row(0, plan, &mut Scratch::default(), &mut inputs, &mut labels).unwrap();
        assert_eq!(inputs, numbers::<i64>(&case["input_ids"]), "{case}");
        assert_eq!(labels, numbers::<i64>(&case["labels"]), "{case}");
    }
}

/// As `MASK_SPECS` in `tests/support/golden_vectors.py`.
fn mask_spec(name: &str) -> masked_lm::Spec {
    let special = || IdSet::new([0, 100, 101, 102, 103]);
    let (probability, mask_replace_prob, random_replace_prob, vocab_size) = match name {
        "all" => (1.0, 0.2, 0.6, 500),
        "min_one" | "words_min_one" => (0.01, 0.8, 0.1, 30522),
        _ => (0.15, 0.8, 0.1, 30522),
    };
    // SpanBERT: lengths from 1 to 10, each .8 times as likely as the previous one.
    let lengths: Vec<f64> = std::iter::successors(Some(1.0), |weight| Some(weight * 0.8)).take(10).collect();
    masked_lm::Spec {
        choice: if name.starts_with("spans") {
            Choice::Spans(probability, cumulative(&lengths).unwrap())
        } else {
            Choice::Each(Box::new(Trials::guided(threshold(probability))))
        },
        mask_token_id: 103,
        mask_below: threshold(mask_replace_prob),
        random_below: threshold(mask_replace_prob + random_replace_prob),
        random_ids: RandomIds::new(vocab_size, &special()).unwrap(),
        protected_ids: special(),
        continuation_ids: name.starts_with("words").then(|| IdSet::new((105..200).step_by(3))),
        word_end_ids: (name == "words_with_ends").then(|| IdSet::new([101, 105, 120, 121, 150])),
        min_one: name.ends_with("min_one"),
    }
}

#[test]
fn maskings() {
    let layout = BatchLayout { shape: Shape::Packed, max_len: usize::MAX };
    for case in list(&vectors("mask_tokens")).iter().chain(list(&vectors("mask_tokens_by_token"))) {
        let row = numbers::<u32>(&case["row"]);
        let probabilities: Option<Vec<f64>> = case["mlm_probability"]
            .as_array()
            .map(|all| all.iter().map(|probability| probability.as_f64().unwrap()).collect());
        let offsets = [0, row.len() as i64];
        let options = masked_lm::RowOptions {
            token_probabilities: probabilities.as_ref().map(|all| Ragged::new(all, &offsets).unwrap()),
            ..Default::default()
        };
        let (mut inputs, mut labels) = (vec![0; row.len()], vec![0; row.len()]);
        mask_tokens_into(
            &[&row],
            &mask_spec(case["spec"].as_str().unwrap()),
            SeedEpoch { seed: number(&case["seed"]), epoch: number(&case["epoch"]) },
            &options,
            &masked_lm::Batch { layout, padding: 0, ignore_index: -100 },
            masked_lm::Outputs {
                inputs: &mut inputs,
                attention: &mut [],
                labels: &mut labels,
                reports: &mut [masked_lm::RowReport::default()],
            },
        )
        .unwrap();
        assert_eq!(inputs, numbers::<i64>(&case["input_ids"]), "{case}");
        assert_eq!(labels, signed(&case["labels"]), "{case}");
    }
}

fn signed(value: &Value) -> Vec<i64> {
    list(value).iter().map(|label| label.as_i64().unwrap()).collect()
}

/// As `DIFFUSION_SPECS` in `tests/support/golden_vectors.py`.
fn diffusion_spec(name: &str) -> diffusion::Spec {
    let (mask_token_id, eps, special) =
        if name == "llada" { (126_336, 1e-3, vec![]) } else { (103, 0.25, vec![101, 102, 107, 114]) };
    diffusion::Spec {
        mask_token_id,
        eps,
        protected_ids: IdSet::new(special.into_iter().chain([mask_token_id])),
        weighting: Weighting::Token,
    }
}

#[test]
fn diffusions() {
    let layout = BatchLayout { shape: Shape::Packed, max_len: usize::MAX };
    for case in list(&vectors("diffusion")) {
        let row = numbers::<u32>(&case["row"]);
        let (mut inputs, mut labels, mut weights) =
            (vec![0; row.len()], vec![0; row.len()], vec![0.0; row.len()]);
        let trained = case["trained"].as_array().map(|_| signed(&case["trained"]));
        let offsets = [0, row.len() as i64];
        let mut reports = [diffusion::RowReport::default()];
        diffuse_into(
            &[&row],
            &diffusion_spec(case["spec"].as_str().unwrap()),
            SeedEpoch { seed: number(&case["seed"]), epoch: number(&case["epoch"]) },
            &diffusion::RowOptions {
                labels: trained.as_ref().map(|labels| Ragged::new(labels, &offsets).unwrap()),
                ..diffusion::RowOptions::default()
            },
            &diffusion::Batch { layout, padding: 0, ignore_index: -100, fill: None },
            diffusion::Outputs {
                inputs: &mut inputs,
                attention: &mut [],
                labels: &mut labels,
                weights: &mut weights,
                reports: &mut reports,
            },
        )
        .unwrap();
        assert_eq!(reports[0].ratio, case["mask_ratio"].as_f64().unwrap(), "{case}");
        assert_eq!(inputs, numbers::<i64>(&case["input_ids"]), "{case}");
        assert_eq!(labels, signed(&case["labels"]), "{case}");
        let expected: Vec<f32> = labels
            .iter()
            .map(|&label| if label == -100 { 0.0 } else { (1.0 / reports[0].ratio) as f32 })
            .collect();
        assert_eq!(weights, expected, "{case}");
    }
}

#[test]
fn ratios_of_batches() {
    for case in list(&vectors("diffusion_ratios")) {
        let seed_epoch = SeedEpoch { seed: number(&case["seed"]), epoch: number(&case["epoch"]) };
        let expected: Vec<f64> = list(&case["ratios"]).iter().map(|ratio| ratio.as_f64().unwrap()).collect();
        let keys = numbers::<u64>(&case["keys"]);
        assert_eq!(antithetic_ratios(&keys, seed_epoch, case["eps"].as_f64().unwrap()), expected, "{case}");
    }
}

/// How likely the lengths 0, 1, ... are, relative to 0, as `poisson_weights` in `noise/infill.py` has it.
fn poisson(lambda: f64) -> Vec<f64> {
    let (mut weights, mut total) = (vec![1.0], 1.0);
    while weights.len() as f64 <= lambda || weights[weights.len() - 1] * 2f64.powi(33) >= total {
        weights.push(weights[weights.len() - 1] * lambda / weights.len() as f64);
        total += weights[weights.len() - 1];
    }
    weights
}

/// As `INFILL_SPECS` in `tests/support/golden_vectors.py`.
fn infill_spec(name: &str) -> infill::Spec {
    let protected_ids = IdSet::new(match name {
        "words" => vec![101, 102, 117, 150],
        "deleted" => vec![101, 102],
        _ => vec![0, 100, 101, 102, 103],
    });
    let (mask_ratio, lambda, permute_sentence_ratio, ends) = match name {
        "bart" => (0.3, 3.5, 1.0, vec![110, 124, 137]),
        "some" => (0.3, 3.5, 0.4, (104..140).collect()),
        "words" => (0.3, 1.0, 0.0, vec![]),
        "random" => (0.3, 3.5, 0.0, vec![]),
        "deleted" => (0.7, 0.4, 0.0, vec![]),
        other => panic!("no spec {other}"),
    };
    infill::Spec {
        mask_token_id: 103,
        mask_ratio,
        lengths: SpanLengths::new(&poisson(lambda)).unwrap(),
        replace: match name {
            "random" => Replace::EachToken,
            "deleted" => Replace::Nothing,
            _ => Replace::OneMask,
        },
        random: (name == "random").then(|| (threshold(0.3), RandomIds::new(500, &protected_ids).unwrap())),
        permute_sentence_ratio,
        sentence_end_ids: IdSet::new(ends),
        protected_ids,
        continuation_ids: (name == "words").then(|| IdSet::new((105..200).step_by(3))),
        word_end_ids: (name == "words").then(|| IdSet::new([107, 119, 128])),
    }
}

/// As `FIM_SPECS` in `tests/support/golden_vectors.py`.
fn fim_spec(name: &str) -> fim::Spec {
    let (ids, eot) = match name {
        "codellama" => ([32007, 32009, 32008], Some(32010)),
        "cut" => ([1, 2, 3], Some(4)),
        _ => ([1, 2, 3], None),
    };
    let [prefix, middle, suffix] = ids;
    fim::Spec {
        prefix,
        middle,
        suffix,
        eot,
        boundaries: IdSet::new(if name == "codellama" { vec![0, 60000] } else { vec![0] }),
        forbidden: IdSet::new(ids.into_iter().chain(eot)),
        below: threshold(match name {
            "starcoder" => 0.5,
            "keep" | "cut" => 0.9,
            _ => 1.0,
        }),
        spm_below: threshold(if name == "keep" { 0.3 } else { 0.5 }),
        spm_format: match name {
            "codellama" => SpmFormat::Plain,
            "codestral" => SpmFormat::Unmarked,
            _ => SpmFormat::Joint,
        },
        level: if matches!(name, "codestral" | "cut") { Level::Context } else { Level::Document },
        length: match name {
            "keep" => Length::Keep,
            "cut" => Length::Cut,
            _ => Length::Grow,
        },
        loss: if name.starts_with("code") { Loss::Middle } else { Loss::All },
    }
}

#[test]
fn infillings() {
    for case in list(&vectors("infill")) {
        let spec = infill_spec(case["spec"].as_str().unwrap());
        let row = numbers::<u32>(&case["row"]);
        let rows = [row.as_slice()];
        let seed_epoch = SeedEpoch { seed: number(&case["seed"]), epoch: number(&case["epoch"]) };
        let infilling = Infilling::new(&rows, &spec, seed_epoch, infill::RowOptions::default()).unwrap();
        let mut plans = [infill::RowPlan::default()];
        infilling.plan_into(&mut plans).unwrap();
        let [plan] = &mut plans;
        let (mut inputs, mut labels) = (vec![0; plan.inputs], vec![0; plan.targets]);
        infilling.write_row(0, plan, &mut infill::Scratch::default(), &mut inputs, &mut labels).unwrap();
        assert_eq!(inputs, numbers::<i64>(&case["input_ids"]), "{case}");
        assert_eq!(labels, numbers::<i64>(&case["row"]), "{case}");
    }
}

#[test]
fn fillings() {
    let layout = BatchLayout { shape: Shape::Packed, max_len: usize::MAX };
    for case in list(&vectors("fill_in_the_middle")) {
        let (spec, row) = (fim_spec(case["spec"].as_str().unwrap()), numbers::<u32>(&case["row"]));
        let rows = [row.as_slice()];
        let seed_epoch = SeedEpoch { seed: number(&case["seed"]), epoch: number(&case["epoch"]) };
        let max_len = case["max_length"].as_u64().map_or(usize::MAX, |len| len as usize);
        let options = fim::RowOptions { max_len, ..fim::RowOptions::default() };
        let call = FillInTheMiddle::new(&rows, &spec, seed_epoch, options).unwrap();
        let (mut plans, mut documents) = ([fim::RowPlan::default()], Vec::new());
        call.plan_into(&mut plans, &mut documents).unwrap();
        let (mut inputs, mut labels) = (vec![0; plans[0].len], vec![0; plans[0].len]);
        let outputs =
            fim::Outputs { inputs: &mut inputs, attention: &mut [], labels: &mut labels, sources: &mut [] };
        let batch = fim::Batch { layout, padding: 0, ignore_index: -100 };
        call.write_into(&plans, &documents, &batch, outputs).unwrap();
        assert_eq!(inputs, numbers::<i64>(&case["input_ids"]), "{case}");
        let expected: Vec<i64> = list(&case["labels"]).iter().map(|label| label.as_i64().unwrap()).collect();
        assert_eq!(labels, expected, "{case}");
    }
}

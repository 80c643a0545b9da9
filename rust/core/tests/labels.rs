//! `vectors/labels.json`: the reference's turns, labels and weights, compared with those of the kernels.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail where something is missing")]

use serde_json::Value;
use spanmask_core::batch::{Layout, Shape};
use spanmask_core::labels::{
    Ignore, MarkerPair, OnNoTrainedTurn, Outcome, Output, Policy, Reasoning, Report, RowColumns, RowReport,
    Shift, TrainOnEos, TruncatedTurn, WhichTurns, mask_labels_into,
};
use spanmask_core::turns::{Boundary, Format, FormatParts, TurnSource, find_turns};
use spanmask_core::{Ragged, Token};
use std::convert::Infallible;

fn list<T>(value: &Value, item: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().unwrap().iter().map(item).collect()
}

fn ids(value: &Value) -> Vec<i64> {
    list(value, |id| id.as_i64().unwrap())
}

fn markers(value: &Value) -> Vec<Vec<i64>> {
    list(value, ids)
}

fn format<T: Token>(case: &Value) -> Format<T> {
    let boundaries = list(&case["boundaries"], |boundary| Boundary {
        role: boundary[0].as_u64().unwrap() as usize,
        starts: markers(&boundary[1]),
        ends: markers(&boundary[2]),
        include_start: boundary[3].as_bool().unwrap(),
        include_end: boundary[4].as_bool().unwrap(),
        anchored: false,
    });
    Format::new(&FormatParts {
        boundaries,
        stop_token_ids: ids(&case["stop_token_ids"]),
        generation_prefills: markers(&case["generation_prefills"]),
        ..FormatParts::default()
    })
}

fn policy<T: Token>(rules: &Value) -> Policy<T> {
    let pairs: Vec<MarkerPair> =
        list(&rules["ignore_between"], |pair| (markers(&pair[0]), markers(&pair[1])));
    let flag = |name: &str| rules[name].as_bool().unwrap();
    let word = |name: &str| rules[name].as_str().unwrap();
    Policy {
        roles: list(&rules["roles"], |trains| trains.as_bool().unwrap().then_some(1.0)),
        reasoning: Reasoning::IgnoreEmpty,
        prompt_weight: rules["prompt_weight"].as_f64().unwrap() as f32,
        turns: if word("turns") == "all" { WhichTurns::All } else { WhichTurns::Last },
        train_on_eos: match word("train_on_eos") {
            "none" => TrainOnEos::None,
            "turn" => TrainOnEos::Turn,
            "last" => TrainOnEos::Last,
            _ => TrainOnEos::All,
        },
        include_start: flag("include_start"),
        train_generation_prefill: flag("train_generation_prefill"),
        truncated_turn: if word("truncated_turn") == "train" {
            TruncatedTurn::Train
        } else {
            TruncatedTurn::Drop
        },
        on_no_trained_turn: if word("on_no_trained_turn") == "mask" {
            OnNoTrainedTurn::Mask
        } else {
            OnNoTrainedTurn::Keep
        },
        ignore: Ignore::new(
            &ids(&rules["ignore_ids"]),
            &markers(&rules["ignore_sequences"]),
            &pairs,
            flag("train_between_markers"),
        ),
        shift: if word("shift") == "none" { Shift::None } else { Shift::Left },
    }
}

fn check<T: Token>(case: &Value) {
    let row: Vec<T> = ids(&case["row"]).into_iter().map(|id| T::from_i64(id).unwrap()).collect();
    let format = format::<T>(case);
    let offsets = [0, row.len() as i64];
    let rows = Ragged::new(&row, &offsets).unwrap();
    let mut found: Vec<Value> = Vec::new();
    let Ok(()) = find_turns::<_, Infallible>(&rows, &format, |_, turns| {
        found.extend(turns.iter().map(|t| {
            serde_json::json!([t.role, t.start, t.content_start, t.content_stop, t.stop, t.closed])
        }));
        Ok(())
    });
    assert_eq!(Value::from(found), case["turns"]);

    let (mut labels, mut weights) = (vec![0; row.len()], vec![9.0; row.len()]);
    let mut reports =
        [RowReport { trained: 0, outcome: Outcome::Trained, truncated: false, unclosed_regions: 0 }];
    let mut counts = vec![0; format.roles()];
    let output = Output {
        layout: Layout { shape: Shape::Packed, max_len: usize::MAX },
        ignore_index: -100,
        labels: &mut labels,
        weights: Some(&mut weights),
    };
    mask_labels_into(
        &rows,
        TurnSource::Search(&format),
        &policy(&case["policy"]),
        &RowColumns::default(),
        output,
        Report { rows: &mut reports, turns: &mut counts },
    )
    .unwrap();
    assert_eq!(labels, ids(&case["labels"]));
    assert_eq!(weights, list(&case["weights"], |weight| weight.as_f64().unwrap() as f32));
    let trained = labels.iter().filter(|&&label| label != -100).count();
    assert_eq!(reports[0].trained, trained);
    assert_eq!(reports[0].outcome == Outcome::Trained, trained > 0);
}

#[test]
fn vectors_pin_turns_labels_and_weights() {
    let text = include_str!("../../../vectors/labels.json");
    let cases: Value = serde_json::from_str(text).unwrap();
    for case in cases.as_array().unwrap() {
        check::<u16>(case);
        check::<u32>(case);
        check::<i32>(case);
        check::<i64>(case);
    }
}

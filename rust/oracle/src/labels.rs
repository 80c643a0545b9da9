//! Which tokens carry loss, spelled out.

use crate::turns::longest;
use spanmask_core::labels::{
    MarkerPair, OnNoTrainedTurn, Reasoning, Shift, TrainOnEos, TruncatedTurn, WhichTurns,
};
use spanmask_core::turns::Turn;

/// Which tokens carry loss.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the core's policy")]
pub struct Rules {
    pub roles: Vec<Option<f32>>,
    pub reasoning: Reasoning,
    pub prompt_weight: f32,
    pub turns: WhichTurns,
    pub train_on_eos: TrainOnEos,
    pub include_start: bool,
    pub train_generation_prefill: bool,
    pub truncated_turn: TruncatedTurn,
    pub on_no_trained_turn: OnNoTrainedTurn,
    pub ignore_ids: Vec<i64>,
    pub ignore_sequences: Vec<Vec<i64>>,
    pub ignore_between: Vec<MarkerPair>,
    pub train_between_markers: bool,
    pub shift: Shift,
}

/// What a row is masked with, in addition to the rules.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// Existing labels, intersected.
    pub labels: Option<&'a [i64]>,
    /// A weight for each turn of a trained role.
    pub turn_weights: Option<&'a [f32]>,
    /// The label of a token without loss.
    pub ignore_index: i64,
    /// The row is cut to so many tokens after its turns are found.
    pub max_len: usize,
    /// The first token never trains.
    pub skip_first: bool,
}

/// What became of a row.
#[derive(Debug, PartialEq)]
pub struct Labels {
    /// Its labels.
    pub labels: Vec<i64>,
    /// Its loss weights.
    pub weights: Vec<f32>,
    /// How many of its tokens train.
    pub trained: usize,
}

/// The labels of a row; `None` if it has no turn of a trained role and must have one.
pub fn mask_labels(row: &[i64], turns: &[Turn], rules: &Rules, columns: Columns) -> Option<Labels> {
    let mut weights = token_weights(row, turns, rules, columns)?;
    let kept = &columns.labels.unwrap_or(row)[..weights.len()];
    if columns.labels.is_some() {
        let pairs = weights.iter_mut().zip(kept);
        pairs.filter(|(_, label)| **label == columns.ignore_index).for_each(|(weight, _)| *weight = 0.0);
    }
    let mut trains: Vec<(f32, i64)> = weights.into_iter().zip(kept.iter().copied()).collect();
    if rules.shift == Shift::Left && !trains.is_empty() {
        trains.remove(0);
        trains.push((0.0, columns.ignore_index));
    } else if columns.skip_first && !trains.is_empty() {
        trains[0].0 = 0.0;
    }
    Some(Labels {
        labels: trains
            .iter()
            .map(|&(w, label)| if w == 0.0 { columns.ignore_index } else { label })
            .collect(),
        weights: trains.iter().map(|&(weight, _)| weight).collect(),
        trained: trains.iter().filter(|&&(weight, _)| weight != 0.0).count(),
    })
}

/// The loss weight of each token that is kept, before existing labels and the shift.
fn token_weights(row: &[i64], turns: &[Turn], rules: &Rules, columns: Columns) -> Option<Vec<f32>> {
    let len = row.len().min(columns.max_len);
    let role_weight = |turn: &Turn| rules.roles.get(turn.role).copied().flatten();
    let candidates: Vec<&Turn> = turns.iter().filter(|turn| role_weight(turn).is_some()).collect();
    let mut weights: Vec<Option<f32>> = vec![None; len];
    if candidates.is_empty() {
        match rules.on_no_trained_turn {
            OnNoTrainedTurn::Raise => return None,
            OnNoTrainedTurn::Keep => weights.fill(Some(1.0)),
            OnNoTrainedTurn::Mask => {}
        }
    }
    let mut fill = |start: usize, stop: usize, weight: f32| {
        for place in weights.iter_mut().take(stop).skip(start) {
            place.get_or_insert(weight);
        }
    };
    if rules.train_on_eos == TrainOnEos::All {
        for turn in turns.iter().filter(|turn| turn.include_end && role_weight(turn).is_none()) {
            fill(turn.content_stop, turn.stop, 1.0);
        }
    }
    for (number, &turn) in candidates.iter().enumerate() {
        if turn.start >= len {
            break;
        }
        let closed = turn.closed && turn.stop <= len;
        let is_last = number + 1 == candidates.len();
        let weight = role_weight(turn)? * columns.turn_weights.map_or(1.0, |weights| weights[number]);
        let trains = (rules.turns == WhichTurns::All || is_last)
            && (rules.truncated_turn == TruncatedTurn::Train || closed);
        if trains && (rules.include_start || turn.include_start) {
            fill(turn.start, turn.content_start, weight);
        }
        if trains {
            let start = if rules.train_generation_prefill { turn.content_start } else { turn.prefill_stop };
            fill(start, turn.content_stop, weight);
        }
        let closing = match rules.train_on_eos {
            TrainOnEos::All => Some(if trains { weight } else { 1.0 }),
            TrainOnEos::Turn => trains.then_some(weight),
            TrainOnEos::Last => (trains && is_last).then_some(weight),
            TrainOnEos::None => None,
        };
        if let Some(weight) = closing.filter(|_| turn.include_end) {
            fill(turn.content_stop, turn.stop + usize::from(turn.stop_token), weight);
        }
    }
    let never = ignored(row, turns, rules);
    let weight = |(at, weight): (usize, &Option<f32>)| {
        if never[at] { 0.0 } else { weight.unwrap_or(rules.prompt_weight) }
    };
    Some(weights.iter().enumerate().map(weight).collect())
}

/// Whether each token never trains.
fn ignored(row: &[i64], turns: &[Turn], rules: &Rules) -> Vec<bool> {
    let mut never: Vec<bool> = row.iter().map(|id| rules.ignore_ids.contains(id)).collect();
    let mut position = 0;
    while position < row.len() {
        let len = longest(row, position, &rules.ignore_sequences);
        never[position..position + len].fill(true);
        position += len.max(1);
    }
    for turn in turns {
        let ignored = match rules.reasoning {
            Reasoning::Train => false,
            Reasoning::Ignore => true,
            Reasoning::IgnoreEmpty => turn.empty_reasoning,
        };
        if ignored {
            never[turn.content_start..turn.reasoning_stop].fill(true);
        }
    }
    if turns.is_empty() {
        between(row, 0, rules, &mut never);
    }
    for turn in turns {
        between(&row[..turn.content_stop], turn.content_start, rules, &mut never);
    }
    never
}

/// Marks the positions between the markers of a pair, from `position` to the end of `row`.
fn between(row: &[i64], mut position: usize, rules: &Rules, never: &mut [bool]) {
    while position < row.len() {
        // The longest opening marker; of those, the first pair.
        let mut open = (0, 0);
        for (number, (opens, _)) in rules.ignore_between.iter().enumerate() {
            let len = longest(row, position, opens);
            if len > open.0 {
                open = (len, number);
            }
        }
        let (len, number) = open;
        if len == 0 {
            position += 1;
            continue;
        }
        let closes = &rules.ignore_between[number].1;
        let inside = position + len;
        let close = (inside..row.len()).find(|&at| longest(row, at, closes) > 0).unwrap_or(row.len());
        let stop = close + longest(row, close, closes);
        never[if rules.train_between_markers { inside..close } else { position..stop }].fill(true);
        position = stop;
    }
}

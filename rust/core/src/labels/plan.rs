//! Turns -> the spans of a row that carry loss, and why a row has none.

use super::spans::{Span, Spans};
use super::{
    OnNoTrainedTurn, Outcome, Policy, RowColumns, Shift, Target, TrainOnEos, TruncatedTurn, WhichTurns,
};
use crate::error::Column;
use crate::turns::{Turn, TurnSource};
use crate::{Error, Ragged, Token};

/// What happens to one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowReport {
    /// Tokens with a label, among those kept.
    pub trained: usize,
    /// Whether the row trains, and if not, why.
    pub outcome: Outcome,
    /// The row ends inside its last turn.
    pub truncated: bool,
}

/// What the labels of a batch will be, before anything is written: callers may drop rows in between.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    spans: Vec<Span>,
    /// The spans of row `i` are `edges[i]..edges[i + 1]`.
    edges: Vec<usize>,
    /// One entry per row.
    pub rows: Vec<RowReport>,
    /// Turns found, by role number.
    pub turns: Vec<u64>,
    /// The roles of all turns, row by row.
    pub roles: Vec<usize>,
    /// The turns of row `i` have the roles `role_edges[i]..role_edges[i + 1]`.
    pub role_edges: Vec<usize>,
}

impl Plan {
    /// Plans the labels of `rows`.
    ///
    /// Errors: [`Error::NoTrainedTurn`], [`Error::TurnWeights`], [`Error::ColumnLength`].
    pub fn new<T: Token>(
        rows: &Ragged<T>,
        turns: TurnSource<T>,
        policy: &Policy<T>,
        columns: &RowColumns,
        target: Target,
    ) -> Result<Self, Error> {
        let mut plan =
            Self { turns: vec![0; turns.roles()], edges: vec![0], role_edges: vec![0], ..Self::default() };
        let mut spans = Spans::default();
        turns.for_each_row(rows, |i, turns| {
            plan.rows.push(plan_row(i, rows.row(i), turns, policy, columns, target, &mut spans)?);
            plan.spans.extend_from_slice(&spans.0);
            plan.edges.push(plan.spans.len());
            for turn in turns {
                plan.turns[turn.role] += 1;
                plan.roles.push(turn.role);
            }
            plan.role_edges.push(plan.roles.len());
            Ok(())
        })?;
        Ok(plan)
    }

    /// The spans of row `i` that carry loss.
    pub(super) fn spans(&self, i: usize) -> &[Span] {
        &self.spans[self.edges[i]..self.edges[i + 1]]
    }
}

/// Finds the spans of row `i` that carry loss, and reports what happens to the row.
pub fn plan_row<T: Token>(
    i: usize,
    row: &[T],
    turns: &[Turn],
    policy: &Policy<T>,
    columns: &RowColumns,
    target: Target,
    spans: &mut Spans,
) -> Result<RowReport, Error> {
    let turn_weights = columns.turn_weights.map(|weights| weights.row(i));
    let skip_first = target.skip_first && policy.shift == Shift::None;
    let outcome =
        trained_spans(row, turns, policy, turn_weights, skip_first, spans).map_err(|error| match error {
            Error::TurnWeights { turns, weights, .. } if columns.turn_flags => {
                Error::TurnWeights { row: i, column: Column::TurnMask, turns, weights }
            }
            error => error.at_row(i),
        })?;
    let kept = row.len().min(target.max_len);
    let in_spans = spans.tokens_within(policy.shift, kept);
    let trained = match columns.labels.map(|labels| labels.row(i)) {
        None => in_spans,
        Some(labels) if labels.len() == row.len() => {
            spans.labels_within(policy.shift, kept, labels, target.ignore_index)
        }
        Some(labels) => {
            return Err(Error::ColumnLength {
                row: i,
                column: Column::Labels,
                ids: row.len(),
                got: labels.len(),
            });
        }
    };
    Ok(RowReport {
        trained,
        outcome: match outcome {
            _ if trained > 0 => Outcome::Trained,
            _ if in_spans > 0 => Outcome::Excluded,
            Outcome::Trained => Outcome::Truncated, // there are trained tokens, but all of them are after the cut
            other => other,
        },
        truncated: turns.last().is_some_and(|turn| !turn.closed),
    })
}

/// The spans of a row that carry loss. Returns why there are none, or [`Outcome::Trained`].
fn trained_spans<T: Token>(
    row: &[T],
    turns: &[Turn],
    policy: &Policy<T>,
    turn_weights: Option<&[f32]>,
    skip_first: bool,
    spans: &mut Spans,
) -> Result<Outcome, Error> {
    spans.0.clear();
    let role_weight = |turn: &Turn| policy.roles.get(turn.role).copied().flatten();
    let candidates = turns.iter().filter(|turn| role_weight(turn).is_some()).count();
    if let Some(weights) = turn_weights
        && weights.len() < candidates
    {
        let (column, turns) = (Column::TurnWeights, candidates);
        return Err(Error::TurnWeights { row: 0, column, turns, weights: weights.len() });
    }
    if candidates == 0 {
        match policy.on_no_trained_turn {
            OnNoTrainedTurn::Raise => return Err(Error::NoTrainedTurn { row: 0 }),
            OnNoTrainedTurn::Keep => spans.push(0..row.len(), 1.0),
            OnNoTrainedTurn::Mask => {}
        }
    }
    let mut number = 0; // the turn's number among those of trained roles
    let mut weighted_off = false;
    for turn in turns {
        let mut closing = (policy.train_on_eos == TrainOnEos::All).then_some(1.0);
        let trained_role = role_weight(turn);
        if let Some(role_weight) = trained_role {
            let last = number + 1 == candidates;
            let weight = role_weight * turn_weights.map_or(1.0, |weights| weights[number]);
            weighted_off |= weight == 0.0;
            number += 1;
            if (last || policy.turns == WhichTurns::All)
                && (turn.closed || policy.truncated_turn == TruncatedTurn::Train)
            {
                if policy.include_start || turn.include_start {
                    spans.push(turn.header(), weight);
                }
                let start =
                    if policy.train_generation_prefill { turn.content_start } else { turn.prefill_stop };
                spans.push(start..turn.content_stop, weight);
                match policy.train_on_eos {
                    TrainOnEos::Last if !last => {}
                    TrainOnEos::None => {}
                    TrainOnEos::Turn | TrainOnEos::Last | TrainOnEos::All => closing = Some(weight),
                }
            }
        }
        if let Some(weight) = closing
            && turn.include_end
        {
            let stop_token = trained_role.is_some() && turn.stop_token;
            spans.push(turn.content_stop..turn.stop + usize::from(stop_token), weight);
        }
    }
    if policy.prompt_weight != 0.0 {
        spans.fill_gaps(row.len(), policy.prompt_weight);
    }
    let holds_tokens = !spans.0.is_empty();
    policy.ignore.subtract_from(spans, row, turns);
    let left_by_ignored = !spans.0.is_empty();
    if skip_first {
        spans.subtract(core::slice::from_ref(&(0..1)));
    }
    let left_by_first = !spans.0.is_empty();
    spans.0.retain(|span| span.weight != 0.0);
    let truncated =
        turns.last().is_some_and(|turn| !turn.closed && (candidates == 0 || role_weight(turn).is_some()));
    Ok(match () {
        () if !spans.0.is_empty() => Outcome::Trained,
        () if row.is_empty() => Outcome::EmptyRow,
        () if weighted_off => Outcome::Excluded,
        () if holds_tokens && !left_by_ignored => Outcome::OnlyIgnored,
        () if left_by_ignored && !left_by_first => Outcome::OnlyFirst,
        () if turns.is_empty() => Outcome::NoMarker,
        () if truncated => Outcome::Truncated,
        () if candidates == 0 => Outcome::NoTrainedTurn,
        () => Outcome::EmptyTurn,
    })
}

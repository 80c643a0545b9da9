//! Turns -> the spans of a row that carry loss, and why a row has none.

use super::spans::{Span, Spans};
use super::{
    OnNoTrainedTurn, Outcome, Policy, Reasoning, RowColumns, Shift, Target, TrainOnEos, TruncatedTurn,
    WhichTurns,
};
use crate::error::Column;
use crate::stop;
use crate::turns::{Turn, TurnSource};
use crate::{Error, Ragged, Token};
use core::ops::Range;

/// What happens to one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowReport {
    /// Tokens with a label, among those kept.
    pub trained: usize,
    /// Whether the row trains, and if not, why.
    pub outcome: Outcome,
    /// The row ends inside its last turn, or is cut there.
    pub truncated: bool,
    /// Regions to ignore in turns of trained roles that opened but did not close.
    pub unclosed_regions: usize,
}

/// What the labels of a batch will be, before anything is written: callers may drop rows in between.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    spans: Vec<Span>,
    /// The spans of row `i` are `edges[i]..edges[i + 1]`.
    edges: Vec<usize>,
    /// One entry per row.
    pub rows: Vec<RowReport>,
    /// Turns that are not after the cut, by role number.
    pub turns: Vec<u64>,
    /// The roles of the turns of the whole rows, row by row, without turns that have nothing after their header.
    pub roles: Vec<usize>,
    /// The turns of row `i` have the roles `role_edges[i]..role_edges[i + 1]`.
    pub role_edges: Vec<usize>,
    /// Whether the whole row ends inside its last turn, one entry per row.
    pub open: Vec<bool>,
}

impl Plan {
    /// Plans the labels of `rows`.
    ///
    /// Errors: [`Error::NoTrainedTurn`], [`Error::TurnWeights`], [`Error::ColumnLength`].
    pub fn new<T: Token>(
        rows: &Ragged<T>,
        source: TurnSource<T>,
        policy: &Policy<T>,
        columns: &RowColumns,
        target: Target,
    ) -> Result<Self, Error> {
        let mut plan =
            Self { turns: vec![0; source.roles()], edges: vec![0], role_edges: vec![0], ..Self::default() };
        let mut spans = Spans::default();
        source.for_each_row(rows, |i, turns| {
            let row = TurnsOfRow { number: i, ids: rows.row(i), turns, source };
            let report = row.plan(policy, columns, target, &mut spans, &mut plan.turns)?;
            stop::push(&mut plan.rows, report);
            stop::extend(&mut plan.spans, &spans.0);
            stop::push(&mut plan.edges, plan.spans.len());
            stop::reserve(&mut plan.roles, turns.len());
            plan.roles
                .extend(turns.iter().filter(|turn| turn.stop > turn.content_start).map(|turn| turn.role));
            stop::push(&mut plan.role_edges, plan.roles.len());
            stop::push(&mut plan.open, turns.last().is_some_and(|turn| !turn.closed));
            Ok(())
        })?;
        Ok(plan)
    }

    /// The spans of row `i` that carry loss.
    pub(super) fn spans(&self, i: usize) -> &[Span] {
        &self.spans[self.edges[i]..self.edges[i + 1]]
    }
}

/// A row and all its turns.
#[derive(Clone, Copy)]
pub struct TurnsOfRow<'a, T> {
    pub number: usize,
    pub ids: &'a [T],
    pub turns: &'a [Turn],
    pub source: TurnSource<'a, T>,
}

impl<T: Token> TurnsOfRow<'_, T> {
    /// Finds the spans that carry loss, and reports what happens to the row. Adds its turns to `counts`.
    pub fn plan(
        self,
        policy: &Policy<T>,
        columns: &RowColumns,
        target: Target,
        spans: &mut Spans,
        counts: &mut [u64],
    ) -> Result<RowReport, Error> {
        let whole = target.max_len >= self.ids.len();
        let cut: Vec<Turn>;
        let kept = if whole {
            self.turns
        } else {
            cut = self.turns.iter().map_while(|turn| turn.cut(target.max_len)).collect();
            &cut
        };
        kept.iter().for_each(|turn| counts[turn.role] += 1);
        let mut report = self.plan_kept(kept, policy, columns, target, spans)?;
        if !whole && report.outcome != Outcome::Trained {
            let without_cut = Target { max_len: usize::MAX, ..target };
            let reason = self.plan_kept(self.turns, policy, columns, without_cut, spans)?.outcome;
            report.outcome = match (reason, report.outcome) {
                (Outcome::Trained, Outcome::TruncatedAnswer) => Outcome::CutAnswer,
                (Outcome::Trained, _) => Outcome::Cut,
                (reason, _) => reason,
            };
            spans.0.clear();
        }
        if matches!(report.outcome, Outcome::NoMarker | Outcome::NoTrainedTurn) {
            let rest = &self.ids[self.turns.last().map_or(0, |turn| turn.stop)..];
            if self.source.ends_in_header(rest) {
                report.outcome = Outcome::Truncated;
            }
        }
        Ok(report)
    }

    /// The same for the turns `kept` that the cut of `target` leaves.
    fn plan_kept(
        self,
        kept: &[Turn],
        policy: &Policy<T>,
        columns: &RowColumns,
        target: Target,
        spans: &mut Spans,
    ) -> Result<RowReport, Error> {
        let (row, i) = (self.ids, self.number);
        let turn_weights = columns.turn_weights.map(|weights| weights.row(i));
        let skip_first = target.skip_first && policy.shift == Shift::None;
        let len = row.len().min(target.max_len);
        let (outcome, unclosed_regions) = self
            .trained_spans(kept, len, policy, turn_weights, skip_first, spans)
            .map_err(|error| match error {
                Error::TurnWeights { turns, weights, .. } if columns.turn_flags => {
                    Error::TurnWeights { row: i, column: Column::TurnMask, turns, weights }
                }
                error => error.at_row(i),
            })?;
        let in_spans = spans.tokens_within(policy.shift, len);
        let trained = match columns.labels.map(|labels| labels.row(i)) {
            None => in_spans,
            Some(labels) if labels.len() == row.len() => {
                spans.labels_within(policy.shift, len, labels, target.ignore_index)
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
                Outcome::Trained => Outcome::OnlyFirst, // shifted labels have no place for the row's first token
                other => other,
            },
            truncated: kept.last().is_some_and(|turn| !turn.closed),
            unclosed_regions,
        })
    }

    /// The spans of the row that carry loss, and how many ignored regions in them are not closed. Returns why there are no spans, or
    /// [`Outcome::Trained`].
    ///
    /// `kept`: the turns in the row's first `len` tokens.
    fn trained_spans(
        self,
        kept: &[Turn],
        len: usize,
        policy: &Policy<T>,
        turn_weights: Option<&[f32]>,
        skip_first: bool,
        spans: &mut Spans,
    ) -> Result<(Outcome, usize), Error> {
        spans.0.clear();
        let Self { ids: row, turns, .. } = self;
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
                OnNoTrainedTurn::Keep => spans.push(0..len, 1.0),
                OnNoTrainedTurn::Mask => {}
            }
        }
        let mut number = 0; // the turn's number among those of trained roles
        let mut weighted_off = false;
        let mut truncated_answer = false;
        let mut has_reasoning = false;
        for turn in kept {
            has_reasoning |= turn.reasoning_stop > turn.content_start;
            let mut closing = (policy.train_on_eos == TrainOnEos::All).then_some(1.0);
            let trained_role = role_weight(turn);
            if let Some(role_weight) = trained_role {
                let last = number + 1 == candidates;
                let weight = role_weight * turn_weights.map_or(1.0, |weights| weights[number]);
                weighted_off |= weight == 0.0;
                number += 1;
                let chosen = last || policy.turns == WhichTurns::All;
                let dropped = !turn.closed && policy.truncated_turn == TruncatedTurn::Drop;
                truncated_answer |= chosen && dropped && weight != 0.0 && !turn.content().is_empty();
                if chosen && !dropped {
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
            spans.fill_gaps(len, policy.prompt_weight);
        }
        let holds_tokens = !spans.0.is_empty();
        let mut open_reasoning = 0;
        if has_reasoning {
            if policy.reasoning == Reasoning::Ignore {
                // As for other regions, what closes after the cut is closed.
                let is_open = |turn: &&Turn| {
                    role_weight(turn).is_some()
                        && spans.overlap(turn.content_start..turn.reasoning_stop.min(len))
                        && self.source.reasoning_is_open(&row[turn.content_start..turn.reasoning_stop])
                };
                open_reasoning = turns[..kept.len()].iter().filter(is_open).count();
            }
            policy.subtract_reasoning(spans, kept);
        }
        let counted = |turn: &Turn| role_weight(turn).is_some();
        let unclosed = open_reasoning + policy.ignore.subtract_from(spans, row, turns, counted);
        let left_by_ignored = !spans.0.is_empty();
        if skip_first {
            spans.subtract(core::slice::from_ref(&(0..1)));
        }
        let left_by_first = !spans.0.is_empty();
        spans.0.retain(|span| span.weight != 0.0);
        let truncated =
            turns.last().is_some_and(|turn| !turn.closed && (candidates == 0 || role_weight(turn).is_some()));
        let outcome = match () {
            () if !spans.0.is_empty() => Outcome::Trained,
            () if row.is_empty() => Outcome::EmptyRow,
            () if truncated_answer => Outcome::TruncatedAnswer,
            () if weighted_off => Outcome::Excluded,
            () if holds_tokens && !left_by_ignored => Outcome::OnlyIgnored,
            () if left_by_ignored && !left_by_first => Outcome::OnlyFirst,
            () if turns.is_empty() => Outcome::NoMarker,
            () if truncated => Outcome::Truncated,
            () if candidates == 0 => Outcome::NoTrainedTurn,
            () => Outcome::EmptyTurn,
        };
        Ok((outcome, unclosed))
    }
}

impl<T> Policy<T> {
    /// Removes from `spans` the reasoning that does not train.
    fn subtract_reasoning(&self, spans: &mut Spans, turns: &[Turn]) {
        let ignored = |turn: &&Turn| match self.reasoning {
            Reasoning::Train => false,
            Reasoning::Ignore => true,
            Reasoning::IgnoreEmpty => turn.empty_reasoning,
        };
        let holes: Vec<Range<usize>> =
            turns.iter().filter(ignored).map(|turn| turn.content_start..turn.reasoning_stop).collect();
        spans.subtract(&holes);
    }
}

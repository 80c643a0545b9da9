//! Turns -> labels. The only place that decides which tokens carry loss.
//! Oracle: `spanmask.reference.mask_labels`.

mod ignore;
mod spans;

use crate::batch::Layout;
use crate::error::Column;
use crate::level::{Level, Loop};
use crate::turns::{Format, Turn, find_turns};
use crate::{Error, Ragged, Token};
pub use ignore::{Ignore, Pair};
use spans::Spans;

/// Which turns of the trained roles train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichTurns {
    /// Every one.
    All,
    /// The row's last one.
    Last,
}

/// Whose closing tokens train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainOnEos {
    /// Nobody's.
    None,
    /// Those of the turns that train.
    Turn,
    /// Those of the row's last turn of a trained role, if it trains.
    Last,
    /// Those of every turn of every role.
    All,
}

/// What becomes of a turn that the row's end cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TruncatedTurn {
    /// It trains.
    Train,
    /// It does not.
    Drop,
}

/// What becomes of a row without a turn of a trained role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnNoTrainedTurn {
    /// Nothing trains.
    Mask,
    /// Everything trains but the ignored ids.
    Keep,
    /// [`Error::NoTrainedTurn`].
    Raise,
}

/// Where a token's label stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// On the token itself; the model shifts.
    None,
    /// On the token in front of it, for models that do not.
    Left,
}

/// Which tokens carry loss.
#[derive(Debug, Clone)]
pub struct Policy<T> {
    /// By role number: the loss weight of its turns, or `None` where they do not train. Missing entries do not.
    pub roles: Vec<Option<f32>>,
    /// The loss weight of every token that no trained turn trains; 0: none.
    pub prompt_weight: f32,
    /// Which of the trained roles' turns.
    pub turns: WhichTurns,
    /// Whose closing tokens.
    pub train_on_eos: TrainOnEos,
    /// Opening tokens train with their turn.
    pub include_start: bool,
    /// What the generation prompt supplies at a turn's head trains.
    pub train_generation_prefill: bool,
    /// Turns cut off by the row's end.
    pub truncated_turn: TruncatedTurn,
    /// Rows without a trained turn.
    pub on_no_trained_turn: OnNoTrainedTurn,
    /// Tokens that never train.
    pub ignore: Ignore<T>,
    /// Where labels stand.
    pub shift: Shift,
}

impl<T> Policy<T> {
    /// The same choices with other tokens that never train, of another type maybe.
    pub fn with_ignore<U>(&self, ignore: Ignore<U>) -> Policy<U> {
        Policy {
            roles: self.roles.clone(),
            prompt_weight: self.prompt_weight,
            turns: self.turns,
            train_on_eos: self.train_on_eos,
            include_start: self.include_start,
            train_generation_prefill: self.train_generation_prefill,
            truncated_turn: self.truncated_turn,
            on_no_trained_turn: self.on_no_trained_turn,
            ignore,
            shift: self.shift,
        }
    }
}

/// Why a row trains, or why not. The numbers are what the binding hands to Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// At least one token trains.
    Trained = 0,
    /// The row has no token.
    EmptyRow = 1,
    /// No start marker of any role.
    NoMarker = 2,
    /// Turns, but none of a trained role, or its content was cut off.
    Truncated = 3,
    /// All that would train are ignored ids.
    OnlyIgnored = 4,
    /// The trained turns hold no token that the policy trains.
    EmptyTurn = 5,
    /// Existing labels or turn weights exclude all that would train.
    Excluded = 6,
}

impl Outcome {
    /// How many there are.
    pub const COUNT: usize = 7;
}

/// What happened to one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowReport {
    /// Tokens with a label, among those kept.
    pub trained: usize,
    /// Why.
    pub outcome: Outcome,
    /// The last turn was cut off by the row's end.
    pub open: bool,
}

/// What a call may be given beside the rows.
#[derive(Debug, Clone, Copy)]
pub struct Extras<'a> {
    /// Existing labels, intersected: where they are `ignore_index`, nothing trains.
    pub labels: Option<Ragged<'a, i64>>,
    /// A loss weight for each turn of a trained role, 0 for none. More weights than turns: the row's tail was cut.
    pub turn_weights: Option<Ragged<'a, f32>>,
    /// What stands where no loss is wanted.
    pub ignore_index: i64,
}

/// Where results go, in the places of one layout.
#[derive(Debug)]
pub struct Output<'a> {
    /// Labels.
    pub labels: &'a mut [i64],
    /// Loss weights: 0 where no loss is wanted.
    pub weights: Option<&'a mut [f32]>,
}

/// What happened, written beside the labels.
#[derive(Debug)]
pub struct Report<'a> {
    /// One entry a row.
    pub rows: &'a mut [RowReport],
    /// By role number; raised by each turn that was found.
    pub turns: &'a mut [u64],
}

/// Labels of `rows` into `labels`, and their loss weights into `weights` where they are asked for; `layout` gives the places in both.
/// Masks are made before the layout cuts rows.
///
/// The ids are read to find markers, some thousand at a time, and once more to be written, while they are in cache.
///
/// Errors: [`Error::Length`] for a buffer of another size, [`Error::NoTrainedTurn`], [`Error::TurnWeights`], [`Error::ColumnLength`].
pub fn mask_labels_into<T: Token>(
    rows: &Ragged<T>,
    format: &Format<T>,
    policy: &Policy<T>,
    extras: &Extras,
    layout: Layout,
    mut out: Output,
    report: Report,
) -> Result<(), Error> {
    let places = layout.output_len(rows);
    let weights = out.weights.as_ref().map_or(places, |weights| weights.len());
    for (want, got) in [
        (rows.len(), report.rows.len()),
        (format.roles(), report.turns.len()),
        (places, out.labels.len()),
        (places, weights),
    ] {
        if got != want {
            return Err(Error::Length { want, got });
        }
    }
    let mut spans = Spans::default();
    let level = Level::detect();
    find_turns(rows, format, |i, turns| {
        let row = rows.row(i);
        let at_row = |error: Error| error.at_row(i);
        let turn_weights = extras.turn_weights.map(|weights| weights.row(i));
        let outcome = trained_spans(row, turns, format, policy, turn_weights, &mut spans).map_err(at_row)?;

        let (mut cell, rest) = layout.split_cell(i, rows.bounds(i), core::mem::take(&mut out.labels))?;
        out.labels = rest;
        cell.fill_padding(extras.ignore_index);
        let (ignore, shift) = (extras.ignore_index, policy.shift);
        level.run(Labels { row, spans: &spans, ignore, shift, out: cell.content });
        let mut trained = spans.tokens_within(policy.shift, cell.content.len());
        let mut excluded = false;
        if let Some(labels) = extras.labels {
            let kept = intersect(row.len(), labels.row(i), extras.ignore_index, policy.shift, cell.content)
                .map_err(at_row)?;
            excluded = kept == 0 && trained > 0;
            trained = kept;
        }
        if let Some(weights) = out.weights.take() {
            let (mut weight_cell, rest) = layout.split_cell(i, rows.bounds(i), weights)?;
            out.weights = Some(rest);
            weight_cell.fill_padding(0.0);
            weights_into(&spans, policy.shift, cell.content, extras.ignore_index, weight_cell.content);
        }
        report.rows[i] = RowReport {
            trained,
            outcome: match outcome {
                _ if trained > 0 => Outcome::Trained,
                _ if excluded => Outcome::Excluded,
                Outcome::Trained => Outcome::Truncated, // trained tokens, all of them behind the cut
                other => other,
            },
            open: turns.last().is_some_and(|turn| !turn.closed),
        };
        for turn in turns {
            report.turns[turn.role] += 1;
        }
        Ok(())
    })
}

/// Copies `row` inside the spans, writes `ignore` elsewhere. `out` may be shorter than `row`: the rest is cut.
struct Labels<'a, T> {
    row: &'a [T],
    spans: &'a Spans,
    ignore: i64,
    shift: Shift,
    out: &'a mut [i64],
}

impl<T: Token> Loop for Labels<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let Self { row, spans, ignore, shift, out } = self;
        let mut at = 0; // each place is written once: spans are few and long, so are the gaps
        for span in &spans.0 {
            let places = span.places(shift, out.len());
            out[at..places.start].fill(ignore);
            let first = places.start + shift.distance();
            T::copy_into(&row[first..first + places.len()], &mut out[places.clone()]);
            at = places.end;
        }
        out[at..].fill(ignore);
    }
}

/// Writes each span's weight where `labels` train, 0 elsewhere.
fn weights_into(spans: &Spans, shift: Shift, labels: &[i64], ignore: i64, out: &mut [f32]) {
    out.fill(0.0);
    for span in &spans.0 {
        let places = span.places(shift, out.len());
        for (weight, label) in out[places.clone()].iter_mut().zip(&labels[places]) {
            *weight = if *label == ignore { 0.0 } else { span.weight };
        }
    }
}

/// Ignores in `out` what `labels` ignore; returns how many tokens still train.
fn intersect(
    row_len: usize,
    labels: &[i64],
    ignore: i64,
    shift: Shift,
    out: &mut [i64],
) -> Result<usize, Error> {
    if labels.len() != row_len {
        return Err(Error::ColumnLength { row: 0, column: Column::Labels, ids: row_len, got: labels.len() });
    }
    let mut trained = 0;
    for (out, &label) in out.iter_mut().zip(&labels[shift.distance().min(row_len)..]) {
        *out = if *out == ignore { ignore } else { label };
        trained += usize::from(*out != ignore);
    }
    Ok(trained)
}

/// The spans of a row that carry loss. Returns why there are none, or [`Outcome::Trained`].
fn trained_spans<T: Token>(
    row: &[T],
    turns: &[Turn],
    format: &Format<T>,
    policy: &Policy<T>,
    turn_weights: Option<&[f32]>,
    spans: &mut Spans,
) -> Result<Outcome, Error> {
    spans.0.clear();
    let role_weight = |turn: &Turn| policy.roles.get(turn.role).copied().flatten();
    let candidates = turns.iter().filter(|turn| role_weight(turn).is_some()).count();
    if let Some(weights) = turn_weights
        && weights.len() < candidates
    {
        return Err(Error::TurnWeights { row: 0, turns: candidates, weights: weights.len() });
    }
    if candidates == 0 {
        match policy.on_no_trained_turn {
            OnNoTrainedTurn::Raise => return Err(Error::NoTrainedTurn { row: 0 }),
            OnNoTrainedTurn::Keep => spans.push(0..row.len(), 1.0),
            OnNoTrainedTurn::Mask => {}
        }
    }
    let mut number = 0; // of the turn among those of trained roles
    let mut weighted_off = false;
    for turn in turns {
        let boundary = format.boundary(turn);
        let mut closing = (policy.train_on_eos == TrainOnEos::All).then_some(1.0);
        if let Some(role_weight) = role_weight(turn) {
            let last = number + 1 == candidates;
            let weight = role_weight * turn_weights.map_or(1.0, |weights| weights[number]);
            weighted_off |= weight == 0.0;
            number += 1;
            if (last || policy.turns == WhichTurns::All)
                && (turn.closed || policy.truncated_turn == TruncatedTurn::Train)
            {
                if policy.include_start || boundary.include_start {
                    spans.push(turn.header(), weight);
                }
                let head =
                    if policy.train_generation_prefill { 0 } else { format.generation_prefill(row, turn) };
                spans.push(turn.content_start + head..turn.content_stop, weight);
                match policy.train_on_eos {
                    TrainOnEos::Last if !last => {}
                    TrainOnEos::None => {}
                    TrainOnEos::Turn | TrainOnEos::Last | TrainOnEos::All => closing = Some(weight),
                }
            }
        }
        if let Some(weight) = closing
            && boundary.include_end
        {
            let trained = role_weight(turn).is_some();
            let stop = turn.stop + if trained { format.stop_token(row, turn) } else { 0 };
            spans.push(turn.content_stop..stop, weight);
        }
    }
    if policy.prompt_weight != 0.0 {
        spans.fill_gaps(row.len(), policy.prompt_weight);
    }
    let holds_tokens = !spans.0.is_empty();
    policy.ignore.subtract_from(spans, row, turns);
    let left_by_ignored = !spans.0.is_empty();
    spans.0.retain(|span| span.weight != 0.0);
    Ok(match () {
        () if !spans.0.is_empty() => Outcome::Trained,
        () if row.is_empty() => Outcome::EmptyRow,
        () if weighted_off => Outcome::Excluded,
        () if holds_tokens && !left_by_ignored => Outcome::OnlyIgnored,
        () if turns.is_empty() => Outcome::NoMarker,
        () if candidates == 0
            || turns.last().is_some_and(|turn| !turn.closed && role_weight(turn).is_some()) =>
        {
            Outcome::Truncated
        }
        () => Outcome::EmptyTurn,
    })
}

impl Shift {
    /// How far a label stands in front of its token.
    fn distance(self) -> usize {
        match self {
            Self::None => 0,
            Self::Left => 1,
        }
    }
}

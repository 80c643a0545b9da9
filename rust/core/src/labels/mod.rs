//! Turns -> labels. The only place that decides which tokens carry loss.
//! Oracle: `spanmask.reference.mask_labels`.

mod batch;
mod ignore;
mod plan;
mod spans;
mod write;

use crate::batch::Layout;
use crate::level::SimdLevel;
use crate::turns::TurnSource;
use crate::{Error, Ragged, Token};
pub use batch::{BatchOutput, write_batch_into};
pub use ignore::{Ignore, MarkerPair};
pub use plan::{Plan, RowReport};
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
    /// Those of no turn.
    None,
    /// Those of the turns that train.
    Turn,
    /// Those of the row's last turn of a trained role, if it trains.
    Last,
    /// Those of every turn of every role.
    All,
}

/// Whether the reasoning at the beginning of a turn's content trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reasoning {
    /// It does.
    Train,
    /// It never does.
    Ignore,
    /// It does, unless the template added it without any text.
    IgnoreEmpty,
}

/// What happens to a turn that the row's end, or the cut, shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TruncatedTurn {
    /// It trains.
    Train,
    /// It does not train.
    Drop,
}

/// What happens to a row without a turn of a trained role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnNoTrainedTurn {
    /// Nothing trains.
    Mask,
    /// Everything trains except the ignored ids.
    Keep,
    /// [`Error::NoTrainedTurn`].
    Raise,
}

/// At which position a token's label is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// At the token's own position; the model shifts.
    None,
    /// At the position before it, for models that do not shift.
    Left,
}

impl Shift {
    /// How many positions before its token a label is.
    fn distance(self) -> usize {
        match self {
            Self::None => 0,
            Self::Left => 1,
        }
    }
}

/// Which tokens carry loss.
#[derive(Debug, Clone)]
pub struct Policy<T> {
    /// By role number: the loss weight of the role's turns, or `None` if they do not train. Roles without an entry do not train.
    pub roles: Vec<Option<f32>>,
    /// Whether the reasoning at the beginning of a turn's content trains.
    pub reasoning: Reasoning,
    /// The loss weight of every token that no trained turn trains; 0: none.
    pub prompt_weight: f32,
    /// Which turns of the trained roles train.
    pub turns: WhichTurns,
    /// Whose closing tokens train.
    pub train_on_eos: TrainOnEos,
    /// Opening tokens train with their turn.
    pub include_start: bool,
    /// The tokens that the generation prompt supplies at the beginning of a turn's content train.
    pub train_generation_prefill: bool,
    /// What happens to turns that the row's end, or the cut, shortened.
    pub truncated_turn: TruncatedTurn,
    /// What happens to rows without a trained turn.
    pub on_no_trained_turn: OnNoTrainedTurn,
    /// Tokens that never train.
    pub ignore: Ignore<T>,
    /// At which position labels are written.
    pub shift: Shift,
}

impl<T> Policy<T> {
    /// The same options with other tokens that never train, possibly of another type.
    pub fn with_ignore<U>(&self, ignore: Ignore<U>) -> Policy<U> {
        Policy {
            roles: self.roles.clone(),
            reasoning: self.reasoning,
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

/// Whether a row trains, and if not, why. Python knows these numbers (`spanmask.report.REASONS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// At least one token trains.
    Trained = 0,
    /// The row has no token.
    EmptyRow = 1,
    /// The row has no start marker of any role.
    NoMarker = 2,
    /// The row ends inside its last turn or inside a header, before an answer.
    Truncated = 3,
    /// All tokens that would train are ignored.
    OnlyIgnored = 4,
    /// The trained turns contain no token that the policy trains.
    EmptyTurn = 5,
    /// Existing labels or turn weights exclude all tokens that would train.
    Excluded = 6,
    /// There are turns, but none of a trained role.
    NoTrainedTurn = 7,
    /// Only the row's first token would train, and [`Target::skip_first`] excludes it.
    OnlyFirst = 8,
    /// Without [`Target::max_len`] the row would train.
    Cut = 9,
    /// The row ends inside an answer, which therefore does not train.
    TruncatedAnswer = 10,
    /// [`Target::max_len`] cuts an answer, which therefore does not train.
    CutAnswer = 11,
}

impl Outcome {
    /// The number of outcomes.
    pub const COUNT: usize = 12;
}

/// Optional columns of the rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowColumns<'a> {
    /// Existing labels, intersected: where they are `ignore_index`, nothing trains.
    pub labels: Option<Ragged<'a, i64>>,
    /// A loss weight for each turn of a trained role, 0 for none. If there are more weights than turns, the row's end was cut off.
    pub turn_weights: Option<Ragged<'a, f32>>,
    /// The weights are flags. This changes only error messages.
    pub turn_flags: bool,
}

impl RowColumns<'_> {
    /// The same columns of the rows `range`.
    pub fn slice(&self, range: core::ops::Range<usize>) -> Self {
        Self {
            labels: self.labels.map(|labels| labels.slice(range.clone())),
            turn_weights: self.turn_weights.map(|weights| weights.slice(range)),
            ..*self
        }
    }
}

/// The kind of output that the labels are for.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The label of a token without loss.
    pub ignore_index: i64,
    /// Rows are cut to this many tokens. Turns are found in whole rows, and which of them is the last, and whether there is a trained one,
    /// does not depend on the cut. Then turns are cut with their rows: see [`crate::turns::Turn::cut`].
    pub max_len: usize,
    /// The first token of each row never trains: in a flattened batch it would be predicted from the previous row. It has no effect if
    /// labels are shifted, since each row's last position then has no label.
    pub skip_first: bool,
}

/// Where labels go.
#[derive(Debug)]
pub struct Output<'a> {
    /// The positions of rows in both outputs. Turns are found before the layout cuts rows.
    pub layout: Layout,
    /// The label of a token without loss.
    pub ignore_index: i64,
    /// Labels.
    pub labels: &'a mut [i64],
    /// Loss weights: 0 where no loss is wanted.
    pub weights: Option<&'a mut [f32]>,
}

/// What happened, written in addition to the labels.
#[derive(Debug)]
pub struct Report<'a> {
    /// One entry per row.
    pub rows: &'a mut [RowReport],
    /// Turns that are not after the cut, by role number. The counts are added to those that are already here.
    pub turns: &'a mut [u64],
}

/// Writes the labels of `rows`, and their loss weights if they are requested.
///
/// The ids are read to find markers, some thousand at a time, and read again to be written while they are in cache. A batch, whose rows
/// may be dropped, is planned first and written later: [`Plan`], [`write_batch_into`].
///
/// Errors: [`Error::Length`] for a buffer of the wrong size, [`Error::NoTrainedTurn`], [`Error::TurnWeights`], [`Error::ColumnLength`].
pub fn mask_labels_into<T: Token>(
    rows: &Ragged<T>,
    source: TurnSource<T>,
    policy: &Policy<T>,
    columns: &RowColumns,
    mut out: Output,
    report: Report,
) -> Result<(), Error> {
    let Output { layout, ignore_index, .. } = out;
    let places = layout.output_len(rows);
    let weights = out.weights.as_ref().map_or(places, |weights| weights.len());
    for (want, got) in [
        (rows.len(), report.rows.len()),
        (source.roles(), report.turns.len()),
        (places, out.labels.len()),
        (places, weights),
    ] {
        if got != want {
            return Err(Error::Length { want, got });
        }
    }
    let target = Target { ignore_index, max_len: layout.max_len, skip_first: false };
    let mut spans = Spans::default();
    let level = SimdLevel::detect();
    source.for_each_row(rows, |i, turns| {
        let row = plan::TurnsOfRow { number: i, ids: rows.row(i), turns, source };
        report.rows[i] = row.plan(policy, columns, target, &mut spans, report.turns)?;
        let row = write::Row {
            ids: rows.row(i),
            spans: &spans.0,
            labels: columns.labels.map(|labels| labels.row(i)),
        };
        let cell;
        (cell, out.labels) = layout.split_cell(i, rows.bounds(i), core::mem::take(&mut out.labels))?;
        let mut weight_cell = None;
        if let Some(weights) = out.weights.take() {
            let (cell, rest) = layout.split_cell(i, rows.bounds(i), weights)?;
            (weight_cell, out.weights) = (Some(cell), Some(rest));
        }
        row.write_into(level, policy.shift, ignore_index, cell, weight_cell);
        Ok(())
    })
}

//! `_core.Policy`, `_core.mask_labels`, and the counts of both ways to make labels.

use crate::batch::Layout;
use crate::bulk;
use crate::columns::{Column, IdColumn, ragged};
use crate::enums::Choice;
use crate::error::to_py;
use crate::ids::{ArrayToken, Family, PerToken, with_ids};
use crate::memory::filled;
use crate::outputs::Output;
use crate::turns::Turns;
use numpy::PyArray1;
use pyo3::prelude::*;
use spanmask_core::batch;
use spanmask_core::labels::{
    self, Ignore, MarkerPair, OnNoTrainedTurn, Outcome, Reasoning, Report, RowColumns, RowReport, Shift,
    TrainOnEos, TruncatedTurn, WhichTurns,
};
use spanmask_core::turns::TurnSource;
use spanmask_core::{Ragged, Token};
use spanmask_guard::guarded;

/// A `MaskPolicy` for given roles, compiled for the token types in use.
#[pyclass(frozen, module = "spanmask._core")]
pub struct Policy {
    options: labels::Policy<i64>,
    ignore_ids: Vec<i64>,
    ignore_sequences: Vec<Vec<i64>>,
    ignore_between: Vec<MarkerPair>,
    train_between_markers: bool,
    compiled: PerToken<Policies>,
}

/// Policies by token type.
pub struct Policies;

impl Family for Policies {
    type Of<T: Token> = labels::Policy<T>;
}

#[pymethods]
impl Policy {
    #[new]
    #[pyo3(signature = (
        *, reasoning, role_weights, prompt_weight, turns, train_on_eos, include_start, train_generation_prefill, truncated_turn,
        on_no_trained_turn, ignore_ids, ignore_sequences, ignore_between, train_between_markers, shift
    ))]
    #[guarded]
    fn new(
        reasoning: Choice<Reasoning>,
        role_weights: Vec<Option<f32>>,
        prompt_weight: f32,
        turns: Choice<WhichTurns>,
        train_on_eos: Choice<TrainOnEos>,
        include_start: bool,
        train_generation_prefill: bool,
        truncated_turn: Choice<TruncatedTurn>,
        on_no_trained_turn: Choice<OnNoTrainedTurn>,
        ignore_ids: Vec<i64>,
        ignore_sequences: Vec<Vec<i64>>,
        ignore_between: Vec<MarkerPair>,
        train_between_markers: bool,
        shift: Choice<Shift>,
    ) -> PyResult<Self> {
        let options = labels::Policy {
            roles: role_weights,
            reasoning: reasoning.0,
            prompt_weight,
            turns: turns.0,
            train_on_eos: train_on_eos.0,
            include_start,
            train_generation_prefill,
            truncated_turn: truncated_turn.0,
            on_no_trained_turn: on_no_trained_turn.0,
            ignore: Ignore::new(&[], &[], &[], false),
            shift: shift.0,
        };
        let compiled = PerToken::default();
        Ok(Self { options, ignore_ids, ignore_sequences, ignore_between, train_between_markers, compiled })
    }
}

impl Policy {
    /// At which position labels are written.
    pub fn shift(&self) -> Shift {
        self.options.shift
    }

    /// The policy for rows of `T`.
    pub fn of<T: ArrayToken>(&self) -> &labels::Policy<T> {
        self.compiled.get(|| {
            let Self { ignore_ids, ignore_sequences, ignore_between, train_between_markers, .. } = self;
            let ignore = Ignore::new(ignore_ids, ignore_sequences, ignore_between, *train_between_markers);
            self.options.with_ignore(ignore)
        })
    }
}

/// The counts of a call.
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct LabelCounts {
    rows: usize,
    /// Tokens that are kept.
    tokens: usize,
    trained_tokens: usize,
    /// Rows that end inside their last turn, or are cut there.
    truncated_turns: usize,
    /// Regions to ignore that opened but did not close.
    unclosed_regions: usize,
    /// The first row with such a region.
    unclosed_row: Option<usize>,
    /// Rows without a trained token.
    untrained_rows: usize,
    /// Rows by outcome, see `spanmask.report.REASONS`.
    outcomes: Vec<u64>,
    /// Turns by role.
    turns: Vec<u64>,
}

impl LabelCounts {
    pub fn new(reports: &[RowReport], tokens: usize, turns: Vec<u64>) -> Self {
        let mut outcomes = vec![0; Outcome::COUNT];
        reports.iter().for_each(|report| outcomes[report.outcome as usize] += 1);
        Self {
            rows: reports.len(),
            tokens,
            trained_tokens: reports.iter().map(|report| report.trained).sum(),
            truncated_turns: reports.iter().filter(|report| report.truncated).count(),
            unclosed_regions: reports.iter().map(|report| report.unclosed_regions).sum(),
            unclosed_row: reports.iter().position(|report| report.unclosed_regions > 0),
            untrained_rows: reports.iter().filter(|report| report.outcome != Outcome::Trained).count(),
            outcomes,
            turns,
        }
    }
}

/// Each row's outcome: uint8.
pub fn outcomes_of(py: Python<'_>, reports: &[RowReport]) -> PyResult<Py<PyArray1<u8>>> {
    let mut outcomes = Output::new(py, reports.len())?;
    for (place, report) in outcomes.places().iter_mut().zip(reports) {
        *place = report.outcome as u8;
    }
    Ok(outcomes.finish())
}

/// Labels of rows, flat.
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct MaskedRows {
    /// int64.
    labels: Py<PyArray1<i64>>,
    /// float32.
    weights: Option<Py<PyArray1<f32>>>,
    /// uint8 [rows].
    outcomes: Py<PyArray1<u8>>,
    counts: Py<LabelCounts>,
}

/// Makes the labels of all rows in one pass. Without a layout, rows of a 2-D array keep their places; others are concatenated.
#[pyfunction]
#[guarded]
#[pyo3(signature = (
    rows, *, turns, policy, labels, turn_mask, turn_weights, ignore_index, weighted, num_threads, layout=None
))]
pub fn mask_labels(
    py: Python<'_>,
    rows: IdColumn<'_>,
    turns: Turns<'_>,
    policy: &Policy,
    labels: Option<Column<'_, i64>>,
    turn_mask: Option<Column<'_, f32>>,
    turn_weights: Option<Column<'_, f32>>,
    ignore_index: i64,
    weighted: bool,
    num_threads: usize,
    layout: Option<&Layout>,
) -> PyResult<MaskedRows> {
    let (starts, stops, own_layout) = (rows.bounds.starts()?, rows.bounds.stops()?, rows.own_layout());
    let columns = RowColumns {
        labels: ragged(&labels, starts.len(), "labels")?,
        turn_weights: turn_column(&turn_mask, &turn_weights, starts.len())?,
        turn_flags: turn_mask.is_some(),
    };
    let table = turns.table(starts, stops)?;
    with_ids!(&rows.values, |values| {
        let rows = Ragged::from_bounds(values, starts, stops).map_err(|e| to_py(e, "rows"))?;
        let layout = layout.map_or(own_layout, |layout| layout.of(&rows));
        mask_typed(
            py,
            &rows,
            turns.source(table.as_ref()),
            policy.of(),
            columns,
            layout,
            ignore_index,
            weighted,
            num_threads,
        )
    })
}

/// The one of the two columns that is given.
pub fn turn_column<'a>(
    flags: &'a Option<Column<'_, f32>>,
    weights: &'a Option<Column<'_, f32>>,
    rows: usize,
) -> PyResult<Option<Ragged<'a, f32>>> {
    Ok(ragged(flags, rows, "turn_mask")?.or(ragged(weights, rows, "turn_weights")?))
}

fn mask_typed<T: Token>(
    py: Python<'_>,
    rows: &Ragged<T>,
    turns: TurnSource<T>,
    policy: &labels::Policy<T>,
    columns: RowColumns,
    layout: batch::Layout,
    ignore_index: i64,
    weighted: bool,
    num_threads: usize,
) -> PyResult<MaskedRows> {
    let places = layout.output_len(rows);
    let mut labels = Output::new(py, places)?;
    let mut weights = Output::optional(py, places, weighted)?;
    let chunks = bulk::chunks(rows);
    let unseen = RowReport { trained: 0, outcome: Outcome::EmptyRow, truncated: false, unclosed_regions: 0 };
    let mut reports = filled(rows.len(), unseen)?;
    let mut turn_counts = vec![vec![0; turns.roles()]; chunks.len()];
    {
        let (mut labels, mut reports) = (labels.places(), reports.as_mut_slice());
        let mut weights = weights.as_mut().map(Output::places);
        let mut counts = turn_counts.as_mut_slice();
        bulk::for_chunks(py, chunks, num_threads, "rows", |chunk| {
            let (columns, turns) = (columns.slice(chunk.clone()), turns.from_row(chunk.start));
            let rows = rows.slice(chunk);
            let places = layout.output_len(&rows);
            let out = labels::Output {
                layout,
                ignore_index,
                labels: bulk::take(&mut labels, places),
                weights: weights.as_mut().map(|weights| bulk::take(weights, places)),
            };
            let [counts] = bulk::take(&mut counts, 1) else { unreachable!("one for each chunk") };
            let report = Report { rows: bulk::take(&mut reports, rows.len()), turns: counts };
            move || labels::mask_labels_into(&rows, turns, policy, &columns, out, report)
        })?;
    }
    let turns = (0..turns.roles()).map(|role| turn_counts.iter().map(|counts| counts[role]).sum()).collect();
    Ok(MaskedRows {
        labels: labels.finish(),
        weights: weights.map(Output::finish),
        outcomes: outcomes_of(py, &reports)?,
        counts: Py::new(py, LabelCounts::new(&reports, layout.kept_tokens(rows), turns))?,
    })
}

//! `_core.Policy`, `_core.mask_labels`.

use crate::batch::{LayoutTuple, fresh, layout};
use crate::bulk;
use crate::error::to_py;
use crate::ids::{Ids, with_ids};
use crate::turns::{Compiled, Format, compiled};
use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use spanmask_core::batch::Layout;
use spanmask_core::labels::{
    self, Extras, Ignore, OnNoTrainedTurn, Outcome, Output, Pair, Report, RowReport, Shift, TrainOnEos,
    TruncatedTurn, WhichTurns,
};
use spanmask_core::{Ragged, Token};

/// A `MaskPolicy` for the roles of one `ChatFormat`, compiled for each token type.
#[pyclass(frozen, module = "spanmask._core")]
pub struct Policy {
    u16: labels::Policy<u16>,
    u32: labels::Policy<u32>,
    i32: labels::Policy<i32>,
    i64: labels::Policy<i64>,
}

compiled!(Policy => labels::Policy);

#[pymethods]
impl Policy {
    #[new]
    #[pyo3(signature = (
        *, roles, prompt_weight, turns, train_on_eos, include_start, train_generation_prefill, truncated_turn, on_no_trained_turn, ignore_ids,
        ignore_sequences, ignore_between, train_markers, shift
    ))]
    fn new(
        roles: Vec<Option<f32>>,
        prompt_weight: f32,
        turns: &str,
        train_on_eos: &str,
        include_start: bool,
        train_generation_prefill: bool,
        truncated_turn: &str,
        on_no_trained_turn: &str,
        ignore_ids: Vec<i64>,
        ignore_sequences: Vec<Vec<i64>>,
        ignore_between: Vec<Pair>,
        train_markers: bool,
        shift: &str,
    ) -> PyResult<Self> {
        macro_rules! ignored {
            () => {
                Ignore::new(&ignore_ids, &ignore_sequences, &ignore_between, train_markers)
            };
        }
        let unknown =
            |name: &str, value: &str| PyValueError::new_err(format!("{name}: unknown value {value:?}."));
        let i64 = labels::Policy {
            roles,
            prompt_weight,
            turns: match turns {
                "all" => WhichTurns::All,
                "last" => WhichTurns::Last,
                other => return Err(unknown("turns", other)),
            },
            train_on_eos: match train_on_eos {
                "none" => TrainOnEos::None,
                "turn" => TrainOnEos::Turn,
                "last" => TrainOnEos::Last,
                "all" => TrainOnEos::All,
                other => return Err(unknown("train_on_eos", other)),
            },
            include_start,
            train_generation_prefill,
            truncated_turn: match truncated_turn {
                "train" => TruncatedTurn::Train,
                "drop" => TruncatedTurn::Drop,
                other => return Err(unknown("truncated_turn", other)),
            },
            on_no_trained_turn: match on_no_trained_turn {
                "mask" => OnNoTrainedTurn::Mask,
                "keep" => OnNoTrainedTurn::Keep,
                "raise" => OnNoTrainedTurn::Raise,
                other => return Err(unknown("on_no_trained_turn", other)),
            },
            ignore: ignored!(),
            shift: match shift {
                "none" => Shift::None,
                "left" => Shift::Left,
                other => return Err(unknown("shift", other)),
            },
        };
        Ok(Self {
            u16: i64.with_ignore(ignored!()),
            u32: i64.with_ignore(ignored!()),
            i32: i64.with_ignore(ignored!()),
            i64,
        })
    }
}

/// A column beside the rows: values, starts, stops.
type Column<'py, T> = (PyReadonlyArray1<'py, T>, PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i64>);

/// Labels (flat, int64), loss weights (flat, float32) where asked for, each row's outcome, and what was counted: rows, tokens kept,
/// tokens trained, rows whose last turn is open, rows by outcome, turns by role.
type Masked<'py> = (
    Bound<'py, PyArray1<i64>>,
    Option<Bound<'py, PyArray1<f32>>>,
    Bound<'py, PyArray1<u8>>,
    Bound<'py, PyArray1<i64>>,
);

/// Labels of all rows.
#[pyfunction]
#[pyo3(signature = (values, starts, stops, format, policy, layout, *, labels, turn_weights, ignore_index, weighted, num_threads))]
pub fn mask_labels<'py>(
    py: Python<'py>,
    values: Ids<'py>,
    starts: PyReadonlyArray1<'py, i64>,
    stops: PyReadonlyArray1<'py, i64>,
    format: &Format,
    policy: &Policy,
    layout: LayoutTuple,
    labels: Option<Column<'py, i64>>,
    turn_weights: Option<Column<'py, f32>>,
    ignore_index: i64,
    weighted: bool,
    num_threads: usize,
) -> PyResult<Masked<'py>> {
    let (starts, stops) = (starts.as_slice()?, stops.as_slice()?);
    let layout = self::layout(layout)?;
    let labels = match &labels {
        Some(column) => Some(ragged(column, starts.len(), "labels")?),
        None => None,
    };
    let turn_weights = match &turn_weights {
        Some(column) => Some(ragged(column, starts.len(), "turn_mask")?),
        None => None,
    };
    let extras = Extras { labels, turn_weights, ignore_index };
    with_ids!(&values, |values| {
        let rows = Ragged::from_bounds(values, starts, stops).map_err(|e| to_py(e, "rows"))?;
        mask_typed(py, &rows, format.get(), policy.get(), extras, layout, weighted, num_threads)
    })
}

fn ragged<'a, T: numpy::Element>(
    column: &'a Column<'_, T>,
    rows: usize,
    name: &str,
) -> PyResult<Ragged<'a, T>> {
    let (values, starts, stops) = (column.0.as_slice()?, column.1.as_slice()?, column.2.as_slice()?);
    let ragged = Ragged::from_bounds(values, starts, stops).map_err(|e| to_py(e, name))?;
    if ragged.len() != rows {
        return Err(to_py(spanmask_core::Error::Length { want: rows, got: ragged.len() }, name));
    }
    Ok(ragged)
}

fn mask_typed<'py, T: Token>(
    py: Python<'py>,
    rows: &Ragged<T>,
    format: &spanmask_core::turns::Format<T>,
    policy: &labels::Policy<T>,
    extras: Extras,
    layout: Layout,
    weighted: bool,
    num_threads: usize,
) -> PyResult<Masked<'py>> {
    let places = layout.output_len(rows);
    let labels = fresh(py, places)?;
    let weights = if weighted { Some(fresh(py, places)?) } else { None };
    let chunks = bulk::chunks(rows);
    let mut reports = vec![RowReport { trained: 0, outcome: Outcome::EmptyRow, open: false }; rows.len()];
    let mut turn_counts = vec![vec![0; format.roles()]; chunks.len()];
    {
        let mut labels = labels.readwrite();
        let mut weights = weights.as_ref().map(|weights| weights.readwrite());
        let (mut labels, mut reports) = (labels.as_slice_mut()?, reports.as_mut_slice());
        let mut weights = match &mut weights {
            Some(weights) => Some(weights.as_slice_mut()?),
            None => None,
        };
        let mut jobs = Vec::with_capacity(chunks.len());
        for (chunk, turns) in chunks.into_iter().zip(&mut turn_counts) {
            let first = chunk.start;
            let extras = Extras {
                labels: extras.labels.map(|labels| labels.slice(chunk.clone())),
                turn_weights: extras.turn_weights.map(|weights| weights.slice(chunk.clone())),
                ..extras
            };
            let rows = rows.slice(chunk);
            let places = layout.output_len(&rows);
            let (label_part, weight_part, report_part);
            (label_part, labels) = labels.split_at_mut(places);
            (weight_part, weights) = weights.map(|weights| weights.split_at_mut(places)).unzip();
            (report_part, reports) = reports.split_at_mut(rows.len());
            jobs.push((first, move || {
                let out = Output { labels: label_part, weights: weight_part };
                let report = Report { rows: report_part, turns };
                labels::mask_labels_into(&rows, format, policy, &extras, layout, out, report)
            }));
        }
        bulk::run(py, jobs, num_threads, "rows")?;
    }
    let mut outcomes = [0; Outcome::COUNT];
    for report in &reports {
        outcomes[report.outcome as usize] += 1;
    }
    let totals = [
        rows.len(),
        (0..rows.len()).map(|i| rows.bounds(i).len().min(layout.max_len)).sum(),
        reports.iter().map(|report| report.trained).sum(),
        reports.iter().filter(|report| report.open).count(),
    ];
    let turns = (0..format.roles()).map(|role| turn_counts.iter().map(|counts| counts[role] as i64).sum());
    let counts: Vec<i64> =
        totals.into_iter().chain(outcomes).map(|count| count as i64).chain(turns).collect();
    let outcomes: Vec<u8> = reports.iter().map(|report| report.outcome as u8).collect();
    // Copied: a vector that NumPy is to own needs an object of its own.
    Ok((labels, weights, PyArray1::from_slice(py, &outcomes), PyArray1::from_slice(py, &counts)))
}

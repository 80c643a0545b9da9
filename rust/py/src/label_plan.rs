//! `_core.plan_labels` and `LabelPlan.write`: a batch in two steps, so that Python decides in between which rows to keep.

use crate::batch::{Layout, shape_of};
use crate::bulk::detached;
use crate::columns::Column;
use crate::error::{to_py, too_many_rows};
use crate::held::{HeldRows, Int64s, with_held};
use crate::ids::{Ids, with_ids};
use crate::labels::{LabelCounts, Policy, outcomes_of, turn_column};
use crate::memory::{collected, reserved};
use crate::outputs::Output;
use crate::ragged::Entries;
use crate::turns::Turns;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::prelude::*;
use spanmask_core::batch::{self, Shape, check_cut};
use spanmask_core::labels::{BatchOutput, Plan, RowColumns, Shift, Target, write_batch_into};
use spanmask_core::{Ragged, Token};
use spanmask_guard::guarded;

/// What the labels of a batch will be. The caller decides which rows to keep, then calls `write`.
#[pyclass(frozen, module = "spanmask._core")]
pub struct LabelPlan {
    rows: HeldRows,
    labels: Option<HeldRows>,
    plan: Plan,
    shift: Shift,
    ignore_index: i64,
    weighted: bool,
    #[pyo3(get)]
    counts: Py<LabelCounts>,
    /// uint8 [rows].
    #[pyo3(get)]
    outcomes: Py<PyArray1<u8>>,
    /// The roles of each row's turns, as numbers, where they were asked for.
    #[pyo3(get)]
    row_roles: Option<Vec<Vec<usize>>>,
    /// Whether each row ends inside its last turn, where roles were asked for.
    #[pyo3(get)]
    row_open: Option<Vec<bool>>,
}

/// Plans the labels of a batch. Rows, attention mask and labels: lists of lists, or columns with `values`, `starts` and `stops`.
///
/// `with_roles`: the plan has the roles of each row's turns. `skip_first`: the first token of each row never trains. `uncut_ids`: it is an error if `max_length` cuts off one of these ids.
/// `name` is the name of the rows in error messages.
#[pyfunction]
#[guarded]
#[pyo3(signature = (
    rows, *, turns, policy, attention_mask, labels, turn_mask, turn_weights, ignore_index, weighted, max_length, skip_first,
    uncut_ids, with_roles, name
))]
pub fn plan_labels(
    py: Python<'_>,
    rows: &Bound<'_, PyAny>,
    turns: Turns<'_>,
    policy: &Policy,
    attention_mask: Option<&Bound<'_, PyAny>>,
    labels: Option<&Bound<'_, PyAny>>,
    turn_mask: Option<Column<'_, f32>>,
    turn_weights: Option<Column<'_, f32>>,
    ignore_index: i64,
    weighted: bool,
    max_length: Option<usize>,
    skip_first: bool,
    uncut_ids: Vec<i64>,
    with_roles: bool,
    name: &str,
) -> PyResult<LabelPlan> {
    let mut rows = HeldRows::read(rows, name, Entries::Ids)?;
    let mut labels = labels.map(|labels| HeldRows::read(labels, "labels", Entries::Ids)).transpose()?;
    if let Some(labels) = &labels {
        labels.check_aligned(&rows, "labels")?;
    }
    if let Some(mask) = attention_mask {
        rows.without_padding(py, mask, labels.as_mut())?;
    }
    let table = turns.table(rows.starts(), rows.stops())?;
    let max_len = max_length.unwrap_or(usize::MAX);
    let target = Target { ignore_index, max_len, skip_first };
    let label_values = labels.as_ref().map(|labels| labels.int64(py)).transpose()?;
    let columns = RowColumns {
        labels: held_labels(labels.as_ref(), label_values.as_ref())?,
        turn_weights: turn_column(&turn_mask, &turn_weights, rows.starts().len())?,
        turn_flags: turn_mask.is_some(),
    };
    let (plan, tokens) = with_held!(py, &rows, name, |rows| {
        let (source, policy) = (turns.source(table.as_ref()), policy.of());
        let planned = detached(py, || {
            check_cut(&rows, max_len, &uncut_ids)?;
            let layout = batch::Layout { shape: Shape::Packed, max_len };
            Ok((Plan::new(&rows, source, policy, &columns, target)?, layout.kept_tokens(&rows)))
        });
        planned?.map_err(|e| to_py(e, name))?
    });
    drop(label_values);
    Ok(LabelPlan {
        counts: Py::new(py, LabelCounts::new(&plan.rows, tokens, plan.turns.clone()))?,
        outcomes: outcomes_of(py, &plan.rows)?,
        row_roles: with_roles.then(|| roles_of(&plan)).transpose()?,
        row_open: with_roles.then(|| collected(plan.open.iter().copied())).transpose()?,
        shift: policy.shift(),
        rows,
        labels,
        plan,
        ignore_index,
        weighted,
    })
}

/// The roles of each row's turns.
fn roles_of(plan: &Plan) -> PyResult<Vec<Vec<usize>>> {
    let mut rows = reserved(plan.open.len())?;
    for edges in plan.role_edges.windows(2) {
        rows.push(collected(plan.roles[edges[0]..edges[1]].iter().copied())?);
    }
    Ok(rows)
}

fn held_labels<'a>(
    rows: Option<&'a HeldRows>,
    values: Option<&'a Int64s>,
) -> PyResult<Option<Ragged<'a, i64>>> {
    match (rows, values) {
        (Some(rows), Some(values)) => Ok(Some(rows.ragged(values.as_slice()?, "labels")?)),
        _ => Ok(None),
    }
}

/// A batch, ready for a model. All arrays are [rows, width], or [1, tokens] if rows are packed.
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct LabelBatch {
    /// int64.
    input_ids: Py<PyArray2<i64>>,
    /// int64: 1 for a token, 0 for padding. It exists only for padded batches.
    attention_mask: Option<Py<PyArray2<i64>>>,
    /// int64.
    labels: Py<PyArray2<i64>>,
    /// float32.
    weights: Option<Py<PyArray2<f32>>>,
    /// int64: each token's position in its row. This field and the next three exist only for packed batches.
    position_ids: Option<Py<PyArray2<i64>>>,
    /// int32: each token's row.
    seq_idx: Option<Py<PyArray2<i32>>>,
    /// int32 [rows + 1]: where each row starts, and the end of the last one.
    cu_seq_lens: Option<Py<PyArray1<i32>>>,
    /// Tokens of the longest row.
    max_length: usize,
    /// int64: the arrays that were passed as `columns`, laid out as the ids are, 0 for padding.
    columns: Vec<Py<PyArray2<i64>>>,
}

#[pymethods]
impl LabelPlan {
    /// Writes the rows `kept` (all by default). `columns`: further arrays aligned with the values of the rows.
    #[pyo3(signature = (layout, *, padding, kept=None, columns=Vec::new()))]
    #[guarded]
    fn write(
        &self,
        py: Python<'_>,
        layout: &Layout,
        padding: i64,
        kept: Option<Vec<usize>>,
        columns: Vec<Ids<'_>>,
    ) -> PyResult<LabelBatch> {
        let kept = kept.map_or_else(|| collected(0..self.plan.rows.len()), Ok)?;
        let label_values = self.labels.as_ref().map(|labels| labels.int64(py)).transpose()?;
        let existing = RowColumns {
            labels: held_labels(self.labels.as_ref(), label_values.as_ref())?,
            ..RowColumns::default()
        };
        with_held!(py, &self.rows, "rows", |rows| self
            .write_typed(py, &rows, layout, padding, &kept, existing, &columns))
    }

    /// The first and the last `most` ids of row `row`, without its padding; the last ones only if the first are not all of it.
    #[guarded]
    fn row_ends(&self, py: Python<'_>, row: usize, most: usize) -> PyResult<(Vec<i64>, Vec<i64>)> {
        with_held!(py, &self.rows, "rows", |rows| {
            let ids = if row < rows.len() { rows.row(row) } else { &[] };
            let (head, rest) = ids.split_at(most.min(ids.len()));
            let tail = &rest[rest.len().saturating_sub(most)..];
            let listed = |ids: &[_]| ids.iter().map(|&id| Token::to_i64(id)).collect();
            Ok((listed(head), listed(tail)))
        })
    }
}

/// Running sums of lengths, from 0 on. They fit: see `too_many_rows`.
fn cu_seq_lens(py: Python<'_>, lengths: impl ExactSizeIterator<Item = usize>) -> PyResult<Py<PyArray1<i32>>> {
    let mut ends = reserved(lengths.len() + 1)?;
    ends.push(0);
    ends.extend(lengths.scan(0, |end, len| {
        *end += len as i32;
        Some(*end)
    }));
    Ok(ends.into_pyarray(py).unbind())
}

impl LabelPlan {
    fn write_typed<T: Token>(
        &self,
        py: Python<'_>,
        rows: &Ragged<T>,
        layout: &Layout,
        padding: i64,
        kept: &[usize],
        existing: RowColumns,
        columns: &[Ids<'_>],
    ) -> PyResult<LabelBatch> {
        let edge = |edges: &[i64]| collected(kept.iter().map(|&i| edges.get(i).copied().unwrap_or_default()));
        let (starts, stops) = (edge(self.rows.starts())?, edge(self.rows.stops())?);
        let bounds = Ragged::from_bounds(rows.values(), &starts, &stops).map_err(|e| to_py(e, "rows"))?;
        let layout = layout.of(&bounds);
        let shape = shape_of(layout, &bounds);
        let packed = layout.shape == Shape::Packed;
        let lengths = || (0..bounds.len()).map(|i| bounds.bounds(i).len().min(layout.max_len));
        if packed && (i32::try_from(bounds.len()).is_err() || i32::try_from(shape[1]).is_err()) {
            return Err(too_many_rows());
        }
        let (mut input_ids, mut labels) = (Output::new(py, shape)?, Output::new(py, shape)?);
        let mut attention_mask = Output::optional(py, shape, !packed)?;
        let mut weights = Output::optional(py, shape, self.weighted)?;
        let mut position_ids = Output::optional(py, shape, packed)?;
        let mut seq_idx = Output::optional(py, shape, packed)?;
        let out = BatchOutput {
            layout,
            padding,
            ignore_index: self.ignore_index,
            input_ids: input_ids.places(),
            labels: labels.places(),
            attention_mask: attention_mask.as_mut().map(Output::places),
            weights: weights.as_mut().map(Output::places),
            position_ids: position_ids.as_mut().map(Output::places),
            seq_idx: seq_idx.as_mut().map(Output::places),
        };
        detached(py, || write_batch_into(rows, &self.plan, kept, &existing, self.shift, out))?
            .map_err(|e| to_py(e, "rows"))?;
        let cu_seq_lens = if packed { Some(cu_seq_lens(py, lengths())?) } else { None };
        let columns = columns.iter().map(|column| {
            with_ids!(column, |values| {
                let rows = Ragged::from_bounds(values, &starts, &stops).map_err(|e| to_py(e, "columns"))?;
                let mut out = Output::new(py, shape)?;
                let places = out.places();
                detached(py, || batch::values_into(&rows, layout, Token::to_i64, 0, places))?
                    .map_err(|e| to_py(e, "columns"))?;
                Ok(out.finish())
            })
        });
        Ok(LabelBatch {
            columns: columns.collect::<PyResult<_>>()?,
            input_ids: input_ids.finish(),
            attention_mask: attention_mask.map(Output::finish),
            labels: labels.finish(),
            weights: weights.map(Output::finish),
            position_ids: position_ids.map(Output::finish),
            seq_idx: seq_idx.map(Output::finish),
            cu_seq_lens,
            max_length: lengths().max().unwrap_or(0),
        })
    }
}

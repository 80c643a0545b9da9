//! `_core`: lists of lists, lists of arrays and attention masks -> values and bounds.

use crate::columns::IdColumn;
use crate::error::{id_too_large, not_a_list, not_an_id, to_py};
use crate::ids::with_ids;
use crate::rows::{Rows, with_rows};
use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyList, PyTuple};
use spanmask_core::{Ragged, batch};

/// Rows in one newly made array.
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct RaggedArrays {
    /// uint16, uint32, int32 or int64.
    values: Py<PyAny>,
    /// int64, rows + 1.
    offsets: Py<PyArray1<i64>>,
}

/// Where rows start and stop.
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct RowBounds {
    /// int64.
    starts: Py<PyArray1<i64>>,
    /// int64.
    stops: Py<PyArray1<i64>>,
}

/// Lists (or tuples) of integers -> int64 values and offsets, in one pass.
#[pyfunction]
pub fn from_lists(py: Python<'_>, rows: &Bound<'_, PyList>, name: &str) -> PyResult<RaggedArrays> {
    let (values, offsets) = read_lists(rows, name, Entries::Ids)?;
    Ok(RaggedArrays {
        values: values.into_pyarray(py).into_any().unbind(),
        offsets: offsets.into_pyarray(py).unbind(),
    })
}

/// The entries that lists may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Entries {
    /// Token ids: a bool is an error.
    Ids,
    /// Integers, or bools as 0 and 1.
    Flags,
    /// Numbers of words: integers, or `None` as -1. A bool is an error.
    WordIds,
}

/// Lists (or tuples) of integers -> values and offsets.
pub fn read_lists(rows: &Bound<'_, PyList>, name: &str, entries: Entries) -> PyResult<(Vec<i64>, Vec<i64>)> {
    let mut values: Vec<i64> = Vec::new();
    let mut offsets = Vec::with_capacity(rows.len() + 1);
    offsets.push(0);
    for (number, row) in rows.iter().enumerate() {
        let mut push = |position: usize, item: Bound<'_, PyAny>| -> PyResult<()> {
            if item.is_instance_of::<PyBool>() {
                if entries != Entries::Flags {
                    return Err(not_an_id(name, number, position, &described(&item)));
                }
                values.push(i64::from(item.is_truthy()?));
                return Ok(());
            }
            if item.is_none() && entries == Entries::WordIds {
                values.push(-1);
                return Ok(());
            }
            match item.extract::<i64>() {
                Ok(id) => values.push(id),
                Err(e) if e.is_instance_of::<PyOverflowError>(item.py()) => {
                    return Err(id_too_large(name, number, position, &item.to_string()));
                }
                Err(_) => return Err(not_an_id(name, number, position, &described(&item))),
            }
            Ok(())
        };
        if let Ok(row) = row.cast::<PyList>() {
            row.iter().enumerate().try_for_each(|(position, item)| push(position, item))?;
        } else if let Ok(row) = row.cast::<PyTuple>() {
            row.iter().enumerate().try_for_each(|(position, item)| push(position, item))?;
        } else {
            return Err(not_a_list(name, number, &row.get_type().name()?.to_string()));
        }
        offsets.push(values.len() as i64);
    }
    Ok((values, offsets))
}

/// An object and its type, for messages.
fn described(item: &Bound<'_, PyAny>) -> String {
    let kind = item.get_type().name().map(|name| name.to_string()).unwrap_or_default();
    format!("{item} ({kind})")
}

/// Arrays, all contiguous, aligned and of one token type -> values of that type and offsets. `None` if they are not.
#[pyfunction]
pub fn from_arrays(py: Python<'_>, rows: &Bound<'_, PyList>) -> PyResult<Option<RaggedArrays>> {
    let Ok(rows) = rows.extract::<Rows>() else { return Ok(None) };
    Ok(Some(with_rows!(&rows, "rows", |rows| {
        let ends = rows.iter().scan(0, |end, row| {
            *end += row.len() as i64;
            Some(*end)
        });
        let offsets: Vec<i64> = core::iter::once(0).chain(ends).collect();
        RaggedArrays {
            values: rows.concat().into_pyarray(py).into_any().unbind(),
            offsets: offsets.into_pyarray(py).unbind(),
        }
    })))
}

/// An attention mask aligned with rows (nonzero is real) -> where each row's real tokens start and stop in the values.
#[pyfunction]
pub fn mask_bounds(py: Python<'_>, mask: IdColumn<'_>) -> PyResult<RowBounds> {
    let (starts, stops) = with_ids!(&mask.values, |values| {
        let rows = Ragged::from_bounds(values, mask.bounds.starts()?, mask.bounds.stops()?);
        py.detach(|| batch::mask_bounds(&rows?)).map_err(|e| to_py(e, "attention_mask"))?
    })
    .into_iter()
    .unzip::<i64, i64, Vec<_>, Vec<_>>();
    Ok(RowBounds { starts: starts.into_pyarray(py).unbind(), stops: stops.into_pyarray(py).unbind() })
}

//! `_core`: lists of lists and attention masks -> values and bounds.

use crate::error::to_py;
use crate::ids::{Ids, with_ids};
use crate::rows::{Rows, with_rows};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyList, PyTuple};
use spanmask_core::{Ragged, batch};

/// Values and offsets, or starts and stops.
type Columns<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>);

/// Lists (or tuples) of integers -> int64 values and offsets, in one pass.
#[pyfunction]
pub fn from_lists<'py>(py: Python<'py>, rows: &Bound<'py, PyList>, name: &str) -> PyResult<Columns<'py>> {
    let mut values: Vec<i64> = Vec::new();
    let mut offsets = Vec::with_capacity(rows.len() + 1);
    offsets.push(0);
    for (number, row) in rows.iter().enumerate() {
        let mut push = |position: usize, item: Bound<'py, PyAny>| -> PyResult<()> {
            if item.is_instance_of::<PyBool>() {
                return Err(not_an_id(name, number, position, &item));
            }
            match item.extract::<i64>() {
                Ok(id) => values.push(id),
                Err(e) if e.is_instance_of::<pyo3::exceptions::PyOverflowError>(py) => {
                    return Err(PyValueError::new_err(format!(
                        "{name}: row {number} has {item} at position {position}, which does not fit in int64."
                    )));
                }
                Err(_) => return Err(not_an_id(name, number, position, &item)),
            }
            Ok(())
        };
        if let Ok(row) = row.cast::<PyList>() {
            row.iter().enumerate().try_for_each(|(position, item)| push(position, item))?;
        } else if let Ok(row) = row.cast::<PyTuple>() {
            row.iter().enumerate().try_for_each(|(position, item)| push(position, item))?;
        } else {
            let found = row.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "{name}: row {number} is a {found}, row 0 a list; give all rows alike."
            )));
        }
        offsets.push(values.len() as i64);
    }
    Ok((values.into_pyarray(py), offsets.into_pyarray(py)))
}

/// Values of a token type, and offsets.
type Concatenated<'py> = (Bound<'py, PyAny>, Bound<'py, PyArray1<i64>>);

/// Arrays, all contiguous, aligned and of one token type -> values of that type and offsets. `None` where they are not.
#[pyfunction]
pub fn from_arrays<'py>(py: Python<'py>, rows: &Bound<'py, PyList>) -> PyResult<Option<Concatenated<'py>>> {
    let Ok(rows) = rows.extract::<Rows>() else { return Ok(None) };
    Ok(Some(with_rows!(&rows, "rows", |rows| {
        let ends = rows.iter().scan(0, |end, row| {
            *end += row.len() as i64;
            Some(*end)
        });
        let offsets: Vec<i64> = core::iter::once(0).chain(ends).collect();
        (rows.concat().into_pyarray(py).into_any(), offsets.into_pyarray(py))
    })))
}

fn not_an_id(name: &str, row: usize, position: usize, item: &Bound<'_, PyAny>) -> PyErr {
    let kind = item.get_type().name().map(|name| name.to_string()).unwrap_or_default();
    PyTypeError::new_err(format!(
        "{name}: row {row} has {item} ({kind}) at position {position}; token ids are integers. Cast or remove it."
    ))
}

/// An attention mask aligned with rows (nonzero is real) -> where each row's real tokens start and stop in the values.
#[pyfunction]
pub fn mask_bounds<'py>(
    py: Python<'py>,
    mask: Ids<'py>,
    starts: PyReadonlyArray1<'py, i64>,
    stops: PyReadonlyArray1<'py, i64>,
) -> PyResult<Columns<'py>> {
    let (starts, stops) = (starts.as_slice()?, stops.as_slice()?);
    let bounds = with_ids!(&mask, |mask| {
        let rows = Ragged::from_bounds(mask, starts, stops).map_err(|e| to_py(e, "attention_mask"))?;
        py.detach(|| batch::mask_bounds(&rows)).map_err(|e| to_py(e, "attention_mask"))?
    });
    let (starts, stops): (Vec<i64>, Vec<i64>) = bounds.into_iter().unzip();
    Ok((starts.into_pyarray(py), stops.into_pyarray(py)))
}

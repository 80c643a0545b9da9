//! `_core`: lists of lists and attention masks -> values and bounds.

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray2};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyList, PyTuple};
use spanmask_core::batch;

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
                        "{name}: row {number} has {item} at position {position}, which does not fit 64 bits."
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

fn not_an_id(name: &str, row: usize, position: usize, item: &Bound<'_, PyAny>) -> PyErr {
    let kind = item.get_type().name().map(|name| name.to_string()).unwrap_or_default();
    PyTypeError::new_err(format!(
        "{name}: row {row} has {item} ({kind}) at position {position}; token ids are integers. Cast or remove it."
    ))
}

/// A 2-D mask (bytes, nonzero is real) -> where each row's real tokens start and stop in the flattened array.
#[pyfunction]
pub fn mask_bounds<'py>(py: Python<'py>, mask: PyReadonlyArray2<'py, u8>) -> PyResult<Columns<'py>> {
    let mask = mask.as_array();
    let (mut starts, mut stops) = (Vec::with_capacity(mask.nrows()), Vec::with_capacity(mask.nrows()));
    for (number, row) in mask.rows().into_iter().enumerate() {
        let row = row
            .as_slice()
            .ok_or_else(|| PyValueError::new_err("attention_mask: rows must be contiguous."))?;
        let Some((start, stop)) = batch::mask_bounds(row) else {
            return Err(PyValueError::new_err(format!(
                "attention_mask: row {number} has zeros between ones; padding must stand at the ends of a row. \
                 Remove the masked tokens, or name them in ignore_ids."
            )));
        };
        let at = (number * row.len()) as i64;
        starts.push(at + start as i64);
        stops.push(at + stop as i64);
    }
    Ok((starts.into_pyarray(py), stops.into_pyarray(py)))
}

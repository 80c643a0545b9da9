//! `_core.merge`.

use crate::bulk::detached;
use crate::columns::Column;
use crate::error::to_py;
use crate::memory::reserved;
use crate::spec::SpanSpec;
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use spanmask_core::Error;
use spanmask_guard::guarded;

/// Rows as values and offsets.
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct MergedRows {
    values: Py<PyArray1<i64>>,
    offsets: Py<PyArray1<i64>>,
}

impl MergedRows {
    /// Rows that were just made.
    pub fn new(py: Python<'_>, values: Vec<i64>, offsets: Vec<i64>) -> Self {
        Self { values: values.into_pyarray(py).unbind(), offsets: offsets.into_pyarray(py).unbind() }
    }
}

/// Restores the rows from inputs and labels of one corruption.
#[pyfunction]
#[guarded]
pub fn merge<'py>(
    py: Python<'py>,
    input_ids: Column<'py, i64>,
    labels: Column<'py, i64>,
    spec: &SpanSpec,
) -> PyResult<MergedRows> {
    let inputs = input_ids.ragged(input_ids.row_count()?, "input_ids")?;
    let labels = labels.ragged(inputs.len(), "labels")?;
    let mut values = reserved(inputs.tokens().saturating_add(labels.tokens()))?;
    let mut offsets = reserved(inputs.len() + 1)?;
    offsets.push(0);
    let merged = detached(py, || {
        for (number, (inputs, labels)) in inputs.rows().zip(labels.rows()).enumerate() {
            spec.merger.merge(inputs, labels, &mut values).map_err(|e| e.at_row(number))?;
            offsets.push(values.len() as i64);
        }
        Ok::<_, Error>(())
    })?;
    merged.map_err(|e| to_py(e, "input_ids"))?;
    Ok(MergedRows::new(py, values, offsets))
}

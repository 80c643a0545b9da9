//! Columns as Python passes them: the values of all rows in one array, and where each row starts and stops in it.
//!
//! Fields are read by name from any object that has them (such as `spanmask.ragged.Column`).

use crate::error::to_py;
use crate::ids::Ids;
use numpy::{Element, PyReadonlyArray1};
use pyo3::prelude::*;
use spanmask_core::{Error, Ragged};

/// Token ids of rows, of any of the token types.
#[derive(FromPyObject)]
pub struct IdColumn<'py> {
    pub values: Ids<'py>,
    pub starts: PyReadonlyArray1<'py, i64>,
    pub stops: PyReadonlyArray1<'py, i64>,
}

/// Flags, words, weights or labels of rows.
pub struct Column<'py, T: Element> {
    values: PyReadonlyArray1<'py, T>,
    starts: PyReadonlyArray1<'py, i64>,
    stops: PyReadonlyArray1<'py, i64>,
}

impl<'a, 'py, T: Element> FromPyObject<'a, 'py> for Column<'py, T> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let py = object.py();
        Ok(Self {
            values: object.getattr(pyo3::intern!(py, "values"))?.extract()?,
            starts: object.getattr(pyo3::intern!(py, "starts"))?.extract()?,
            stops: object.getattr(pyo3::intern!(py, "stops"))?.extract()?,
        })
    }
}

impl<T: Element> Column<'_, T> {
    /// How many rows the column has.
    pub fn row_count(&self) -> PyResult<usize> {
        Ok(self.starts.as_slice()?.len())
    }

    /// The rows of the column, which is called `name` and must have as many rows as there are rows of ids.
    pub fn ragged(&self, rows: usize, name: &str) -> PyResult<Ragged<'_, T>> {
        let ragged =
            Ragged::from_bounds(self.values.as_slice()?, self.starts.as_slice()?, self.stops.as_slice()?)
                .map_err(|e| to_py(e, name))?;
        if ragged.len() != rows {
            return Err(to_py(Error::Length { want: rows, got: ragged.len() }, name));
        }
        Ok(ragged)
    }
}

/// The rows of an optional column.
pub fn ragged<'a, T: Element>(
    column: &'a Option<Column<'_, T>>,
    rows: usize,
    name: &str,
) -> PyResult<Option<Ragged<'a, T>>> {
    column.as_ref().map(|column| column.ragged(rows, name)).transpose()
}

/// The entries of an optional array with one entry for each row.
pub fn slice<'a, T: Element>(array: &'a Option<PyReadonlyArray1<'_, T>>) -> PyResult<Option<&'a [T]>> {
    Ok(match array {
        Some(array) => Some(array.as_slice()?),
        None => None,
    })
}

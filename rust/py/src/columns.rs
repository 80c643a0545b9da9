//! Columns as Python passes them: a 2-D array, a `spanmask.Ragged`, or a `spanmask.ragged.Column`.

use crate::error::{not_rows, to_py};
use crate::ids::Ids;
use crate::memory::{collected, reserved};
use crate::rows::as_slice;
use numpy::{Element, PyArray1, PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use spanmask_core::batch::{Layout, Shape};
use spanmask_core::{Error, Ragged};

/// Where each row starts and stops in the values.
///
/// These are copies: kernels check bounds once and rely on them, and another thread may write to an array while the lock is released.
pub enum Bounds {
    /// The `offsets` of a `Ragged`, or those of a 2-D array: running sums of the row lengths, from 0 on.
    Offsets(Vec<i64>),
    /// The fields of a `Column`, whose rows may have gaps between them.
    Fields { starts: Vec<i64>, stops: Vec<i64> },
}

impl Bounds {
    /// Where each row starts.
    pub fn starts(&self) -> PyResult<&[i64]> {
        Ok(match self {
            Self::Offsets(offsets) => offsets.split_last().map_or(&[], |(_, starts)| starts),
            Self::Fields { starts, .. } => starts,
        })
    }

    /// Where each row stops.
    pub fn stops(&self) -> PyResult<&[i64]> {
        Ok(match self {
            Self::Offsets(offsets) => offsets.split_first().map_or(&[], |(_, stops)| stops),
            Self::Fields { stops, .. } => stops,
        })
    }
}

/// A copy of the attribute `name`, an array of int64.
fn copied(object: Borrowed<'_, '_, PyAny>, name: &Bound<'_, PyString>) -> PyResult<Vec<i64>> {
    let array = object.getattr(name)?.cast_into::<PyArray1<i64>>()?;
    collected(as_slice(&array)?.iter().copied())
}

/// The values of a column, and their bounds.
fn parts<'py>(object: Borrowed<'_, 'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bounds)> {
    let py = object.py();
    if let Ok(array) = object.cast::<PyUntypedArray>() {
        let (&[rows, width], true) = (array.shape(), array.is_c_contiguous()) else {
            return Err(not_rows(array.ndim()));
        };
        return Ok((object.to_owned(), Bounds::Offsets(multiples(rows, width)?)));
    }
    let bounds = if object.is_instance_of::<PyTuple>() {
        Bounds::Fields {
            starts: copied(object, pyo3::intern!(py, "starts"))?,
            stops: copied(object, pyo3::intern!(py, "stops"))?,
        }
    } else {
        Bounds::Offsets(copied(object, pyo3::intern!(py, "offsets"))?)
    };
    Ok((object.getattr(pyo3::intern!(py, "values"))?, bounds))
}

/// The bounds of rows of one width: 0, `width`, and so on.
pub fn multiples(rows: usize, width: usize) -> PyResult<Vec<i64>> {
    let mut offsets = reserved(rows.saturating_add(1))?;
    // An array without elements may have any number of rows, but their bounds are all 0.
    offsets.extend((0..=rows).map(|row| row.saturating_mul(width) as i64));
    Ok(offsets)
}

/// Token ids of rows, of any of the token types.
pub struct IdColumn<'py> {
    pub values: Ids<'py>,
    pub bounds: Bounds,
}

impl<'a, 'py> FromPyObject<'a, 'py> for IdColumn<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let (values, bounds) = parts(object)?;
        Ok(Self { values: values.extract()?, bounds })
    }
}

impl IdColumn<'_> {
    /// The width of the rows, padding included, if the values are a 2-D array.
    pub fn width(&self) -> Option<usize> {
        match *self.values.shape() {
            [_, width] => Some(width),
            _ => None,
        }
    }

    /// The rows where they are: at their places in a 2-D array, otherwise concatenated.
    pub fn own_layout(&self) -> Layout {
        let shape = self.width().map_or(Shape::Packed, |width| Shape::InPlace { width });
        Layout { shape, max_len: usize::MAX }
    }
}

/// Flags, words, weights or labels of rows.
pub struct Column<'py, T: Element> {
    values: PyReadonlyArrayDyn<'py, T>,
    bounds: Bounds,
}

impl<'a, 'py, T: Element> FromPyObject<'a, 'py> for Column<'py, T> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let (values, bounds) = parts(object)?;
        Ok(Self { values: values.extract()?, bounds })
    }
}

impl<T: Element> Column<'_, T> {
    /// How many rows the column has.
    pub fn row_count(&self) -> PyResult<usize> {
        Ok(self.bounds.starts()?.len())
    }

    /// The rows of the column, which is called `name` and must have as many rows as there are rows of ids.
    pub fn ragged(&self, rows: usize, name: &str) -> PyResult<Ragged<'_, T>> {
        let ragged =
            Ragged::from_bounds(self.values.as_slice()?, self.bounds.starts()?, self.bounds.stops()?)
                .map_err(|e| to_py(e, name))?;
        if ragged.len() != rows {
            return Err(to_py(Error::Length { want: rows, got: ragged.len() }, name));
        }
        Ok(ragged)
    }
}

/// Numbers of rows, of any of the types that go into a batch.
pub enum NumberColumn<'py> {
    Ids(IdColumn<'py>),
    Floats(Column<'py, f32>),
    Flags(Column<'py, bool>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for NumberColumn<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(column) = object.extract() {
            return Ok(Self::Floats(column));
        }
        if let Ok(column) = object.extract() {
            return Ok(Self::Flags(column));
        }
        Ok(Self::Ids(object.extract()?))
    }
}

/// Runs `$body` with `$rows` bound to the rows of a column, and `$convert` to the conversion of its values to those of a batch.
macro_rules! with_numbers {
    ($column:expr, |$rows:ident, $convert:ident| $body:expr) => {
        match $column {
            $crate::columns::NumberColumn::Ids(column) => $crate::ids::with_ids!(&column.values, |values| {
                let bounds = &column.bounds;
                let ($rows, $convert) = (
                    spanmask_core::Ragged::from_bounds(values, bounds.starts()?, bounds.stops()?)
                        .map_err(|e| $crate::error::to_py(e, "rows"))?,
                    spanmask_core::Token::to_i64,
                );
                $body
            }),
            $crate::columns::NumberColumn::Floats(column) => {
                let ($rows, $convert) = (column.ragged(column.row_count()?, "rows")?, |value: f32| value);
                $body
            }
            $crate::columns::NumberColumn::Flags(column) => {
                let ($rows, $convert) = (column.ragged(column.row_count()?, "rows")?, |value: bool| value);
                $body
            }
        }
    };
}
pub(crate) use with_numbers;

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

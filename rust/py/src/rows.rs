//! Rows as noise takes them: one array with bounds, or a list of arrays read where they lie.

use crate::error::to_py;
use crate::ids::Ids;
use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyList;
use spanmask_core::{Ragged, Token};

/// Token ids of rows.
pub enum Rows<'py> {
    /// Values, starts, stops.
    Flat(Ids<'py>, PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i64>),
    /// One contiguous, aligned array a row, all of one of the token types.
    U16(Vec<Bound<'py, PyArray1<u16>>>),
    U32(Vec<Bound<'py, PyArray1<u32>>>),
    I32(Vec<Bound<'py, PyArray1<i32>>>),
    I64(Vec<Bound<'py, PyArray1<i64>>>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Rows<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let Ok(list) = object.cast::<PyList>() else {
            let (values, starts, stops) = object.extract()?;
            return Ok(Self::Flat(values, starts, stops));
        };
        let Ok(first) = list.get_item(0) else { return Ok(Self::I64(Vec::new())) };
        Ok(match first.extract::<Ids>()? {
            Ids::U16(_) => Self::U16(arrays(&list)?),
            Ids::U32(_) => Self::U32(arrays(&list)?),
            Ids::I32(_) => Self::I32(arrays(&list)?),
            Ids::I64(_) => Self::I64(arrays(&list)?),
        })
    }
}

fn arrays<'py, T: numpy::Element>(list: &Bound<'py, PyList>) -> PyResult<Vec<Bound<'py, PyArray1<T>>>> {
    list.iter()
        .map(|row| {
            let row = row.cast_into::<PyArray1<T>>()?;
            if row.is_contiguous() && row.is_aligned() {
                Ok(row)
            } else {
                Err(pyo3::exceptions::PyTypeError::new_err("strided or unaligned"))
            }
        })
        .collect()
}

/// The rows of one array.
pub fn flat<'a, T: Token>(
    values: &'a [T],
    starts: &'a PyReadonlyArray1<'_, i64>,
    stops: &'a PyReadonlyArray1<'_, i64>,
    name: &str,
) -> PyResult<Vec<&'a [T]>> {
    let rows =
        Ragged::from_bounds(values, starts.as_slice()?, stops.as_slice()?).map_err(|e| to_py(e, name))?;
    Ok(rows.rows().collect())
}

/// The rows of a list.
pub fn listed<'a, T: numpy::Element>(arrays: &'a [Bound<'_, PyArray1<T>>]) -> PyResult<Vec<&'a [T]>> {
    let slice = |array: &'a Bound<'_, PyArray1<T>>| {
        // SAFETY: the reference keeps the array alive for 'a, and this module writes to no array but those it just made itself. What
        // Python code of another thread writes meanwhile is a race that `PyReadonlyArray` would not see either: its flags tell only of
        // borrows by Rust. A flag is a look into a hash map: for 128 rows they took 27 of 129 us, the whole of `corrupt` on 568 tokens each.
        unsafe { array.as_slice() }
    };
    Ok(arrays.iter().map(slice).collect::<Result<_, _>>()?)
}

/// Runs `$body` with `$slices` bound to the rows, a slice each, of their own type.
macro_rules! with_rows {
    ($rows:expr, $name:expr, |$slices:ident| $body:expr) => {
        match $rows {
            $crate::rows::Rows::Flat(values, starts, stops) => {
                $crate::ids::with_ids!(values, |values| {
                    let $slices = $crate::rows::flat(values, starts, stops, $name)?;
                    $body
                })
            }
            $crate::rows::Rows::U16(arrays) => {
                let $slices = $crate::rows::listed(arrays)?;
                $body
            }
            $crate::rows::Rows::U32(arrays) => {
                let $slices = $crate::rows::listed(arrays)?;
                $body
            }
            $crate::rows::Rows::I32(arrays) => {
                let $slices = $crate::rows::listed(arrays)?;
                $body
            }
            $crate::rows::Rows::I64(arrays) => {
                let $slices = $crate::rows::listed(arrays)?;
                $body
            }
        }
    };
}
pub(crate) use with_rows;

//! Rows as noise reads them: one array with bounds, or a list of arrays that are read in place.

use crate::columns::{Bounds, IdColumn, multiples};
use crate::error::{not_contiguous, to_py};
use crate::ids::Ids;
use crate::memory::{collected, reserved};
use numpy::{Element, PyArray1, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyList;
use spanmask_core::batch::{Layout, Shape};
use spanmask_core::{Error, Ragged, Token};
use std::ops::Range;

/// Token ids of rows.
pub enum Rows<'py> {
    /// All rows in one array.
    Flat(IdColumn<'py>),
    /// A contiguous, aligned array for each row, all of one token type.
    U16(Vec<Bound<'py, PyArray1<u16>>>),
    U32(Vec<Bound<'py, PyArray1<u32>>>),
    I32(Vec<Bound<'py, PyArray1<i32>>>),
    I64(Vec<Bound<'py, PyArray1<i64>>>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Rows<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let Ok(list) = object.cast::<PyList>() else { return Ok(Self::Flat(object.extract()?)) };
        let Ok(first) = list.get_item(0) else { return Ok(Self::I64(Vec::new())) };
        Ok(match first.extract::<Ids>().map_err(|_| not_contiguous(0))? {
            Ids::U16(_) => Self::U16(arrays(&list)?),
            Ids::U32(_) => Self::U32(arrays(&list)?),
            Ids::I32(_) => Self::I32(arrays(&list)?),
            Ids::I64(_) => Self::I64(arrays(&list)?),
        })
    }
}

impl Rows<'_> {
    /// The rows where they are: at their places in a 2-D array, otherwise concatenated.
    pub fn own_layout(&self) -> Layout {
        match self {
            Self::Flat(column) => column.own_layout(),
            _ => Layout { shape: Shape::Packed, max_len: usize::MAX },
        }
    }
}

fn arrays<'py, T: Element>(list: &Bound<'py, PyList>) -> PyResult<Vec<Bound<'py, PyArray1<T>>>> {
    let array = |(number, row): (usize, Bound<'py, PyAny>)| match row.cast_into::<PyArray1<T>>() {
        Ok(row) if row.is_contiguous() && row.is_aligned() && !is_masked(&row) => Ok(row),
        _ => Err(not_contiguous(number)),
    };
    let mut arrays = reserved(list.len())?;
    for row in list.iter().enumerate() {
        arrays.push(array(row)?);
    }
    Ok(arrays)
}

/// Whether an array has a mask (`numpy.ma`), which would be ignored. The Python layer raises for such rows.
fn is_masked<T: Element>(row: &Bound<'_, PyArray1<T>>) -> bool {
    !row.is_exact_instance_of::<PyArray1<T>>() && row.hasattr("mask").unwrap_or(true)
}

/// The rows of one array.
pub fn flat<'a, T: Token>(values: &'a [T], bounds: &'a Bounds, name: &str) -> PyResult<Vec<&'a [T]>> {
    let rows = Ragged::from_bounds(values, bounds.starts()?, bounds.stops()?).map_err(|e| to_py(e, name))?;
    collected((0..rows.len()).map(|i| rows.row(i)))
}

/// The rows of a list.
pub fn listed<'a, T: Element>(arrays: &'a [Bound<'_, PyArray1<T>>]) -> PyResult<Vec<&'a [T]>> {
    let mut slices = reserved(arrays.len())?;
    for array in arrays {
        slices.push(as_slice(array)?);
    }
    Ok(slices)
}

/// The values of a contiguous array.
pub fn as_slice<'a, T: Element>(array: &'a Bound<'_, PyArray1<T>>) -> PyResult<&'a [T]> {
    // SAFETY: the reference keeps the array alive for 'a, and this crate writes only to arrays that it has just made. If Python code in
    // another thread writes meanwhile, `PyReadonlyArray` would not detect the race either: its flags only record borrows by Rust.
    // A flag is a lookup in a hash map: for 128 rows of 568 tokens they took 8 to 14 % of a whole call of the T5 collator.
    Ok(unsafe { array.as_slice() }?)
}

/// Runs `$body` with `$slices` bound to the rows, a slice of their own type for each.
macro_rules! with_rows {
    ($rows:expr, $name:expr, |$slices:ident| $body:expr) => {
        match $rows {
            $crate::rows::Rows::Flat(column) => {
                $crate::ids::with_ids!(&column.values, |values| {
                    let $slices = $crate::rows::flat(values, &column.bounds, $name)?;
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

/// Whole rows of a 2-D array, and where the tokens of each are in its row; `None` if nothing in the array is padding. Other rows have no
/// padding and stay as they are.
pub fn with_padding<'py>(rows: Rows<'py>, name: &str) -> PyResult<(Rows<'py>, Option<Vec<Range<usize>>>)> {
    let Rows::Flat(column) = rows else { return Ok((rows, None)) };
    let (Some(width), Bounds::Fields { .. }) = (column.width(), &column.bounds) else {
        return Ok((Rows::Flat(column), None));
    };
    let (starts, stops) = (column.bounds.starts()?, column.bounds.stops()?);
    let len = starts.len() * width;
    let mut bounds = reserved(starts.len())?;
    for (row, (&start, &stop)) in starts.iter().zip(stops).enumerate() {
        let first = (row * width) as i64;
        if start < first || stop < start || stop > first + width as i64 {
            return Err(to_py(Error::Bounds { row, start, stop, len }, name));
        }
        bounds.push((start - first) as usize..(stop - first) as usize);
    }
    let edges = multiples(bounds.len(), width)?;
    Ok((Rows::Flat(IdColumn { values: column.values, bounds: Bounds::Offsets(edges) }), Some(bounds)))
}

/// How many places rows of these lengths take in an output. If the number would overflow, it is greater than any memory.
pub fn output_len(layout: Layout, lengths: impl Iterator<Item = usize>) -> usize {
    let cell = |len: usize| match layout.shape {
        Shape::Packed => len.min(layout.max_len),
        Shape::Padded { width, .. } | Shape::InPlace { width } => width,
    };
    lengths.map(cell).fold(0, usize::saturating_add)
}

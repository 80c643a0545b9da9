//! Rows that outlive the call that reads them: a batch is planned in one call and written in another.

use crate::bulk::detached;
use crate::columns::{Bounds, IdColumn};
use crate::error::{misaligned, to_py};
use crate::memory::{collected, concatenated, reserved};
use crate::ragged::{Entries, read_lists};
use crate::rows::{Rows, with_rows};
use crate::seq_to_seq::offsets;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use spanmask_core::batch::mask_bounds;
use spanmask_core::ragged::check_bounds;
use spanmask_core::{Error, Ragged};
use spanmask_guard::guarded;

/// Runs `$body` with `$rows` bound to the rows as a `Ragged` of their own token type.
macro_rules! with_held {
    ($py:expr, $held:expr, $name:expr, |$rows:ident| $body:expr) => {
        match $held.values() {
            $crate::held::Values::Owned(values) => {
                let $rows = $held.ragged(values.as_slice(), $name)?;
                $body
            }
            $crate::held::Values::Array(array) => {
                let ids: $crate::ids::Ids = array.bind($py).extract()?;
                $crate::ids::with_ids!(&ids, |values| {
                    let $rows = $held.ragged(values, $name)?;
                    $body
                })
            }
        }
    };
}
pub(crate) use with_held;

/// Values, and where each row starts and stops in them.
pub struct HeldRows {
    values: Values,
    starts: Vec<i64>,
    stops: Vec<i64>,
}

/// An array of one of the token types, or what was read from lists.
pub enum Values {
    Array(Py<PyAny>),
    Owned(Vec<i64>),
}

impl HeldRows {
    /// Rows from a list of lists, a list of arrays, or a column.
    pub fn read(rows: &Bound<'_, PyAny>, name: &str, entries: Entries) -> PyResult<Self> {
        let Ok(list) = rows.cast::<PyList>() else {
            let column: IdColumn = rows.extract()?;
            let (starts, stops) = match column.bounds {
                Bounds::Fields { starts, stops } => (starts, stops),
                offsets => (
                    collected(offsets.starts()?.iter().copied())?,
                    collected(offsets.stops()?.iter().copied())?,
                ),
            };
            let len = column.values.shape().iter().product();
            check_bounds(len, &starts, &stops).map_err(|e| to_py(e, name))?;
            let values = Values::Array(column.values.array().clone().into_any().unbind());
            return Ok(Self { values, starts, stops });
        };
        let first = list.get_item(0).ok();
        if first.is_none_or(|row| row.is_instance_of::<PyList>() || row.is_instance_of::<PyTuple>()) {
            let (values, mut starts) = read_lists(list, name, entries)?;
            let stops = collected(starts[1..].iter().copied())?;
            starts.pop();
            return Ok(Self { values: Values::Owned(values), starts, stops });
        }
        let arrays: Rows = list.extract()?;
        Ok(with_rows!(&arrays, name, |rows| {
            let mut starts = offsets(rows.iter().map(|row| row.len()))?;
            let stops = collected(starts[1..].iter().copied())?;
            starts.pop();
            let values = concatenated(list.py(), &rows)?.into_pyarray(list.py()).into_any().unbind();
            Self { values: Values::Array(values), starts, stops }
        }))
    }

    /// The values; [`with_held`] gives the rows over them.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Where each row starts.
    pub fn starts(&self) -> &[i64] {
        &self.starts
    }

    /// Where each row stops.
    pub fn stops(&self) -> &[i64] {
        &self.stops
    }

    fn len_of(&self, i: usize) -> i64 {
        self.stops[i].saturating_sub(self.starts[i])
    }

    /// The rows over their values.
    pub fn ragged<'a, T>(&'a self, values: &'a [T], name: &str) -> PyResult<Ragged<'a, T>> {
        Ragged::from_bounds(values, &self.starts, &self.stops).map_err(|e| to_py(e, name))
    }

    /// Raises unless these rows, a column called `name`, have the same number and lengths as `rows`.
    pub fn check_aligned(&self, rows: &Self, name: &str) -> PyResult<()> {
        let (want, got) = (rows.starts.len(), self.starts.len());
        if want != got {
            return Err(to_py(Error::Length { want, got }, name));
        }
        match (0..want).find(|&i| rows.len_of(i) != self.len_of(i)) {
            Some(row) => Err(misaligned(name, row, rows.len_of(row), self.len_of(row))),
            None => Ok(()),
        }
    }

    /// Leaves out the padding of each row, and of the aligned `column`, according to an attention mask.
    pub fn without_padding(
        &mut self,
        py: Python<'_>,
        mask: &Bound<'_, PyAny>,
        column: Option<&mut Self>,
    ) -> PyResult<()> {
        let mask = Self::read(mask, "attention_mask", Entries::Flags)?;
        mask.check_aligned(self, "attention_mask")?;
        let bounds = with_held!(py, &mask, "attention_mask", |rows| detached(py, || mask_bounds(&rows))?)
            .map_err(|e| to_py(e, "attention_mask"))?;
        self.narrow(&mask, &bounds);
        if let Some(column) = column {
            column.narrow(&mask, &bounds);
        }
        Ok(())
    }

    /// Keeps the part of each row that is inside `bounds` of the aligned `mask`.
    fn narrow(&mut self, mask: &Self, bounds: &[(i64, i64)]) {
        for (i, &(start, stop)) in bounds.iter().enumerate() {
            self.starts[i] += start - mask.starts[i];
            self.stops[i] = self.starts[i] + (stop - start);
        }
    }

    /// The values as int64, the type of labels.
    pub fn int64<'a>(&'a self, py: Python<'a>) -> PyResult<Int64s<'a>> {
        Ok(match &self.values {
            Values::Owned(values) => Int64s::Slice(values),
            Values::Array(array) => Int64s::Array(array.bind(py).extract()?),
        })
    }
}

/// Rows in one array, and where the real tokens of each row are.
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct RealRows {
    /// uint16, uint32, int32 or int64.
    values: Py<PyAny>,
    /// int64, rows + 1 entries: the rows with their padding.
    offsets: Py<PyArray1<i64>>,
    /// int64: where each row starts without its padding.
    starts: Py<PyArray1<i64>>,
    /// int64.
    stops: Py<PyArray1<i64>>,
    /// int64: the number of each token's word, aligned with the values; where they were given.
    word_ids: Option<Py<PyArray1<i64>>>,
}

/// Rows and their attention mask, read together. Each is a list of lists, a list of arrays, or a column without gaps between rows.
#[pyfunction]
#[guarded]
#[pyo3(signature = (rows, *, attention_mask, word_ids, name))]
pub fn read_rows(
    py: Python<'_>,
    rows: &Bound<'_, PyAny>,
    attention_mask: Option<&Bound<'_, PyAny>>,
    word_ids: Option<&Bound<'_, PyAny>>,
    name: &str,
) -> PyResult<RealRows> {
    let mut rows = HeldRows::read(rows, name, Entries::Ids)?;
    let mut offsets = reserved(rows.stops.len() + 1)?;
    offsets.push(0);
    offsets.extend_from_slice(&rows.stops);
    let word_ids = match word_ids {
        Some(words) => {
            let words = HeldRows::read(words, "word_ids", Entries::WordIds)?;
            words.check_aligned(&rows, "word_ids")?;
            Some(match words.values {
                Values::Array(array) => array.bind(py).cast::<PyArray1<i64>>()?.clone().unbind(),
                Values::Owned(values) => values.into_pyarray(py).unbind(),
            })
        }
        None => None,
    };
    if let Some(mask) = attention_mask {
        rows.without_padding(py, mask, None)?;
    }
    let values = match rows.values {
        Values::Array(array) => array,
        Values::Owned(values) => values.into_pyarray(py).into_any().unbind(),
    };
    Ok(RealRows {
        values,
        offsets: offsets.into_pyarray(py).unbind(),
        starts: rows.starts.into_pyarray(py).unbind(),
        stops: rows.stops.into_pyarray(py).unbind(),
        word_ids,
    })
}

/// int64 values, owned or borrowed.
pub enum Int64s<'a> {
    Slice(&'a [i64]),
    Array(PyReadonlyArray1<'a, i64>),
}

impl Int64s<'_> {
    /// The values.
    pub fn as_slice(&self) -> PyResult<&[i64]> {
        match self {
            Self::Slice(values) => Ok(values),
            Self::Array(array) => Ok(array.as_slice()?),
        }
    }
}

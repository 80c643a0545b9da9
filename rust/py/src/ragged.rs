//! `_core`: lists of lists, lists of arrays and attention masks -> values and bounds.

use crate::bulk::detached;
use crate::columns::IdColumn;
use crate::error::{id_too_large, not_a_list, not_an_id, to_py};
use crate::ids::with_ids;
use crate::memory::{collected, concatenated, reserved};
use crate::rows::{Rows, with_rows};
use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyList, PyTuple};
use spanmask_core::{Ragged, batch};
use spanmask_guard::guarded;

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

/// Lists (or tuples) of integers -> int64 values and offsets, in one pass. `word_ids`: entries are numbers of words, -1 where there is none.
#[pyfunction]
#[guarded]
#[pyo3(signature = (rows, name, word_ids=false))]
pub fn from_lists(
    py: Python<'_>,
    rows: &Bound<'_, PyList>,
    name: &str,
    word_ids: bool,
) -> PyResult<RaggedArrays> {
    let entries = if word_ids { Entries::WordIds } else { Entries::Ids };
    let (values, offsets) = read_lists(rows, name, entries)?;
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
    /// Numbers of words: integers, also as floats, or -1 for what means "missing": `None`, NaN, `pandas.NA`. A bool is an error.
    WordIds,
}

/// Lists (or tuples) of integers -> values and offsets.
pub fn read_lists(rows: &Bound<'_, PyList>, name: &str, entries: Entries) -> PyResult<(Vec<i64>, Vec<i64>)> {
    let mut values: Vec<i64> = reserved(rows.iter().map(|row| len_of(&row)).sum())?;
    let mut offsets = reserved(rows.len() + 1)?;
    offsets.push(0);
    for (number, row) in rows.iter().enumerate() {
        let place = Place { name, row: number, entries };
        if let Ok(row) = row.cast::<PyList>() {
            read_row(row.iter(), &mut values, place)?;
        } else if let Ok(row) = row.cast::<PyTuple>() {
            read_row(row.iter(), &mut values, place)?;
        } else {
            return Err(not_a_list(name, number, &row.get_type().name()?.to_string()));
        }
        offsets.push(values.len() as i64);
    }
    Ok((values, offsets))
}

/// Signals are looked at every so many entries.
const SIGNALS: usize = 1 << 20;

/// Where an entry is, for messages, and what it may be.
#[derive(Clone, Copy)]
struct Place<'a> {
    name: &'a str,
    row: usize,
    entries: Entries,
}

fn read_row<'py>(
    row: impl Iterator<Item = Bound<'py, PyAny>>,
    values: &mut Vec<i64>,
    place: Place,
) -> PyResult<()> {
    for (position, item) in row.enumerate() {
        let int = item.cast_exact::<PyInt>().ok().and_then(|int| int.extract().ok());
        if values.len() % SIGNALS == SIGNALS - 1 {
            item.py().check_signals()?;
        }
        values.push(match int {
            Some(int) => int,
            None => read_other(&item, position, place)?,
        });
    }
    Ok(())
}

/// An entry that is not simply an `int` of 64 bits.
#[cold]
fn read_other(item: &Bound<'_, PyAny>, position: usize, place: Place) -> PyResult<i64> {
    let Place { name, row, entries } = place;
    if item.is_instance_of::<PyBool>() {
        return match entries {
            Entries::Flags => Ok(i64::from(item.is_truthy()?)),
            _ => Err(not_an_id(name, row, position, &described(item))),
        };
    }
    if entries == Entries::WordIds
        && let Some(number) = float_or_missing(item)?
    {
        return Ok(number);
    }
    item.extract().map_err(|e: PyErr| {
        if e.is_instance_of::<PyOverflowError>(item.py()) {
            id_too_large(name, row, position, &item.to_string())
        } else {
            not_an_id(name, row, position, &described(item))
        }
    })
}

/// The number of a word that is not given as an integer; -1 if it is missing, `None` if the entry is neither.
fn float_or_missing(item: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    if item.is_none() || item.get_type().name()? == "NAType" {
        return Ok(Some(-1));
    }
    let Ok(float) = item.extract::<f64>() else { return Ok(None) };
    if float.is_nan() {
        return Ok(Some(-1));
    }
    // Integers are exact only if they are read as such, which the caller does.
    let is_float = item.extract::<i64>().is_err();
    let in_range = float.fract() == 0.0 && float.abs() < 9_223_372_036_854_775_808.0;
    Ok((is_float && in_range).then_some(float as i64))
}

/// The length of a list or tuple.
fn len_of(row: &Bound<'_, PyAny>) -> usize {
    row.cast::<PyList>()
        .map(|row| row.len())
        .or_else(|_| row.cast::<PyTuple>().map(|row| row.len()))
        .unwrap_or(0)
}

/// An object and its type, for messages.
fn described(item: &Bound<'_, PyAny>) -> String {
    let kind = item.get_type().name().map(|name| name.to_string()).unwrap_or_default();
    format!("{item} ({kind})")
}

/// Arrays, all contiguous, aligned and of one token type -> values of that type and offsets. `None` if they are not.
#[pyfunction]
#[guarded]
pub fn from_arrays(py: Python<'_>, rows: &Bound<'_, PyList>) -> PyResult<Option<RaggedArrays>> {
    let Ok(rows) = rows.extract::<Rows>() else { return Ok(None) };
    Ok(Some(with_rows!(&rows, "rows", |rows| {
        let ends = rows.iter().scan(0, |end, row| {
            *end += row.len() as i64;
            Some(*end)
        });
        let mut offsets: Vec<i64> = reserved(rows.len() + 1)?;
        offsets.push(0);
        offsets.extend(ends);
        RaggedArrays {
            values: concatenated(py, &rows)?.into_pyarray(py).into_any().unbind(),
            offsets: offsets.into_pyarray(py).unbind(),
        }
    })))
}

/// An attention mask aligned with rows (nonzero is real) -> where each row's real tokens start and stop in the values.
#[pyfunction]
#[guarded]
pub fn mask_bounds(py: Python<'_>, mask: IdColumn<'_>) -> PyResult<RowBounds> {
    let bounds = with_ids!(&mask.values, |values| {
        let rows = Ragged::from_bounds(values, mask.bounds.starts()?, mask.bounds.stops()?);
        detached(py, || batch::mask_bounds(&rows?))?.map_err(|e| to_py(e, "attention_mask"))?
    });
    let starts = collected(bounds.iter().map(|&(start, _)| start))?;
    let stops = collected(bounds.iter().map(|&(_, stop)| stop))?;
    Ok(RowBounds { starts: starts.into_pyarray(py).unbind(), stops: stops.into_pyarray(py).unbind() })
}

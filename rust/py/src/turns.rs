//! `_core.Format`, `_core.find_turns`, `_core.find_all`.

use crate::error::to_py;
use crate::ids::{Ids, with_ids};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use spanmask_core::search::Searcher;
use spanmask_core::turns::{self, Boundary};
use spanmask_core::{Ragged, Token};
use std::convert::Infallible;

/// The markers of a `ChatFormat`, compiled for each token type.
#[pyclass(frozen, module = "spanmask._core")]
pub struct Format {
    u16: turns::Format<u16>,
    u32: turns::Format<u32>,
    i32: turns::Format<i32>,
    i64: turns::Format<i64>,
}

/// (role number, starts, ends, include_start, include_end)
type BoundaryTuple = (usize, Vec<Vec<i64>>, Vec<Vec<i64>>, bool, bool);

#[pymethods]
impl Format {
    #[new]
    fn new(
        boundaries: Vec<BoundaryTuple>,
        stop_token_ids: Vec<i64>,
        generation_prefills: Vec<Vec<i64>>,
    ) -> Self {
        let boundaries: Vec<Boundary> = boundaries
            .into_iter()
            .map(|(role, starts, ends, include_start, include_end)| Boundary {
                role,
                starts,
                ends,
                include_start,
                include_end,
            })
            .collect();
        Self {
            u16: turns::Format::new(&boundaries, &stop_token_ids, &generation_prefills),
            u32: turns::Format::new(&boundaries, &stop_token_ids, &generation_prefills),
            i32: turns::Format::new(&boundaries, &stop_token_ids, &generation_prefills),
            i64: turns::Format::new(&boundaries, &stop_token_ids, &generation_prefills),
        }
    }
}

/// Picks what was compiled for a token type.
pub trait Compiled<C> {
    fn get(&self) -> &C;
}

/// `$class` holds a `$compiled` for each token type, in fields of the types' names.
macro_rules! compiled {
    ($class:ident => $($compiled:ident)::+) => {
        compiled!($class => $($compiled)::+; u16);
        compiled!($class => $($compiled)::+; u32);
        compiled!($class => $($compiled)::+; i32);
        compiled!($class => $($compiled)::+; i64);
    };
    ($class:ident => $($compiled:ident)::+; $int:ident) => {
        impl $crate::turns::Compiled<$($compiled)::+<$int>> for $class {
            fn get(&self) -> &$($compiled)::+<$int> {
                &self.$int
            }
        }
    };
}
pub(crate) use compiled;

compiled!(Format => turns::Format);

/// Columns of turns: row, role, start, content_start, content_stop, stop (int64) and closed (bool).
type TurnColumns<'py> = (Bound<'py, PyTuple>, Bound<'py, PyArray1<bool>>);

/// The turns of all rows; positions count from the start of their row.
#[pyfunction]
pub fn find_turns<'py>(
    py: Python<'py>,
    values: Ids<'py>,
    starts: PyReadonlyArray1<'py, i64>,
    stops: PyReadonlyArray1<'py, i64>,
    format: &Format,
) -> PyResult<TurnColumns<'py>> {
    let (starts, stops) = (starts.as_slice()?, stops.as_slice()?);
    let (columns, closed) = with_ids!(&values, |values| {
        let rows = Ragged::from_bounds(values, starts, stops).map_err(|e| to_py(e, "rows"))?;
        py.detach(|| turn_columns(&rows, format.get()))
    });
    Ok((PyTuple::new(py, columns.map(|column| column.into_pyarray(py)))?, closed.into_pyarray(py)))
}

fn turn_columns<T: Token>(rows: &Ragged<T>, format: &turns::Format<T>) -> ([Vec<i64>; 6], Vec<bool>) {
    let mut columns: [Vec<i64>; 6] = Default::default();
    let mut closed = Vec::new();
    let Ok(()) = turns::find_turns::<_, Infallible>(rows, format, |number, turns| {
        for turn in turns {
            let entry = [number, turn.role, turn.start, turn.content_start, turn.content_stop, turn.stop];
            for (column, value) in columns.iter_mut().zip(entry) {
                column.push(value as i64);
            }
            closed.push(turn.closed);
        }
        Ok(())
    });
    (columns, closed)
}

/// Numbers painted on spans of `len` tokens: int64, -1 where no span is.
#[pyfunction]
pub fn paint<'py>(
    py: Python<'py>,
    len: usize,
    starts: PyReadonlyArray1<'py, i64>,
    stops: PyReadonlyArray1<'py, i64>,
    numbers: PyReadonlyArray1<'py, i64>,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let (starts, stops, numbers) = (starts.as_slice()?, stops.as_slice()?, numbers.as_slice()?);
    let mut out = vec![-1; len];
    let values = vec![(); len]; // only the bounds matter, and they are checked
    let spans = Ragged::from_bounds(&values, starts, stops).map_err(|e| to_py(e, "spans"))?;
    for (span, &number) in (0..spans.len()).map(|i| spans.bounds(i)).zip(numbers) {
        out[span].fill(number);
    }
    Ok(out.into_pyarray(py))
}

/// Positions and sequence numbers.
type Matches<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>);

/// Every position of every sequence in one row, overlapping matches too: (positions, sequence numbers), by position, longest first.
#[pyfunction]
pub fn find_all<'py>(py: Python<'py>, values: Ids<'py>, sequences: Vec<Vec<i64>>) -> PyResult<Matches<'py>> {
    fn search<T: Token>(values: &[T], sequences: &[Vec<i64>]) -> (Vec<i64>, Vec<i64>) {
        let searcher = Searcher::<T>::new(sequences.iter().map(Vec::as_slice));
        searcher.find_all(values).map(|(position, number)| (position as i64, number as i64)).unzip()
    }
    let (positions, numbers) = with_ids!(&values, |values| py.detach(|| search(values, &sequences)));
    Ok((positions.into_pyarray(py), numbers.into_pyarray(py)))
}

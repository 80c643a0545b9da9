//! `_core.Format`, `_core.find_turns`, `_core.find_all`, `_core.paint`.

use crate::bulk::detached;
use crate::columns::IdColumn;
use crate::error::to_py;
use crate::ids::{ArrayToken, Family, Ids, PerToken, with_ids};
use crate::memory::{Full, collected, extend, filled, reserved};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use spanmask_core::search::Searcher;
use spanmask_core::turns::{self, Boundary, FormatParts, Turn, TurnSource, TurnTable};
use spanmask_core::{Ragged, Token};
use spanmask_guard::guarded;

/// The markers of a `ChatFormat`, compiled for the token types in use.
#[pyclass(frozen, module = "spanmask._core")]
pub struct Format {
    parts: FormatParts,
    compiled: PerToken<Formats>,
}

/// Formats by token type.
pub struct Formats;

impl Family for Formats {
    type Of<T: Token> = turns::Format<T>;
}

/// A `RoleBoundary`, read by name.
#[derive(FromPyObject)]
struct BoundaryFields {
    role: String,
    start: Vec<Vec<i64>>,
    end: Vec<Vec<i64>>,
    include_start: bool,
    include_end: bool,
    anchored: bool,
}

/// What a `ChatFormat` or `Parts` says about turns, read by name.
#[derive(FromPyObject)]
struct FormatFields {
    boundaries: Vec<BoundaryFields>,
    stop_token_ids: Vec<i64>,
    anchor_ids: Vec<i64>,
    generation_prefills: Vec<Vec<i64>>,
    /// Openings and closings, or nothing.
    reasoning: Vec<Vec<Vec<i64>>>,
    empty_reasoning: Vec<Vec<i64>>,
}

#[pymethods]
impl Format {
    #[new]
    #[pyo3(signature = (parts, *, roles))]
    #[guarded]
    fn new(parts: FormatFields, roles: Vec<String>) -> PyResult<Self> {
        let boundaries = parts.boundaries.into_iter().map(|fields| Boundary {
            role: roles.iter().position(|role| *role == fields.role).unwrap_or(roles.len()),
            starts: fields.start,
            ends: fields.end,
            include_start: fields.include_start,
            include_end: fields.include_end,
            anchored: fields.anchored,
        });
        let mut reasoning = parts.reasoning.into_iter();
        let parts = FormatParts {
            boundaries: boundaries.collect(),
            stop_token_ids: parts.stop_token_ids,
            anchor_ids: parts.anchor_ids,
            generation_prefills: parts.generation_prefills,
            reasoning_openings: reasoning.next().unwrap_or_default(),
            reasoning_closings: reasoning.next().unwrap_or_default(),
            empty_reasoning: parts.empty_reasoning,
        };
        Ok(Self { parts, compiled: PerToken::default() })
    }
}

impl Format {
    /// The format for rows of `T`.
    pub fn of<T: ArrayToken>(&self) -> &turns::Format<T> {
        self.compiled.get(|| turns::Format::new(&self.parts))
    }
}

/// The turns of all rows, a column for each field of a turn; positions count from the start of their row.
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct TurnColumns {
    row: Py<PyArray1<i64>>,
    role: Py<PyArray1<i64>>,
    start: Py<PyArray1<i64>>,
    content_start: Py<PyArray1<i64>>,
    content_stop: Py<PyArray1<i64>>,
    stop: Py<PyArray1<i64>>,
    closed: Py<PyArray1<bool>>,
    prefill_stop: Py<PyArray1<i64>>,
    reasoning_stop: Py<PyArray1<i64>>,
    empty_reasoning: Py<PyArray1<bool>>,
    stop_token: Py<PyArray1<bool>>,
    include_start: Py<PyArray1<bool>>,
    include_end: Py<PyArray1<bool>>,
}

/// The turns of all rows.
#[pyfunction]
#[guarded]
pub fn find_turns(py: Python<'_>, rows: IdColumn<'_>, format: &Format) -> PyResult<TurnColumns> {
    let (numbers, turns) = with_ids!(&rows.values, |values| {
        let rows = Ragged::from_bounds(values, rows.bounds.starts()?, rows.bounds.stops()?)
            .map_err(|e| to_py(e, "rows"))?;
        let format = format.of(); // with the GIL: a fork while another thread compiles it would leave the child waiting for that thread
        detached(py, || all_turns(&rows, format))??
    });
    let places = |of: fn(&Turn) -> usize| -> PyResult<_> {
        Ok(collected(turns.iter().map(|turn| of(turn) as i64))?.into_pyarray(py).unbind())
    };
    let flags = |of: fn(&Turn) -> bool| -> PyResult<_> {
        Ok(collected(turns.iter().map(of))?.into_pyarray(py).unbind())
    };
    Ok(TurnColumns {
        row: numbers.into_pyarray(py).unbind(),
        role: places(|turn| turn.role)?,
        start: places(|turn| turn.start)?,
        content_start: places(|turn| turn.content_start)?,
        content_stop: places(|turn| turn.content_stop)?,
        stop: places(|turn| turn.stop)?,
        closed: flags(|turn| turn.closed)?,
        prefill_stop: places(|turn| turn.prefill_stop)?,
        reasoning_stop: places(|turn| turn.reasoning_stop)?,
        empty_reasoning: flags(|turn| turn.empty_reasoning)?,
        stop_token: flags(|turn| turn.stop_token)?,
        include_start: flags(|turn| turn.include_start)?,
        include_end: flags(|turn| turn.include_end)?,
    })
}

fn all_turns<T: Token>(rows: &Ragged<T>, format: &turns::Format<T>) -> Result<(Vec<i64>, Vec<Turn>), Full> {
    let (mut numbers, mut all) = (Vec::new(), Vec::new());
    turns::find_turns(rows, format, |number, turns| {
        turns.iter().try_for_each(|_| extend(&mut numbers, &[number as i64]))?;
        extend(&mut all, turns)
    })?;
    Ok((numbers, all))
}

/// Where turns come from: a `Format` to search for, or the columns of a `Turns`.
pub enum Turns<'py> {
    Search(Bound<'py, Format>),
    Given(Box<GivenTurns<'py>>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Turns<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match object.cast::<Format>() {
            Ok(format) => Ok(Self::Search(format.to_owned())),
            Err(_) => Ok(Self::Given(Box::new(object.extract()?))),
        }
    }
}

/// The columns of a `spanmask.Turns`, read by name.
#[derive(FromPyObject)]
pub struct GivenTurns<'py> {
    row: PyReadonlyArray1<'py, i64>,
    role: PyReadonlyArray1<'py, i64>,
    start: PyReadonlyArray1<'py, i64>,
    content_start: PyReadonlyArray1<'py, i64>,
    content_stop: PyReadonlyArray1<'py, i64>,
    stop: PyReadonlyArray1<'py, i64>,
    closed: PyReadonlyArray1<'py, bool>,
    prefill_stop: PyReadonlyArray1<'py, i64>,
    reasoning_stop: PyReadonlyArray1<'py, i64>,
    empty_reasoning: PyReadonlyArray1<'py, bool>,
    stop_token: PyReadonlyArray1<'py, bool>,
    include_start: PyReadonlyArray1<'py, bool>,
    include_end: PyReadonlyArray1<'py, bool>,
    roles: Vec<String>,
}

impl Turns<'_> {
    /// The table of given turns for rows that start and stop here; `None` if turns are searched for.
    pub fn table(&self, starts: &[i64], stops: &[i64]) -> PyResult<Option<TurnTable>> {
        let Self::Given(given) = self else { return Ok(None) };
        let rows = given.row.as_slice()?;
        let places = [
            &given.role,
            &given.start,
            &given.content_start,
            &given.content_stop,
            &given.stop,
            &given.prefill_stop,
            &given.reasoning_stop,
        ];
        let flags = [
            &given.closed,
            &given.empty_reasoning,
            &given.stop_token,
            &given.include_start,
            &given.include_end,
        ];
        let lengths = places.map(|column| column.len().unwrap_or(0)).into_iter();
        if let Some(got) =
            lengths.chain(flags.map(|column| column.len().unwrap_or(0))).find(|&len| len != rows.len())
        {
            return Err(to_py(spanmask_core::Error::Length { want: rows.len(), got }, "turns"));
        }
        let [role, start, content_start, content_stop, stop, prefill_stop, reasoning_stop] = places;
        let [closed, empty_reasoning, stop_token, include_start, include_end] = flags;
        // A negative position becomes a position that is in no row.
        let at = |column: &PyReadonlyArray1<i64>, n: usize| -> PyResult<usize> {
            Ok(usize::try_from(column.as_slice()?[n]).unwrap_or(usize::MAX / 2))
        };
        let turns = (0..rows.len()).map(|n| -> PyResult<Turn> {
            Ok(Turn {
                role: at(role, n)?,
                start: at(start, n)?,
                content_start: at(content_start, n)?,
                content_stop: at(content_stop, n)?,
                stop: at(stop, n)?,
                closed: closed.as_slice()?[n],
                prefill_stop: at(prefill_stop, n)?,
                reasoning_stop: at(reasoning_stop, n)?,
                empty_reasoning: empty_reasoning.as_slice()?[n],
                stop_token: stop_token.as_slice()?[n],
                include_start: include_start.as_slice()?[n],
                include_end: include_end.as_slice()?[n],
            })
        });
        let mut all = reserved(rows.len())?;
        for turn in turns {
            all.push(turn?);
        }
        let lengths =
            starts.iter().zip(stops).map(|(start, stop)| stop.saturating_sub(*start).max(0) as usize);
        let lengths = collected(lengths)?;
        TurnTable::new(all, rows, given.roles.len(), lengths).map(Some).map_err(|e| to_py(e, "turns"))
    }

    /// Where the turns of rows of `T` come from; `table` comes from [`Turns::table`].
    pub fn source<'a, T: ArrayToken>(&'a self, table: Option<&'a TurnTable>) -> TurnSource<'a, T> {
        match (self, table) {
            (Self::Search(format), _) => TurnSource::Search(format.get().of()),
            (Self::Given(_), Some(table)) => TurnSource::Table(table, 0),
            (Self::Given(_), None) => unreachable!("`table` makes a table from given turns"),
        }
    }
}

/// Writes numbers over spans of `len` tokens: int64, -1 outside all spans.
#[pyfunction]
#[guarded]
pub fn paint<'py>(
    py: Python<'py>,
    len: usize,
    starts: PyReadonlyArray1<'py, i64>,
    stops: PyReadonlyArray1<'py, i64>,
    numbers: PyReadonlyArray1<'py, i64>,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let (starts, stops, numbers) = (starts.as_slice()?, stops.as_slice()?, numbers.as_slice()?);
    let values = vec![(); len]; // only the bounds are used, and they are checked
    let spans = Ragged::from_bounds(&values, starts, stops).map_err(|e| to_py(e, "spans"))?;
    let mut out = filled(len, -1)?;
    for (span, &number) in (0..spans.len()).map(|i| spans.bounds(i)).zip(numbers) {
        out[span].fill(number);
    }
    Ok(out.into_pyarray(py))
}

/// Where sequences occur in a row.
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct Matches {
    /// int64: where each match starts.
    positions: Py<PyArray1<i64>>,
    /// int64: which sequence it is.
    sequences: Py<PyArray1<i64>>,
}

/// Every match of every sequence in one row, overlapping matches too, by position, longest first.
#[pyfunction]
#[guarded]
pub fn find_all(py: Python<'_>, values: Ids<'_>, sequences: Vec<Vec<i64>>) -> PyResult<Matches> {
    fn search<T: Token>(values: &[T], sequences: &[Vec<i64>]) -> Result<(Vec<i64>, Vec<i64>), Full> {
        let searcher = Searcher::<T>::new(sequences.iter().map(Vec::as_slice));
        let (mut positions, mut numbers) = (Vec::new(), Vec::new());
        for (position, number) in searcher.find_all(values) {
            extend(&mut positions, &[position as i64])?;
            extend(&mut numbers, &[number as i64])?;
        }
        Ok((positions, numbers))
    }
    let (positions, numbers) = with_ids!(&values, |values| detached(py, || search(values, &sequences))??);
    Ok(Matches {
        positions: positions.into_pyarray(py).unbind(),
        sequences: numbers.into_pyarray(py).unbind(),
    })
}

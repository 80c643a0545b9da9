//! `_core.Layout`, `_core.pad`, `_core.take`.

use crate::bulk::detached;
use crate::columns::{NumberColumn, with_numbers};
use crate::enums::Choice;
use crate::error::to_py;
use crate::outputs::Output;
use numpy::{Element, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;
use spanmask_core::batch::{self, Shape, Side};
use spanmask_core::{Error, Ragged};
use spanmask_guard::guarded;

/// How rows are laid out in an output. The width of a padded output follows from its rows.
#[pyclass(frozen, module = "spanmask._core")]
pub struct Layout {
    kind: Kind,
    max_len: usize,
}

enum Kind {
    Packed,
    Padded { side: Side, multiple_of: usize },
}

#[pymethods]
impl Layout {
    /// Rows concatenated, without padding.
    #[staticmethod]
    #[pyo3(signature = (max_length=None))]
    #[guarded]
    fn packed(max_length: Option<usize>) -> PyResult<Self> {
        Ok(Self { kind: Kind::Packed, max_len: max_length.unwrap_or(usize::MAX) })
    }

    /// Rows padded on one side to the longest of them, rounded up to a multiple.
    #[staticmethod]
    #[pyo3(signature = (padding_side, max_length=None, pad_to_multiple_of=None))]
    #[guarded]
    fn padded(
        padding_side: Choice<Side>,
        max_length: Option<usize>,
        pad_to_multiple_of: Option<usize>,
    ) -> PyResult<Self> {
        let kind = Kind::Padded { side: padding_side.0, multiple_of: pad_to_multiple_of.unwrap_or(1) };
        Ok(Self { kind, max_len: max_length.unwrap_or(usize::MAX) })
    }
}

impl Layout {
    /// The core's layout for these rows.
    pub fn of<T>(&self, rows: &Ragged<T>) -> batch::Layout {
        self.of_lengths((0..rows.len()).map(|i| rows.bounds(i).len()))
    }

    /// The core's layout for rows of these lengths.
    pub fn of_lengths(&self, lengths: impl Iterator<Item = usize>) -> batch::Layout {
        let shape = match self.kind {
            Kind::Packed => Shape::Packed,
            Kind::Padded { side, multiple_of } => Shape::padded(lengths, side, self.max_len, multiple_of),
        };
        batch::Layout { shape, max_len: self.max_len }
    }
}

/// The shape of an output: [rows, width], or [1, tokens] if nothing is padded.
pub fn shape_of<T>(layout: batch::Layout, rows: &Ragged<T>) -> [usize; 2] {
    match layout.shape {
        Shape::Packed => [1, layout.output_len(rows)],
        Shape::Padded { width, .. } | Shape::InPlace { width } => [rows.len(), width],
    }
}

/// Rows with `padding` around them, [rows, width] or [1, values]: int64 for integers, float32 and bool as they are.
#[pyfunction]
#[guarded]
pub fn pad(
    py: Python<'_>,
    rows: NumberColumn<'_>,
    layout: &Layout,
    padding: &Bound<'_, PyAny>,
) -> PyResult<Py<PyAny>> {
    with_numbers!(&rows, |rows, convert| {
        let layout = layout.of(&rows);
        let padding = padding.extract()?;
        write(py, shape_of(layout, &rows), |out| batch::values_into(&rows, layout, convert, padding, out))
    })
}

/// For each place of `sources` the value of the token that it stands for, `padding` where it is -1: int64 for integers, float32 and bool
/// as they are.
#[pyfunction]
#[guarded]
pub fn take(
    py: Python<'_>,
    rows: NumberColumn<'_>,
    sources: PyReadonlyArray2<'_, i64>,
    padding: &Bound<'_, PyAny>,
) -> PyResult<Py<PyAny>> {
    let (width, shape) = (sources.shape()[1], [sources.shape()[0], sources.shape()[1]]);
    let sources = sources.as_slice()?;
    with_numbers!(&rows, |rows, convert| {
        let padding = padding.extract()?;
        write(py, shape, |out| batch::take_into(&rows, width, sources, convert, padding, out))
    })
}

/// A table that `fill` writes, without the GIL.
fn write<O: Element + Send>(
    py: Python<'_>,
    shape: [usize; 2],
    fill: impl FnOnce(&mut [O]) -> Result<(), Error> + Send,
) -> PyResult<Py<PyAny>> {
    let mut out = Output::new(py, shape)?;
    let places = out.places();
    detached(py, || fill(places))?.map_err(|e| to_py(e, "rows"))?;
    Ok(out.finish().into_any())
}

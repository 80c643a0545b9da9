//! `_core.pad`, `_core.pad_mask`, and the layout argument of every function that writes a batch.

use crate::bulk;
use crate::error::to_py;
use crate::ids::{Ids, with_ids};
use numpy::{Element, IntoPyArray, PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use spanmask_core::batch::{self, Layout, Shape, Side};
use spanmask_core::{Ragged, Token};

/// (kind, width, max_len): kind "packed", "left", "right" or "in_place"; `None` cuts nothing.
pub type LayoutTuple<'a> = (&'a str, usize, Option<usize>);

/// The core's layout for what `batch.py` asks.
pub fn layout((kind, width, max_len): LayoutTuple) -> PyResult<Layout> {
    let shape = match kind {
        "packed" => Shape::Packed,
        "right" => Shape::Padded { width, side: Side::Right },
        "left" => Shape::Padded { width, side: Side::Left },
        "in_place" => Shape::InPlace { width },
        other => return Err(PyValueError::new_err(format!("layout: unknown kind {other:?}."))),
    };
    Ok(Layout { shape, max_len: max_len.unwrap_or(usize::MAX) })
}

/// Rows into one output: int64 values with `padding` around them, flat.
#[pyfunction]
pub fn pad<'py>(
    py: Python<'py>,
    values: Ids<'py>,
    starts: PyReadonlyArray1<'py, i64>,
    stops: PyReadonlyArray1<'py, i64>,
    layout: LayoutTuple,
    padding: i64,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let (starts, stops) = (starts.as_slice()?, stops.as_slice()?);
    let layout = self::layout(layout)?;
    with_ids!(&values, |values| {
        let rows = Ragged::from_bounds(values, starts, stops).map_err(|e| to_py(e, "rows"))?;
        write(py, &rows, layout, 1, |rows, out| batch::values_into(rows, layout, Token::to_i64, padding, out))
    })
}

/// The attention mask of rows: int64, 1 for a token, 0 for padding, flat.
#[pyfunction]
pub fn pad_mask<'py>(
    py: Python<'py>,
    starts: PyReadonlyArray1<'py, i64>,
    stops: PyReadonlyArray1<'py, i64>,
    layout: LayoutTuple,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let (starts, stops) = (starts.as_slice()?, stops.as_slice()?);
    let layout = self::layout(layout)?;
    let values = vec![(); last(stops)];
    let rows = Ragged::from_bounds(&values, starts, stops).map_err(|e| to_py(e, "rows"))?;
    write(py, &rows, layout, 1, |rows, out| batch::attention_mask_into(rows, layout, out))
}

/// Each token's position in its row, and its row.
type Positions<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i32>>);

/// Each token's position in its row (int64) and its row (int32), flat.
#[pyfunction]
pub fn positions<'py>(
    py: Python<'py>,
    starts: PyReadonlyArray1<'py, i64>,
    stops: PyReadonlyArray1<'py, i64>,
    layout: LayoutTuple,
) -> PyResult<Positions<'py>> {
    let (starts, stops) = (starts.as_slice()?, stops.as_slice()?);
    let layout = self::layout(layout)?;
    let values = vec![(); last(stops)];
    let rows = Ragged::from_bounds(&values, starts, stops).map_err(|e| to_py(e, "rows"))?;
    if i32::try_from(rows.len()).is_err() {
        return Err(PyValueError::new_err(
            "rows: seq_idx is int32; a flattened batch holds fewer than 2**31 rows.",
        ));
    }
    let len = layout.output_len(&rows);
    let (mut positions, mut numbers) = (vec![0; len], vec![0; len]);
    py.detach(|| batch::positions_into(&rows, layout, 0, &mut positions, &mut numbers))
        .map_err(|e| to_py(e, "rows"))?;
    Ok((positions.into_pyarray(py), numbers.into_pyarray(py)))
}

/// Where the last row stops: how many values there must be, when only bounds matter. Zero-sized values take no memory.
fn last(stops: &[i64]) -> usize {
    stops.iter().max().map_or(0, |&stop| usize::try_from(stop).unwrap_or(0))
}

/// Allocates the output of `rows` and lets `fill` write it, chunk by chunk.
pub fn write<'py, T: Sync>(
    py: Python<'py>,
    rows: &Ragged<T>,
    layout: Layout,
    num_threads: usize,
    fill: impl Fn(&Ragged<T>, &mut [i64]) -> Result<(), spanmask_core::Error> + Sync,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let out = fresh(py, layout.output_len(rows))?;
    {
        let mut out = out.readwrite();
        let mut rest = out.as_slice_mut()?;
        let mut jobs = Vec::new();
        for chunk in bulk::chunks(rows) {
            let (first, rows) = (chunk.start, rows.slice(chunk));
            let part;
            (part, rest) = rest.split_at_mut(layout.output_len(&rows));
            let fill = &fill;
            jobs.push((first, move || fill(&rows, part)));
        }
        bulk::run(py, jobs, num_threads, "rows")?;
    }
    Ok(out)
}

/// A fresh array for a kernel that writes every place of it.
pub fn fresh<O: Element>(py: Python<'_>, len: usize) -> PyResult<Bound<'_, PyArray1<O>>> {
    if len > isize::MAX as usize / size_of::<O>() {
        return Err(PyValueError::new_err(format!(
            "rows: an output of {len} tokens does not fit memory; cut the rows."
        )));
    }
    // SAFETY: nobody reads the array before a kernel has written every place of it; where a kernel fails the array is dropped.
    // Zeroing first cost 1.3 to 1.5 times the whole of `mask_labels` on 32 x 8192 tokens.
    Ok(unsafe { PyArray1::new(py, len, false) })
}

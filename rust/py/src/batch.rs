//! `_core.Layout`, `_core.pad`, `_core.take`, and the arrays that kernels write.

use crate::bulk::detached;
use crate::columns::{NumberColumn, with_numbers};
use crate::enums::Choice;
use crate::error::{no_array, to_py};
use numpy::ndarray::{Dimension, IntoDimension};
use numpy::npyffi::{NpyTypes, PY_ARRAY_API, get_type_object};
use numpy::{Element, PyArray, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use spanmask_core::batch::{self, Shape, Side};
use spanmask_core::{Error, Ragged};
use spanmask_guard::guarded;
use std::ffi::c_int;
use std::ptr::null_mut;

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
    let out = uninit_array(py, shape)?;
    let mut writer = out.readwrite();
    let places = writer.as_slice_mut()?;
    detached(py, || fill(places))?.map_err(|e| to_py(e, "rows"))?;
    drop(writer);
    Ok(out.into_any().unbind())
}

/// An array for a kernel that writes every place of it.
pub fn uninit_array<O: Element, D: IntoDimension>(
    py: Python<'_>,
    shape: D,
) -> PyResult<Bound<'_, PyArray<O, D::Dim>>> {
    let mut shape = shape.into_dimension();
    let sizes = shape.slice_mut();
    let bytes = sizes.iter().try_fold(size_of::<O>(), |bytes, &n| bytes.checked_mul(n));
    if bytes.is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(no_array(sizes, size_of::<O>()));
    }
    let (ndim, data, flags) = (sizes.len() as c_int, null_mut(), 0);
    // SAFETY: nothing reads the array before a kernel has written every place of it; if a kernel fails, the array is dropped. NumPy gets
    // as many sizes as `ndim` says, each at most `isize::MAX`, and a new reference to the dtype, as it requires. A null is an error here:
    // `PyArray::new` would panic. Zeroing first cost 1.3 to 1.5 times the whole of `mask_labels` on 32 x 8192 tokens.
    let array = unsafe {
        let kind = get_type_object(py, NpyTypes::PyArray_Type);
        let dtype = O::get_dtype(py).into_dtype_ptr();
        let dims = sizes.as_mut_ptr().cast();
        let array = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            kind,
            dtype,
            ndim,
            dims,
            null_mut(),
            data,
            flags,
            null_mut(),
        );
        Bound::from_owned_ptr_or_err(py, array)
    };
    match array {
        Ok(array) => Ok(array.cast_into()?),
        Err(error) if error.is_instance_of::<PyMemoryError>(py) => Err(no_array(sizes, size_of::<O>())),
        Err(error) => Err(error),
    }
}

/// Uses what rust-numpy looks up with its first use: NumPy's C interface, and the record of borrows.
pub fn touch_numpy(py: Python<'_>) -> PyResult<()> {
    let array = uninit_array::<i64, _>(py, 0)?;
    array.try_readwrite()?.as_slice_mut()?;
    Ok(())
}

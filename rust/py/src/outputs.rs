//! The arrays that kernels write.

use crate::bulk::take;
use crate::error::no_array;
use numpy::ndarray::{Dimension, IntoDimension, Ix1};
use numpy::npyffi::{NpyTypes, PY_ARRAY_API, get_type_object};
use numpy::{Element, PyArray, PyArrayDescrMethods, PyArrayMethods};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use spanmask_core::batch::{Layout, Shape};
use std::ffi::c_int;
use std::ptr::null_mut;

/// An array for a kernel that writes every place of it. Python code sees it once it is finished.
pub struct Output<'py, O, D = Ix1>(Bound<'py, PyArray<O, D>>);

impl<'py, O: Element, D: Dimension> Output<'py, O, D> {
    /// An array of this shape; nothing is written yet.
    pub fn new(py: Python<'py>, shape: impl IntoDimension<Dim = D>) -> PyResult<Self> {
        uninit_array(py, shape).map(Self)
    }

    /// The same, if it is wanted.
    pub fn optional(
        py: Python<'py>,
        shape: impl IntoDimension<Dim = D>,
        wanted: bool,
    ) -> PyResult<Option<Self>> {
        if wanted { Self::new(py, shape).map(Some) } else { Ok(None) }
    }

    /// All places.
    pub fn places(&mut self) -> &mut [O] {
        // SAFETY: `new` made the array, contiguous and writable, and before `finish` nothing else refers to it. `PyReadwriteArray` would record
        // the borrow in a hash map, which short calls notice.
        unsafe { self.0.as_slice_mut() }.unwrap_or_default()
    }

    /// The array, every place of which is written.
    pub fn finish(self) -> Py<PyArray<O, D>> {
        self.0.unbind()
    }
}

impl<O: Element> Output<'_, O> {
    /// The same in the shape of its layout: [rows, width] if all cells have the same width.
    pub fn shaped(self, layout: Layout, rows: usize) -> PyResult<Py<PyAny>> {
        Ok(match layout.shape {
            Shape::Packed => self.0.into_any().unbind(),
            Shape::Padded { width, .. } | Shape::InPlace { width } => {
                self.0.reshape([rows, width])?.into_any().unbind()
            }
        })
    }
}

/// The places of an output, none if it is not wanted.
pub fn places<'a, O: Element>(output: &'a mut Option<Output<'_, O>>) -> &'a mut [O] {
    output.as_mut().map_or(&mut [], Output::places)
}

/// An output in the shape of its layout, if it is wanted.
pub fn shaped<O: Element>(
    output: Option<Output<'_, O>>,
    layout: Layout,
    rows: usize,
) -> PyResult<Option<Py<PyAny>>> {
    output.map(|output| output.shaped(layout, rows)).transpose()
}

/// The arrays of a batch whose labels are at the places of the ids.
pub struct TokenArrays<'py> {
    layout: Layout,
    rows: usize,
    inputs: Output<'py, i64>,
    labels: Output<'py, i64>,
    /// Only for padded rows.
    attention: Option<Output<'py, i64>>,
}

/// The places of such arrays, or those of some rows.
pub struct TokenPlaces<'a> {
    pub inputs: &'a mut [i64],
    pub labels: &'a mut [i64],
    /// Empty if there is no attention mask.
    pub attention: &'a mut [i64],
}

/// Written arrays, in the shape of their layout.
pub struct ShapedTokens {
    pub input_ids: Py<PyAny>,
    pub labels: Py<PyAny>,
    /// Only for padded rows.
    pub attention_mask: Option<Py<PyAny>>,
}

impl<'py> TokenArrays<'py> {
    /// For this number of rows, which take `len` places.
    pub fn new(py: Python<'py>, layout: Layout, rows: usize, len: usize) -> PyResult<Self> {
        let padded = matches!(layout.shape, Shape::Padded { .. });
        let (inputs, labels) = (Output::new(py, len)?, Output::new(py, len)?);
        Ok(Self { layout, rows, inputs, labels, attention: Output::optional(py, len, padded)? })
    }

    /// All places.
    pub fn places(&mut self) -> TokenPlaces<'_> {
        let attention = places(&mut self.attention);
        TokenPlaces { inputs: self.inputs.places(), labels: self.labels.places(), attention }
    }

    /// The arrays for Python.
    pub fn shaped(self) -> PyResult<ShapedTokens> {
        let Self { layout, rows, inputs, labels, attention } = self;
        let attention_mask = shaped(attention, layout, rows)?;
        Ok(ShapedTokens {
            input_ids: inputs.shaped(layout, rows)?,
            labels: labels.shaped(layout, rows)?,
            attention_mask,
        })
    }
}

impl<'a> TokenPlaces<'a> {
    /// The next `len` places of each array; `self` keeps the others.
    pub fn take(&mut self, len: usize) -> TokenPlaces<'a> {
        let attention = if self.attention.is_empty() { 0 } else { len };
        TokenPlaces {
            inputs: take(&mut self.inputs, len),
            labels: take(&mut self.labels, len),
            attention: take(&mut self.attention, attention),
        }
    }
}

/// An array of which nothing is written.
fn uninit_array<O: Element, D: IntoDimension>(
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
    // SAFETY: nothing reads the array before a kernel has written every place of it: see `Output`. If a kernel fails, it is dropped. NumPy gets
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
    array.try_readwrite()?.as_slice_mut()?; // `shared.rs` and readers of columns borrow arrays
    Ok(())
}

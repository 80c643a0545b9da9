//! NumPy arrays of token ids, whichever of the four types they hold.

use numpy::{PyReadonlyArray1, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// A contiguous 1-D array of one of the token types; `ragged.py` sees to both.
pub enum Ids<'py> {
    U16(PyReadonlyArray1<'py, u16>),
    U32(PyReadonlyArray1<'py, u32>),
    I32(PyReadonlyArray1<'py, i32>),
    I64(PyReadonlyArray1<'py, i64>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Ids<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(ids) = object.extract() {
            return Ok(Self::I64(ids));
        }
        if let Ok(ids) = object.extract() {
            return Ok(Self::I32(ids));
        }
        if let Ok(ids) = object.extract() {
            return Ok(Self::U32(ids));
        }
        if let Ok(ids) = object.extract() {
            return Ok(Self::U16(ids));
        }
        let found = match object.cast::<PyUntypedArray>() {
            Ok(array) => format!("{}-D {}", array.ndim(), array.dtype()),
            Err(_) => object.get_type().to_string(),
        };
        Err(PyTypeError::new_err(format!(
            "ids: expected a 1-D array of uint16, uint32, int32 or int64, got {found}."
        )))
    }
}

/// Runs `$body` with `$slice` bound to the ids as a slice of their own type.
macro_rules! with_ids {
    ($ids:expr, |$slice:ident| $body:expr) => {
        match $ids {
            $crate::ids::Ids::U16(array) => {
                let $slice = array.as_slice()?;
                $body
            }
            $crate::ids::Ids::U32(array) => {
                let $slice = array.as_slice()?;
                $body
            }
            $crate::ids::Ids::I32(array) => {
                let $slice = array.as_slice()?;
                $body
            }
            $crate::ids::Ids::I64(array) => {
                let $slice = array.as_slice()?;
                $body
            }
        }
    };
}
pub(crate) use with_ids;

//! NumPy arrays of token ids, of any of the four token types, and objects that are compiled for the type in use.

use numpy::{Element, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use spanmask_core::Token;
use std::sync::OnceLock;

/// An array of one of the token types, in C order; `ragged.py` ensures both.
pub enum Ids<'py> {
    U16(PyReadonlyArrayDyn<'py, u16>),
    U32(PyReadonlyArrayDyn<'py, u32>),
    I32(PyReadonlyArrayDyn<'py, i32>),
    I64(PyReadonlyArrayDyn<'py, i64>),
}

impl<'py> Ids<'py> {
    /// The array without its type.
    pub fn array(&self) -> &Bound<'py, PyUntypedArray> {
        match self {
            Self::U16(array) => array.as_untyped(),
            Self::U32(array) => array.as_untyped(),
            Self::I32(array) => array.as_untyped(),
            Self::I64(array) => array.as_untyped(),
        }
    }

    /// The shape of the array.
    pub fn shape(&self) -> &[usize] {
        self.array().shape()
    }
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
        Err(crate::error::not_ids(&found))
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

/// A token type that arrays hold.
pub trait ArrayToken: Token + Element {
    /// The slot of this type.
    fn slot<F: Family>(slots: &PerToken<F>) -> &OnceLock<F::Of<Self>>;
}

/// Something generic over the token type, such as a format that is compiled for one.
pub trait Family {
    /// The member for one token type.
    type Of<T: Token>;
}

/// One member of a family for each token type, made when the type is first used.
pub struct PerToken<F: Family> {
    u16: OnceLock<F::Of<u16>>,
    u32: OnceLock<F::Of<u32>>,
    i32: OnceLock<F::Of<i32>>,
    i64: OnceLock<F::Of<i64>>,
}

impl<F: Family> Default for PerToken<F> {
    fn default() -> Self {
        Self { u16: OnceLock::new(), u32: OnceLock::new(), i32: OnceLock::new(), i64: OnceLock::new() }
    }
}

impl<F: Family> PerToken<F> {
    /// The member for `T`; `make` makes it if it does not exist yet.
    pub fn get<T: ArrayToken>(&self, make: impl FnOnce() -> F::Of<T>) -> &F::Of<T> {
        T::slot(self).get_or_init(make)
    }
}

macro_rules! array_token {
    ($($int:ident),*) => {$(
        impl ArrayToken for $int {
            fn slot<F: Family>(slots: &PerToken<F>) -> &OnceLock<F::Of<Self>> {
                &slots.$int
            }
        }
    )*};
}
array_token!(u16, u32, i32, i64);

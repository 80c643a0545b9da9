//! `_core.name_keys`.

use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use spanmask_core::rng::key::name_key;

/// Keys of named examples: XXH3 of each name's UTF-8 encoding.
#[pyfunction]
pub fn name_keys(py: Python<'_>, names: Vec<String>) -> Bound<'_, PyArray1<u64>> {
    names.iter().map(|name| name_key(name.as_bytes())).collect::<Vec<_>>().into_pyarray(py)
}

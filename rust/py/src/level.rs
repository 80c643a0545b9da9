//! `_core.simd_level`: which vector instructions the kernels use. Results do not depend on it.

use pyo3::prelude::*;
use spanmask_core::SimdLevel;
use spanmask_guard::guarded;

/// `baseline`, `avx2` or `avx512`: the best of this machine that the environment variable `SPANMASK_SIMD` allowed when it was first read.
#[pyfunction]
#[guarded]
pub fn simd_level() -> PyResult<&'static str> {
    Ok(SimdLevel::detect().name())
}

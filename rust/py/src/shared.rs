//! `_core.add_shared`: integers in memory that processes share. Another process may write them at the same time, so they are atomic.

use crate::error::not_counters;
use numpy::npyffi::NPY_ARRAY_WRITEABLE;
use numpy::{PyArray1, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use spanmask_guard::guarded;
use std::sync::atomic::{AtomicI64, Ordering};

/// Adds to each counter, and returns what they hold then. A process that is killed in between holds no lock.
#[pyfunction]
#[guarded]
pub fn add_shared(counters: &Bound<'_, PyArray1<i64>>, amounts: Vec<i64>) -> PyResult<Vec<i64>> {
    // No borrow: without the GIL, another thread may be adding to the same counters, and of two borrows for writing the second is refused.
    // SAFETY: the object of an array is alive while `counters` is borrowed; its flags are read as NumPy's own macros read them.
    let writable = unsafe { (*counters.as_array_ptr()).fields.flags } & NPY_ARRAY_WRITEABLE != 0;
    let aligned = (counters.data() as usize).is_multiple_of(align_of::<AtomicI64>());
    if !writable || !aligned || !counters.is_c_contiguous() || counters.len() != amounts.len() {
        return Err(not_counters());
    }
    let add = |(at, amount): (usize, i64)| {
        // SAFETY: `at` is less than the array's length, and the array is contiguous, writable and aligned for an `AtomicI64`: checked above.
        // It lives while `counters` is borrowed. Every writer, in each process, is this function, so that all accesses are atomic.
        let counter = unsafe { AtomicI64::from_ptr(counters.data().add(at)) };
        counter.fetch_add(amount, Ordering::Relaxed).wrapping_add(amount)
    };
    Ok(amounts.into_iter().enumerate().map(add).collect())
}

//! Memory that grows with the input: if there is too little of it, `MemoryError` with the numbers, where `Vec` would end the process.

use crate::error::no_memory;
use pyo3::{PyErr, PyResult, Python};

/// An empty vector with space for `len` entries.
pub fn reserved<T>(len: usize) -> PyResult<Vec<T>> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(len).map_err(|_| no_memory(len, size_of::<T>()))?;
    Ok(vec)
}

/// `len` times `value`.
pub fn filled<T: Clone>(len: usize, value: T) -> PyResult<Vec<T>> {
    let mut vec = reserved(len)?;
    vec.resize(len, value);
    Ok(vec)
}

/// The items of an iterator that knows how many there are.
pub fn collected<T>(items: impl ExactSizeIterator<Item = T>) -> PyResult<Vec<T>> {
    let mut vec = reserved(items.len())?;
    vec.extend(items);
    Ok(vec)
}

/// A vector needs memory for so many entries of this many bytes, and there is too little. It is not an exception yet: that takes the GIL.
#[derive(Debug, Clone, Copy)]
pub struct Full(usize, usize);

impl From<Full> for PyErr {
    fn from(Full(items, item): Full) -> Self {
        no_memory(items, item)
    }
}

/// `Vec::extend_from_slice`.
pub fn extend<T: Copy>(vec: &mut Vec<T>, values: &[T]) -> Result<(), Full> {
    vec.try_reserve(values.len()).map_err(|_| Full(vec.len() + values.len(), size_of::<T>()))?;
    vec.extend_from_slice(values);
    Ok(())
}

/// Rows one after the other.
pub fn concatenated<T: Copy>(py: Python<'_>, rows: &[&[T]]) -> PyResult<Vec<T>> {
    let mut vec = reserved(rows.iter().map(|row| row.len()).fold(0, usize::saturating_add))?;
    for part in rows.iter().flat_map(|row| row.chunks(1 << 24)) {
        vec.extend_from_slice(part);
        if part.len() == 1 << 24 {
            py.check_signals()?; // a copy of a billion tokens takes seconds
        }
    }
    Ok(vec)
}

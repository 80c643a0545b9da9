//! `_core.noise_mask`.

use crate::bulk::{self, take};
use crate::columns::Column;
use crate::error::to_py;
use crate::memory::filled;
use crate::row_options::{CorruptOptions, Keys, RuleColumns};
use crate::rows::{Rows, with_rows};
use crate::seq_to_seq::{chunks, plan};
use crate::spec::SpanSpec;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use spanmask_core::Token;
use spanmask_core::noise::corrupt::Corruption;
use spanmask_core::noise::seq_to_seq::SeqToSeq;
use spanmask_core::rng::SeedEpoch;
use spanmask_guard::guarded;

/// Which tokens `corrupt` hides for the same arguments: a flag for each token, rows concatenated.
#[pyfunction]
#[guarded]
#[pyo3(signature = (
    rows, spec, *, seed, epoch, keys=None, noise_density=None, mean_noise_span_length=None, noise_mask=None, protected_mask=None,
    word_starts=None, word_ids=None, name="rows", num_threads=1
))]
pub fn noise_mask<'py>(
    py: Python<'py>,
    rows: Rows<'py>,
    spec: &SpanSpec,
    seed: u64,
    epoch: u64,
    keys: Option<Keys<'py>>,
    noise_density: Option<PyReadonlyArray1<'py, f64>>,
    mean_noise_span_length: Option<PyReadonlyArray1<'py, f64>>,
    noise_mask: Option<Column<'py, bool>>,
    protected_mask: Option<Column<'py, bool>>,
    word_starts: Option<Column<'py, bool>>,
    word_ids: Option<Column<'py, i64>>,
    name: &str,
    num_threads: usize,
) -> PyResult<Bound<'py, PyArray1<bool>>> {
    let columns = RuleColumns { protected_mask, word_starts, word_ids };
    let options = CorruptOptions { keys, noise_density, mean_noise_span_length, noise_mask, columns };
    let mask = with_rows!(&rows, name, |rows| {
        let options = options.get(rows.len(), None)?;
        let corruption = Corruption::new(&rows, &spec.spec, SeedEpoch { seed, epoch }, options)
            .map_err(|e| to_py(e, name))?;
        write(py, &corruption, name, num_threads)?
    });
    Ok(mask.into_pyarray(py))
}

fn write<T: Token>(
    py: Python<'_>,
    corruption: &Corruption<'_, T>,
    name: &str,
    num_threads: usize,
) -> PyResult<Vec<bool>> {
    let chunks = chunks(corruption);
    let plans = plan(py, corruption, &chunks, name, num_threads)?;
    let tokens = |rows: &[&[T]]| rows.iter().map(|row| row.len()).sum();
    let mut mask = filled(tokens(corruption.rows()), false)?;
    let mut rest = mask.as_mut_slice();
    bulk::for_chunks(py, chunks, num_threads, name, |chunk| {
        let (plans, part) = (&plans[chunk.clone()], corruption.slice(chunk));
        let out = take(&mut rest, tokens(part.rows()));
        move || part.mask_into(plans, out)
    })?;
    Ok(mask)
}

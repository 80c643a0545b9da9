//! `_core.corrupt`, and the result of a call.

use crate::columns::Column;
use crate::error::to_py;
use crate::memory::collected;
use crate::row_options::{CorruptOptions, Keys, RuleColumns};
use crate::rows::{Rows, with_rows};
use crate::seq_to_seq::{SeqToSeqBatch, SeqToSeqLayout, write};
use crate::spec::SpanSpec;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use spanmask_core::noise::corrupt::{Corruption, RowPlan};
use spanmask_core::rng::SeedEpoch;
use spanmask_guard::guarded;

/// Corrupted rows.
#[pyclass(frozen, get_all, extends = SeqToSeqBatch, module = "spanmask._core")]
pub struct CorruptedBatch {
    stats: Py<RowStats>,
}

/// What was done with each row.
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct RowStats {
    /// What the noise was drawn from, with seed and epoch.
    keys: Py<PyArray1<u64>>,
    /// The number of the denoiser; -1 if the row was copied unchanged.
    denoisers: Py<PyArray1<i64>>,
    /// Hidden tokens.
    noise_tokens: Py<PyArray1<i64>>,
    /// The spans that they form.
    spans: Py<PyArray1<i64>>,
    /// Tokens used, EOS not counted.
    tokens: Py<PyArray1<i64>>,
}

impl RowStats {
    fn new(py: Python<'_>, plans: &[RowPlan]) -> PyResult<Py<Self>> {
        let keys = collected(plans.iter().map(|plan| plan.key.unwrap_or(0)))?;
        let column = |of: fn(&RowPlan) -> i64| -> PyResult<_> {
            Ok(collected(plans.iter().map(of))?.into_pyarray(py).unbind())
        };
        let stats = Self {
            keys: keys.into_pyarray(py).unbind(),
            denoisers: column(|plan| plan.denoiser.map_or(-1, i64::from))?,
            noise_tokens: column(|plan| i64::from(plan.hidden))?,
            spans: column(|plan| i64::from(plan.spans))?,
            tokens: column(|plan| i64::from(plan.used))?,
        };
        Py::new(py, stats)
    }
}

/// Corrupts rows. The result is padded if there is a layout, otherwise ragged.
#[pyfunction]
#[guarded]
#[pyo3(signature = (
    rows, spec, *, seed, epoch, keys=None, noise_density=None, mean_noise_span_length=None, noise_mask=None, protected_mask=None,
    word_starts=None, word_ids=None, layout=None, with_sources=false, name="rows", num_threads=1
))]
pub fn corrupt<'py>(
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
    layout: Option<&SeqToSeqLayout>,
    with_sources: bool,
    name: &str,
    num_threads: usize,
) -> PyResult<Py<CorruptedBatch>> {
    let columns = RuleColumns { protected_mask, word_starts, word_ids };
    let options = CorruptOptions { keys, noise_density, mean_noise_span_length, noise_mask, columns };
    with_rows!(&rows, name, |rows| {
        let options = options.get(rows.len(), layout.and_then(SeqToSeqLayout::limits))?;
        let corruption = Corruption::new(&rows, &spec.spec, SeedEpoch { seed, epoch }, options)
            .map_err(|e| to_py(e, name))?;
        let (plans, batch) = write(py, &corruption, layout, with_sources, name, num_threads)?;
        batch.with(py, CorruptedBatch { stats: RowStats::new(py, &plans)? })
    })
}

//! `_core.InfillSpec`, `_core.infill`, and the result of a call.

use crate::columns::{Column, ragged, slice};
use crate::enums::Choice;
use crate::error::{self, to_py};
use crate::memory::collected;
use crate::row_options::{Keys, RuleColumns};
use crate::rows::{Rows, with_rows};
use crate::seq_to_seq::{SeqToSeqBatch, SeqToSeqLayout, write};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use spanmask_core::noise::ids::IdSet;
use spanmask_core::noise::infill::{Infilling, Replace, RowOptions, RowPlan, SpanLengths, Spec};
use spanmask_core::noise::masked_lm::RandomIds;
use spanmask_core::rng::SeedEpoch;
use spanmask_core::rng::bounded::threshold;
use spanmask_guard::guarded;

/// A `TextInfilling`.
#[pyclass(frozen, module = "spanmask._core")]
pub struct InfillSpec(Spec);

#[pymethods]
impl InfillSpec {
    /// `span_weights`: how likely spans of 0, 1, 2, ... are. `vocab_size` and `unused_ids` are only read if there are random ids.
    #[new]
    #[pyo3(signature = (
        *, mask_token_id, vocab_size, mask_ratio, span_weights, replace, random_ratio, permute_sentence_ratio, sentence_end_ids,
        protected_ids, unused_ids, continuation_ids, word_end_ids
    ))]
    #[guarded]
    fn new(
        mask_token_id: u32,
        vocab_size: u32,
        mask_ratio: f64,
        span_weights: Vec<f64>,
        replace: Choice<Replace>,
        random_ratio: f64,
        permute_sentence_ratio: f64,
        sentence_end_ids: Vec<u32>,
        protected_ids: Vec<u32>,
        unused_ids: Vec<u32>,
        continuation_ids: Option<Vec<u32>>,
        word_end_ids: Option<Vec<u32>>,
    ) -> PyResult<Self> {
        let random = if random_ratio > 0.0 {
            let excluded = IdSet::new(protected_ids.iter().copied().chain(unused_ids));
            let ids = RandomIds::new(vocab_size, &excluded).ok_or_else(error::no_random_id)?;
            Some((threshold(random_ratio), ids))
        } else {
            None
        };
        Ok(Self(Spec {
            mask_token_id,
            mask_ratio,
            lengths: SpanLengths::new(&span_weights).ok_or_else(error::no_span)?,
            replace: replace.0,
            random,
            permute_sentence_ratio,
            sentence_end_ids: IdSet::new(sentence_end_ids),
            protected_ids: IdSet::new(protected_ids),
            continuation_ids: continuation_ids.map(IdSet::new),
            word_end_ids: word_end_ids.map(IdSet::new),
        }))
    }
}

/// Infilled rows. Their labels are the rows.
#[pyclass(frozen, get_all, extends = SeqToSeqBatch, module = "spanmask._core")]
pub struct InfilledBatch {
    /// By row: what the noise was drawn from, with seed and epoch.
    keys: Py<PyArray1<u64>>,
    /// By row: hidden tokens, and the spans that they form.
    hidden: Py<PyArray1<i64>>,
    spans: Py<PyArray1<i64>>,
    /// By row: masks that hide nothing.
    inserted: Py<PyArray1<i64>>,
    /// By row: sentences that are at another place.
    moved: Py<PyArray1<i64>>,
}

/// Infills rows. The result is padded if there is a layout, otherwise ragged.
#[pyfunction]
#[guarded]
#[pyo3(signature = (
    rows, spec, *, seed, epoch, keys=None, mask_ratio=None, protected_mask=None, word_starts=None, word_ids=None, sentence_starts=None,
    max_inputs=None, layout=None, with_sources=false, name="rows", num_threads=1
))]
pub fn infill<'py>(
    py: Python<'py>,
    rows: Rows<'py>,
    spec: &InfillSpec,
    seed: u64,
    epoch: u64,
    keys: Option<Keys<'py>>,
    mask_ratio: Option<PyReadonlyArray1<'py, f64>>,
    protected_mask: Option<Column<'py, bool>>,
    word_starts: Option<Column<'py, bool>>,
    word_ids: Option<Column<'py, i64>>,
    sentence_starts: Option<Column<'py, bool>>,
    max_inputs: Option<usize>,
    layout: Option<&SeqToSeqLayout>,
    with_sources: bool,
    name: &str,
    num_threads: usize,
) -> PyResult<Py<InfilledBatch>> {
    let columns = RuleColumns { protected_mask, word_starts, word_ids };
    with_rows!(&rows, name, |rows| {
        let options = RowOptions {
            keys: keys.as_ref().map(Keys::as_slice).transpose()?,
            ratios: slice(&mask_ratio)?,
            rules: columns.rules(rows.len())?,
            sentence_starts: ragged(&sentence_starts, rows.len(), "sentence_starts")?,
            max_inputs,
        };
        let infilling =
            Infilling::new(&rows, &spec.0, SeedEpoch { seed, epoch }, options).map_err(|e| to_py(e, name))?;
        let (plans, batch) = write(py, &infilling, layout, with_sources, name, num_threads)?;
        let column = |of: fn(&RowPlan) -> u32| -> PyResult<_> {
            Ok(collected(plans.iter().map(|plan| i64::from(of(plan))))?.into_pyarray(py).unbind())
        };
        let rows = InfilledBatch {
            keys: collected(plans.iter().map(|plan| plan.key))?.into_pyarray(py).unbind(),
            hidden: column(|plan| plan.hidden)?,
            spans: column(|plan| plan.spans)?,
            inserted: column(|plan| plan.inserted)?,
            moved: column(|plan| plan.moved)?,
        };
        batch.with(py, rows)
    })
}

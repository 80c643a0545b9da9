//! `_core.InfillSpec`, `_core.infill`, and the result of a call.

use crate::batch::uninit_array;
use crate::bulk::{self, take};
use crate::columns::{Column, ragged, slice};
use crate::corrupt::{SeqToSeqLayout, offsets, shaped};
use crate::enums::Choice;
use crate::error::{self, to_py};
use crate::memory::{collected, filled};
use crate::row_options::{Keys, RuleColumns};
use crate::rows::{Rows, output_len, with_rows};
use numpy::{IntoPyArray, PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use spanmask_core::Token;
use spanmask_core::batch::{Layout, Shape};
use spanmask_core::noise::corrupt::{Batch, Outputs};
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
    /// `span_weights`: how likely spans of 0, 1, 2, ... are. `vocab_size` is only read if there are random ids.
    #[new]
    #[pyo3(signature = (
        *, mask_token_id, vocab_size, mask_ratio, span_weights, replace, random_ratio, permute_sentence_ratio, sentence_end_ids,
        protected_ids, continuation_ids, word_end_ids
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
        continuation_ids: Option<Vec<u32>>,
        word_end_ids: Option<Vec<u32>>,
    ) -> PyResult<Self> {
        let protected_ids = IdSet::new(protected_ids);
        let random = if random_ratio > 0.0 {
            let ids = RandomIds::new(vocab_size, &protected_ids).ok_or_else(error::no_random_id)?;
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
            protected_ids,
            continuation_ids: continuation_ids.map(IdSet::new),
            word_end_ids: word_end_ids.map(IdSet::new),
        }))
    }
}

/// Infilled rows: ragged (values and offsets, in one dimension), or padded (two dimensions).
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct InfilledBatch {
    input_ids: Py<PyAny>,
    input_offsets: Py<PyArray1<i64>>,
    /// The rows.
    labels: Py<PyAny>,
    label_offsets: Py<PyArray1<i64>>,
    /// Only for padded rows.
    attention_mask: Option<Py<PyAny>>,
    /// Only if the layout has a start token.
    decoder_input_ids: Option<Py<PyAny>>,
    /// Only if asked for: which token of its row each place of `input_ids` stands for, -1 for padding.
    sources: Option<Py<PyAny>>,
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
) -> PyResult<InfilledBatch> {
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
        write(py, &infilling, layout, with_sources, name, num_threads)
    })
}

fn write<T: Token>(
    py: Python<'_>,
    infilling: &Infilling<'_, T>,
    layout: Option<&SeqToSeqLayout>,
    with_sources: bool,
    name: &str,
    num_threads: usize,
) -> PyResult<InfilledBatch> {
    let chunks = bulk::chunks_of(infilling.rows().iter().map(|row| row.len()));
    let mut plans = filled(infilling.rows().len(), RowPlan::default())?;
    {
        let mut rest = plans.as_mut_slice();
        bulk::for_chunks(py, chunks.clone(), num_threads, name, |chunk| {
            let (plans, part) = (take(&mut rest, chunk.len()), infilling.slice(chunk));
            move || part.plan_into(plans)
        })?;
    }
    let packed = Layout { shape: Shape::Packed, max_len: usize::MAX };
    let ragged = Batch { inputs: packed, labels: packed, padding: 0, ignore_index: 0, decoder_start: 0 };
    let batch =
        layout.map_or(ragged, |layout| layout.batch(plans.iter().map(|plan| (plan.inputs, plan.targets))));
    let with_decoder = layout.is_some_and(SeqToSeqLayout::with_decoder);
    let lengths = |plans: &[RowPlan]| {
        let inputs = output_len(batch.inputs, plans.iter().map(|plan| plan.inputs));
        (inputs, output_len(batch.labels, plans.iter().map(|plan| plan.targets)))
    };
    let (input_len, label_len) = lengths(&plans);
    let inputs = uninit_array(py, input_len)?;
    let attention = uninit_array(py, if layout.is_some() { input_len } else { 0 })?;
    let labels = uninit_array(py, label_len)?;
    let decoder = uninit_array(py, if with_decoder { label_len } else { 0 })?;
    let sources = uninit_array(py, if with_sources { input_len } else { 0 })?;
    {
        let (mut inputs, mut attention) = (inputs.readwrite(), attention.readwrite());
        let (mut labels, mut decoder) = (labels.readwrite(), decoder.readwrite());
        let mut sources = sources.readwrite();
        let (mut inputs, mut attention) = (inputs.as_slice_mut()?, attention.as_slice_mut()?);
        let (mut labels, mut decoder) = (labels.as_slice_mut()?, decoder.as_slice_mut()?);
        let mut sources = sources.as_slice_mut()?;
        let mut rest = plans.as_mut_slice();
        bulk::for_chunks(py, chunks, num_threads, name, |chunk| {
            let plans = take(&mut rest, chunk.len());
            let (input_len, label_len) = lengths(plans);
            let outputs = Outputs {
                inputs: take(&mut inputs, input_len),
                attention: take(&mut attention, if layout.is_some() { input_len } else { 0 }),
                labels: take(&mut labels, label_len),
                decoder: take(&mut decoder, if with_decoder { label_len } else { 0 }),
                sources: take(&mut sources, if with_sources { input_len } else { 0 }),
            };
            let (part, batch) = (infilling.slice(chunk), &batch);
            move || part.write_into(plans, batch, outputs)
        })?;
    }
    let keys = collected(plans.iter().map(|plan| plan.key))?;
    let column = |of: fn(&RowPlan) -> i64| -> PyResult<_> {
        Ok(collected(plans.iter().map(of))?.into_pyarray(py).unbind())
    };
    Ok(InfilledBatch {
        input_ids: shaped(inputs, batch.inputs, plans.len())?,
        input_offsets: offsets(plans.iter().map(|plan| plan.inputs))?.into_pyarray(py).unbind(),
        labels: shaped(labels, batch.labels, plans.len())?,
        label_offsets: offsets(plans.iter().map(|plan| plan.targets))?.into_pyarray(py).unbind(),
        attention_mask: layout.map(|_| shaped(attention, batch.inputs, plans.len())).transpose()?,
        decoder_input_ids: with_decoder.then(|| shaped(decoder, batch.labels, plans.len())).transpose()?,
        sources: with_sources.then(|| shaped(sources, batch.inputs, plans.len())).transpose()?,
        keys: keys.into_pyarray(py).unbind(),
        hidden: column(|plan| i64::from(plan.hidden))?,
        spans: column(|plan| i64::from(plan.spans))?,
        inserted: column(|plan| i64::from(plan.inserted))?,
        moved: column(|plan| i64::from(plan.moved))?,
    })
}

//! `_core.MaskSpec`, `_core.mask_tokens`, and the result of a call.

use crate::batch::Layout;
use crate::bulk::{self, take};
use crate::columns::{Column, ragged, slice};
use crate::error;
use crate::memory::{collected, filled};
use crate::outputs::{ShapedTokens, TokenArrays, TokenPlaces};
use crate::row_options::{Keys, RuleColumns};
use crate::rows::{Rows, output_len, with_padding, with_rows};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use spanmask_core::Token;
use spanmask_core::noise::ids::IdSet;
use spanmask_core::noise::masked_lm::{
    Batch, Choice, Outputs, RandomIds, RowOptions, RowReport, Spec, mask_tokens_into,
};
use spanmask_core::rng::SeedEpoch;
use spanmask_core::rng::bounded::{cumulative, threshold};
use spanmask_core::rng::trials::Trials;
use spanmask_guard::guarded;

/// A `MaskedLM`.
#[pyclass(frozen, module = "spanmask._core")]
pub struct MaskSpec(Spec);

#[pymethods]
impl MaskSpec {
    /// `span_weights`: how likely spans of 1, 2, ... are; empty if each token or word is chosen independently. Random ids are neither
    /// protected nor unused.
    #[new]
    #[pyo3(signature = (
        *, mlm_probability, mask_replace_prob, random_replace_prob, mask_token_id, vocab_size, span_weights, protected_ids,
        unused_ids, continuation_ids, word_end_ids, min_one
    ))]
    #[guarded]
    fn new(
        mlm_probability: f64,
        mask_replace_prob: f64,
        random_replace_prob: f64,
        mask_token_id: u32,
        vocab_size: u32,
        span_weights: Vec<f64>,
        protected_ids: Vec<u32>,
        unused_ids: Vec<u32>,
        continuation_ids: Option<Vec<u32>>,
        word_end_ids: Option<Vec<u32>>,
        min_one: bool,
    ) -> PyResult<Self> {
        let excluded = IdSet::new(protected_ids.iter().copied().chain(unused_ids));
        let random_ids = RandomIds::new(vocab_size, &excluded).ok_or_else(error::no_random_id)?;
        let protected_ids = IdSet::new(protected_ids);
        let choice = if span_weights.is_empty() {
            Choice::Each(Box::new(Trials::guided(threshold(mlm_probability))))
        } else {
            let lengths = cumulative(&span_weights).ok_or_else(error::bad_span_weights)?;
            Choice::Spans(mlm_probability, lengths)
        };
        Ok(Self(Spec {
            choice,
            mask_token_id,
            mask_below: threshold(mask_replace_prob),
            random_below: threshold(mask_replace_prob + random_replace_prob),
            random_ids,
            protected_ids,
            continuation_ids: continuation_ids.map(IdSet::new),
            word_end_ids: word_end_ids.map(IdSet::new),
            min_one,
        }))
    }
}

/// Masked rows: concatenated in one dimension, or [rows, width].
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct MaskedBatch {
    input_ids: Py<PyAny>,
    labels: Py<PyAny>,
    /// Only for padded rows.
    attention_mask: Option<Py<PyAny>>,
    /// By row: what the noise was drawn from, with seed and epoch.
    keys: Py<PyArray1<u64>>,
    /// By row: tokens with a label.
    chosen: Py<PyArray1<i64>>,
}

/// Masks rows. Without a layout, rows of a 2-D array keep their places, and its padding is kept; others are concatenated.
#[pyfunction]
#[guarded]
#[pyo3(signature = (
    rows, spec, *, seed, epoch, ignore_index, layout=None, keys=None, mlm_probability=None, token_probabilities=None,
    protected_mask=None, word_starts=None, word_ids=None, pad_token_id=0, name="rows", num_threads=1
))]
pub fn mask_tokens<'py>(
    py: Python<'py>,
    rows: Rows<'py>,
    spec: &MaskSpec,
    seed: u64,
    epoch: u64,
    ignore_index: i64,
    layout: Option<&Layout>,
    keys: Option<Keys<'py>>,
    mlm_probability: Option<PyReadonlyArray1<'py, f64>>,
    token_probabilities: Option<Column<'py, f64>>,
    protected_mask: Option<Column<'py, bool>>,
    word_starts: Option<Column<'py, bool>>,
    word_ids: Option<Column<'py, i64>>,
    pad_token_id: i64,
    name: &str,
    num_threads: usize,
) -> PyResult<MaskedBatch> {
    let columns = RuleColumns { protected_mask, word_starts, word_ids };
    let own_layout = rows.own_layout();
    let (rows, bounds) = if layout.is_none() { with_padding(rows, name)? } else { (rows, None) };
    with_rows!(&rows, name, |rows| {
        let options = RowOptions {
            keys: keys.as_ref().map(Keys::as_slice).transpose()?,
            probabilities: slice(&mlm_probability)?,
            token_probabilities: ragged(&token_probabilities, rows.len(), "mlm_probability")?,
            rules: columns.rules(rows.len())?,
            bounds: bounds.as_deref(),
        };
        let layout = layout.map_or(own_layout, |layout| layout.of_lengths(rows.iter().map(|row| row.len())));
        let batch = Batch { layout, padding: pad_token_id, ignore_index };
        write(py, &rows, &spec.0, SeedEpoch { seed, epoch }, &options, &batch, name, num_threads)
    })
}

fn write<T: Token>(
    py: Python<'_>,
    rows: &[&[T]],
    spec: &Spec,
    seed_epoch: SeedEpoch,
    options: &RowOptions,
    batch: &Batch,
    name: &str,
    num_threads: usize,
) -> PyResult<MaskedBatch> {
    let lengths = |rows: &[&[T]]| output_len(batch.layout, rows.iter().map(|row| row.len()));
    let mut arrays = TokenArrays::new(py, batch.layout, rows.len(), lengths(rows))?;
    let mut reports = filled(rows.len(), RowReport::default())?;
    {
        let (mut places, mut reports) = (arrays.places(), reports.as_mut_slice());
        let chunks = bulk::chunks_of(rows.iter().map(|row| row.len()));
        bulk::for_chunks(py, chunks, num_threads, name, |chunk| {
            let (options, rows) = (options.slice(chunk.clone()), &rows[chunk]);
            let TokenPlaces { inputs, attention, labels } = places.take(lengths(rows));
            let outputs = Outputs { inputs, attention, labels, reports: take(&mut reports, rows.len()) };
            move || mask_tokens_into(rows, spec, seed_epoch, &options, batch, outputs)
        })?;
    }
    let ShapedTokens { input_ids, labels, attention_mask } = arrays.shaped()?;
    let keys = collected(reports.iter().map(|report| report.key))?;
    let chosen = collected(reports.iter().map(|report| i64::from(report.chosen)))?;
    Ok(MaskedBatch {
        input_ids,
        labels,
        attention_mask,
        keys: keys.into_pyarray(py).unbind(),
        chosen: chosen.into_pyarray(py).unbind(),
    })
}

//! `_core.MaskSpec`, `_core.mask_tokens`.

use crate::batch::{Layout, uninit_array as fresh};
use crate::bulk;
use crate::error::to_py;
use crate::ids::{Ids, with_ids};
use crate::noise::{Given, slice};
use numpy::{IntoPyArray, PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use spanmask_core::batch;
use spanmask_core::noise::ids::IdSet;
use spanmask_core::noise::masked_lm::{Choice, Extras, RandomIds, RowReport, Spec, mask_tokens_into};
use spanmask_core::rng::Source;
use spanmask_core::rng::bounded::{cumulative, threshold};
use spanmask_core::rng::trials::Trials;
use spanmask_core::{Ragged, Token};

/// A `MaskedLM`.
#[pyclass(frozen, module = "spanmask._core")]
pub struct MaskSpec(Spec);

#[pymethods]
impl MaskSpec {
    /// `span_weights`: how likely spans of 1, 2, ... are; empty where each token or word is chosen by itself.
    #[new]
    #[pyo3(signature = (*, probability, mask_replace_prob, random_replace_prob, mask_id, vocab_size, span_weights, protected_ids, continuation_ids))]
    fn new(
        probability: f64,
        mask_replace_prob: f64,
        random_replace_prob: f64,
        mask_id: u32,
        vocab_size: u32,
        span_weights: Vec<f64>,
        protected_ids: Vec<u32>,
        continuation_ids: Option<Vec<u32>>,
    ) -> PyResult<Self> {
        let protected_ids = IdSet::new(protected_ids);
        let random_ids = RandomIds::new(vocab_size, &protected_ids).ok_or_else(|| {
            PyValueError::new_err(
                "vocab_size: no id below it may be drawn; give the size of the vocabulary, special ids included.",
            )
        })?;
        let choice = if span_weights.is_empty() {
            Choice::Each(Box::new(Trials::guided(threshold(probability))))
        } else {
            let lengths = cumulative(&span_weights).ok_or_else(|| {
                PyValueError::new_err("span_lengths: weights must be finite, none negative, one above 0.")
            })?;
            Choice::Spans(probability, lengths)
        };
        Ok(Self(Spec {
            choice,
            mask_id,
            mask_below: threshold(mask_replace_prob),
            random_below: threshold(mask_replace_prob + random_replace_prob),
            random_ids,
            protected_ids,
            continuation_ids: continuation_ids.map(IdSet::new),
        }))
    }
}

/// Inputs and labels, flat; by row: key, chosen tokens.
type Masked<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<u64>>,
    Bound<'py, PyArray1<i64>>,
);

/// Masks rows; `source` is (seed, epoch), `probabilities` one a row.
#[pyfunction]
#[pyo3(signature = (values, starts, stops, spec, source, given, layout, padding, ignore_index, name, num_threads))]
pub fn mask_tokens<'py>(
    py: Python<'py>,
    values: Ids<'py>,
    starts: PyReadonlyArray1<'py, i64>,
    stops: PyReadonlyArray1<'py, i64>,
    spec: &MaskSpec,
    source: (u64, u64),
    given: Given<'py>,
    layout: &Layout,
    padding: i64,
    ignore_index: i64,
    name: &str,
    num_threads: usize,
) -> PyResult<Masked<'py>> {
    let (starts, stops) = (starts.as_slice()?, stops.as_slice()?);
    let source = Source { seed: source.0, epoch: source.1 };
    let extras = Extras {
        keys: slice(&given.keys)?,
        probabilities: slice(&given.densities)?,
        rules: given.rules()?,
        ignore_index,
    };
    with_ids!(&values, |values| {
        let rows = Ragged::from_bounds(values, starts, stops).map_err(|e| to_py(e, name))?;
        let layout = layout.of(&rows);
        mask_typed(py, &rows, &spec.0, source, &extras, layout, padding, name, num_threads)
    })
}

fn mask_typed<'py, T: Token>(
    py: Python<'py>,
    rows: &Ragged<T>,
    spec: &Spec,
    source: Source,
    extras: &Extras,
    layout: batch::Layout,
    padding: i64,
    name: &str,
    num_threads: usize,
) -> PyResult<Masked<'py>> {
    let len = layout.output_len(rows);
    let (inputs, labels) = (fresh(py, len)?, fresh(py, len)?);
    let mut reports = vec![RowReport::default(); rows.len()];
    {
        let (mut inputs, mut labels) = (inputs.readwrite(), labels.readwrite());
        let (mut inputs, mut labels) = (inputs.as_slice_mut()?, labels.as_slice_mut()?);
        let mut reports = reports.as_mut_slice();
        let mut jobs = Vec::new();
        for chunk in bulk::chunks(rows) {
            let first = chunk.start;
            let (extras, rows) = (extras.slice(chunk.clone()), rows.slice(chunk));
            let (input_part, label_part, report_part);
            (input_part, inputs) = inputs.split_at_mut(layout.output_len(&rows));
            (label_part, labels) = labels.split_at_mut(layout.output_len(&rows));
            (report_part, reports) = reports.split_at_mut(rows.len());
            jobs.push((first, move || {
                mask_tokens_into(
                    &rows,
                    spec,
                    source,
                    &extras,
                    layout,
                    padding,
                    input_part,
                    label_part,
                    report_part,
                )
            }));
        }
        bulk::run(py, jobs, num_threads, name)?;
    }
    let keys: Vec<u64> = reports.iter().map(|report| report.key).collect();
    let chosen: Vec<i64> = reports.iter().map(|report| i64::from(report.chosen)).collect();
    Ok((inputs, labels, keys.into_pyarray(py), chosen.into_pyarray(py)))
}

//! `_core.DiffusionSpec`, `_core.diffuse`, and the result of a call.

use crate::batch::Layout;
use crate::bulk::{self, take};
use crate::columns::{Column, ragged, slice};
use crate::error::to_py;
use crate::memory::{collected, filled};
use crate::outputs::{Output, ShapedTokens, TokenArrays, TokenPlaces};
use crate::row_options::Keys;
use crate::rows::{Rows, output_len, with_padding, with_rows};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use spanmask_core::Token;
use spanmask_core::noise::diffusion::{
    Batch, Outputs, RowOptions, RowReport, Spec, Weighting, antithetic_ratios, diffuse_into, row_keys,
};
use spanmask_core::noise::ids::IdSet;
use spanmask_core::rng::SeedEpoch;
use spanmask_guard::guarded;

/// A `MaskedDiffusion`.
#[pyclass(frozen, module = "spanmask._core")]
pub struct DiffusionSpec {
    spec: Spec,
    antithetic: bool,
}

#[pymethods]
impl DiffusionSpec {
    /// `by_row`: the weights of a row are divided by the number of tokens that may be masked.
    #[new]
    #[pyo3(signature = (*, mask_token_id, eps, protected_ids, antithetic, by_row))]
    #[guarded]
    fn new(
        mask_token_id: u32,
        eps: f64,
        protected_ids: Vec<u32>,
        antithetic: bool,
        by_row: bool,
    ) -> PyResult<Self> {
        let protected_ids = IdSet::new(protected_ids.into_iter().chain([mask_token_id]));
        let weighting = if by_row { Weighting::Row } else { Weighting::Token };
        Ok(Self { spec: Spec { mask_token_id, eps, protected_ids, weighting }, antithetic })
    }
}

/// Rows with masks: concatenated in one dimension, or [rows, width].
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct DiffusedBatch {
    input_ids: Py<PyAny>,
    labels: Py<PyAny>,
    /// float32.
    loss_weights: Py<PyAny>,
    /// Only for padded rows.
    attention_mask: Option<Py<PyAny>>,
    /// By row: what the noise was drawn from, with seed and epoch.
    keys: Py<PyArray1<u64>>,
    /// By row: the mask ratio.
    mask_ratio: Py<PyArray1<f64>>,
    /// By row: tokens that could be masked.
    eligible: Py<PyArray1<i64>>,
    /// By row: tokens that were.
    masked: Py<PyArray1<i64>>,
}

/// Masks rows. Without a layout, rows of a 2-D array keep their places, and its padding is kept; others are concatenated.
///
/// `fill`: an id that continues the rows of a padded batch, in place of padding.
#[pyfunction]
#[guarded]
#[pyo3(signature = (
    rows, spec, *, seed, epoch, ignore_index, layout=None, keys=None, mask_ratio=None, protected_mask=None, labels=None,
    loss_weights=None, fill=None, pad_token_id=0, name="rows", num_threads=1
))]
pub fn diffuse<'py>(
    py: Python<'py>,
    rows: Rows<'py>,
    spec: &DiffusionSpec,
    seed: u64,
    epoch: u64,
    ignore_index: i64,
    layout: Option<&Layout>,
    keys: Option<Keys<'py>>,
    mask_ratio: Option<PyReadonlyArray1<'py, f64>>,
    protected_mask: Option<Column<'py, bool>>,
    labels: Option<Column<'py, i64>>,
    loss_weights: Option<Column<'py, f32>>,
    fill: Option<u32>,
    pad_token_id: i64,
    name: &str,
    num_threads: usize,
) -> PyResult<DiffusedBatch> {
    let own_layout = rows.own_layout();
    let (rows, bounds) = if layout.is_none() { with_padding(rows, name)? } else { (rows, None) };
    with_rows!(&rows, name, |rows| {
        let options = RowOptions {
            keys: keys.as_ref().map(Keys::as_slice).transpose()?,
            ratios: slice(&mask_ratio)?,
            protected_mask: ragged(&protected_mask, rows.len(), "protected_mask")?,
            labels: ragged(&labels, rows.len(), "labels")?,
            weights: ragged(&loss_weights, rows.len(), "loss_weights")?,
            bounds: bounds.as_deref(),
        };
        let layout = layout.map_or(own_layout, |layout| layout.of_lengths(rows.iter().map(|row| row.len())));
        let batch = Batch { layout, padding: pad_token_id, ignore_index, fill };
        let seed_epoch = SeedEpoch { seed, epoch };
        if spec.antithetic && options.ratios.is_none() {
            let made = bulk::detached(py, || {
                let keys = row_keys(&rows, layout, &options)?;
                let ratios = antithetic_ratios(&keys, seed_epoch, spec.spec.eps);
                Ok((keys, ratios))
            })?;
            let (keys, ratios) = made.map_err(|e| to_py(e, name))?;
            let options = RowOptions { keys: Some(&keys), ratios: Some(&ratios), ..options };
            return write(py, &rows, &spec.spec, seed_epoch, &options, &batch, name, num_threads);
        }
        write(py, &rows, &spec.spec, seed_epoch, &options, &batch, name, num_threads)
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
) -> PyResult<DiffusedBatch> {
    let lengths = |rows: &[&[T]]| output_len(batch.layout, rows.iter().map(|row| row.len()));
    let mut arrays = TokenArrays::new(py, batch.layout, rows.len(), lengths(rows))?;
    let mut weights = Output::new(py, lengths(rows))?;
    let mut reports = filled(rows.len(), RowReport::default())?;
    {
        let (mut places, mut weights) = (arrays.places(), weights.places());
        let mut reports = reports.as_mut_slice();
        let chunks = bulk::chunks_of(rows.iter().map(|row| row.len()));
        bulk::for_chunks(py, chunks, num_threads, name, |chunk| {
            let (options, rows) = (options.slice(chunk.clone()), &rows[chunk]);
            let TokenPlaces { inputs, attention, labels } = places.take(lengths(rows));
            let (weights, reports) = (take(&mut weights, lengths(rows)), take(&mut reports, rows.len()));
            let outputs = Outputs { inputs, attention, labels, weights, reports };
            move || diffuse_into(rows, spec, seed_epoch, &options, batch, outputs)
        })?;
    }
    let ShapedTokens { input_ids, labels, attention_mask } = arrays.shaped()?;
    let counts = |count: fn(&RowReport) -> u32| -> PyResult<Py<PyArray1<i64>>> {
        Ok(collected(reports.iter().map(|report| i64::from(count(report))))?.into_pyarray(py).unbind())
    };
    Ok(DiffusedBatch {
        input_ids,
        labels,
        loss_weights: weights.shaped(batch.layout, rows.len())?,
        attention_mask,
        keys: collected(reports.iter().map(|report| report.key))?.into_pyarray(py).unbind(),
        mask_ratio: collected(reports.iter().map(|report| report.ratio))?.into_pyarray(py).unbind(),
        eligible: counts(|report| report.eligible)?,
        masked: counts(|report| report.masked)?,
    })
}

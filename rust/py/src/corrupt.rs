//! `_core.corrupt`, `_core.SeqToSeqLayout`, and the result of a call.

use crate::batch::uninit_array;
use crate::bulk::{self, take};
use crate::columns::Column;
use crate::enums::Choice;
use crate::error::to_py;
use crate::memory::{collected, filled, reserved};
use crate::row_options::{CorruptOptions, Keys, RuleColumns};
use crate::rows::{Rows, output_len, with_rows};
use crate::spec::SpanSpec;
use numpy::{Element, IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use spanmask_core::Token;
use spanmask_core::batch::{Layout, Shape, Side};
use spanmask_core::noise::corrupt::{Batch, Corruption, Limits, Outputs, RowPlan};
use spanmask_core::rng::SeedEpoch;
use spanmask_guard::guarded;
use std::ops::Range;

/// How inputs and labels are padded. Labels are padded on the right.
#[pyclass(frozen, module = "spanmask._core")]
pub struct SeqToSeqLayout {
    padding_side: Side,
    pad_to_multiple_of: Option<usize>,
    input_width: Option<usize>,
    label_width: Option<usize>,
    pad_token_id: i64,
    label_pad_token_id: i64,
    decoder_start_token_id: Option<i64>,
}

#[pymethods]
impl SeqToSeqLayout {
    /// `input_width` and `label_width` fix the lengths of a batch: rows are truncated until both fit.
    #[new]
    #[pyo3(signature = (
        *, padding_side, pad_token_id, label_pad_token_id, pad_to_multiple_of=None, input_width=None, label_width=None,
        decoder_start_token_id=None
    ))]
    #[guarded]
    fn new(
        padding_side: Choice<Side>,
        pad_token_id: i64,
        label_pad_token_id: i64,
        pad_to_multiple_of: Option<usize>,
        input_width: Option<usize>,
        label_width: Option<usize>,
        decoder_start_token_id: Option<i64>,
    ) -> PyResult<Self> {
        Ok(Self {
            padding_side: padding_side.0,
            pad_to_multiple_of,
            input_width,
            label_width,
            pad_token_id,
            label_pad_token_id,
            decoder_start_token_id,
        })
    }
}

impl SeqToSeqLayout {
    /// Whether decoder inputs are made.
    pub fn with_decoder(&self) -> bool {
        self.decoder_start_token_id.is_some()
    }

    fn limits(&self) -> Option<Limits> {
        let (inputs, targets) =
            (self.input_width.unwrap_or(usize::MAX), self.label_width.unwrap_or(usize::MAX));
        (self.input_width.is_some() || self.label_width.is_some()).then_some(Limits { inputs, targets })
    }

    /// The core's layout for rows of these lengths of inputs and targets.
    pub fn batch(&self, lengths: impl Iterator<Item = (usize, usize)>) -> Batch {
        let multiple = self.pad_to_multiple_of.unwrap_or(1);
        let longest = lengths.fold((0, 0), |most, len| (len.0.max(most.0), len.1.max(most.1)));
        let padded = |width: Option<usize>, longest: usize, side| {
            let shape = match width {
                Some(width) => Shape::Padded { width, side },
                None => Shape::padded([longest].into_iter(), side, usize::MAX, multiple),
            };
            Layout { shape, max_len: usize::MAX }
        };
        Batch {
            inputs: padded(self.input_width, longest.0, self.padding_side),
            labels: padded(self.label_width, longest.1, Side::Right),
            padding: self.pad_token_id,
            ignore_index: self.label_pad_token_id,
            decoder_start: self.decoder_start_token_id.unwrap_or(0),
        }
    }
}

/// Corrupted rows: ragged (values and offsets, in one dimension), or padded (two dimensions).
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct CorruptedBatch {
    input_ids: Py<PyAny>,
    input_offsets: Py<PyArray1<i64>>,
    labels: Py<PyAny>,
    label_offsets: Py<PyArray1<i64>>,
    /// Only for padded rows.
    attention_mask: Option<Py<PyAny>>,
    /// Only if the layout has a start token.
    decoder_input_ids: Option<Py<PyAny>>,
    /// Only if asked for: which token of its row each place of `input_ids` stands for, -1 for padding.
    sources: Option<Py<PyAny>>,
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
) -> PyResult<CorruptedBatch> {
    let columns = RuleColumns { protected_mask, word_starts, word_ids };
    let options = CorruptOptions { keys, noise_density, mean_noise_span_length, noise_mask, columns };
    with_rows!(&rows, name, |rows| {
        let options = options.get(rows.len(), layout.and_then(SeqToSeqLayout::limits))?;
        let corruption = Corruption::new(&rows, &spec.spec, SeedEpoch { seed, epoch }, options)
            .map_err(|e| to_py(e, name))?;
        write(py, &corruption, layout, with_sources, name, num_threads)
    })
}

fn write<T: Token>(
    py: Python<'_>,
    corruption: &Corruption<'_, T>,
    layout: Option<&SeqToSeqLayout>,
    with_sources: bool,
    name: &str,
    num_threads: usize,
) -> PyResult<CorruptedBatch> {
    let chunks = chunks(corruption);
    let mut plans = plan(py, corruption, &chunks, name, num_threads)?;
    let input_offsets = offsets(plans.iter().map(|plan| plan.inputs))?;
    let label_offsets = offsets(plans.iter().map(|plan| plan.targets))?;
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
            let (part, batch) = (corruption.slice(chunk), &batch);
            move || part.write_into(plans, batch, outputs)
        })?;
    }
    Ok(CorruptedBatch {
        input_ids: shaped(inputs, batch.inputs, plans.len())?,
        input_offsets: input_offsets.into_pyarray(py).unbind(),
        labels: shaped(labels, batch.labels, plans.len())?,
        label_offsets: label_offsets.into_pyarray(py).unbind(),
        attention_mask: layout.map(|_| shaped(attention, batch.inputs, plans.len())).transpose()?,
        decoder_input_ids: with_decoder.then(|| shaped(decoder, batch.labels, plans.len())).transpose()?,
        sources: with_sources.then(|| shaped(sources, batch.inputs, plans.len())).transpose()?,
        stats: RowStats::new(py, &plans)?,
    })
}

/// An output in the shape of its layout: [rows, width] if all cells have the same width.
pub fn shaped<O: Element>(array: Bound<'_, PyArray1<O>>, layout: Layout, rows: usize) -> PyResult<Py<PyAny>> {
    Ok(match layout.shape {
        Shape::Packed => array.into_any().unbind(),
        Shape::Padded { width, .. } | Shape::InPlace { width } => {
            let table: Bound<'_, PyArray2<O>> = array.reshape([rows, width])?;
            table.into_any().unbind()
        }
    })
}

/// Chunks of the rows, for threads.
pub fn chunks<T: Token>(corruption: &Corruption<'_, T>) -> Vec<Range<usize>> {
    bulk::chunks_of(corruption.rows().iter().map(|row| row.len()))
}

/// The plans of all rows.
pub fn plan<T: Token>(
    py: Python<'_>,
    corruption: &Corruption<'_, T>,
    chunks: &[Range<usize>],
    name: &str,
    num_threads: usize,
) -> PyResult<Vec<RowPlan>> {
    let mut plans = filled(corruption.rows().len(), RowPlan::default())?;
    let mut rest = plans.as_mut_slice();
    bulk::for_chunks(py, chunks.to_vec(), num_threads, name, |chunk| {
        let (plans, part) = (take(&mut rest, chunk.len()), corruption.slice(chunk));
        move || part.plan_into(plans)
    })?;
    Ok(plans)
}

/// Running sums, from 0 on.
pub fn offsets(lengths: impl ExactSizeIterator<Item = usize>) -> PyResult<Vec<i64>> {
    let mut offsets = reserved(lengths.len() + 1)?;
    let mut sum = 0;
    offsets.push(0);
    offsets.extend(lengths.map(|len| {
        sum += len as i64;
        sum
    }));
    Ok(offsets)
}

//! `_core.SeqToSeqLayout`, and how rows of inputs and labels are planned and written.

use crate::bulk::{self, take};
use crate::enums::Choice;
use crate::memory::{filled, reserved};
use crate::outputs::{Output, places, shaped};
use crate::rows::output_len;
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use pyo3::{PyClass, PyClassInitializer};
use spanmask_core::batch::{Layout, Shape, Side};
use spanmask_core::noise::corrupt::Limits;
use spanmask_core::noise::seq_to_seq::{Batch, Lengths, Outputs, SeqToSeq};
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
    /// Greatest lengths of inputs and labels, if one of them is fixed.
    pub fn limits(&self) -> Option<Limits> {
        let (inputs, targets) =
            (self.input_width.unwrap_or(usize::MAX), self.label_width.unwrap_or(usize::MAX));
        (self.input_width.is_some() || self.label_width.is_some()).then_some(Limits { inputs, targets })
    }

    /// The core's layout for rows of these lengths of inputs and targets.
    fn batch(&self, lengths: impl Iterator<Item = (usize, usize)>) -> Batch {
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

/// Written rows: ragged (values and offsets, in one dimension), or padded (two dimensions). Each noise has a subclass for what else it says.
#[pyclass(frozen, get_all, subclass, module = "spanmask._core")]
pub struct SeqToSeqBatch {
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
}

impl SeqToSeqBatch {
    /// The same rows, as an object of a subclass.
    pub fn with<S>(self, py: Python<'_>, more: S) -> PyResult<Py<S>>
    where
        S: PyClass<BaseType = Self>,
    {
        Py::new(py, PyClassInitializer::from(self).add_subclass(more))
    }
}

/// Plans rows and writes them. The result is padded if there is a layout, otherwise ragged.
pub fn write<N>(
    py: Python<'_>,
    noise: &N,
    layout: Option<&SeqToSeqLayout>,
    with_sources: bool,
    name: &str,
    num_threads: usize,
) -> PyResult<(Vec<N::Plan>, SeqToSeqBatch)>
where
    N: SeqToSeq<Plan: Send> + Send,
{
    let chunks = chunks(noise);
    let mut plans = plan(py, noise, &chunks, name, num_threads)?;
    let input_offsets = offsets(plans.iter().map(|plan| plan.lengths().0))?;
    let label_offsets = offsets(plans.iter().map(|plan| plan.lengths().1))?;
    let packed = Layout { shape: Shape::Packed, max_len: usize::MAX };
    let ragged = Batch { inputs: packed, labels: packed, padding: 0, ignore_index: 0, decoder_start: 0 };
    let batch = layout.map_or(ragged, |layout| layout.batch(plans.iter().map(Lengths::lengths)));
    let lengths = |plans: &[N::Plan]| {
        let inputs = output_len(batch.inputs, plans.iter().map(|plan| plan.lengths().0));
        (inputs, output_len(batch.labels, plans.iter().map(|plan| plan.lengths().1)))
    };
    let with_attention = layout.is_some();
    let with_decoder = layout.is_some_and(|layout| layout.decoder_start_token_id.is_some());
    let (input_len, label_len) = lengths(&plans);
    let (mut inputs, mut labels) = (Output::new(py, input_len)?, Output::new(py, label_len)?);
    let mut attention = Output::optional(py, input_len, with_attention)?;
    let mut decoder = Output::optional(py, label_len, with_decoder)?;
    let mut sources = Output::optional(py, input_len, with_sources)?;
    {
        let (mut inputs, mut labels) = (inputs.places(), labels.places());
        let (mut attention, mut decoder) = (places(&mut attention), places(&mut decoder));
        let (mut sources, mut rest) = (places(&mut sources), plans.as_mut_slice());
        bulk::for_chunks(py, chunks, num_threads, name, |chunk| {
            let plans = take(&mut rest, chunk.len());
            let (input_len, label_len) = lengths(plans);
            let outputs = Outputs {
                inputs: take(&mut inputs, input_len),
                attention: take(&mut attention, if with_attention { input_len } else { 0 }),
                labels: take(&mut labels, label_len),
                decoder: take(&mut decoder, if with_decoder { label_len } else { 0 }),
                sources: take(&mut sources, if with_sources { input_len } else { 0 }),
            };
            let (part, batch) = (noise.slice(chunk), &batch);
            move || part.write_into(plans, batch, outputs)
        })?;
    }
    let batch = SeqToSeqBatch {
        input_ids: inputs.shaped(batch.inputs, plans.len())?,
        input_offsets: input_offsets.into_pyarray(py).unbind(),
        labels: labels.shaped(batch.labels, plans.len())?,
        label_offsets: label_offsets.into_pyarray(py).unbind(),
        attention_mask: shaped(attention, batch.inputs, plans.len())?,
        decoder_input_ids: shaped(decoder, batch.labels, plans.len())?,
        sources: shaped(sources, batch.inputs, plans.len())?,
    };
    Ok((plans, batch))
}

/// Chunks of the rows, for threads.
pub fn chunks(noise: &impl SeqToSeq) -> Vec<Range<usize>> {
    bulk::chunks_of(noise.row_lengths())
}

/// The plans of all rows.
pub fn plan<N>(
    py: Python<'_>,
    noise: &N,
    chunks: &[Range<usize>],
    name: &str,
    num_threads: usize,
) -> PyResult<Vec<N::Plan>>
where
    N: SeqToSeq<Plan: Send> + Send,
{
    let mut plans = filled(noise.row_lengths().len(), N::Plan::default())?;
    let mut rest = plans.as_mut_slice();
    bulk::for_chunks(py, chunks.to_vec(), num_threads, name, |chunk| {
        let (plans, part) = (take(&mut rest, chunk.len()), noise.slice(chunk));
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

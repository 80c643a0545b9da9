//! `_core.SpanSpec`, `_core.corrupt`, `_core.noise_mask`, `_core.merge`, `_core.plan_lengths`.

use crate::batch::uninit_array as fresh;
use crate::bulk;
use crate::error::to_py;
use crate::rows::{Rows, with_rows};
use numpy::{IntoPyArray, PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use spanmask_core::batch::{Layout, Shape, Side};
use spanmask_core::noise::corrupt::{
    Batch, Corruption, Extras, Limits, OnExhausted, Outputs, RowPlan, Scratch, Spec,
};
use spanmask_core::noise::draw;
use spanmask_core::noise::ids::IdSet;
use spanmask_core::noise::merge::Merger;
use spanmask_core::noise::mixture::{Denoiser, Mixture, Objective, Split};
use spanmask_core::noise::plan;
use spanmask_core::noise::units::{Rules, Words};
use spanmask_core::rng::Source;
use spanmask_core::{Ragged, Token};

/// A `SpanCorruption` or a `DenoiserMixture`.
#[pyclass(frozen, module = "spanmask._core")]
pub struct SpanSpec {
    spec: Spec,
    merger: Merger,
}

/// (kind "spans", "prefix" or "prefix_uniform", density, mean span length, mode token, sentinels)
type DenoiserTuple = (String, f64, f64, Option<u32>, bool);

#[pymethods]
impl SpanSpec {
    #[new]
    #[pyo3(signature = (*, denoisers, weights, sentinel_ids, allow_sentinels, eos, final_sentinel, layout, on_exhausted, protected_ids))]
    fn new(
        denoisers: Vec<DenoiserTuple>,
        weights: Vec<f64>,
        sentinel_ids: Vec<u32>,
        allow_sentinels: bool,
        eos: Option<u32>,
        final_sentinel: bool,
        layout: &str,
        on_exhausted: &str,
        protected_ids: Vec<u32>,
    ) -> PyResult<Self> {
        let unknown =
            |name: &str, value: &str| PyValueError::new_err(format!("{name}: unknown value {value:?}."));
        let denoisers = denoisers
            .into_iter()
            .map(|(kind, density, mean, mode, sentinels)| {
                let objective = match kind.as_str() {
                    "spans" => Objective::Spans { density, mean },
                    "prefix" => Objective::Prefix(Split::Density(density)),
                    "prefix_uniform" => Objective::Prefix(Split::Uniform),
                    other => return Err(unknown("denoisers", other)),
                };
                Ok(Denoiser { objective, mode, sentinels })
            })
            .collect::<PyResult<Vec<_>>>()?;
        let merger = Merger {
            sentinels: IdSet::new(sentinel_ids.iter().copied()),
            eos,
            modes: IdSet::new(denoisers.iter().filter_map(|denoiser| denoiser.mode)),
        };
        let mixture = Mixture::new(denoisers, &weights).ok_or_else(|| {
            PyValueError::new_err(
                "weights: give one for each denoiser, finite, none negative, at least one above 0.",
            )
        })?;
        let spec = Spec {
            mixture,
            forbidden: if allow_sentinels { IdSet::default() } else { merger.sentinels.clone() },
            sentinels: sentinel_ids,
            eos,
            final_sentinel,
            layout: match layout {
                "classic" => draw::Layout::Classic,
                "uniform" => draw::Layout::Uniform,
                other => return Err(unknown("layout", other)),
            },
            on_exhausted: match on_exhausted {
                "raise" => OnExhausted::Raise,
                "merge" => OnExhausted::Merge,
                "cap" => OnExhausted::Cap,
                other => return Err(unknown("on_exhausted", other)),
            },
            protected_ids: IdSet::new(protected_ids),
        };
        Ok(Self { spec, merger })
    }

    /// For each denoiser: the greatest row length whose inputs fit, the length of its targets, and its spans.
    fn plan_lengths(&self, inputs_length: usize) -> Vec<Option<(u32, u32, u32)>> {
        let denoisers = self.spec.mixture.denoisers();
        denoisers.iter().map(|denoiser| self.spec.plan_lengths(denoiser, inputs_length)).collect()
    }
}

/// A column beside the rows: values, starts, stops.
type Column<'py, T> = (PyReadonlyArray1<'py, T>, PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i64>);

/// What may be given beside rows and spec: a dict with these keys, each `None` where nothing was given.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Given<'py> {
    pub keys: Option<PyReadonlyArray1<'py, u64>>,
    pub densities: Option<PyReadonlyArray1<'py, f64>>,
    means: Option<PyReadonlyArray1<'py, f64>>,
    noise_mask: Option<Column<'py, bool>>,
    protected: Option<Column<'py, bool>>,
    word_starts: Option<Column<'py, bool>>,
    word_ids: Option<Column<'py, i64>>,
    limits: Option<(usize, usize)>,
}

impl Given<'_> {
    fn extras(&self) -> PyResult<Extras<'_>> {
        Ok(Extras {
            keys: slice(&self.keys)?,
            densities: slice(&self.densities)?,
            means: slice(&self.means)?,
            noise_mask: ragged(&self.noise_mask, "noise_mask")?,
            rules: self.rules()?,
            limits: self.limits.map(|(inputs, targets)| Limits { inputs, targets }),
        })
    }

    pub fn rules(&self) -> PyResult<Rules<'_>> {
        Ok(Rules {
            protected: ragged(&self.protected, "protected")?,
            words: ragged(&self.word_starts, "words")?.map(Words::Starts).or(ragged(
                &self.word_ids,
                "words",
            )?
            .map(Words::Ids)),
            ..Rules::default()
        })
    }
}

pub fn slice<'a, T: numpy::Element>(
    column: &'a Option<PyReadonlyArray1<'_, T>>,
) -> PyResult<Option<&'a [T]>> {
    Ok(match column {
        Some(column) => Some(column.as_slice()?),
        None => None,
    })
}

pub fn ragged<'a, T: numpy::Element>(
    column: &'a Option<Column<'_, T>>,
    name: &str,
) -> PyResult<Option<Ragged<'a, T>>> {
    let Some((values, starts, stops)) = column else { return Ok(None) };
    Ragged::from_bounds(values.as_slice()?, starts.as_slice()?, stops.as_slice()?)
        .map(Some)
        .map_err(|e| to_py(e, name))
}

/// How outputs are padded: a dict with these keys. `None` in its place: ragged outputs.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Padded {
    /// Of inputs; labels are padded on the right.
    side: String,
    multiple_of: usize,
    /// Of inputs and labels, where they are fixed.
    widths: Option<(usize, usize)>,
    padding: i64,
    ignore_index: i64,
    decoder_start: Option<i64>,
}

/// Outputs, flat: values and int64 offsets of inputs, the same of labels; attention mask and decoder inputs (empty unless padded).
/// By row: key, denoiser (-1: copied through), hidden tokens, spans, tokens used (EOS not counted).
type Corrupted<'py> =
    ([Bound<'py, PyArray1<i64>>; 6], Bound<'py, PyArray1<u64>>, [Bound<'py, PyArray1<i64>>; 4]);

/// Corrupts rows; `source` is (seed, epoch).
#[pyfunction]
#[pyo3(signature = (rows, spec, source, given, padded, name, num_threads))]
pub fn corrupt<'py>(
    py: Python<'py>,
    rows: Rows<'py>,
    spec: &SpanSpec,
    source: (u64, u64),
    given: Given<'py>,
    padded: Option<Padded>,
    name: &str,
    num_threads: usize,
) -> PyResult<Corrupted<'py>> {
    let source = Source { seed: source.0, epoch: source.1 };
    let extras = given.extras()?;
    with_rows!(&rows, name, |rows| {
        let corruption = Corruption::new(&rows, &spec.spec, source, extras).map_err(|e| to_py(e, name))?;
        corrupt_typed(py, &corruption, padded, name, num_threads)
    })
}

fn corrupt_typed<'py, T: Token>(
    py: Python<'py>,
    corruption: &Corruption<'_, T>,
    padded: Option<Padded>,
    name: &str,
    num_threads: usize,
) -> PyResult<Corrupted<'py>> {
    let chunks = bulk::chunks_of(corruption.rows().iter().map(|row| row.len()));
    let mut plans = plan_all(py, corruption, &chunks, name, num_threads)?;
    let inputs = offsets(plans.iter().map(|plan| plan.inputs));
    let labels = offsets(plans.iter().map(|plan| plan.targets));
    let with_decoder = padded.as_ref().is_some_and(|padded| padded.decoder_start.is_some());
    let with_attention = padded.is_some();
    let batch = batch_of(padded, &plans)?;
    // Where a row's cell begins in an output.
    let at = |layout: Layout, offsets: &[i64], row: usize| match layout.shape {
        Shape::Packed => offsets[row] as usize,
        Shape::Padded { width, .. } | Shape::InPlace { width } => row * width,
    };
    let (input_len, label_len) =
        (at(batch.inputs, &inputs, plans.len()), at(batch.labels, &labels, plans.len()));
    let arrays = [
        fresh(py, input_len)?,
        fresh(py, if with_attention { input_len } else { 0 })?,
        fresh(py, label_len)?,
        fresh(py, if with_decoder { label_len } else { 0 })?,
    ];
    {
        let mut writers = arrays.each_ref().map(|array| array.readwrite());
        let [a, b, c, d] = &mut writers;
        let mut rest = [a.as_slice_mut()?, b.as_slice_mut()?, c.as_slice_mut()?, d.as_slice_mut()?];
        let mut rest_plans = plans.as_mut_slice();
        let mut jobs = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let span =
                |layout, offsets: &[i64]| at(layout, offsets, chunk.end) - at(layout, offsets, chunk.start);
            let (input_len, label_len) = (span(batch.inputs, &inputs), span(batch.labels, &labels));
            let lens = [input_len, input_len, label_len, label_len];
            let mut take = |output: usize| {
                let slice = core::mem::take(&mut rest[output]);
                let (part, tail) = slice.split_at_mut(lens[output].min(slice.len()));
                rest[output] = tail;
                part
            };
            let outputs = Outputs { inputs: take(0), attention: take(1), labels: take(2), decoder: take(3) };
            let plans;
            (plans, rest_plans) = rest_plans.split_at_mut(chunk.len());
            let (first, part, batch) = (chunk.start, corruption.slice(chunk), &batch);
            jobs.push((first, move || part.write_into(plans, batch, outputs)));
        }
        bulk::run(py, jobs, num_threads, name)?;
    }
    let keys: Vec<u64> = plans.iter().map(|plan| plan.key.unwrap_or(0)).collect();
    let column = |of: &dyn Fn(&RowPlan) -> i64| plans.iter().map(of).collect::<Vec<i64>>().into_pyarray(py);
    let about = [
        column(&|plan| plan.denoiser.map_or(-1, i64::from)),
        column(&|plan| i64::from(plan.hidden)),
        column(&|plan| i64::from(plan.spans)),
        column(&|plan| i64::from(plan.taken)),
    ];
    let [input_ids, attention, label_ids, decoder] = arrays;
    let outputs =
        [input_ids, inputs.into_pyarray(py), label_ids, labels.into_pyarray(py), attention, decoder];
    Ok((outputs, keys.into_pyarray(py), about))
}

fn plan_all<T: Token>(
    py: Python<'_>,
    corruption: &Corruption<'_, T>,
    chunks: &[std::ops::Range<usize>],
    name: &str,
    num_threads: usize,
) -> PyResult<Vec<RowPlan>> {
    let mut plans = vec![RowPlan::default(); corruption.rows().len()];
    let mut rest = plans.as_mut_slice();
    let mut jobs = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let part;
        (part, rest) = rest.split_at_mut(chunk.len());
        let (first, corruption) = (chunk.start, corruption.slice(chunk.clone()));
        jobs.push((first, move || corruption.plan_into(part)));
    }
    bulk::run(py, jobs, num_threads, name)?;
    Ok(plans)
}

/// Running sums, from 0 on.
fn offsets(lengths: impl ExactSizeIterator<Item = usize>) -> Vec<i64> {
    let mut offsets = Vec::with_capacity(lengths.len() + 1);
    let mut sum = 0;
    offsets.push(0);
    offsets.extend(lengths.map(|len| {
        sum += len as i64;
        sum
    }));
    offsets
}

fn batch_of(padded: Option<Padded>, plans: &[RowPlan]) -> PyResult<Batch> {
    let packed = Layout { shape: Shape::Packed, max_len: usize::MAX };
    let Some(padded) = padded else {
        return Ok(Batch { inputs: packed, labels: packed, padding: 0, ignore_index: 0, decoder_start: 0 });
    };
    let side = match padded.side.as_str() {
        "right" => Side::Right,
        "left" => Side::Left,
        other => return Err(PyValueError::new_err(format!("padding_side: unknown value {other:?}."))),
    };
    let widest = |len: fn(&RowPlan) -> usize| {
        plans.iter().map(len).max().unwrap_or(0).next_multiple_of(padded.multiple_of.max(1))
    };
    let (inputs, labels) =
        padded.widths.unwrap_or_else(|| (widest(|plan| plan.inputs), widest(|plan| plan.targets)));
    Ok(Batch {
        inputs: Layout { shape: Shape::Padded { width: inputs, side }, ..packed },
        labels: Layout { shape: Shape::Padded { width: labels, side: Side::Right }, ..packed },
        padding: padded.padding,
        ignore_index: padded.ignore_index,
        decoder_start: padded.decoder_start.unwrap_or(0),
    })
}

/// Which tokens `corrupt` hides for the same arguments: one flag a token, flat, one row behind the other.
#[pyfunction]
#[pyo3(signature = (rows, spec, source, given, name, num_threads))]
pub fn noise_mask<'py>(
    py: Python<'py>,
    rows: Rows<'py>,
    spec: &SpanSpec,
    source: (u64, u64),
    given: Given<'py>,
    name: &str,
    num_threads: usize,
) -> PyResult<Bound<'py, PyArray1<bool>>> {
    let source = Source { seed: source.0, epoch: source.1 };
    let extras = given.extras()?;
    let mask = with_rows!(&rows, name, |rows| {
        let corruption = Corruption::new(&rows, &spec.spec, source, extras).map_err(|e| to_py(e, name))?;
        mask_typed(py, &corruption, name, num_threads)?
    });
    Ok(mask.into_pyarray(py))
}

fn mask_typed<T: Token>(
    py: Python<'_>,
    corruption: &Corruption<'_, T>,
    name: &str,
    num_threads: usize,
) -> PyResult<Vec<bool>> {
    let chunks = bulk::chunks_of(corruption.rows().iter().map(|row| row.len()));
    let plans = plan_all(py, corruption, &chunks, name, num_threads)?;
    let mut mask = vec![false; tokens(corruption.rows())];
    let mut rest = mask.as_mut_slice();
    let mut jobs = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let (first, plans) = (chunk.start, &plans[chunk.clone()]);
        let corruption = corruption.slice(chunk);
        let part;
        (part, rest) = rest.split_at_mut(tokens(corruption.rows()));
        jobs.push((first, move || {
            let (mut scratch, mut part) = (Scratch::default(), part);
            for (i, plan) in plans.iter().enumerate() {
                let row;
                (row, part) = part.split_at_mut(corruption.rows()[i].len());
                corruption.mask_row(i, plan, &mut scratch, row)?;
            }
            Ok(())
        }));
    }
    bulk::run(py, jobs, num_threads, name)?;
    Ok(mask)
}

fn tokens<T>(rows: &[&[T]]) -> usize {
    rows.iter().map(|row| row.len()).sum()
}

/// Values and offsets.
type Columns<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>);

/// Inputs and labels of one corruption -> the rows; each side is values and offsets, both int64.
#[pyfunction]
pub fn merge<'py>(
    py: Python<'py>,
    inputs: (PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i64>),
    labels: (PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i64>),
    spec: &SpanSpec,
) -> PyResult<Columns<'py>> {
    let inputs =
        Ragged::new(inputs.0.as_slice()?, inputs.1.as_slice()?).map_err(|e| to_py(e, "input_ids"))?;
    let labels = Ragged::new(labels.0.as_slice()?, labels.1.as_slice()?).map_err(|e| to_py(e, "labels"))?;
    if inputs.len() != labels.len() {
        return Err(to_py(spanmask_core::Error::Length { want: inputs.len(), got: labels.len() }, "labels"));
    }
    let merged = py.detach(|| {
        let (mut values, mut offsets) = (Vec::with_capacity(inputs.tokens() + labels.tokens()), vec![0]);
        for (number, (inputs, labels)) in inputs.rows().zip(labels.rows()).enumerate() {
            spec.merger.merge(inputs, labels, &mut values).map_err(|e| e.at_row(number))?;
            offsets.push(values.len() as i64);
        }
        Ok((values, offsets))
    });
    let (values, offsets) = merged.map_err(|e| to_py(e, "input_ids"))?;
    Ok((values.into_pyarray(py), offsets.into_pyarray(py)))
}

/// The greatest row length whose inputs fit, and its targets' length; `None` where none does.
#[pyfunction]
pub fn plan_lengths(inputs_length: u32, density: f64, mean: f64) -> Option<(u32, u32)> {
    plan::plan_lengths(inputs_length, density, mean)
}

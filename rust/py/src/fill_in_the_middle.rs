//! `_core.FimSpec`, `_core.fill_in_the_middle`, `_core.merge_documents`, and the results of calls.

use crate::batch::Layout;
use crate::bulk::{self, take};
use crate::columns::{Column, slice};
use crate::enums::Choice;
use crate::error::to_py;
use crate::memory::{collected, filled, reserved};
use crate::merge::MergedRows;
use crate::outputs::{Output, ShapedTokens, TokenArrays, TokenPlaces, places, shaped};
use crate::row_options::Keys;
use crate::rows::{Rows, output_len, with_rows};
use crate::seq_to_seq::offsets;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use spanmask_core::batch::{self, Shape};
use spanmask_core::noise::fill_in_the_middle::{
    Batch, Document, FillInTheMiddle, Length, Level, Loss, Outputs, RowOptions, RowPlan, Spec, Split, Splits,
    SpmFormat,
};
use spanmask_core::noise::ids::IdSet;
use spanmask_core::rng::SeedEpoch;
use spanmask_core::rng::bounded::threshold;
use spanmask_core::{Error, Token};
use spanmask_guard::guarded;

/// A `FillInTheMiddle`.
#[pyclass(frozen, module = "spanmask._core")]
pub struct FimSpec(Spec);

#[pymethods]
impl FimSpec {
    #[new]
    #[pyo3(signature = (
        *, prefix_id, middle_id, suffix_id, eot_id, boundary_ids, allow_sentinels, rate, spm_rate, spm_format, level, length, loss
    ))]
    #[guarded]
    fn new(
        prefix_id: u32,
        middle_id: u32,
        suffix_id: u32,
        eot_id: Option<u32>,
        boundary_ids: Vec<u32>,
        allow_sentinels: bool,
        rate: f64,
        spm_rate: f64,
        spm_format: Choice<SpmFormat>,
        level: Choice<Level>,
        length: Choice<Length>,
        loss: Choice<Loss>,
    ) -> PyResult<Self> {
        let forbidden = if allow_sentinels {
            IdSet::default()
        } else {
            IdSet::new([prefix_id, middle_id, suffix_id].into_iter().chain(eot_id))
        };
        Ok(Self(Spec {
            prefix: prefix_id,
            middle: middle_id,
            suffix: suffix_id,
            eot: eot_id,
            boundaries: IdSet::new(boundary_ids),
            forbidden,
            below: threshold(rate),
            spm_below: threshold(spm_rate),
            spm_format: spm_format.0,
            level: level.0,
            length: length.0,
            loss: loss.0,
        }))
    }
}

/// How documents were transformed, an entry for each.
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct FimSplits {
    /// The entries of each row.
    offsets: Py<PyArray1<i64>>,
    /// The number of the document in its row.
    documents: Py<PyArray1<i64>>,
    /// Where its middle starts, in the document.
    first: Py<PyArray1<i64>>,
    /// Where its suffix starts.
    second: Py<PyArray1<i64>>,
    /// Whether its suffix comes first.
    spm: Py<PyArray1<bool>>,
}

/// Rows with documents transformed: concatenated in one dimension, or [rows, width].
#[pyclass(frozen, get_all, module = "spanmask._core")]
pub struct FimBatch {
    input_ids: Py<PyAny>,
    labels: Py<PyAny>,
    offsets: Py<PyArray1<i64>>,
    /// Only for padded rows.
    attention_mask: Option<Py<PyAny>>,
    /// By row: what the noise was drawn from, with seed and epoch.
    keys: Py<PyArray1<u64>>,
    /// By row: the number of documents.
    documents: Py<PyArray1<i64>>,
    /// By row: tokens with a label.
    labelled: Py<PyArray1<i64>>,
    /// Only if asked for: which token of its row each place of `input_ids` stands for, -1 for padding.
    sources: Option<Py<PyAny>>,
    splits: Py<FimSplits>,
}

/// The fields of a `Splits`.
#[derive(FromPyObject)]
pub struct SplitColumns<'py> {
    offsets: PyReadonlyArray1<'py, i64>,
    documents: PyReadonlyArray1<'py, i64>,
    first: PyReadonlyArray1<'py, i64>,
    second: PyReadonlyArray1<'py, i64>,
    spm: PyReadonlyArray1<'py, bool>,
}

impl SplitColumns<'_> {
    /// The entries of all rows. Python has checked that the columns are equally long and that no number is negative.
    fn all(&self) -> PyResult<Vec<Split>> {
        let number = |n: i64| u32::try_from(n).unwrap_or(u32::MAX); // no row has a document or a position with this number
        let (documents, spm) = (self.documents.as_slice()?, self.spm.as_slice()?);
        let cuts = self.first.as_slice()?.iter().zip(self.second.as_slice()?);
        let columns = documents.iter().zip(spm).zip(cuts);
        let split = |((&document, &spm), (&first, &second))| Split {
            document: number(document),
            spm,
            first: number(first),
            second: number(second),
        };
        collected(columns.map(split))
    }
}

/// Transforms documents of rows. The result is padded if there is a layout, otherwise concatenated.
#[pyfunction]
#[guarded]
#[pyo3(signature = (
    rows, spec, *, seed, epoch, ignore_index, layout=None, keys=None, rate=None, splits=None, max_length=None, pad_token_id=0,
    with_sources=false, name="rows", num_threads=1
))]
pub fn fill_in_the_middle<'py>(
    py: Python<'py>,
    rows: Rows<'py>,
    spec: &FimSpec,
    seed: u64,
    epoch: u64,
    ignore_index: i64,
    layout: Option<&Layout>,
    keys: Option<Keys<'py>>,
    rate: Option<PyReadonlyArray1<'py, f64>>,
    splits: Option<SplitColumns<'py>>,
    max_length: Option<usize>,
    pad_token_id: i64,
    with_sources: bool,
    name: &str,
    num_threads: usize,
) -> PyResult<FimBatch> {
    let all_splits = splits.as_ref().map(SplitColumns::all).transpose()?;
    // A copy: the core checks offsets once, and another thread may write to the array.
    let offsets = splits.as_ref().map(|columns| columns.offsets.as_slice()).transpose()?;
    let bounds = offsets.map(|offsets| collected(offsets.iter().copied())).transpose()?;
    let given = match (&bounds, &all_splits) {
        (Some(offsets), Some(all)) => Some(Splits::new(offsets, all).map_err(|e| to_py(e, "splits"))?),
        _ => None,
    };
    with_rows!(&rows, name, |rows| {
        let options = RowOptions {
            keys: keys.as_ref().map(Keys::as_slice).transpose()?,
            rates: slice(&rate)?,
            splits: given,
            max_len: max_length.unwrap_or(usize::MAX),
        };
        let fim = FillInTheMiddle::new(&rows, &spec.0, SeedEpoch { seed, epoch }, options)
            .map_err(|e| to_py(e, name))?;
        write(py, &fim, layout, pad_token_id, ignore_index, with_sources, name, num_threads)
    })
}

fn write<T: Token>(
    py: Python<'_>,
    fim: &FillInTheMiddle<'_, T>,
    layout: Option<&Layout>,
    padding: i64,
    ignore_index: i64,
    with_sources: bool,
    name: &str,
    num_threads: usize,
) -> PyResult<FimBatch> {
    let rows = fim.rows().len();
    let chunks = bulk::chunks_of(fim.rows().iter().map(|row| row.len()));
    let mut plans = filled(rows, RowPlan::default())?;
    let mut documents: Vec<Vec<Document>> = chunks.iter().map(|_| Vec::new()).collect();
    {
        let (mut rest, mut lists) = (plans.as_mut_slice(), documents.iter_mut());
        bulk::for_chunks(py, chunks.clone(), num_threads, name, |chunk| {
            let (plans, part, list) = (take(&mut rest, chunk.len()), fim.slice(chunk), lists.next());
            move || list.map_or(Ok(()), |list| part.plan_into(plans, list))
        })?;
    }
    let packed = batch::Layout { shape: Shape::Packed, max_len: usize::MAX };
    let layout = layout.map_or(packed, |layout| layout.of_lengths(plans.iter().map(|plan| plan.len)));
    let batch = Batch { layout, padding, ignore_index };
    let lengths = |plans: &[RowPlan]| output_len(layout, plans.iter().map(|plan| plan.len));
    let mut arrays = TokenArrays::new(py, layout, rows, lengths(&plans))?;
    let mut sources = Output::optional(py, lengths(&plans), with_sources)?;
    {
        let (mut token_places, mut sources) = (arrays.places(), places(&mut sources));
        let mut lists = documents.iter();
        bulk::for_chunks(py, chunks, num_threads, name, |chunk| {
            let (plans, part, batch) = (&plans[chunk.clone()], fim.slice(chunk), &batch);
            let list = lists.next().map_or(&[][..], Vec::as_slice);
            let len = lengths(plans);
            let TokenPlaces { inputs, attention, labels } = token_places.take(len);
            let sources = take(&mut sources, if with_sources { len } else { 0 });
            move || part.write_into(plans, list, batch, Outputs { inputs, attention, labels, sources })
        })?;
    }
    let ShapedTokens { input_ids, labels, attention_mask } = arrays.shaped()?;
    let keys = collected(plans.iter().map(|plan| plan.key))?;
    let documents_of = collected(plans.iter().map(|plan| i64::from(plan.documents)))?;
    let labelled = collected(plans.iter().map(|plan| plan.labelled as i64))?;
    Ok(FimBatch {
        input_ids,
        labels,
        offsets: offsets(plans.iter().map(|plan| plan.len))?.into_pyarray(py).unbind(),
        attention_mask,
        keys: keys.into_pyarray(py).unbind(),
        documents: documents_of.into_pyarray(py).unbind(),
        labelled: labelled.into_pyarray(py).unbind(),
        sources: shaped(sources, layout, rows)?,
        splits: splits_of(py, &plans, &documents)?,
    })
}

fn splits_of(py: Python<'_>, plans: &[RowPlan], documents: &[Vec<Document>]) -> PyResult<Py<FimSplits>> {
    let count = documents.iter().map(Vec::len).sum();
    let column = |of: fn(Split) -> u32| -> PyResult<Py<PyArray1<i64>>> {
        let mut values = reserved(count)?;
        values.extend(documents.iter().flatten().map(|document| i64::from(of(document.split()))));
        Ok(values.into_pyarray(py).unbind())
    };
    let mut spm = reserved(count)?;
    spm.extend(documents.iter().flatten().map(|document| document.spm));
    let splits = FimSplits {
        offsets: offsets(plans.iter().map(|plan| plan.transformed as usize))?.into_pyarray(py).unbind(),
        documents: column(|split| split.document)?,
        first: column(|split| split.first)?,
        second: column(|split| split.second)?,
        spm: spm.into_pyarray(py).unbind(),
    };
    Py::new(py, splits)
}

/// Restores the rows from the input ids of one call.
#[pyfunction]
#[guarded]
pub fn merge_documents<'py>(
    py: Python<'py>,
    input_ids: Column<'py, i64>,
    spec: &FimSpec,
) -> PyResult<MergedRows> {
    let rows = input_ids.ragged(input_ids.row_count()?, "input_ids")?;
    let mut values = reserved(rows.tokens())?;
    let mut offsets = reserved(rows.len() + 1)?;
    offsets.push(0);
    let merged = bulk::detached(py, || {
        for (number, ids) in rows.rows().enumerate() {
            spec.0.merge(ids, &mut values).map_err(|e| e.at_row(number))?;
            offsets.push(values.len() as i64);
        }
        Ok::<_, Error>(())
    })?;
    merged.map_err(|e| to_py(e, "input_ids"))?;
    Ok(MergedRows::new(py, values, offsets))
}

//! The options of the noise functions in addition to the rows: keys, rates and columns.

use crate::columns::{Column, ragged, slice};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use spanmask_core::noise::corrupt::{Limits, RowOptions};
use spanmask_core::noise::rules::Rules;
use spanmask_core::noise::words::Words;
use spanmask_core::rng::key::name_key;

/// The keys of examples.
pub enum Keys<'py> {
    /// 64-bit integers.
    Array(PyReadonlyArray1<'py, u64>),
    /// Those of names: the XXH3 of each name's UTF-8.
    OfNames(Vec<u64>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Keys<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(array) = object.extract() {
            return Ok(Self::Array(array));
        }
        let names: Vec<String> = object.extract()?;
        Ok(Self::OfNames(names.iter().map(|name| name_key(name.as_bytes())).collect()))
    }
}

impl Keys<'_> {
    /// The keys, one for each row.
    pub fn as_slice(&self) -> PyResult<&[u64]> {
        match self {
            Self::Array(array) => Ok(array.as_slice()?),
            Self::OfNames(keys) => Ok(keys),
        }
    }
}

/// The columns that decide what may be hidden.
pub struct RuleColumns<'py> {
    pub protected_mask: Option<Column<'py, bool>>,
    pub word_starts: Option<Column<'py, bool>>,
    pub word_ids: Option<Column<'py, i64>>,
}

impl RuleColumns<'_> {
    /// The rules for this number of rows. Python passes at most one of the two kinds of words.
    pub fn rules(&self, rows: usize) -> PyResult<Rules<'_>> {
        let starts = ragged(&self.word_starts, rows, "word_starts")?.map(Words::Starts);
        let ids = ragged(&self.word_ids, rows, "word_ids")?.map(Words::Ids);
        Ok(Rules {
            protected_mask: ragged(&self.protected_mask, rows, "protected_mask")?,
            words: starts.or(ids),
            ..Rules::default()
        })
    }
}

/// All options of span corruption in addition to the rows.
pub struct CorruptOptions<'py> {
    pub keys: Option<Keys<'py>>,
    pub noise_density: Option<PyReadonlyArray1<'py, f64>>,
    pub mean_noise_span_length: Option<PyReadonlyArray1<'py, f64>>,
    pub noise_mask: Option<Column<'py, bool>>,
    pub columns: RuleColumns<'py>,
}

impl CorruptOptions<'_> {
    /// The core's options for this number of rows.
    pub fn get(&self, rows: usize, limits: Option<Limits>) -> PyResult<RowOptions<'_>> {
        Ok(RowOptions {
            keys: self.keys.as_ref().map(Keys::as_slice).transpose()?,
            densities: slice(&self.noise_density)?,
            means: slice(&self.mean_noise_span_length)?,
            noise_mask: ragged(&self.noise_mask, rows, "noise_mask")?,
            rules: self.columns.rules(rows)?,
            limits,
        })
    }
}

//! How documents are transformed, and the options of a call.

use super::super::ids::IdSet;
use crate::Error;
use core::ops::Range;

/// Where the parts of a document with its suffix first are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpmFormat {
    /// prefix id, suffix id, suffix, middle id, prefix, middle: a document with an empty prefix looks the same in both orders.
    Joint,
    /// suffix id, suffix, prefix id, prefix, middle id, middle.
    Plain,
    /// suffix id, suffix, prefix id, prefix, middle.
    Unmarked,
}

/// Whether rows are cut before or after their documents are transformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// After: the cut may separate a document from its middle.
    Document,
    /// Before: the part of a document that is left is transformed.
    Context,
}

/// What happens to the length of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Each transformed document is longer by the ids that are added.
    Grow,
    /// A transformed document loses as many tokens from the end of its suffix as are added. A suffix that has no more tokens than that
    /// stays whole, and its document is not transformed.
    Keep,
    /// The row is cut at its end.
    Cut,
}

/// Which tokens have labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All.
    All,
    /// Not those of a transformed document that precede its middle.
    Middle,
}

/// How documents are transformed.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Precedes the prefix.
    pub prefix: u32,
    /// Precedes the middle.
    pub middle: u32,
    /// Precedes the suffix.
    pub suffix: u32,
    /// Follows the middle.
    pub eot: Option<u32>,
    /// Ids between documents, which stay where they are.
    pub boundaries: IdSet,
    /// Ids that no row may contain: those above, or an empty set.
    pub forbidden: IdSet,
    /// A document is transformed if its random word is below this threshold (of 2^32).
    pub below: u64,
    /// Its suffix comes first if another word is below this threshold.
    pub spm_below: u64,
    /// What it looks like then.
    pub spm_format: SpmFormat,
    /// Whether rows are cut before or after.
    pub level: Level,
    /// How long rows become.
    pub length: Length,
    /// Which tokens have labels.
    pub loss: Loss,
}

impl Spec {
    /// How many ids precede the parts of a document.
    pub(super) fn markers(&self, spm: bool) -> usize {
        if spm && self.spm_format == SpmFormat::Unmarked { 2 } else { 3 }
    }

    /// How many ids are added to a document.
    pub(super) fn added(&self, spm: bool) -> usize {
        self.markers(spm) + usize::from(self.eot.is_some())
    }
}

/// How one document is transformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// The number of the document in its row.
    pub document: u32,
    /// Whether its suffix comes first.
    pub spm: bool,
    /// How many of its tokens precede the middle.
    pub first: u32,
    /// How many of its tokens precede the suffix.
    pub second: u32,
}

/// How the documents of some rows are transformed: those of row `i` are `all[offsets[i]..offsets[i + 1]]`, in the order of their documents.
///
/// Invariant: offsets ascend and are inside `all`. It is checked only by [`Splits::new`].
#[derive(Debug, Clone, Copy)]
pub struct Splits<'a> {
    offsets: &'a [i64],
    all: &'a [Split],
}

impl<'a> Splits<'a> {
    /// Errors: [`Error::Bounds`] names the first row whose offsets descend or leave the splits.
    pub fn new(offsets: &'a [i64], all: &'a [Split]) -> Result<Self, Error> {
        crate::Ragged::new(all, offsets)?;
        Ok(Self { offsets, all })
    }

    fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    pub(super) fn row(&self, i: usize) -> &'a [Split] {
        &self.all[self.offsets[i] as usize..self.offsets[i + 1] as usize] // in range, by the invariant
    }

    fn slice(self, range: Range<usize>) -> Self {
        Self { offsets: &self.offsets[range.start..=range.end], ..self }
    }
}

/// The options of a call, in addition to rows and spec.
#[derive(Debug, Clone, Copy)]
pub struct RowOptions<'a> {
    /// Keys of the rows, instead of hashes of their ids.
    pub keys: Option<&'a [u64]>,
    /// For each row the probability that a document is transformed.
    pub rates: Option<&'a [f64]>,
    /// How documents are transformed. If given, nothing is drawn.
    pub splits: Option<Splits<'a>>,
    /// No row becomes longer than this.
    pub max_len: usize,
}

impl Default for RowOptions<'_> {
    fn default() -> Self {
        Self { keys: None, rates: None, splits: None, max_len: usize::MAX }
    }
}

impl RowOptions<'_> {
    pub(super) fn slice(&self, range: Range<usize>) -> Self {
        Self {
            keys: self.keys.map(|keys| &keys[range.clone()]),
            rates: self.rates.map(|rates| &rates[range.clone()]),
            splits: self.splits.map(|splits| splits.slice(range)),
            max_len: self.max_len,
        }
    }

    pub(super) fn check(&self, rows: usize) -> Result<(), Error> {
        let counts =
            [self.keys.map(<[_]>::len), self.rates.map(<[_]>::len), self.splits.map(|splits| splits.rows())];
        match counts.into_iter().flatten().find(|&got| got != rows) {
            Some(got) => Err(Error::Length { want: rows, got }),
            None => Ok(()),
        }
    }
}

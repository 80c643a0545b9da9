//! Fill-in-the-middle: a document is cut into prefix, middle and suffix, and its middle moves to the end (Bavarian et al. 2022).
//! Oracle: `spanmask.reference.fill_in_the_middle`.
//!
//! `spec` holds the settings, `plan` draws the cuts and computes how long rows become, `write` writes them, `merge` is the inverse. A
//! **document** is a run of ids that are not boundary ids; boundary ids stay where they are.

mod merge;
mod plan;
mod spec;
mod write;

pub use plan::{Document, RowPlan};
pub use spec::{Length, Level, Loss, RowOptions, Spec, Split, Splits, SpmFormat};
pub use write::{Batch, Outputs};

use super::ids::IdSet;
use super::words::blocks;
use crate::rng::SeedEpoch;
use crate::{Error, Token};
use core::ops::{ControlFlow, Range};

/// Rows whose documents are transformed with the same settings.
#[derive(Debug, Clone, Copy)]
pub struct FillInTheMiddle<'a, T> {
    rows: &'a [&'a [T]],
    spec: &'a Spec,
    seed_epoch: SeedEpoch,
    options: RowOptions<'a>,
}

impl<'a, T: Token> FillInTheMiddle<'a, T> {
    /// Errors: [`Error::Length`] if an option has entries for another number of rows.
    pub fn new(
        rows: &'a [&'a [T]],
        spec: &'a Spec,
        seed_epoch: SeedEpoch,
        options: RowOptions<'a>,
    ) -> Result<Self, Error> {
        options.check(rows.len())?;
        Ok(Self { rows, spec, seed_epoch, options })
    }

    /// The rows.
    pub fn rows(&self) -> &'a [&'a [T]] {
        self.rows
    }

    /// The same for the rows `range`, numbered from 0 again.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self { rows: &self.rows[range.clone()], options: self.options.slice(range), ..*self }
    }
}

/// Calls `each` with the bounds of the documents of a row, in order, until it breaks. Ids of the row fit in 32 bits.
fn for_each_document<T: Token, B>(
    row: &[T],
    boundaries: &IdSet,
    mut each: impl FnMut(Range<usize>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let mut start = 0;
    for (range, block) in blocks(row) {
        let mut found = boundaries.find(block);
        while found != 0 {
            let at = range.start + found.trailing_zeros() as usize;
            if start < at {
                each(start..at)?;
            }
            start = at + 1;
            found &= found.wrapping_sub(1);
        }
    }
    if start < row.len() {
        each(start..row.len())?;
    }
    ControlFlow::Continue(())
}

//! What can be wrong with input. Variants carry numbers (row, position); the binding finds the words.

use core::fmt;

/// Bad input, with the numbers that locate it. `row` counts from 0 in the rows that the call was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "a variant's line says what its fields are")]
pub enum Error {
    /// A row's bounds do not ascend or leave the values: `start..stop` in `len` values.
    Bounds { row: usize, start: i64, stop: i64, len: usize },
    /// A buffer or column was made for another number of items.
    Length { want: usize, got: usize },
    /// A row is longer than the cell of a padded batch it must go into.
    Width { row: usize, len: usize, width: usize },
    /// An attention mask has zeros between ones.
    MaskHole { row: usize, position: usize },
    /// A row has no turn of a trained role, and the policy asks for one.
    NoTrainedTurn { row: usize },
    /// A turn mask has fewer flags than the row has turns of trained roles.
    TurnMask { row: usize, turns: usize, flags: usize },
    /// Existing labels of a row have another length than its ids.
    LabelsLength { row: usize, ids: usize, labels: usize },
}

impl Error {
    /// The same error, its row counted from row `first` on: for kernels that see one row or a chunk of them.
    pub fn at_row(mut self, first: usize) -> Self {
        match &mut self {
            Self::Bounds { row, .. }
            | Self::Width { row, .. }
            | Self::MaskHole { row, .. }
            | Self::NoTrainedTurn { row }
            | Self::TurnMask { row, .. }
            | Self::LabelsLength { row, .. } => *row += first,
            Self::Length { .. } => {}
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bounds { row, start, stop, len } => {
                write!(f, "row {row} spans {start}..{stop}, outside the {len} values or backwards")
            }
            Self::Length { want, got } => write!(f, "expected {want} items, got {got}"),
            Self::Width { row, len, width } => {
                write!(f, "row {row} has {len} tokens, its cell holds {width}")
            }
            Self::MaskHole { row, position } => {
                write!(f, "row {row} has a hole in its mask at position {position}")
            }
            Self::NoTrainedTurn { row } => write!(f, "row {row} has no turn of a trained role"),
            Self::TurnMask { row, turns, flags } => {
                write!(f, "row {row} has {turns} turns of trained roles, its turn mask {flags} flags")
            }
            Self::LabelsLength { row, ids, labels } => {
                write!(f, "row {row} has {ids} ids but {labels} labels")
            }
        }
    }
}

impl std::error::Error for Error {}

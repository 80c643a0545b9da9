//! What can be wrong with input. Variants carry numbers (row, position); the binding makes the messages for users.

use core::fmt;

/// Bad input, with the numbers that locate it. `row` counts from 0 in the rows of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "a variant's line says what its fields are")]
pub enum Error {
    /// A row's bounds do not ascend or leave the values: `start..stop` in `len` values.
    Bounds { row: usize, start: i64, stop: i64, len: usize },
    /// A buffer or column has the wrong number of items.
    Length { want: usize, got: usize },
    /// A row, or a column for it, differs from what it was when the outputs were planned: somebody wrote to it meanwhile.
    Changed { row: usize },
    /// A row is longer than the cell of a padded batch it must go into.
    Width { row: usize, len: usize, width: usize },
    /// An attention mask has zeros between ones.
    MaskHole { row: usize, position: usize },
    /// A row has no turn of a trained role, and the policy requires one.
    NoTrainedTurn { row: usize },
    /// A column of flags or weights by turn has fewer entries than the row has turns of trained roles.
    TurnWeights { row: usize, column: Column, turns: usize, weights: usize },
    /// A turn that was given is out of order, outside its row, or of an unknown role.
    Turn { row: usize, turn: usize },
    /// The rows of given turns do not ascend, or do not exist.
    TurnRow { turn: usize, row: i64, rows: usize },
    /// The cut would separate ids that belong together, the last of which is number `needed`.
    Cut { row: usize, max_len: usize, needed: usize },
    /// A column with one entry per token differs in length from the ids of a row.
    ColumnLength { row: usize, column: Column, ids: usize, got: usize },
    /// A label is neither the ignored one nor the token at its position.
    Label { row: usize, position: usize, label: i64, id: i64 },
    /// An id that no vocabulary contains: below 0, or at least 2^32.
    IdRange { row: usize, position: usize, id: i64 },
    /// A row is too long for its positions to be drawn in 32 bits.
    RowLength { row: usize, len: usize },
    /// A probability is below 0, above 1 or no number; `bits` are those of the `f64`.
    Probability { row: usize, position: usize, bits: u64 },
    /// A row already contains a sentinel.
    Sentinel { row: usize, position: usize, id: i64 },
    /// A row has more spans than there are sentinels.
    Exhausted { row: usize, spans: usize, sentinels: usize },
    /// Tokens that may not be hidden lie inside what comes after a prefix, and no sentinels mark the parts.
    SplitPrefix { row: usize },
    /// The next sentinel on the other side differs from a sentinel of inputs (or targets).
    StraySentinel { row: usize, position: usize, id: i64, in_targets: bool },
    /// The given cuts of a document do not ascend, or leave the part of it that is used, which has `len` tokens.
    Split { row: usize, document: u32, first: usize, second: usize, len: usize },
    /// Cuts are given for a document that the row does not have, or twice or out of order.
    SplitDocument { row: usize, document: u32, documents: u32 },
    /// A document's ids of fill-in-the-middle are not complete or not in order.
    BrokenDocument { row: usize, position: usize },
}

/// A column that is given in addition to the ids, with one entry per token or per turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Existing labels.
    Labels,
    /// Tokens to hide.
    NoiseMask,
    /// Tokens that must not be hidden.
    ProtectedMask,
    /// Words, given by their numbers.
    WordIds,
    /// Words, given by flags at their first tokens.
    WordStarts,
    /// The probability that a token is chosen.
    Probabilities,
    /// Sentences, given by flags at their first tokens.
    SentenceStarts,
    /// Flags of turns.
    TurnMask,
    /// Loss weights of turns.
    TurnWeights,
    /// Loss weights of tokens.
    LossWeights,
}

impl Error {
    /// The same error with its row counted from row `first` on, for kernels that see one row or a chunk of rows.
    pub fn at_row(mut self, first: usize) -> Self {
        match &mut self {
            Self::Bounds { row, .. }
            | Self::Changed { row }
            | Self::Width { row, .. }
            | Self::MaskHole { row, .. }
            | Self::NoTrainedTurn { row }
            | Self::TurnWeights { row, .. }
            | Self::Turn { row, .. }
            | Self::Cut { row, .. }
            | Self::ColumnLength { row, .. }
            | Self::Label { row, .. }
            | Self::IdRange { row, .. }
            | Self::RowLength { row, .. }
            | Self::Probability { row, .. }
            | Self::Sentinel { row, .. }
            | Self::Exhausted { row, .. }
            | Self::SplitPrefix { row }
            | Self::StraySentinel { row, .. }
            | Self::Split { row, .. }
            | Self::SplitDocument { row, .. }
            | Self::BrokenDocument { row, .. } => *row += first,
            Self::Length { .. } | Self::TurnRow { .. } => {}
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
            Self::Changed { row } => write!(f, "row {row} is not the one that was planned"),
            Self::Width { row, len, width } => {
                write!(f, "row {row} has {len} tokens, its cell holds {width}")
            }
            Self::MaskHole { row, position } => {
                write!(f, "row {row} has a hole in its mask at position {position}")
            }
            Self::NoTrainedTurn { row } => write!(f, "row {row} has no turn of a trained role"),
            Self::TurnWeights { row, column, turns, weights } => {
                write!(f, "row {row} has {turns} turns of trained roles, but {weights} entries of {column:?}")
            }
            Self::Turn { row, turn } => write!(f, "turn {turn} of row {row} does not fit"),
            Self::TurnRow { turn, row, rows } => {
                write!(f, "turn {turn} names row {row} of {rows}, out of order or range")
            }
            Self::Cut { row, max_len, needed } => {
                write!(f, "row {row} is cut to {max_len} tokens, but needs its first {needed}")
            }
            Self::ColumnLength { row, column, ids, got } => {
                write!(f, "row {row} has {ids} ids but {got} entries of {column:?}")
            }
            Self::Label { row, position, label, id } => {
                write!(f, "row {row} has the label {label} for {id} at position {position}")
            }
            Self::IdRange { row, position, id } => {
                write!(f, "row {row} has {id} at position {position}, not in 0..2^32")
            }
            Self::RowLength { row, len } => write!(f, "row {row} has {len} tokens, positions are 32 bits"),
            Self::Probability { row, position, bits } => {
                write!(f, "row {row} has probability {} at position {position}", f64::from_bits(bits))
            }
            Self::Sentinel { row, position, id } => {
                write!(f, "row {row} already contains sentinel {id} at position {position}")
            }
            Self::Exhausted { row, spans, sentinels } => {
                write!(f, "row {row} needs {spans} spans, {sentinels} sentinels given")
            }
            Self::SplitPrefix { row } => {
                write!(f, "row {row} has tokens that may not be hidden after an unmarked prefix")
            }
            Self::StraySentinel { row, position, id, in_targets } => {
                let side = if in_targets { "targets" } else { "inputs" };
                write!(f, "row {row} has sentinel {id} at position {position} of its {side} only")
            }
            Self::Split { row, document, first, second, len } => {
                write!(f, "document {document} of row {row} has {len} tokens, cuts at {first} and {second}")
            }
            Self::SplitDocument { row, document, documents } => {
                write!(f, "row {row} has {documents} documents, cuts for document {document} are left")
            }
            Self::BrokenDocument { row, position } => {
                write!(f, "row {row} has an incomplete document at position {position}")
            }
        }
    }
}

impl std::error::Error for Error {}

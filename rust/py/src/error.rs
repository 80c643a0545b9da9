//! Core errors -> Python exceptions. The only file that names exceptions: each message says the argument, the row and the remedy.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::{PyErr, import_exception};
use spanmask_core::Error;
use spanmask_core::error::Column;

import_exception!(spanmask.errors, SentinelError);

/// The exception for `error`. `rows` is the argument that holds the rows.
pub fn to_py(error: Error, rows: &str) -> PyErr {
    let message = words(error, rows);
    match error {
        Error::Sentinel { .. } | Error::Exhausted { .. } | Error::StraySentinel { .. } => {
            SentinelError::new_err(message)
        }
        _ => PyValueError::new_err(message),
    }
}

/// Weights of denoisers of which none, or no valid one, can be drawn.
pub fn bad_weights() -> PyErr {
    PyValueError::new_err("weights: give one for each denoiser, finite, none negative, at least one above 0.")
}

/// Weights of span lengths of which none can be drawn.
pub fn bad_span_weights() -> PyErr {
    PyValueError::new_err("span_weights: expected finite weights, none negative, at least one above 0.")
}

/// A vocabulary of special ids only.
pub fn no_random_id() -> PyErr {
    PyValueError::new_err(
        "vocab_size: no id below it may be drawn; give the size of the vocabulary, special ids included.",
    )
}

/// A row in a list of arrays that cannot be read where it is.
pub fn not_contiguous(row: usize) -> PyErr {
    PyTypeError::new_err(format!(
        "rows: row {row} is not a contiguous, aligned 1-D array of the same dtype as row 0; copy it with numpy.ascontiguousarray."
    ))
}

fn words(error: Error, rows: &str) -> String {
    match error {
        Error::Bounds { row, start, stop, len } => format!(
            "{rows}: row {row} spans {start}..{stop} of {len} values; offsets must start at 0, ascend, and stay inside the values."
        ),
        Error::Length { want, got } => {
            format!("{rows}: expected {want} items, got {got}; give one for each row.")
        }
        Error::Width { row, len, width } => {
            format!(
                "{rows}: row {row} has {len} tokens, the batch is {width} wide; raise the width or set max_length."
            )
        }
        Error::MaskHole { row, position } => format!(
            "{rows}: row {row} has a zero at position {position}, between ones; padding must stand at a row's ends. \
             Take such tokens out of the row, or name them in ignore_ids."
        ),
        Error::NoTrainedTurn { row } => format!(
            "{rows}: row {row} has no turn of a trained role and on_no_trained_turn=\"raise\"; check that the chat format fits \
             (print it), or set on_no_trained_turn=\"mask\"."
        ),
        Error::TurnWeights { row, turns, weights } => format!(
            "turn_mask: row {row} has {weights} entries for {turns} turns of trained roles; give one for each of these turns."
        ),
        Error::ColumnLength { row, column, ids, got } => {
            let name = match column {
                Column::Labels => "labels",
                Column::NoiseMask => "noise_mask",
                Column::ProtectedMask => "protected_mask",
                Column::WordIds => "word_ids",
                Column::WordStarts => "word_starts",
            };
            format!("{name}: row {row} has {got} entries for {ids} ids; give one for each token.")
        }
        Error::IdRange { row, position, id } => format!(
            "{rows}: row {row} has {id} at position {position}; noise accepts ids from 0 to 2**32 - 1. \
             Remove placeholders and padding first."
        ),
        Error::RowLength { row, len } => {
            format!("{rows}: row {row} has {len} tokens; noise accepts up to 2**32 - 4. Split the row.")
        }
        Error::Sentinel { row, position, id } => format!(
            "{rows}: row {row} already contains sentinel {id} at position {position}; remove it, give other sentinel_ids, \
             or set on_sentinel=\"allow\" (merge cannot undo such rows)."
        ),
        Error::Exhausted { row, spans, sentinels } => format!(
            "sentinel_ids: row {row} needs {spans} spans, but there are {sentinels} sentinels; add sentinels, shorten the row, \
             or set on_exhausted=\"fewer_spans\" or \"merge_last\"."
        ),
        Error::StraySentinel { row, position, id, in_targets } => {
            let (here, there) = if in_targets { ("labels", "input_ids") } else { ("input_ids", "labels") };
            format!(
                "{here}: row {row} has sentinel {id} at position {position}, but the next sentinel in {there} is different; \
                 merge() needs the untruncated outputs of one corrupt() call."
            )
        }
        other => other.to_string(),
    }
}

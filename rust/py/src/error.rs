//! Core errors -> Python exceptions. The only file that names exceptions: each message says the argument, the row and the remedy.

use pyo3::PyErr;
use pyo3::exceptions::PyValueError;
use spanmask_core::Error;

/// The exception for `error`. `rows` is the argument that holds the rows.
pub fn to_py(error: Error, rows: &str) -> PyErr {
    PyValueError::new_err(match error {
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
            "{rows}: row {row} has no turn of a trained role and on_missing=\"raise\"; check that the chat format fits \
             (print it), or set on_missing=\"mask\"."
        ),
        Error::TurnMask { row, turns, flags } => format!(
            "turn_mask: row {row} has {flags} flags for {turns} turns of trained roles; give one flag for each of these turns."
        ),
        Error::LabelsLength { row, ids, labels } => {
            format!(
                "labels: row {row} has {labels} labels for {ids} ids; existing labels must be aligned with the ids."
            )
        }
        other => other.to_string(),
    })
}

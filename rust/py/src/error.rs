//! Errors -> Python exceptions. This is the only file that names exceptions. Each message names the argument, the row and the remedy.

use pyo3::exceptions::{
    PyImportError, PyKeyboardInterrupt, PyMemoryError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::import_exception;
use pyo3::prelude::*;
use spanmask_core::Error;
use spanmask_core::error::Column;
use spanmask_guard::guarded;
use std::panic::{AssertUnwindSafe, catch_unwind};

import_exception!(spanmask.errors, SentinelError);
import_exception!(spanmask.errors, UnreadableRowsError);

/// The exception for `error`. `rows` is the argument that holds the rows.
pub fn to_py(error: Error, rows: &str) -> PyErr {
    let message = words(error, rows);
    match error {
        Error::Sentinel { .. }
        | Error::Exhausted { .. }
        | Error::StraySentinel { .. }
        | Error::BrokenDocument { .. } => SentinelError::new_err(message),
        Error::Changed { .. } => PyRuntimeError::new_err(message),
        _ => PyValueError::new_err(message),
    }
}

/// Panics, so that a test sees what Python gets.
#[pyfunction]
#[guarded]
pub fn panic(text: &str) -> PyResult<()> {
    #[expect(clippy::panic, reason = "its purpose")]
    {
        panic!("{text}")
    }
}

/// An argument that should hold token ids is something else.
pub fn not_ids(found: &str) -> PyErr {
    PyTypeError::new_err(format!("ids: expected an array of uint16, uint32, int32 or int64, got {found}."))
}

/// An array of counters cannot be added to.
pub fn not_counters() -> PyErr {
    PyTypeError::new_err(
        "counters: expected a writable, aligned, contiguous array of int64 with one entry for each amount.",
    )
}

/// An array of rows has another number of dimensions, or another memory order than C's.
pub fn not_rows(ndim: usize) -> PyErr {
    PyTypeError::new_err(format!("rows: expected a 2-D array in C order, got {ndim} dimensions."))
}

/// An entry of a list of lists is not an integer.
pub fn not_an_id(name: &str, row: usize, position: usize, found: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{name}: row {row} has {found} at position {position}; expected an integer. Cast or remove it."
    ))
}

/// An entry of a list of lists does not fit.
pub fn id_too_large(name: &str, row: usize, position: usize, found: &str) -> PyErr {
    PyValueError::new_err(format!(
        "{name}: row {row} has {found} at position {position}, which does not fit in int64."
    ))
}

/// A row of a list of lists is something else.
pub fn not_a_list(name: &str, row: usize, found: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{name}: row {row} is of type {found}, row 0 is a list; all rows must have the same type."
    ))
}

/// A string option has an unknown value. pyo3 puts the argument's name before the message.
pub fn not_a_choice(known: &[String], found: &str) -> PyErr {
    PyValueError::new_err(format!("expected one of {}, got {found:?}.", known.join(", ")))
}

/// A row of a column does not have one entry for each id.
pub fn misaligned(name: &str, row: usize, ids: i64, got: i64) -> PyErr {
    PyValueError::new_err(format!(
        "{name}: row {row} has {got} entries for {ids} ids; pass one for each token."
    ))
}

/// An output does not fit in memory.
pub fn no_array(shape: &[usize], item: usize) -> PyErr {
    let bytes = shape.iter().fold(item as f64, |bytes, &n| bytes * n as f64);
    let shape: Vec<String> = shape.iter().map(|&n| size(n)).collect();
    PyMemoryError::new_err(format!(
        "rows: an output of shape [{}] takes {}, which do not fit in memory. Pass fewer or shorter rows, or lower \
         pad_to_multiple_of, inputs_length or targets_length.",
        shape.join(", "),
        gib(bytes)
    ))
}

/// What a call needs in addition to its outputs does not fit in memory.
pub fn no_memory(items: usize, item: usize) -> PyErr {
    let bytes = gib(items as f64 * item as f64);
    PyMemoryError::new_err(format!(
        "rows: {items} entries of {item} bytes take {bytes}, which do not fit in memory. Pass fewer or shorter rows."
    ))
}

/// What a kernel needs in addition to its outputs does not fit in memory.
pub fn no_working_memory(bytes: usize) -> PyErr {
    PyMemoryError::new_err(format!(
        "rows: working memory of {} does not fit in memory. Pass fewer or shorter rows, or lower num_threads.",
        gib(bytes as f64)
    ))
}

/// NumPy is still being imported.
pub fn numpy_is_incomplete() -> PyErr {
    PyImportError::new_err("spanmask: imported while NumPy is being imported; import numpy before it.")
}

/// A signal ended a call.
pub fn interrupted() -> PyErr {
    PyKeyboardInterrupt::new_err(())
}

/// A size, for messages. Sums and products of sizes stop at the greatest one.
fn size(n: usize) -> String {
    if n == usize::MAX { "2**64 or more".into() } else { n.to_string() }
}

fn gib(bytes: f64) -> String {
    format!("{:.3} GiB", bytes / f64::from(1 << 30))
}

/// Runs the body of a function that Python calls. Panics are faults of this crate: they become an `Exception` that says so, where pyo3
/// would raise `PanicException`, a `BaseException`. Outputs of the body are dropped with it. `#[guarded]` calls it.
pub fn caught<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(PyRuntimeError::new_err(format!(
            "spanmask: a fault of this library ended the call: {}. No result was made, and the process may go on. Please report it, with \
             the arguments of the call.",
            text.unwrap_or("a panic without a text")
        )))
    })
}

/// A flattened batch has more rows than its row numbers can count.
pub fn too_many_rows() -> PyErr {
    PyValueError::new_err("rows: seq_idx is int32; a flattened batch holds fewer than 2**31 rows and tokens.")
}

/// Weights of denoisers that are invalid, or of which none is above 0.
pub fn bad_weights() -> PyErr {
    PyValueError::new_err("weights: expected one finite weight >= 0 for each denoiser, at least one above 0.")
}

/// Weights of span lengths of which none can be drawn.
pub fn bad_span_weights() -> PyErr {
    PyValueError::new_err("span_weights: expected finite weights >= 0, at least one above 0.")
}

/// Weights of span lengths with which no token can be hidden.
pub fn no_span() -> PyErr {
    PyValueError::new_err("span_weights: expected finite weights >= 0, at least one of a length above 0.")
}

/// A vocabulary that consists of special ids.
pub fn no_random_id() -> PyErr {
    PyValueError::new_err(
        "vocab_size: no id below it may be drawn; pass the size of the vocabulary, special ids included.",
    )
}

/// A row in a list of arrays that cannot be read in place.
pub fn not_contiguous(row: usize) -> PyErr {
    UnreadableRowsError::new_err(format!(
        "rows: row {row} is not a contiguous, aligned 1-D array of the same dtype as row 0; copy it with numpy.ascontiguousarray."
    ))
}

fn words(error: Error, rows: &str) -> String {
    match error {
        Error::Bounds { row, start, stop, len } => format!(
            "{rows}: row {row} spans {start}..{stop} of {len} values; offsets must start at 0, ascend, and stay inside the values."
        ),
        Error::Length { want, got } => {
            format!("{rows}: expected {want} items, got {got}; pass one for each row.")
        }
        Error::Width { row, len, width } => {
            format!(
                "{rows}: row {row} has {len} tokens, the batch is {width} wide; raise the width or set max_length."
            )
        }
        Error::MaskHole { row, position } => format!(
            "{rows}: row {row} has a 0 between 1s at position {position}; only leading and trailing padding is supported. \
             Remove those tokens, or set their entries to 1 and keep them without loss: with ignore_ids of a MaskPolicy, or with \
             protected_mask where noise is drawn."
        ),
        Error::NoTrainedTurn { row } => format!(
            "{rows}: row {row} has no turn of a trained role, and on_no_trained_turn is 'raise'. Check that the chat format fits \
             (print it), or set on_no_trained_turn to 'mask'."
        ),
        Error::TurnWeights { row, column, turns, weights } => format!(
            "{}: row {row} has {weights} entries for {turns} turns of trained roles; pass one for each of these turns.",
            name_of(column)
        ),
        Error::Turn { row, turn } => format!(
            "turns: turn {turn} of row {row} does not fit. Positions must be in order (start, content_start, prefill_stop, content_stop, \
             stop), after the previous turn and inside the row, and role must be an index into roles."
        ),
        Error::TurnRow { turn, row, rows } => format!(
            "turns: entry {turn} belongs to row {row}; rows must ascend from 0 to {}.",
            rows.saturating_sub(1)
        ),
        Error::Cut { row, max_len, needed } => format!(
            "max_length: {max_len} cuts row {row} before or inside an image, whose last token is number {needed}; raise max_length to \
             {needed} or more, or use fewer or smaller images."
        ),
        Error::ColumnLength { row, column, ids, got } => {
            let name = name_of(column);
            format!("{name}: row {row} has {got} entries for {ids} ids; pass one for each token.")
        }
        Error::Label { row, position, label, id } => format!(
            "labels: row {row} has the label {label} at position {position}, where the token is {id}; masked diffusion takes labels that are \
             the tokens themselves, at their own positions (not shifted), and the ignored label elsewhere."
        ),
        Error::IdRange { row, position, id } => format!(
            "{rows}: row {row} has {id} at position {position}; noise accepts ids from 0 to 2**32 - 1. \
             Remove placeholders and padding first."
        ),
        Error::RowLength { row, len } => {
            format!("{rows}: row {row} has {len} tokens; noise accepts up to 2**32 - 4. Split the row.")
        }
        Error::Probability { row, position, bits } => format!(
            "mlm_probability: row {row} has {} at position {position}; expected a probability from 0 (never chosen) to 1 (always).",
            f64::from_bits(bits)
        ),
        Error::Sentinel { row, position, id } => format!(
            "{rows}: row {row} already contains sentinel {id} at position {position}; remove it, use other ids, \
             or set on_sentinel=\"allow\" (merge cannot undo such rows)."
        ),
        Error::Exhausted { row, spans, sentinels } => format!(
            "sentinel_ids: row {row} needs {spans} spans, but there are {sentinels} sentinels; add sentinels, shorten the row, \
             or set on_exhausted=\"fewer_spans\" or \"merge_last\"."
        ),
        Error::SplitPrefix { row } => format!(
            "word_ids: row {row} has tokens of no word after its prefix; a prefix without a sentinel cannot leave tokens out. Set \
             sentinel=True for that denoiser, or remove the column."
        ),
        Error::StraySentinel { row, position, id, in_targets } => {
            let (here, there) = if in_targets { ("labels", "input_ids") } else { ("input_ids", "labels") };
            format!(
                "{here}: row {row} has sentinel {id} at position {position}, but the next sentinel in {there} is different; \
                 merge() needs the untruncated outputs of one corrupt() call."
            )
        }
        Error::Split { row, document, first, second, len } => format!(
            "splits: document {document} of row {row} is cut at {first} and {second}, but has {len} tokens; cuts must ascend from 0 to \
             its number of tokens."
        ),
        Error::SplitDocument { row, document, documents } => format!(
            "splits: row {row} has a split of document {document}, but {documents} documents; number the documents of a row from 0, in \
             ascending order. A document is a run of ids that are not boundary_ids."
        ),
        Error::BrokenDocument { row, position } => format!(
            "input_ids: row {row} has a document at position {position} whose prefix, suffix and middle ids are not complete and in order; \
             merge() needs untruncated rows, and the spec that made them."
        ),
        Error::Changed { row } => format!(
            "{rows}: row {row}, or a column for it, was changed while the call read it. Do not write to arrays that another thread's call \
             reads; pass copies."
        ),
        other => other.to_string(),
    }
}

/// The name of a column in Python.
fn name_of(column: Column) -> &'static str {
    match column {
        Column::Labels => "labels",
        Column::NoiseMask => "noise_mask",
        Column::ProtectedMask => "protected_mask",
        Column::WordIds => "word_ids",
        Column::WordStarts => "word_starts",
        Column::Probabilities => "mlm_probability",
        Column::SentenceStarts => "sentence_starts",
        Column::TurnMask => "turn_mask",
        Column::TurnWeights => "turn_weights",
        Column::LossWeights => "loss_weights",
    }
}

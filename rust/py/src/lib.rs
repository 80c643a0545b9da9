//! `spanmask._core`: arrays in, arrays out. This file lists its contents; each concept has its own file.
#![expect(clippy::too_many_arguments, reason = "one argument per option, passed by name from Python")]

mod batch;
mod bulk;
mod columns;
mod corrupt;
mod diffusion;
mod enums;
mod error;
mod fill_in_the_middle;
mod held;
mod ids;
mod infill;
mod label_plan;
mod labels;
mod level;
mod masked_lm;
mod memory;
mod merge;
mod noise_mask;
mod outputs;
mod ragged;
mod row_options;
mod rows;
mod seq_to_seq;
mod shared;
mod spec;
mod turns;

use pyo3::prelude::*;

/// The Rust core of spanmask; see `_core.pyi`.
///
/// It does not need the GIL: its classes are frozen, nothing that changes is global, and what is made with a first use is in a `OnceLock`.
#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    /// Adds the version, and looks up NumPy's C interface. rust-numpy does that where it is first used, and panics if an exception is pending there: Ctrl-C in the
    /// first call of a process would not be a `KeyboardInterrupt`.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        // `python -W error::spanmask.SpanmaskWarning` imports spanmask in the middle of the import of NumPy, if that comes first.
        if !py.import("numpy")?.hasattr("__version__")? {
            return Err(super::error::numpy_is_incomplete());
        }
        super::outputs::touch_numpy(py)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    #[pymodule_export]
    use super::batch::{Layout, pad, take};
    #[pymodule_export]
    use super::corrupt::{CorruptedBatch, RowStats, corrupt};
    #[pymodule_export]
    use super::diffusion::{DiffusedBatch, DiffusionSpec, diffuse};
    #[pymodule_export]
    use super::error::panic;
    #[pymodule_export]
    use super::fill_in_the_middle::{FimBatch, FimSpec, FimSplits, fill_in_the_middle, merge_documents};
    #[pymodule_export]
    use super::held::{RealRows, read_rows};
    #[pymodule_export]
    use super::infill::{InfillSpec, InfilledBatch, infill};
    #[pymodule_export]
    use super::label_plan::{LabelBatch, LabelPlan, plan_labels};
    #[pymodule_export]
    use super::labels::{LabelCounts, MaskedRows, Policy, mask_labels};
    #[pymodule_export]
    use super::level::simd_level;
    #[pymodule_export]
    use super::masked_lm::{MaskSpec, MaskedBatch, mask_tokens};
    #[pymodule_export]
    use super::merge::{MergedRows, merge};
    #[pymodule_export]
    use super::noise_mask::noise_mask;
    #[pymodule_export]
    use super::ragged::{RaggedArrays, RowBounds, from_arrays, from_lists, mask_bounds};
    #[pymodule_export]
    use super::seq_to_seq::{SeqToSeqBatch, SeqToSeqLayout};
    #[pymodule_export]
    use super::shared::add_shared;
    #[pymodule_export]
    use super::spec::{SpanSpec, plan_lengths};
    #[pymodule_export]
    use super::turns::{Format, Matches, TurnColumns, find_all, find_turns, paint};
}

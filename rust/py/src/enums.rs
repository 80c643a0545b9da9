//! Options that Python passes as strings. Each becomes an enum of the core in one place: where the argument is read.

use pyo3::prelude::*;
use spanmask_core::batch::Side;
use spanmask_core::labels::{OnNoTrainedTurn, Reasoning, Shift, TrainOnEos, TruncatedTurn, WhichTurns};
use spanmask_core::noise::corrupt::OnExhausted;
use spanmask_core::noise::draw::Layout;
use spanmask_core::noise::fill_in_the_middle::{Length, Level, Loss, SpmFormat};
use spanmask_core::noise::infill::Replace;

/// An enum whose values have names in Python.
pub trait Named: Copy + 'static {
    /// Each value with its name, in the order in which messages list them.
    const VALUES: &'static [(&'static str, Self)];
}

/// An argument that names a value of `E`. pyo3 puts the argument's own name before the message.
pub struct Choice<E>(pub E);

impl<'a, 'py, E: Named> FromPyObject<'a, 'py> for Choice<E> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let name: &str = object.extract()?;
        match E::VALUES.iter().find(|(known, _)| *known == name) {
            Some(&(_, value)) => Ok(Self(value)),
            None => {
                let known: Vec<_> = E::VALUES.iter().map(|(known, _)| format!("{known:?}")).collect();
                Err(crate::error::not_a_choice(&known, name))
            }
        }
    }
}

/// `named!(Enum { "name" => Variant, ... })` gives an enum's values their names.
macro_rules! named {
    ($enum:ty { $($name:literal => $variant:ident),* $(,)? }) => {
        impl $crate::enums::Named for $enum {
            const VALUES: &'static [(&'static str, Self)] = &[$(($name, <$enum>::$variant)),*];
        }
    };
}

/// `Denoiser.kind`.
#[derive(Clone, Copy)]
pub enum Kind {
    Spans,
    Prefix,
}

/// `Denoiser.split`.
#[derive(Clone, Copy)]
pub enum Split {
    Density,
    Uniform,
}

named!(WhichTurns { "all" => All, "last" => Last });
named!(TrainOnEos { "none" => None, "turn" => Turn, "last" => Last, "all" => All });
named!(Reasoning { "train" => Train, "ignore" => Ignore, "ignore_empty" => IgnoreEmpty });
named!(TruncatedTurn { "train" => Train, "drop" => Drop });
named!(OnNoTrainedTurn { "mask" => Mask, "keep" => Keep, "raise" => Raise });
named!(Shift { "none" => None, "left" => Left });
named!(Side { "right" => Right, "left" => Left });
named!(Kind { "spans" => Spans, "prefix" => Prefix });
named!(Split { "density" => Density, "uniform" => Uniform });
named!(Layout { "classic" => Classic, "uniform" => Uniform });
named!(OnExhausted { "raise" => Raise, "merge_last" => MergeLast, "fewer_spans" => FewerSpans });
named!(SpmFormat { "joint" => Joint, "plain" => Plain, "unmarked" => Unmarked });
named!(Level { "document" => Document, "context" => Context });
named!(Length { "grow" => Grow, "keep" => Keep, "cut" => Cut });
named!(Loss { "all" => All, "middle" => Middle });
named!(Replace { "one_mask" => OneMask, "each_token" => EachToken, "nothing" => Nothing });

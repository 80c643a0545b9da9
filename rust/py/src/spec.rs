//! `_core.SpanSpec`, `_core.plan_lengths`.

use crate::enums::{Choice, Kind, Split};
use crate::error;
use pyo3::prelude::*;
use spanmask_core::noise::corrupt::{Limits, OnExhausted, Spec};
use spanmask_core::noise::draw::Layout;
use spanmask_core::noise::ids::IdSet;
use spanmask_core::noise::merge::Merger;
use spanmask_core::noise::mixture::{self, Mixture, Objective};
use spanmask_core::noise::plan;
use spanmask_guard::guarded;

/// A `SpanCorruption` or a `DenoiserMixture`.
#[pyclass(frozen, module = "spanmask._core")]
pub struct SpanSpec {
    pub spec: Spec,
    pub merger: Merger,
}

/// The fields of a `Denoiser` that the core needs.
#[derive(FromPyObject)]
struct Denoiser {
    kind: Choice<Kind>,
    split: Choice<Split>,
    noise_density: f64,
    mean_noise_span_length: f64,
    mode_token: Option<u32>,
    sentinel: bool,
}

impl From<Denoiser> for mixture::Denoiser {
    fn from(denoiser: Denoiser) -> Self {
        let Denoiser { noise_density: density, mean_noise_span_length: mean, mode_token, sentinel, .. } =
            denoiser;
        let objective = match (denoiser.kind.0, denoiser.split.0) {
            (Kind::Spans, _) => Objective::Spans { density, mean },
            (Kind::Prefix, Split::Density) => Objective::Prefix(mixture::Split::Density(density)),
            (Kind::Prefix, Split::Uniform) => Objective::Prefix(mixture::Split::Uniform),
        };
        Self { objective, mode_token, sentinels: sentinel }
    }
}

#[pymethods]
impl SpanSpec {
    #[new]
    #[pyo3(signature = (
        *, denoisers, weights, sentinel_ids, allow_sentinels, eos_token_id, bos_token_ids, final_sentinel, layout, on_exhausted, protected_ids
    ))]
    #[guarded]
    fn new(
        denoisers: Vec<Denoiser>,
        weights: Vec<f64>,
        sentinel_ids: Vec<u32>,
        allow_sentinels: bool,
        eos_token_id: Option<u32>,
        bos_token_ids: Vec<u32>,
        final_sentinel: bool,
        layout: Choice<Layout>,
        on_exhausted: Choice<OnExhausted>,
        protected_ids: Vec<u32>,
    ) -> PyResult<Self> {
        let denoisers: Vec<mixture::Denoiser> = denoisers.into_iter().map(Into::into).collect();
        let merger = Merger {
            sentinels: IdSet::new(sentinel_ids.iter().copied()),
            eos: eos_token_id,
            mode_tokens: IdSet::new(denoisers.iter().filter_map(|denoiser| denoiser.mode_token)),
        };
        let spec = Spec {
            mixture: Mixture::new(denoisers, &weights).ok_or_else(error::bad_weights)?,
            forbidden: if allow_sentinels { IdSet::default() } else { merger.sentinels.clone() },
            sentinels: sentinel_ids,
            eos: eos_token_id,
            final_sentinel,
            layout: layout.0,
            on_exhausted: on_exhausted.0,
            protected_ids: IdSet::new(protected_ids),
            bos_ids: IdSet::new(bos_token_ids),
        };
        Ok(Self { spec, merger })
    }

    /// For each denoiser: the greatest row length whose outputs fit, the length of its targets, and its spans.
    #[pyo3(signature = (inputs_length, targets_length=None, max_tokens=None))]
    #[guarded]
    fn plan_lengths(
        &self,
        inputs_length: usize,
        targets_length: Option<usize>,
        max_tokens: Option<u32>,
    ) -> PyResult<Vec<Option<(u32, u32, u32)>>> {
        let limits = Limits { inputs: inputs_length, targets: targets_length.unwrap_or(usize::MAX) };
        let most = max_tokens.unwrap_or(u32::MAX).min(u32::MAX - 3);
        let denoisers = self.spec.mixture.denoisers();
        Ok(denoisers.iter().map(|denoiser| self.spec.plan_lengths(denoiser, limits, most)).collect())
    }
}

/// The greatest row length whose inputs fit, and the length of its targets; `None` if no row fits.
#[pyfunction]
#[guarded]
pub fn plan_lengths(
    inputs_length: u32,
    noise_density: f64,
    mean_noise_span_length: f64,
) -> PyResult<Option<(u32, u32)>> {
    Ok(plan::plan_lengths(inputs_length, noise_density, mean_noise_span_length))
}

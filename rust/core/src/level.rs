//! One loop, compiled for several instruction sets. The processor decides at run time which version runs.
//!
//! The wheel is built for every machine of its target (SSE2 on x86-64). Loops that gain from wider vectors stay plain loops and go
//! through [`SimdLevel::run`]; this is the only module of the core that contains `unsafe`.
#![allow(unsafe_code)] // calls of `target_feature` functions, after a run-time check

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Work in one plain loop.
pub trait Kernel {
    /// The result.
    type Out;

    /// Does the work. Mark it, and all functions that its loop calls, `#[inline(always)]`: it is compiled into a function for each
    /// instruction set.
    fn run(self) -> Self::Out;
}

/// An instruction set that this machine has. Invariant: it comes from [`SimdLevel::detect`] or [`SimdLevel::available`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimdLevel(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Set {
    /// The instructions of every machine of the target.
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// This environment variable holds the name of the highest level that is used. Other values change nothing. It is for tests: results do
/// not depend on the level.
const LIMIT: &str = "SPANMASK_SIMD";

/// What [`SimdLevel::detect`] found: a number of [`SimdLevel::all`], or [`UNKNOWN`]. It is no `OnceLock`: a process that is forked while
/// another thread initializes one would wait forever.
static DETECTED: AtomicUsize = AtomicUsize::new(UNKNOWN);
const UNKNOWN: usize = usize::MAX;

impl SimdLevel {
    /// The instructions of every machine of the target (SSE2 on x86-64, NEON on aarch64).
    pub const BASELINE: Self = Self(Set::Baseline);

    /// The best level of this machine that the environment variable `SPANMASK_SIMD` allows. It is read once, with the first use.
    #[inline]
    pub fn detect() -> Self {
        match Self::all().get(DETECTED.load(Relaxed)) {
            Some(&level) => level,
            None => Self::detect_first(),
        }
    }

    #[cold]
    fn detect_first() -> Self {
        let limit = std::env::var(LIMIT).ok();
        let available = Self::available();
        let number = available.iter().position(|level| limit.as_deref() == Some(level.name()));
        let number = number.unwrap_or(available.len() - 1);
        DETECTED.store(number, Relaxed);
        available[number]
    }

    /// All levels of this machine, the lowest first.
    pub fn available() -> &'static [Self] {
        let best = Self::best();
        let count = Self::all().iter().take_while(|level| level.0 <= best.0).count();
        &Self::all()[..count]
    }

    /// All levels of the target, the lowest first. This machine may lack some of them: they leave this module only through
    /// [`SimdLevel::available`].
    #[inline]
    fn all() -> &'static [Self] {
        &[
            Self::BASELINE,
            #[cfg(target_arch = "x86_64")]
            Self(Set::Avx2),
            #[cfg(target_arch = "x86_64")]
            Self(Set::Avx512),
        ]
    }

    /// The best level of this machine.
    fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return Self(Set::Avx512);
            }
            return Self(Set::Avx2);
        }
        Self::BASELINE
    }

    /// Its name: `baseline`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
        }
    }

    /// Runs the work with these instructions.
    #[inline]
    pub fn run<K: Kernel>(self, work: K) -> K::Out {
        match self.0 {
            Set::Baseline => work.run(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: by the invariant, `best` found the features. Without AVX2 the search takes 2 to 5 times as long.
            Set::Avx2 => unsafe { run_avx2(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above. If labels are written without AVX-512, the whole call takes a tenth longer.
            Set::Avx512 => unsafe { run_avx512(work) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn run_avx2<K: Kernel>(work: K) -> K::Out {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2")]
fn run_avx512<K: Kernel>(work: K) -> K::Out {
    work.run()
}

/// Requires that `work` gives the same at every level of this machine, and what it gives.
#[cfg(test)]
pub fn at_every_level<O: PartialEq + core::fmt::Debug>(mut work: impl FnMut(SimdLevel) -> O) -> O {
    let want = work(SimdLevel::BASELINE);
    for &level in SimdLevel::available() {
        assert_eq!(work(level), want, "{level:?}");
    }
    want
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_ascend_and_one_of_them_is_used() {
        let names: Vec<&str> = SimdLevel::available().iter().map(|level| level.name()).collect();
        assert!(["baseline", "avx2", "avx512"].starts_with(&names), "{names:?}");
        let limit = std::env::var(LIMIT).ok().filter(|limit| names.contains(&limit.as_str()));
        assert_eq!(Some(SimdLevel::detect().name()), limit.as_deref().or(names.last().copied()));
    }
}

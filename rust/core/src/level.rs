//! One loop, compiled for several instruction sets. The processor decides at run time which version runs.
//!
//! The wheel is built for every machine of its target (SSE2 on x86-64). Loops that gain from wider vectors stay plain loops and go
//! through [`SimdLevel::run`]; this is the only module of the core that contains `unsafe`.
#![allow(unsafe_code)] // calls of `target_feature` functions, after a run-time check

/// Work in one plain loop.
pub trait Kernel {
    /// The result.
    type Out;

    /// Does the work. Mark it, and all functions that its loop calls, `#[inline(always)]`: it is compiled into a function for each
    /// instruction set.
    fn run(self) -> Self::Out;
}

/// An instruction set that this machine has. Invariant: it comes from [`SimdLevel::detect`], or has fewer instructions than that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimdLevel(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    /// The instructions of every machine of the target.
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl SimdLevel {
    /// The instructions of every machine of the target (SSE2 on x86-64, NEON on aarch64).
    pub const BASELINE: Self = Self(Set::Baseline);

    /// The best level of this machine.
    pub fn detect() -> Self {
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

    /// Runs the work with these instructions.
    #[inline]
    pub fn run<K: Kernel>(self, work: K) -> K::Out {
        match self.0 {
            Set::Baseline => work.run(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: by the invariant, `detect` found the features. Without AVX2 the search takes 2 to 5 times as long.
            Set::Avx2 => unsafe { run_avx2(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above. If labels are written without AVX-512, the whole call takes a tenth longer.
            Set::Avx512 => unsafe { run_avx512(work) },
        }
    }

    /// All levels of this machine.
    #[cfg(test)]
    pub fn available() -> Vec<Self> {
        match Self::detect().0 {
            Set::Baseline => vec![Self::BASELINE],
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => vec![Self::BASELINE, Self(Set::Avx2)],
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => vec![Self::BASELINE, Self(Set::Avx2), Self(Set::Avx512)],
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

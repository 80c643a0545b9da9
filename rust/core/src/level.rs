//! One loop, compiled for several instruction sets; what the processor has decides at run time which of them runs.
//!
//! The wheel is built for every machine of its target (SSE2 on x86-64). Loops that gain from wider vectors stay plain loops and go
//! through [`Level::run`]; this is the only module of the core with `unsafe` in it.
#![allow(unsafe_code)] // calls of `target_feature` functions, after a run-time check

/// Work in one plain loop.
pub trait Loop {
    /// What comes out.
    type Out;

    /// Does it. Mark it `#[inline(always)]`, and all that it calls in its loop: it is compiled into each instruction set's own function.
    fn run(self) -> Self::Out;
}

/// An instruction set that this machine has. Invariant: made by [`Level::detect`], or as one that has fewer instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    /// What every machine of the target has.
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// What every machine of the target has (SSE2 on x86-64, NEON on aarch64).
    pub const BASELINE: Self = Self(Set::Baseline);

    /// The best that this machine has.
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

    /// Does the work with these instructions.
    #[inline]
    pub fn run<L: Loop>(self, work: L) -> L::Out {
        match self.0 {
            Set::Baseline => work.run(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` saw the features, by the invariant. The search without: 2 to 5 times as long.
            Set::Avx2 => unsafe { run_avx2(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: likewise. Writing labels without: a tenth more of the whole call.
            Set::Avx512 => unsafe { run_avx512(work) },
        }
    }

    /// All that this machine has.
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
fn run_avx2<L: Loop>(work: L) -> L::Out {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2")]
fn run_avx512<L: Loop>(work: L) -> L::Out {
    work.run()
}

//! The integer types that hold token ids.

mod sealed {
    pub trait Sealed {}
}

/// A token id as stored: `u16`, `u32`, `i32` or `i64`.
///
/// Sealed: kernels are compiled for these four, and results leave as `i64`, which holds them all.
pub trait Token: Copy + Eq + Ord + core::fmt::Debug + Send + Sync + sealed::Sealed + 'static {
    /// The id as `i64`, lossless.
    fn to_i64(self) -> i64;

    /// `id` in this type; `None` where it does not fit (such an id stands in no row of this type).
    fn from_i64(id: i64) -> Option<Self>;

    /// The low bits of the id: spreads ids over a small table.
    fn low_byte(self) -> u8;

    /// All bits set where the ids are equal, else none: a compare that stays in the vector lane of its id.
    fn equal_lane(self, other: Self) -> Self;

    /// The bits that are set in either.
    fn or_lanes(self, other: Self) -> Self;

    /// No bit set.
    const NO_LANE: Self;
}

macro_rules! token {
    ($($int:ty),*) => {$(
        impl sealed::Sealed for $int {}
        impl Token for $int {
            #[inline(always)]
            fn to_i64(self) -> i64 {
                i64::from(self)
            }

            #[inline(always)]
            fn from_i64(id: i64) -> Option<Self> {
                Self::try_from(id).ok()
            }

            #[inline(always)]
            fn low_byte(self) -> u8 {
                self as u8
            }

            #[inline(always)]
            fn equal_lane(self, other: Self) -> Self {
                Self::wrapping_sub(0, Self::from(self == other))
            }

            #[inline(always)]
            fn or_lanes(self, other: Self) -> Self {
                self | other
            }

            const NO_LANE: Self = 0;
        }
    )*};
}

token!(u16, u32, i32, i64);

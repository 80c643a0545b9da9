//! The integer types that hold token ids.

mod sealed {
    pub trait Sealed {}
}

/// A token id as stored: `u16`, `u32`, `i32` or `i64`.
///
/// It is sealed: kernels are compiled for these four types, and results are `i64`, which holds them all.
pub trait Token: Copy + Eq + Ord + core::fmt::Debug + Send + Sync + sealed::Sealed + 'static {
    /// The id as `i64`, lossless.
    fn to_i64(self) -> i64;

    /// `id` in this type; `None` if it does not fit (such an id occurs in no row of this type).
    fn from_i64(id: i64) -> Option<Self>;

    /// Writes ids as `i64`. Both slices have the same length.
    fn copy_into(ids: &[Self], out: &mut [i64]);

    /// The low bits of the id: its position in a table of 2^16.
    fn low_bits(self) -> u16;
}

/// Converts the ids one by one.
#[inline(always)]
fn widen_into<T: Token>(ids: &[T], out: &mut [i64]) {
    for (place, id) in out.iter_mut().zip(ids) {
        *place = id.to_i64();
    }
}

#[inline(always)]
fn copy_equal_into(ids: &[i64], out: &mut [i64]) {
    out.copy_from_slice(ids);
}

macro_rules! token {
    ($($int:ty: $copy_into:path),*) => {$(
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
            fn copy_into(ids: &[Self], out: &mut [i64]) {
                debug_assert_eq!(ids.len(), out.len());
                $copy_into(ids, out);
            }

            #[inline(always)]
            fn low_bits(self) -> u16 {
                self as u16
            }
        }
    )*};
}

// The system's copy is faster than a loop by an eighth if ids are as wide as labels.
token!(u16: widen_into, u32: widen_into, i32: widen_into, i64: copy_equal_into);

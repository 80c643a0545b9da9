//! Checks: bytes -> an input -> the core and its twin -> a panic where they differ.

mod batch;
mod corrupt;
mod diffusion;
mod fill_in_the_middle;
mod infill;
mod input;
mod labels;
mod masked_lm;
mod seq_to_seq;
mod turns;

use input::Input;

/// A function for each check, and a list of them.
macro_rules! checks {
    ($($name:ident),*) => {
        $(
            /// Runs the check of this name, which is also that of its fuzz target, on an input made of `data`. Panics where core and twin
            /// differ.
            pub fn $name(data: &[u8]) {
                $name::check(&mut Input::new(data));
            }
        )*

        /// All checks, and their names.
        pub const ALL: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name)),*];
    };
}
checks!(turns, labels, batch, corrupt, masked_lm, fill_in_the_middle, infill, diffusion);

/// Calls a function that is generic over the type of ids, with a type that the input chooses. Fuzz targets leave two types to the tests:
/// they are then built in half of the time.
macro_rules! with_type {
    ($input:expr, $check:ident) => {
        match $input.below(4) {
            #[cfg(fuzzing)]
            0 | 1 => $check::<u16>($input),
            #[cfg(not(fuzzing))]
            0 => $check::<u16>($input),
            #[cfg(not(fuzzing))]
            1 => $check::<u32>($input),
            #[cfg(not(fuzzing))]
            2 => $check::<i32>($input),
            _ => $check::<i64>($input),
        }
    };
}
use with_type;

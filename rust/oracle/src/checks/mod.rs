//! Checks: bytes -> an input -> the core and its twin -> a panic where they differ.

mod batch;
mod corrupt;
mod diffusion;
mod fill_in_the_middle;
mod infill;
mod input;
mod labels;
mod masked_lm;
mod turns;

use input::Input;

/// A check and its name, which is that of its fuzz target.
type Check = (&'static str, fn(&mut Input));

/// All checks.
const CHECKS: [Check; 8] = [
    ("turns", turns::check),
    ("labels", labels::check),
    ("batch", batch::check),
    ("corrupt", corrupt::check),
    ("masked_lm", masked_lm::check),
    ("fill_in_the_middle", fill_in_the_middle::check),
    ("infill", infill::check),
    ("diffusion", diffusion::check),
];

/// The names of all checks.
pub fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// Runs the check `name` on an input made of `data`. Panics where core and twin differ.
pub fn run(name: &str, data: &[u8]) {
    let (_, check) = CHECKS.iter().find(|check| check.0 == name).expect("a known check");
    check(&mut Input::new(data));
}

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

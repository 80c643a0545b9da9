//! The obvious search, the oracle of every other one. Used by tests only.

use crate::Token;

/// Every match of every needle in `row`: (position, number of the needle), by position, then longest first, then as listed.
pub fn find_all<T: Token>(row: &[T], needles: &[Vec<T>]) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..needles.len()).collect();
    order.sort_by_key(|&id| core::cmp::Reverse(needles[id].len())); // stable: as listed on a tie
    let mut found = Vec::new();
    for position in 0..row.len() {
        for &id in &order {
            if !needles[id].is_empty() && occurs(row, position, &needles[id]) {
                found.push((position, id));
            }
        }
    }
    found
}

/// Token by token: libFuzzer looks at each call of `memcmp`, and slices are compared with it.
fn occurs<T: Token>(row: &[T], position: usize, needle: &[T]) -> bool {
    row[position..].iter().take(needle.len()).eq(needle)
}

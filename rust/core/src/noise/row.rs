//! A row as noise sees it: ids checked, its key known.

use super::ids::IdSet;
use crate::rng::key::row_key;
use crate::{Error, Token};

/// Errors: [`Error::RowLength`] for a row whose positions do not fit 32 bits.
pub fn check_len(row: usize, len: usize) -> Result<u32, Error> {
    // Two places are kept free: counts of a row's tokens plus its ends must fit too.
    u32::try_from(len).ok().filter(|&len| len < u32::MAX - 2).ok_or(Error::RowLength { row, len })
}

/// A row less its trailing EOS.
pub fn without_eos<T: Token>(row: &[T], eos: Option<u32>) -> &[T] {
    match row {
        [body @ .., last] if eos.is_some_and(|eos| last.to_i64() == i64::from(eos)) => body,
        _ => row,
    }
}

/// Checks the ids of row `i`, and gives its key where none is `known`: the hash of `body`.
///
/// Errors: [`Error::IdRange`] for an id outside `0..2^32`, [`Error::Sentinel`] for one of `forbidden`.
#[inline]
pub fn check_and_key<T: Token>(
    i: usize,
    body: &[T],
    forbidden: &IdSet,
    known: Option<u64>,
    pack: &mut Vec<[u8; 4]>,
) -> Result<u64, Error> {
    // Sums of flags instead of early exits, one thing a loop: no branch, and the compiler makes vectors of each.
    let high = body.iter().fold(0, |high, token| high | token.to_i64() as u64 >> 32);
    let mut hits = 0;
    if known.is_none() {
        pack.clear();
        pack.extend(body.iter().map(|token| (token.to_i64() as u32).to_le_bytes()));
        if !forbidden.ids().is_empty() {
            hits =
                pack.iter().fold(0, |hits, id| hits + u32::from(forbidden.in_range(u32::from_le_bytes(*id))));
        }
    } else if !forbidden.ids().is_empty() {
        hits = body.iter().fold(0, |hits, token| hits + u32::from(forbidden.in_range(token.to_i64() as u32)));
    }
    if high != 0 || hits != 0 {
        find_bad(i, body, forbidden)?;
    }
    Ok(known.unwrap_or_else(|| row_key(pack)))
}

#[cold]
fn find_bad<T: Token>(row: usize, body: &[T], forbidden: &IdSet) -> Result<(), Error> {
    for (position, token) in body.iter().enumerate() {
        let id = token.to_i64();
        match u32::try_from(id) {
            Err(_) => return Err(Error::IdRange { row, position, id }),
            Ok(short) if forbidden.contains(short) => return Err(Error::Sentinel { row, position, id }),
            Ok(_) => {}
        }
    }
    Ok(())
}

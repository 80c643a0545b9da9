//! What noise requires of a row: its ids are checked, its key is computed.

use super::ids::IdSet;
use crate::level::{Kernel, SimdLevel};
use crate::rng::key::{RowKey, row_key};
use crate::stop::poll_at;
use crate::{Error, Token};

/// Errors: [`Error::RowLength`] for a row whose positions do not fit 32 bits.
pub fn check_len(row: usize, len: usize) -> Result<u32, Error> {
    // Two positions are kept free: counts of a row's tokens plus its ends must fit too.
    u32::try_from(len).ok().filter(|&len| len < u32::MAX - 2).ok_or(Error::RowLength { row, len })
}

/// A row without its trailing EOS.
pub fn without_eos<T: Token>(row: &[T], eos: Option<u32>) -> &[T] {
    match row {
        [body @ .., last] if eos.is_some_and(|eos| last.to_i64() == i64::from(eos)) => body,
        _ => row,
    }
}

/// Tokens hashed at once: 16 KiB, which stay in the first cache. Without parts, a row of 1M tokens took a sixth longer.
const PART: usize = 1 << 12;

/// Checks the ids of row `i` and returns its key: the `known` one, or the hash of `body`.
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
    let level = SimdLevel::detect();
    let (mut suspect, mut parts) = (false, RowKey::default());
    for (number, part) in body.chunks(PART).enumerate() {
        poll_at(number, PART);
        suspect |= level.run(Pack { body: part, forbidden, pack });
        if known.is_none() && body.len() > PART {
            parts.update(pack);
        }
    }
    if suspect {
        find_bad(i, body, forbidden)?;
    }
    Ok(match known {
        Some(key) => key,
        None if body.len() > PART => parts.finish(),
        None => row_key(&pack[..body.len()]),
    })
}

/// Writes ids as the bytes that are hashed, and finds whether one of them may be bad. Nothing is short-circuited: a row is ruled out by
/// compares and ORs alone.
struct Pack<'a, T> {
    body: &'a [T],
    forbidden: &'a IdSet,
    pack: &'a mut Vec<[u8; 4]>,
}

impl<T: Token> Kernel for Pack<'_, T> {
    type Out = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self { body, forbidden, pack } = self;
        pack.resize(body.len(), [0; 4]);
        pack.iter_mut().zip(body).fold(false, |bad, (bytes, token)| {
            let id = token.to_i64();
            *bytes = (id as u32).to_le_bytes();
            bad | (id as u64 >> 32 != 0) | forbidden.in_range(id as u32)
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::at_every_level;

    #[test]
    fn every_level_packs_the_same() {
        let forbidden = IdSet::new([90, 92]);
        for (len, bad) in
            [(0, None), (1, Some(-1)), (70, None), (70, Some(91)), (300, Some(1 << 32)), (300, Some(89))]
        {
            let mut row: Vec<i64> = (0..len).map(|i| i * 7919 % 80).collect();
            if let (Some(last), Some(bad)) = (row.last_mut(), bad) {
                *last = bad;
            }
            let packed = at_every_level(|level| {
                let mut pack = Vec::new();
                let suspect = level.run(Pack { body: &row, forbidden: &forbidden, pack: &mut pack });
                (suspect, pack)
            });
            let bytes: Vec<[u8; 4]> = row.iter().map(|&id| (id as u32).to_le_bytes()).collect();
            // 91 is inside the range of the forbidden ids: suspect, though it is not one of them.
            assert_eq!(packed, (bad.is_some_and(|bad| bad != 89), bytes), "{len} {bad:?}");
        }
    }

    #[test]
    fn a_key_does_not_depend_on_parts() {
        for len in [0, 1, 60, 61, PART - 1, PART, PART + 1, 3 * PART + 17] {
            let row: Vec<i32> = (0..len as i32).map(|i| i.wrapping_mul(7919) & 0xffff).collect();
            let whole: Vec<[u8; 4]> = row.iter().map(|id| id.to_le_bytes()).collect();
            let key = check_and_key(0, &row, &IdSet::default(), None, &mut Vec::new());
            assert_eq!(key, Ok(row_key(&whole)), "{len} tokens");
        }
    }
}

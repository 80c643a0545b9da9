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

/// Tokens looked at side by side.
const LANES: usize = 8;

/// Checks the ids of row `i`, and gives its key where none is `known`: the hash of `body`.
///
/// Errors: [`Error::IdRange`] for an id outside `0..2^32`, [`Error::Sentinel`] for one of `forbidden`.
#[inline]
#[expect(
    clippy::needless_range_loop,
    reason = "`enumerate` counts with an overflow check, which keeps loops scalar"
)]
pub fn check_and_key<T: Token>(
    i: usize,
    body: &[T],
    forbidden: &IdSet,
    known: Option<u64>,
    pack: &mut Vec<[u8; 4]>,
) -> Result<u64, Error> {
    // Flags gather in eight lanes instead of exits, and nothing can overflow: the compiler makes vectors of the lanes.
    let (mut high, mut hits) = ([0u32; LANES], [0u32; LANES]);
    let mut look = |lane: usize, token: T| {
        let id = token.to_i64();
        high[lane] |= (id as u64 >> 32) as u32;
        hits[lane] |= u32::from(forbidden.in_range(id as u32));
        (id as u32).to_le_bytes()
    };
    let (blocks, rest) = body.as_chunks::<LANES>();
    if known.is_some() {
        for block in blocks {
            for lane in 0..LANES {
                look(lane, block[lane]);
            }
        }
        rest.iter().for_each(|&token| _ = look(0, token));
    } else {
        pack.resize(body.len(), [0; 4]);
        let (packed, packed_rest) = pack.as_chunks_mut::<LANES>();
        for (packed, block) in packed.iter_mut().zip(blocks) {
            for lane in 0..LANES {
                packed[lane] = look(lane, block[lane]);
            }
        }
        for (packed, &token) in packed_rest.iter_mut().zip(rest) {
            *packed = look(0, token);
        }
    }
    let (high, hits) = (high.iter().any(|&h| h != 0), hits.iter().any(|&h| h != 0));
    if high || hits {
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

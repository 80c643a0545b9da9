//! What may be hidden: tokens or words that are not protected.
//! Oracle: `spanmask.reference.rules`.

use super::draw::Span;
use super::ids::IdSet;
use super::words::{WordMap, Words, after_word_ends, blocks, word_starts};
use crate::bitblock::{BLOCK, bits, set_bits_into};
use crate::error::Column;
use crate::stop::{self, poll_at};
use crate::{Error, Ragged, Token};
use core::ops::Range;

/// What may be hidden, and which tokens are hidden together: a **unit** is a word, or a token if rows have no words.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules<'a> {
    /// Ids that are never hidden; a word that contains one is never hidden either.
    pub protected_ids: Option<&'a IdSet>,
    /// Ids that are not hidden where a row begins with them.
    pub leading_ids: Option<&'a IdSet>,
    /// Ids that continue the word before them.
    pub continuation_ids: Option<&'a IdSet>,
    /// Ids after which a word begins, even if the next id continues words.
    pub word_end_ids: Option<&'a IdSet>,
    /// A flag for each token that is never hidden.
    pub protected_mask: Option<Ragged<'a, bool>>,
    /// Words, by token.
    pub words: Option<Words<'a>>,
}

impl Rules<'_> {
    /// Whether every token of every row may be hidden on its own.
    pub fn is_free(&self) -> bool {
        let none = |ids: Option<&IdSet>| ids.is_none_or(|ids| ids.ids().is_empty());
        none(self.protected_ids)
            && none(self.leading_ids)
            && self.protected_mask.is_none()
            && !self.has_words()
    }

    /// Whether words are hidden whole.
    pub fn has_words(&self) -> bool {
        self.words.is_some() || self.continuation_ids.is_some()
    }

    /// The same rules for the rows `range`.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self {
            protected_mask: self.protected_mask.map(|flags| flags.slice(range.clone())),
            words: self.words.map(|words| words.slice(range)),
            ..*self
        }
    }

    /// Errors: [`Error::Length`] if a column does not have `rows` rows.
    pub fn check_rows(&self, rows: usize) -> Result<(), Error> {
        let words = self.words.map(|words| match words {
            Words::Starts(flags) => flags.len(),
            Words::Ids(ids) => ids.len(),
        });
        let columns = [self.protected_mask.map(|flags| flags.len()), words];
        match columns.into_iter().flatten().find(|&got| got != rows) {
            Some(got) => Err(Error::Length { want: rows, got }),
            None => Ok(()),
        }
    }

    /// Errors: [`Error::ColumnLength`] if a column is not aligned with row `i`, which has `len` tokens.
    pub fn check(&self, i: usize, len: usize) -> Result<(), Error> {
        let column = |column, got| {
            if got == len { Ok(()) } else { Err(Error::ColumnLength { row: i, column, ids: len, got }) }
        };
        if let Some(flags) = self.protected_mask {
            column(Column::ProtectedMask, flags.bounds(i).len())?;
        }
        match self.words {
            Some(Words::Starts(flags)) => column(Column::WordStarts, flags.bounds(i).len()),
            Some(Words::Ids(ids)) => column(Column::WordIds, ids.bounds(i).len()),
            None => Ok(()),
        }
    }

    /// Moves the `places` that may be hidden in row `i` to the beginning. Requires that no words are hidden whole, and no leading ids.
    #[inline(never)] // leaves registers for the callers
    pub fn free_among<'p, T: Token>(&self, i: usize, row: &[T], places: &'p mut [u32]) -> &'p [u32] {
        let flags = self.protected_mask.map(|flags| flags.row(i));
        let mut free = 0;
        for n in 0..places.len() {
            let at = places[n];
            let id = row[at as usize].to_i64() as u32;
            let protected = self.protected_ids.is_some_and(|ids| ids.contains(id))
                || flags.is_some_and(|flags| flags[at as usize]);
            // Each place is written, and kept or not by the count.
            places[free] = at;
            free += usize::from(!protected);
        }
        &places[..free]
    }

    /// The units of row `i` that may be hidden, in order. `body` is the row, or its beginning; ids fit in 32 bits, columns were checked.
    pub fn units_into<T: Token>(&self, i: usize, body: &[T], units: &mut Vec<Span>) {
        // The open unit, and whether it contains a protected token. No unit is open yet, so none may be taken.
        let (mut start, mut is_protected) = (0, true);
        let (mut count, mut ended) = (0, false);
        for (range, block) in blocks(body) {
            let first = range.start;
            let mut left = self.protected(i, block, range.clone());
            let mut starts = self.starts(i, block, range);
            if let Some(ids) = self.word_end_ids {
                starts |= after_word_ends(ids, block, &mut ended);
            }
            stop::resize(units, units.len().max(count + BLOCK), Span::default());
            while starts != 0 {
                let at = (first + starts.trailing_zeros() as usize) as u32;
                let before = (starts & starts.wrapping_neg()).wrapping_sub(1);
                // Each unit is written, and kept or not by the count: if half of the ids are protected, a branch could not be predicted.
                units[count] = Span { start, stop: at };
                count += usize::from(!is_protected & (left & before == 0));
                (start, is_protected) = (at, false);
                left &= !before;
                starts &= starts.wrapping_sub(1);
            }
            is_protected |= left != 0;
        }
        units.truncate(count);
        if !is_protected {
            stop::push(units, Span { start, stop: body.len() as u32 });
        }
    }

    /// Maps the words of row `i`. Its ids fit in 32 bits, its columns were checked.
    pub fn map_words<T: Token>(&self, i: usize, row: &[T], map: &mut WordMap) {
        let bits = |(range, block): (Range<usize>, &[T])| {
            (self.starts(i, block, range.clone()), self.protected(i, block, range))
        };
        map.fill(row.len(), blocks(row).map(bits));
        if let Some(ids) = self.word_end_ids {
            map.begin_after(ids, row);
        }
    }

    /// Whether every token of row `i` may be hidden on its own.
    pub fn leave_free<T: Token>(&self, i: usize, body: &[T]) -> bool {
        !self.has_words() && blocks(body).all(|(range, block)| self.protected(i, block, range) == 0)
    }

    /// The protected positions of row `i`, ascending. If no words are hidden whole, all other positions are units.
    pub fn protected_into<T: Token>(&self, i: usize, body: &[T], protected: &mut Vec<u32>) {
        let mut found = 0;
        for (range, block) in blocks(body) {
            let first = range.start as u32;
            stop::resize(protected, protected.len().max(found + BLOCK), 0);
            found += set_bits_into(self.protected(i, block, range), first, &mut protected[found..]);
        }
        protected.truncate(found);
    }

    /// One bit for each token of `block`, which is at `range` of row `i`: whether a unit begins with it, by all but `word_end_ids`.
    pub(super) fn starts<T: Token>(&self, i: usize, block: &[T], range: Range<usize>) -> u64 {
        word_starts(self.words, self.continuation_ids, i, block, range)
    }

    /// One bit for each token of `block`, which is at `range` of row `i`: whether it is protected.
    fn protected<T: Token>(&self, i: usize, block: &[T], range: Range<usize>) -> u64 {
        let mut protected = self.protected_ids.map_or(0, |ids| ids.find(block));
        if range.start == 0
            && let (Some(ids), Some(first)) = (self.leading_ids, block.first())
        {
            protected |= u64::from(ids.contains(first.to_i64() as u32));
        }
        if let Some(flags) = self.protected_mask {
            protected |= bits(flags.row(i)[range.clone()].iter().copied());
        }
        if let Some(Words::Ids(ids)) = self.words {
            protected |= bits(ids.row(i)[range].iter().map(|&id| id < 0));
        }
        protected
    }
}

/// Converts spans that count only unprotected tokens to spans of the row, in place. A span is split where one of the
/// `protected` positions lies inside it.
pub fn skip_protected(protected: &[u32], spans: &mut Vec<Span>, scratch: &mut Vec<Span>) {
    if protected.is_empty() {
        return;
    }
    scratch.clear();
    let mut passed = 0; // the number of protected tokens before the span
    let next = |passed: u32| protected.get(passed as usize).map(|&at| at - passed);
    for (number, span) in spans.iter().enumerate() {
        poll_at(number, 16);
        while next(passed).is_some_and(|clear| clear <= span.start) {
            passed += 1;
        }
        let mut start = span.start + passed;
        while let Some(clear) = next(passed).filter(|&clear| clear < span.stop) {
            let stop = clear + passed;
            if start < stop {
                stop::push(scratch, Span { start, stop });
            }
            start = stop + 1;
            passed += 1;
        }
        stop::push(scratch, Span { start, stop: span.stop + passed });
    }
    core::mem::swap(spans, scratch);
}

#[cfg(test)]
mod tests {
    use super::super::words::expand;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn skipping_the_protected_is_expanding_the_others(
            protected in prop::collection::vec(any::<bool>(), 0..300),
            cuts in prop::collection::btree_set(0u32..300, 0..40),
        ) {
            let mut units = Vec::new();
            let ids = vec![0i64; protected.len()];
            let offsets = [0, protected.len() as i64];
            let rules =
                Rules { protected_mask: Some(Ragged::new(&protected, &offsets).unwrap()), ..Rules::default() };
            rules.units_into(0, &ids, &mut units);
            let cuts: Vec<u32> = cuts.into_iter().filter(|&cut| cut < units.len() as u32).collect();
            let mut spans: Vec<Span> =
                cuts.as_chunks::<2>().0.iter().map(|&[start, stop]| Span { start, stop }).collect();
            let mut expanded = spans.clone();
            expand(&units, &mut expanded, &mut Vec::new());
            let mut places = Vec::new();
            rules.protected_into(0, &ids, &mut places);
            skip_protected(&places, &mut spans, &mut Vec::new());
            prop_assert_eq!(spans, expanded);
            prop_assert_eq!(rules.leave_free(0, &ids), !protected.contains(&true));
        }
    }
}

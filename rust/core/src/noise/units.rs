//! What is hidden as one: a token, or a word. And which of them may be hidden.
//! Oracle: `spanmask.reference.units`.

use super::draw::Span;
use super::ids::IdSet;
use crate::error::Column;
use crate::{Error, Ragged, Token};

/// Where words begin, given beside the rows.
#[derive(Debug, Clone, Copy)]
pub enum Words<'a> {
    /// A flag for each token that begins a word.
    Starts(Ragged<'a, bool>),
    /// A number for each token: a word goes on as long as it stays the same; a negative number is no word, and never hidden.
    Ids(Ragged<'a, i64>),
}

/// What may be hidden, and what belongs together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules<'a> {
    /// Ids that are never hidden; a word that holds one is not either.
    pub protected_ids: Option<&'a IdSet>,
    /// Ids that go on with the word in front of them.
    pub continuing_ids: Option<&'a IdSet>,
    /// A flag for each token that is never hidden.
    pub protected: Option<Ragged<'a, bool>>,
    /// Words, by token.
    pub words: Option<Words<'a>>,
}

impl<'a> Rules<'a> {
    /// Whether every token of every row may be hidden by itself.
    pub fn is_free(&self) -> bool {
        self.protected_ids.is_none_or(|ids| ids.ids().is_empty())
            && self.protected.is_none()
            && !self.has_words()
    }

    /// Whether words are hidden whole.
    pub fn has_words(&self) -> bool {
        self.words.is_some() || self.continuing_ids.is_some()
    }

    /// The same rules for the rows `range`.
    pub fn slice(&self, range: core::ops::Range<usize>) -> Self {
        Self {
            protected: self.protected.map(|flags| flags.slice(range.clone())),
            words: self.words.map(|words| match words {
                Words::Starts(flags) => Words::Starts(flags.slice(range)),
                Words::Ids(ids) => Words::Ids(ids.slice(range)),
            }),
            ..*self
        }
    }

    /// Whether position `at` of row `i` may be hidden, as far as single tokens go.
    #[inline]
    pub fn may_hide<T: Token>(&self, i: usize, at: usize, token: T) -> bool {
        !self.protected_ids.is_some_and(|ids| ids.contains(token.to_i64() as u32))
            && !self.protected.is_some_and(|flags| flags.row(i)[at])
    }

    /// Errors: [`Error::ColumnLength`] where a column is not aligned with a row of `len` tokens.
    pub fn check(&self, i: usize, len: usize) -> Result<(), Error> {
        let column = |column, got| {
            if got == len { Ok(()) } else { Err(Error::ColumnLength { row: i, column, ids: len, got }) }
        };
        if let Some(flags) = self.protected {
            column(Column::Protected, flags.bounds(i).len())?;
        }
        match self.words {
            Some(Words::Starts(flags)) => column(Column::Words, flags.bounds(i).len()),
            Some(Words::Ids(ids)) => column(Column::Words, ids.bounds(i).len()),
            None => Ok(()),
        }
    }

    /// The units of row `i` that may be hidden, in order. `body` is the row, or its beginning; ids fit 32 bits, columns were checked.
    pub fn units_into<T: Token>(&self, i: usize, body: &[T], units: &mut Vec<Span>) {
        units.clear();
        let mut free = true; // the last unit may be hidden
        for (at, &token) in body.iter().enumerate() {
            let (goes_on, is_word) = match self.words {
                Some(Words::Starts(flags)) => (!flags.row(i)[at], true),
                Some(Words::Ids(ids)) => {
                    let ids = ids.row(i);
                    (at > 0 && ids[at] == ids[at - 1], ids[at] >= 0)
                }
                None => (self.continuing_ids.is_some_and(|ids| ids.contains(token.to_i64() as u32)), true),
            };
            let may_hide = is_word && self.may_hide(i, at, token);
            let position = at as u32;
            match units.last_mut() {
                Some(last) if goes_on && last.stop == position => {
                    last.stop = position + 1;
                    free &= may_hide;
                }
                _ => {
                    if !free {
                        units.pop();
                    }
                    units.push(Span { start: position, stop: position + 1 });
                    free = may_hide;
                }
            }
        }
        if !free {
            units.pop();
        }
    }
}

/// Spans of units -> spans of tokens, in place. Where a unit in between may not be hidden, a span falls into several.
pub fn expand(units: &[Span], spans: &mut Vec<Span>, scratch: &mut Vec<Span>) {
    scratch.clear();
    for span in spans.iter() {
        for unit in &units[span.start as usize..span.stop as usize] {
            match scratch.last_mut() {
                // Units of two spans never touch: a clear one stands between them.
                Some(last) if last.stop == unit.start => last.stop = unit.stop,
                _ => scratch.push(*unit),
            }
        }
    }
    core::mem::swap(spans, scratch);
}

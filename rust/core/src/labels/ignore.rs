//! Tokens that never train, wherever they occur: single ids, literal sequences, and the tokens between two markers.

use super::spans::{Span, Spans};
use crate::Token;
use crate::search::Searcher;
use crate::stop;
use crate::turns::Turn;
use core::ops::Range;

/// Tokens that never train.
#[derive(Debug, Clone)]
pub struct Ignore<T> {
    ids: Searcher<T>,
    sequences: Searcher<T>,
    /// Opening markers of all pairs; `pairs[needle]` is the number of the pair.
    opens: Searcher<T>,
    pairs: Vec<usize>,
    /// Closing markers by pair.
    closes: Vec<Searcher<T>>,
    /// The markers around a region train.
    train_markers: bool,
}

/// Two lists of alternatives: the markers that open a region, and those that close it.
pub type MarkerPair = (Vec<Vec<i64>>, Vec<Vec<i64>>);

impl<T: Token> Ignore<T> {
    /// `train_markers`: the markers of `between` train although the tokens between them do not.
    pub fn new(ids: &[i64], sequences: &[Vec<i64>], between: &[MarkerPair], train_markers: bool) -> Self {
        let opens = between
            .iter()
            .enumerate()
            .flat_map(|(pair, (opens, _))| opens.iter().map(move |open| (pair, open)));
        let (pairs, opens): (Vec<usize>, Vec<&Vec<i64>>) = opens.unzip();
        Self {
            ids: Searcher::new(ids.chunks(1)),
            sequences: Searcher::new(sequences.iter().map(Vec::as_slice)),
            opens: Searcher::new(opens.into_iter().map(Vec::as_slice)),
            pairs,
            closes: between
                .iter()
                .map(|(_, closes)| Searcher::new(closes.iter().map(Vec::as_slice)))
                .collect(),
            train_markers,
        }
    }

    /// Removes all tokens that never train from `spans`. A region between markers lies inside one turn's content, or anywhere in a row
    /// without turns.
    ///
    /// Returns how many regions opened but did not close before their turn ended. Only turns that are `counted` count, and regions that
    /// open before the last span stops.
    pub fn subtract_from(
        &self,
        spans: &mut Spans,
        row: &[T],
        turns: &[Turn],
        counted: impl Fn(&Turn) -> bool,
    ) -> usize {
        let Some(&Span { stop, .. }) = spans.0.last() else { return 0 };
        let mut unclosed = 0;
        let mut holes = Vec::new();
        if !self.ids.is_empty() {
            // Needles of one token: every candidate is a match.
            self.ids.candidates(row).for_each(|at| stop::push(&mut holes, at..at + 1));
            spans.subtract(&holes);
        }
        if !self.sequences.is_empty() {
            holes.clear();
            self.literal(row, &mut holes);
            spans.subtract(&holes);
        }
        if !self.opens.is_empty() {
            holes.clear();
            match turns {
                [] => unclosed += usize::from(self.between(row, 0..row.len(), &mut holes)),
                turns => {
                    for turn in turns {
                        let open = self.between(row, turn.content(), &mut holes);
                        let before_stop = || holes.last().is_some_and(|hole| hole.start < stop);
                        unclosed += usize::from(open && counted(turn) && before_stop());
                    }
                }
            }
            spans.subtract(&holes);
        }
        unclosed
    }

    /// Finds literal sequences from left to right, the longest at each position; none overlaps the previous one.
    fn literal(&self, row: &[T], holes: &mut Vec<Range<usize>>) {
        let mut free_from = 0;
        for at in self.sequences.candidates(row) {
            if at < free_from {
                continue;
            }
            if let Some((_, len)) = self.sequences.matches_at(row, at).next() {
                free_from = at + len;
                stop::push(holes, at..free_from);
            }
        }
    }

    /// Finds regions inside `content`: from an opening marker to the first closing one of its pair, or to the end if there is none. Returns
    /// whether the last one did not close.
    fn between(&self, row: &[T], content: Range<usize>, holes: &mut Vec<Range<usize>>) -> bool {
        let row = &row[..content.end]; // a marker that extends past the content does not count
        let inner = &row[content.start..];
        let mut closes = Vec::new(); // made at the first opening marker, since most turns have none
        let (mut free_from, mut open_end) = (content.start, false);
        for at in self.opens.candidates(inner).map(|at| content.start + at) {
            if at < free_from {
                continue;
            }
            let Some((open, len)) = self.opens.matches_at(row, at).next() else { continue };
            let inside = at + len;
            // Regions ascend, so one pass over each pair's closing markers is enough.
            if closes.is_empty() {
                closes = self.closes.iter().map(|close| (close, close.candidates(inner))).collect();
            }
            let (close, candidates) = &mut closes[self.pairs[open]];
            let close = candidates.map(|at| content.start + at).filter(|&at| at >= inside).find_map(|at| {
                let (_, len) = close.matches_at(row, at).next()?;
                Some((at, at + len))
            });
            open_end = close.is_none();
            let (close, end) = close.unwrap_or((row.len(), row.len()));
            stop::push(holes, if self.train_markers { inside..close } else { at..end });
            free_from = end;
        }
        open_end
    }
}

//! Marker matches -> turns. The only place that decides what a turn is.
//! Oracle: `spanmask.reference.find_turns`.

mod format;
mod source;

use crate::{Ragged, Token, stop};
use core::ops::Range;
use format::MarkerKind;
pub use format::{Boundary, Format, FormatParts};
pub use source::{TurnSource, TurnTable};

/// One turn of one role, as half-open token positions in its row: header `start..content_start`, content
/// `content_start..content_stop`, closing tokens `content_stop..stop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The role's number.
    pub role: usize,
    /// Where the opening tokens start.
    pub start: usize,
    /// Where the content starts.
    pub content_start: usize,
    /// Where the content stops.
    pub content_stop: usize,
    /// Where the closing tokens stop.
    pub stop: usize,
    /// An end marker or another start was seen; `false` if the row ended first.
    pub closed: bool,
    /// The end of the part of the content that the template's generation prompt supplies; `content_start` if it supplies nothing.
    pub prefill_stop: usize,
    /// The end of the part of the content that is reasoning, tags included; `content_start` if there is none.
    pub reasoning_stop: usize,
    /// The reasoning holds no text: the template added its tags.
    pub empty_reasoning: bool,
    /// The token after `stop` ends the turn, although it belongs to what follows (the next role's header).
    pub stop_token: bool,
    /// The opening tokens train with the turn.
    pub include_start: bool,
    /// The closing tokens may train.
    pub include_end: bool,
}

impl Turn {
    /// The opening tokens.
    pub fn header(&self) -> Range<usize> {
        self.start..self.content_start
    }

    /// The tokens between header and closing tokens.
    pub fn content(&self) -> Range<usize> {
        self.content_start..self.content_stop
    }

    /// The closing tokens; empty if there are none.
    pub fn closing(&self) -> Range<usize> {
        self.content_stop..self.stop
    }

    /// The turn in a row that is cut to its first `len` tokens; `None` if it starts after the cut. A turn that the cut shortens is not
    /// closed.
    pub fn cut(self, len: usize) -> Option<Self> {
        (self.start < len).then(|| Self {
            content_start: self.content_start.min(len),
            content_stop: self.content_stop.min(len),
            stop: self.stop.min(len),
            closed: self.closed && self.stop <= len,
            prefill_stop: self.prefill_stop.min(len),
            reasoning_stop: self.reasoning_stop.min(len),
            stop_token: self.stop_token && self.stop < len,
            ..self
        })
    }

    /// Whether the positions are in order and inside a row of `len` tokens, from `free_from` on.
    fn fits(&self, free_from: usize, len: usize) -> bool {
        let stop = self.stop + usize::from(self.stop_token);
        let edges = [free_from, self.start, self.content_start, self.content_stop, self.stop];
        let content = self.content_start..=self.content_stop;
        edges.is_sorted()
            && content.contains(&self.prefill_stop)
            && content.contains(&self.reasoning_stop)
            && stop <= len
    }
}

/// Rows with at most this many values between them are searched together: passing over the values costs no more than starting a new
/// search (measured with rows of 64 tokens; with 256 values it costs twice as much).
const GAP: usize = 128;

/// Finds the turns of each row, in order, and calls `found(row number, turns)`.
///
/// Outside a turn the longest start opens one. Inside, the first of these ends it: an end marker of its role (the turn stops after it), any
/// start (the turn stops before it), the end of the row (the turn stays open). Markers inside content match too: token ids alone cannot
/// distinguish the two.
///
/// Errors: those of `found`, which is not called again after an error.
pub fn find_turns<T: Token, E>(
    rows: &Ragged<T>,
    format: &Format<T>,
    mut found: impl FnMut(usize, &[Turn]) -> Result<(), E>,
) -> Result<(), E> {
    let (mut turns, mut next) = (Vec::new(), 0);
    while next < rows.len() {
        // One search for each row took up to half as long again for short rows.
        let run = rows.adjacent_rows(next, GAP);
        let (first, values) = rows.covering_slice(run.clone());
        let mut candidates = format.searcher.candidates(values).map(|at| first + at).peekable();
        for i in run.clone() {
            let bounds = rows.bounds(i);
            while candidates.next_if(|&at| at < bounds.start).is_some() {} // it is between two rows
            let inside = core::iter::from_fn(|| candidates.next_if(|&at| at < bounds.end));
            turns_of(rows.row(i), inside.map(|at| at - bounds.start), format, &mut turns);
            found(i, &turns)?;
        }
        next = run.end;
    }
    Ok(())
}

/// The turns of one row. `candidates`: all positions at which a marker starts, ascending, and maybe others.
fn turns_of<T: Token>(
    row: &[T],
    candidates: impl Iterator<Item = usize>,
    format: &Format<T>,
    turns: &mut Vec<Turn>,
) {
    turns.clear();
    let mut open = None; // the role of the last turn, while it is open
    let mut free_from = 0; // tokens before it belong to a marker
    for position in candidates {
        if position < free_from {
            continue;
        }
        let Some((marker, len)) = format.marker_at(row, position, open) else {
            continue;
        };
        free_from = position + len;
        let closing_stop = match marker {
            MarkerKind::Start { .. } => position,
            MarkerKind::End { .. } => free_from,
        };
        if let (Some(_), Some(turn)) = (open.take(), turns.last_mut()) {
            (turn.content_stop, turn.stop, turn.closed) = (position, closing_stop, true);
            format.complete(row, turn);
        }
        if let MarkerKind::Start { boundary, .. } = marker {
            let Boundary { role, include_start, include_end, .. } = format.boundaries[boundary];
            open = Some(role);
            let turn = Turn {
                role,
                start: position,
                content_start: free_from,
                content_stop: row.len(),
                stop: row.len(),
                closed: false,
                prefill_stop: free_from,
                reasoning_stop: free_from,
                empty_reasoning: false,
                stop_token: false,
                include_start,
                include_end,
            };
            stop::push(turns, turn);
        }
    }
    if let (Some(_), Some(turn)) = (open, turns.last_mut()) {
        format.complete(row, turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use core::convert::Infallible;
    use proptest::prelude::*;

    fn format() -> Format<i64> {
        let boundary = |role, start: &[i64], end: &[i64]| Boundary {
            role,
            starts: vec![start.to_vec()],
            ends: vec![end.to_vec()],
            include_end: true,
            ..Boundary::default()
        };
        let boundaries =
            [boundary(0, &[5, 6], &[2]), boundary(1, &[5, 7], &[2]), boundary(2, &[5, 6, 6], &[3, 3])];
        Format::new(&FormatParts { boundaries: boundaries.to_vec(), ..FormatParts::default() })
    }

    /// (role, start, content_start, content_stop, stop, closed)
    type Columns = (usize, usize, usize, usize, usize, bool);

    fn turns_of_rows(rows: &Ragged<i64>) -> Vec<Vec<Columns>> {
        let mut all = Vec::new();
        let Ok(()) = find_turns::<_, Infallible>(rows, &format(), |i, turns| {
            assert_eq!(i, all.len());
            let columns = |t: &Turn| (t.role, t.start, t.content_start, t.content_stop, t.stop, t.closed);
            all.push(turns.iter().map(columns).collect());
            Ok(())
        });
        all
    }

    fn turns(row: &[i64]) -> Vec<Columns> {
        turns_of_rows(&Ragged::new(row, &[0, row.len() as i64]).unwrap()).remove(0)
    }

    #[test]
    fn an_end_closes_after_itself_and_a_start_before() {
        assert_eq!(turns(&[1, 5, 7, 8, 2, 5, 6, 9]), [(1, 1, 3, 4, 5, true), (0, 5, 7, 8, 8, false)]);
        assert_eq!(turns(&[5, 7, 8, 5, 6, 9, 2]), [(1, 0, 2, 3, 3, true), (0, 3, 5, 6, 7, true)]);
    }

    #[test]
    fn the_longest_start_wins() {
        assert_eq!(turns(&[5, 6, 6, 2, 3, 3]), [(2, 0, 3, 4, 6, true)]);
    }

    #[test]
    fn empty_turns_touching_markers_and_cut_headers() {
        assert_eq!(turns(&[5, 6, 2, 5, 6, 2]), [(0, 0, 2, 2, 3, true), (0, 3, 5, 5, 6, true)]);
        assert_eq!(turns(&[5, 6]), [(0, 0, 2, 2, 2, false)]);
        assert_eq!(turns(&[5]), []);
        assert_eq!(turns(&[]), []);
        assert_eq!(turns(&[2, 2, 3]), []);
    }

    #[test]
    fn an_anchored_start_follows_something_that_ends() {
        let boundary = |role, start: &[i64], anchored| Boundary {
            role,
            starts: vec![start.to_vec()],
            ends: vec![vec![2, 4]],
            anchored,
            ..Boundary::default()
        };
        let format = Format::<i64>::new(&FormatParts {
            boundaries: vec![boundary(0, &[6, 7], true), boundary(1, &[6], false)],
            stop_token_ids: vec![8],
            anchor_ids: vec![1],
            ..FormatParts::default()
        });
        let first = |row: &[i64], position| match format.marker_at(row, position, None) {
            Some((MarkerKind::Start { boundary, .. }, len)) => Some((boundary, len)),
            _ => None,
        };
        assert_eq!(first(&[6, 7], 0), Some((0, 2)));
        for before in [&[2, 4][..], &[8], &[1]] {
            assert_eq!(first(&[before, &[6, 7]].concat(), before.len()), Some((0, 2)), "{before:?}");
        }
        for before in [&[4][..], &[2], &[7], &[2, 4, 9]] {
            assert_eq!(first(&[before, &[6, 7]].concat(), before.len()), Some((1, 1)), "{before:?}");
        }
    }

    #[test]
    fn reasoning_begins_with_the_content() {
        let format = Format::<i64>::new(&FormatParts {
            boundaries: vec![Boundary { starts: vec![vec![5]], ends: vec![vec![2]], ..Boundary::default() }],
            generation_prefills: vec![vec![3]],
            reasoning_openings: vec![vec![7]],
            reasoning_closings: vec![vec![8], vec![8, 9]],
            empty_reasoning: vec![vec![7, 8, 9]],
            ..FormatParts::default()
        });
        let reasoning = |row: &[i64]| {
            let mut found = None;
            let offsets = [0, row.len() as i64];
            let rows = Ragged::new(row, &offsets)?;
            let () = find_turns(&rows, &format, |_, turns| {
                found = turns.first().map(|turn| (turn.reasoning_stop, turn.empty_reasoning));
                Ok::<(), Error>(())
            })?;
            Ok::<_, Error>(found)
        };
        assert_eq!(reasoning(&[5, 7, 4, 8, 9, 4, 2]), Ok(Some((5, false))));
        assert_eq!(reasoning(&[5, 3, 7, 8, 9, 4, 2]), Ok(Some((5, true))));
        assert_eq!(reasoning(&[5, 7, 4, 2, 8]), Ok(Some((3, false))));
        assert_eq!(reasoning(&[5, 4, 7, 8, 2]), Ok(Some((1, false))));
    }

    #[test]
    fn a_turn_that_the_cut_shortens_is_not_closed() {
        let turn = Turn {
            role: 0,
            start: 2,
            content_start: 4,
            content_stop: 8,
            stop: 10,
            closed: true,
            prefill_stop: 5,
            reasoning_stop: 7,
            empty_reasoning: false,
            stop_token: true,
            include_start: false,
            include_end: true,
        };
        assert_eq!(turn.cut(11), Some(turn));
        assert_eq!(turn.cut(10), Some(Turn { stop_token: false, ..turn }));
        let open = Turn { closed: false, stop_token: false, ..turn };
        assert_eq!(turn.cut(9), Some(Turn { stop: 9, ..open }));
        assert_eq!(turn.cut(6), Some(Turn { content_stop: 6, stop: 6, reasoning_stop: 6, ..open }));
        let header =
            Turn { content_start: 3, content_stop: 3, stop: 3, prefill_stop: 3, reasoning_stop: 3, ..open };
        assert_eq!(turn.cut(3), Some(header));
        assert_eq!(turn.cut(2), None);
        assert_eq!(Turn { closed: false, ..turn }.cut(11).map(|turn| turn.closed), Some(false));
    }

    proptest! {
        #[test]
        fn turns_do_not_depend_on_the_values_around_a_row(
            values in prop::collection::vec(prop_oneof![4 => 1i64..8, 1 => Just(9)], 0..3000),
            cuts in prop::collection::vec((0usize..3000, 0usize..700), 0..12),
            ascending: bool,
        ) {
            let end = |at: usize| at.min(values.len()) as i64;
            let mut bounds: Vec<(i64, i64)> = cuts.iter().map(|&(at, len)| (end(at), end(at + len))).collect();
            if ascending {
                // A row that overlaps the previous one begins where that one ends.
                bounds.sort_unstable();
                let mut last = 0;
                for (start, stop) in &mut bounds {
                    (*start, *stop) = (last.max(*start), last.max(*stop));
                    last = *stop;
                }
            }
            let (starts, stops): (Vec<i64>, Vec<i64>) = bounds.into_iter().unzip();
            let rows = Ragged::from_bounds(&values, &starts, &stops).unwrap();
            prop_assert_eq!(turns_of_rows(&rows), rows.rows().map(turns).collect::<Vec<_>>());
        }
    }
}

//! Marker matches -> turns. The only place that decides what a turn is.
//! Oracle: `spanmask.reference.find_turns`.

use crate::search::Searcher;
use crate::{Ragged, Token};
use core::ops::Range;

/// How the turns of one role open and close, as ids. Several boundaries of one role are alternatives.
#[derive(Debug, Clone, Default)]
pub struct Boundary {
    /// The role's number.
    pub role: usize,
    /// Sequences that open a turn.
    pub starts: Vec<Vec<i64>>,
    /// Sequences that close a turn of this role; none where only the next start does.
    pub ends: Vec<Vec<i64>>,
    /// The opening tokens train with the turn.
    pub include_start: bool,
    /// The closing tokens may train.
    pub include_end: bool,
}

/// One turn of one role, as half-open token positions in its row: header `start..content_start`, content
/// `content_start..content_stop`, closing tokens `content_stop..stop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The role's number.
    pub role: usize,
    /// Which boundary opened it.
    pub boundary: usize,
    /// Where the opening tokens start.
    pub start: usize,
    /// Where the content starts.
    pub content_start: usize,
    /// Where the content stops.
    pub content_stop: usize,
    /// Where the closing tokens stop.
    pub stop: usize,
    /// An end marker or another start was seen; `false` where the row ended first.
    pub closed: bool,
}

impl Turn {
    /// The opening tokens.
    pub fn header(&self) -> Range<usize> {
        self.start..self.content_start
    }

    /// What was said.
    pub fn content(&self) -> Range<usize> {
        self.content_start..self.content_stop
    }

    /// The closing tokens; empty where none stand.
    pub fn closing(&self) -> Range<usize> {
        self.content_stop..self.stop
    }
}

/// What a marker does where it stands.
#[derive(Debug, Clone, Copy)]
enum Marker {
    Start { boundary: usize },
    End { role: usize },
}

/// Boundaries, ready to be searched for in rows of `T`.
#[derive(Debug, Clone)]
pub struct Format<T> {
    searcher: Searcher<T>,
    /// By the searcher's needle numbers.
    markers: Vec<Marker>,
    boundaries: Vec<Boundary>,
    roles: usize,
    stop_token_ids: Vec<T>,
    generation_prefills: Searcher<T>,
}

impl<T: Token> Format<T> {
    /// Order matters: of two starts of one length, the first listed wins.
    ///
    /// `stop_token_ids`: tokens by which a model ends its turn although they belong to what follows (the next role's header).
    /// `generation_prefills`: what the template's generation prompt puts behind a header, so that the model never writes it.
    pub fn new(boundaries: &[Boundary], stop_token_ids: &[i64], generation_prefills: &[Vec<i64>]) -> Self {
        let mut markers = Vec::new();
        let mut needles: Vec<&[i64]> = Vec::new();
        for (number, boundary) in boundaries.iter().enumerate() {
            for start in &boundary.starts {
                needles.push(start);
                markers.push(Marker::Start { boundary: number });
            }
            for end in &boundary.ends {
                needles.push(end);
                markers.push(Marker::End { role: boundary.role });
            }
        }
        let roles = boundaries.iter().map(|boundary| boundary.role + 1).max().unwrap_or(0);
        Self {
            searcher: Searcher::new(needles),
            markers,
            boundaries: boundaries.to_vec(),
            roles,
            stop_token_ids: stop_token_ids.iter().filter_map(|&id| T::from_i64(id)).collect(),
            generation_prefills: Searcher::new(generation_prefills.iter().map(Vec::as_slice)),
        }
    }

    /// How many roles there are; turns carry numbers below it.
    pub fn roles(&self) -> usize {
        self.roles
    }

    /// The boundary that opened `turn`.
    pub fn boundary(&self, turn: &Turn) -> &Boundary {
        &self.boundaries[turn.boundary]
    }

    /// How many tokens at the head of the turn's content the generation prompt supplies.
    pub fn generation_prefill(&self, row: &[T], turn: &Turn) -> usize {
        let content = &row[turn.content()];
        if content.is_empty() {
            return 0;
        }
        self.generation_prefills.matches_at(content, 0).next().map_or(0, |(_, len)| len)
    }

    /// Whether a stop token directly follows the turn: 1 or 0 tokens.
    pub fn stop_token(&self, row: &[T], turn: &Turn) -> usize {
        usize::from(row.get(turn.stop).is_some_and(|token| self.stop_token_ids.contains(token)))
    }

    /// The marker that acts at `position`, and its length. In a turn of role `open` an end of that role goes before any start.
    fn marker_at(&self, row: &[T], position: usize, open: Option<usize>) -> Option<(Marker, usize)> {
        let mut start = None;
        for (needle, len) in self.searcher.matches_at(row, position) {
            match self.markers[needle] {
                marker @ Marker::End { role } if Some(role) == open => return Some((marker, len)),
                marker @ Marker::Start { .. } if start.is_none() => start = Some((marker, len)),
                _ => {}
            }
        }
        start
    }
}

/// Values between two rows up to which they are searched in one go: to pass over so many costs no more than to start anew (64 tokens a
/// row; twice as many with 256).
const GAP: usize = 128;

/// Finds the turns of each row, in order, and calls `found(row number, turns)`.
///
/// Outside a turn the longest start opens one. Inside, the first of these ends it: an end marker of its role (behind it), any start
/// (in front of it), the end of the row (it stays open). Markers inside content match too: ids cannot tell.
///
/// Errors: what `found` returns; it is not called again then.
pub fn find_turns<T: Token, E>(
    rows: &Ragged<T>,
    format: &Format<T>,
    mut found: impl FnMut(usize, &[Turn]) -> Result<(), E>,
) -> Result<(), E> {
    let (mut turns, mut next) = (Vec::new(), 0);
    while next < rows.len() {
        // A search of its own for each took up to half as long again where rows are short.
        let run = rows.neighbours(next, GAP);
        let (first, values) = rows.stretch(run.clone());
        let mut candidates = format.searcher.candidates(values).map(|at| first + at).peekable();
        for i in run.clone() {
            let bounds = rows.bounds(i);
            while candidates.next_if(|&at| at < bounds.start).is_some() {} // stands between two rows
            let inside = core::iter::from_fn(|| candidates.next_if(|&at| at < bounds.end));
            turns_of(rows.row(i), inside.map(|at| at - bounds.start), format, &mut turns);
            found(i, &turns)?;
        }
        next = run.end;
    }
    Ok(())
}

/// The turns of one row. `candidates`: all positions where a marker stands, ascending, and maybe others.
fn turns_of<T: Token>(
    row: &[T],
    candidates: impl Iterator<Item = usize>,
    format: &Format<T>,
    turns: &mut Vec<Turn>,
) {
    turns.clear();
    let mut open: Option<Turn> = None;
    let mut free_from = 0; // tokens in front of it belong to a marker
    for position in candidates {
        if position < free_from {
            continue;
        }
        let Some((marker, len)) = format.marker_at(row, position, open.map(|turn| turn.role)) else {
            continue;
        };
        free_from = position + len;
        let closing_stop = match marker {
            Marker::Start { .. } => position,
            Marker::End { .. } => free_from,
        };
        if let Some(turn) = open.take() {
            turns.push(Turn { content_stop: position, stop: closing_stop, closed: true, ..turn });
        }
        if let Marker::Start { boundary } = marker {
            open = Some(Turn {
                role: format.boundaries[boundary].role,
                boundary,
                start: position,
                content_start: free_from,
                content_stop: row.len(),
                stop: row.len(),
                closed: false,
            });
        }
    }
    turns.extend(open);
}

#[cfg(test)]
mod tests {
    use super::*;
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
        Format::new(&boundaries, &[], &[])
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
    fn an_end_closes_behind_itself_a_start_in_front() {
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

    proptest! {
        #[test]
        fn rows_know_nothing_of_what_stands_around_them(
            values in prop::collection::vec(prop_oneof![4 => 1i64..8, 1 => Just(9)], 0..3000),
            cuts in prop::collection::vec((0usize..3000, 0usize..700), 0..12),
            ascending: bool,
        ) {
            let end = |at: usize| at.min(values.len()) as i64;
            let mut bounds: Vec<(i64, i64)> = cuts.iter().map(|&(at, len)| (end(at), end(at + len))).collect();
            if ascending {
                // What overlaps begins where the one in front ends.
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

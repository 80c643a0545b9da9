//! Marker matches -> turns. The only place that decides what a turn is.
//! Oracle: `spanmask.reference.find_turns`.

use crate::search::Searcher;
use crate::{Error, Ragged, Token};
use core::ops::Range;

/// How the turns of one role open and close, as ids. Several boundaries of one role are alternatives.
#[derive(Debug, Clone, Default)]
pub struct Boundary {
    /// The role's number.
    pub role: usize,
    /// Sequences that open a turn.
    pub starts: Vec<Vec<i64>>,
    /// Sequences that close a turn of this role; empty if only the next start does.
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

    /// Whether the positions are in order and inside a row of `len` tokens, from `free_from` on.
    fn fits(&self, free_from: usize, len: usize) -> bool {
        let stop = self.stop + usize::from(self.stop_token);
        let edges =
            [free_from, self.start, self.content_start, self.prefill_stop, self.content_stop, self.stop];
        edges.is_sorted() && stop <= len
    }
}

/// What a marker does where it occurs.
#[derive(Debug, Clone, Copy)]
enum MarkerKind {
    Start { boundary: usize },
    End { role: usize },
}

/// Boundaries, ready to be searched for in rows of `T`.
#[derive(Debug, Clone)]
pub struct Format<T> {
    searcher: Searcher<T>,
    /// What each marker does, by the searcher's needle numbers.
    markers: Vec<MarkerKind>,
    boundaries: Vec<Boundary>,
    roles: usize,
    stop_token_ids: Vec<T>,
    generation_prefills: Searcher<T>,
}

impl<T: Token> Format<T> {
    /// Order matters: of two starts with the same length, the first one listed wins.
    ///
    /// `stop_token_ids`: tokens by which a model ends its turn although they belong to what follows (the next role's header).
    /// `generation_prefills`: what the template's generation prompt puts after a header, so that the model never writes it.
    pub fn new(boundaries: &[Boundary], stop_token_ids: &[i64], generation_prefills: &[Vec<i64>]) -> Self {
        let mut markers = Vec::new();
        let mut needles: Vec<&[i64]> = Vec::new();
        for (number, boundary) in boundaries.iter().enumerate() {
            for start in &boundary.starts {
                needles.push(start);
                markers.push(MarkerKind::Start { boundary: number });
            }
            for end in &boundary.ends {
                needles.push(end);
                markers.push(MarkerKind::End { role: boundary.role });
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

    /// `turn`, completed with what the format says about its content and the token after it.
    fn completed(&self, row: &[T], turn: Turn) -> Turn {
        let content = &row[turn.content()];
        let prefill =
            if content.is_empty() { None } else { self.generation_prefills.matches_at(content, 0).next() };
        Turn {
            prefill_stop: turn.content_start + prefill.map_or(0, |(_, len)| len),
            stop_token: row.get(turn.stop).is_some_and(|token| self.stop_token_ids.contains(token)),
            ..turn
        }
    }

    /// The marker that acts at `position`, and its length. In a turn of role `open` an end of that role takes precedence over any start.
    fn marker_at(&self, row: &[T], position: usize, open: Option<usize>) -> Option<(MarkerKind, usize)> {
        let mut start = None;
        for (needle, len) in self.searcher.matches_at(row, position) {
            match self.markers[needle] {
                marker @ MarkerKind::End { role } if Some(role) == open => return Some((marker, len)),
                marker @ MarkerKind::Start { .. } if start.is_none() => start = Some((marker, len)),
                _ => {}
            }
        }
        start
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
    let mut open: Option<Turn> = None;
    let mut free_from = 0; // tokens before it belong to a marker
    for position in candidates {
        if position < free_from {
            continue;
        }
        let Some((marker, len)) = format.marker_at(row, position, open.map(|turn| turn.role)) else {
            continue;
        };
        free_from = position + len;
        let closing_stop = match marker {
            MarkerKind::Start { .. } => position,
            MarkerKind::End { .. } => free_from,
        };
        if let Some(turn) = open.take() {
            let turn = Turn { content_stop: position, stop: closing_stop, closed: true, ..turn };
            turns.push(format.completed(row, turn));
        }
        if let MarkerKind::Start { boundary } = marker {
            let Boundary { role, include_start, include_end, .. } = format.boundaries[boundary];
            open = Some(Turn {
                role,
                start: position,
                content_start: free_from,
                content_stop: row.len(),
                stop: row.len(),
                closed: false,
                prefill_stop: free_from,
                stop_token: false,
                include_start,
                include_end,
            });
        }
    }
    turns.extend(open.map(|turn| format.completed(row, turn)));
}

/// Turns from elsewhere: from a text, from lengths, from a rollout.
///
/// Invariant: the turns of each row are in order, do not overlap and are inside the row, and their roles are known. It is checked only by
/// the constructor.
#[derive(Debug, Clone)]
pub struct TurnTable {
    turns: Vec<Turn>,
    /// The turns of row `i` are `edges[i]..edges[i + 1]`.
    edges: Vec<usize>,
    roles: usize,
}

impl TurnTable {
    /// `rows[n]`: the row of `turns[n]`, ascending. `lengths`: the tokens of each row.
    ///
    /// Errors: [`Error::Length`] if `rows` and `turns` differ in length, [`Error::Turn`] names the first turn that does not fit.
    pub fn new(turns: Vec<Turn>, rows: &[i64], roles: usize, lengths: &[usize]) -> Result<Self, Error> {
        if rows.len() != turns.len() {
            return Err(Error::Length { want: turns.len(), got: rows.len() });
        }
        let mut edges = Vec::with_capacity(lengths.len() + 1);
        edges.push(0);
        let mut next = 0;
        for (i, &len) in lengths.iter().enumerate() {
            let mut free_from = 0;
            while let Some(turn) = turns.get(next).filter(|_| rows[next] == i as i64) {
                if turn.role >= roles || !turn.fits(free_from, len) {
                    return Err(Error::Turn { row: i, turn: next - edges[i] });
                }
                free_from = turn.stop;
                next += 1;
            }
            edges.push(next);
        }
        match rows.get(next) {
            None => Ok(Self { turns, edges, roles }),
            Some(&row) => Err(Error::TurnRow { turn: next, row, rows: lengths.len() }),
        }
    }

    /// The turns of row `i`.
    fn of_row(&self, i: usize) -> &[Turn] {
        &self.turns[self.edges[i]..self.edges[i + 1]]
    }
}

/// Where the turns of rows come from.
#[derive(Debug, Clone, Copy)]
pub enum TurnSource<'a, T> {
    /// They are searched for.
    Search(&'a Format<T>),
    /// They are given: those of the table from this row on.
    Table(&'a TurnTable, usize),
}

impl<T: Token> TurnSource<'_, T> {
    /// How many roles there are; turns carry numbers below it.
    pub fn roles(&self) -> usize {
        match self {
            Self::Search(format) => format.roles(),
            Self::Table(table, _) => table.roles,
        }
    }

    /// The source for the rows from `first` on.
    pub fn from_row(self, first: usize) -> Self {
        match self {
            Self::Search(_) => self,
            Self::Table(table, start) => Self::Table(table, start + first),
        }
    }

    /// Calls `found(row number, turns)` for each row, in order.
    ///
    /// Errors: those of `found`, which is not called again after an error. [`Error::Length`] if a table has fewer rows than there are.
    pub fn for_each_row(
        &self,
        rows: &Ragged<T>,
        mut found: impl FnMut(usize, &[Turn]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match *self {
            Self::Search(format) => find_turns(rows, format, found),
            Self::Table(table, first) => {
                let got = table.edges.len() - 1;
                if got < first + rows.len() {
                    return Err(Error::Length { want: first + rows.len(), got });
                }
                (0..rows.len()).try_for_each(|i| found(i, table.of_row(first + i)))
            }
        }
    }
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
    fn a_table_takes_turns_in_order_inside_their_rows() {
        let turn = |role, start, stop| Turn {
            role,
            start,
            content_start: start,
            content_stop: stop,
            stop,
            closed: true,
            prefill_stop: start,
            stop_token: false,
            include_start: false,
            include_end: true,
        };
        let table = |turns: &[(i64, Turn)]| {
            let (rows, turns): (Vec<i64>, Vec<Turn>) = turns.iter().copied().unzip();
            TurnTable::new(turns, &rows, 2, &[4, 0, 9]).map(|table| table.edges)
        };
        assert_eq!(
            table(&[(0, turn(0, 0, 2)), (0, turn(1, 2, 4)), (2, turn(0, 8, 9))]),
            Ok(vec![0, 2, 2, 3])
        );
        assert_eq!(table(&[(0, turn(0, 0, 2)), (0, turn(1, 1, 4))]), Err(Error::Turn { row: 0, turn: 1 }));
        assert_eq!(table(&[(0, turn(0, 0, 5))]), Err(Error::Turn { row: 0, turn: 0 }));
        assert_eq!(table(&[(0, turn(2, 0, 1))]), Err(Error::Turn { row: 0, turn: 0 }));
        assert_eq!(
            table(&[(0, Turn { stop_token: true, ..turn(0, 0, 4) })]),
            Err(Error::Turn { row: 0, turn: 0 })
        );
        for row in [3, -1] {
            assert_eq!(table(&[(row, turn(0, 0, 1))]), Err(Error::TurnRow { turn: 0, row, rows: 3 }));
        }
        let descending = [(2, turn(0, 0, 1)), (0, turn(0, 0, 1))];
        assert_eq!(table(&descending), Err(Error::TurnRow { turn: 1, row: 0, rows: 3 }));
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

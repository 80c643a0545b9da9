//! Where turns come from: a search, or a table.

use super::{Format, Turn, find_turns};
use crate::{Error, Ragged, Token};

/// Turns from elsewhere: from a text, from lengths, from a rollout.
///
/// Invariant: the turns of each row are in order, do not overlap and are inside the row, and their roles are known. It is checked only by
/// the constructor.
#[derive(Debug, Clone)]
pub struct TurnTable {
    turns: Vec<Turn>,
    /// The turns of row `i` are `ends[i - 1]..ends[i]`; those of row 0 begin at 0.
    ends: Vec<usize>,
    roles: usize,
}

impl TurnTable {
    /// `rows[n]`: the row of `turns[n]`, ascending. `lengths`: the tokens of each row; its memory is the table's, so that none is allocated.
    ///
    /// Errors: [`Error::Length`] if `rows` and `turns` differ in length, [`Error::Turn`] names the first turn that does not fit.
    pub fn new(turns: Vec<Turn>, rows: &[i64], roles: usize, lengths: Vec<usize>) -> Result<Self, Error> {
        if rows.len() != turns.len() {
            return Err(Error::Length { want: turns.len(), got: rows.len() });
        }
        let mut ends = lengths;
        let mut next = 0;
        for (i, end) in ends.iter_mut().enumerate() {
            let (first, len, mut free_from) = (next, *end, 0);
            while let Some(turn) = turns.get(next).filter(|_| rows[next] == i as i64) {
                if turn.role >= roles || !turn.fits(free_from, len) {
                    return Err(Error::Turn { row: i, turn: next - first });
                }
                free_from = turn.stop;
                next += 1;
            }
            *end = next;
        }
        match rows.get(next) {
            None => Ok(Self { turns, ends, roles }),
            Some(&row) => Err(Error::TurnRow { turn: next, row, rows: ends.len() }),
        }
    }

    /// The turns of row `i`.
    fn of_row(&self, i: usize) -> &[Turn] {
        let first = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.turns[first..self.ends[i]]
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

    /// Whether tokens after the last turn of a row end with the beginning of a header. Turns that are given do not tell.
    pub(crate) fn ends_in_header(&self, rest: &[T]) -> bool {
        matches!(self, Self::Search(format) if format.ends_in_start(rest))
    }

    /// Whether `reasoning`, which begins with its opening marker, has no closing one. Turns that are given do not tell.
    pub(crate) fn reasoning_is_open(&self, reasoning: &[T]) -> bool {
        matches!(self, Self::Search(format) if format.is_open(reasoning))
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
                let got = table.ends.len();
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
            reasoning_stop: start,
            empty_reasoning: false,
            stop_token: false,
            include_start: false,
            include_end: true,
        };
        let table = |turns: &[(i64, Turn)]| {
            let (rows, turns): (Vec<i64>, Vec<Turn>) = turns.iter().copied().unzip();
            TurnTable::new(turns, &rows, 2, vec![4, 0, 9]).map(|table| table.ends)
        };
        assert_eq!(table(&[(0, turn(0, 0, 2)), (0, turn(1, 2, 4)), (2, turn(0, 8, 9))]), Ok(vec![2, 2, 3]));
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
}

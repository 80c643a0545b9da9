//! Rows of different lengths over one array of values.

use crate::Error;
use core::ops::Range;

/// Rows as bounds into one array of values: row `i` is `values[starts[i]..stops[i]]`.
///
/// With Arrow's offsets, `starts` and `stops` are the offsets without their last and without their first; in a padded batch they are
/// the ends of the real tokens. Invariant: bounds ascend inside a row and are inside the values. It is checked only by the constructors.
#[derive(Debug, Clone, Copy)]
pub struct Ragged<'a, T> {
    values: &'a [T],
    starts: &'a [i64],
    stops: &'a [i64],
}

impl<'a, T> Ragged<'a, T> {
    /// Adjacent rows: `offsets` has one entry more than there are rows. Without any offset there are no rows.
    ///
    /// Errors: [`Error::Bounds`] names the first row whose offsets descend or leave the values.
    pub fn new(values: &'a [T], offsets: &'a [i64]) -> Result<Self, Error> {
        let rows = offsets.len().saturating_sub(1);
        Self::from_bounds(values, &offsets[..rows], &offsets[offsets.len() - rows..])
    }

    /// Rows anywhere in `values`.
    ///
    /// Errors: [`Error::Length`] if `starts` and `stops` differ in length, [`Error::Bounds`] as in [`Ragged::new`].
    pub fn from_bounds(values: &'a [T], starts: &'a [i64], stops: &'a [i64]) -> Result<Self, Error> {
        check_bounds(values.len(), starts, stops)?;
        Ok(Self { values, starts, stops })
    }

    /// The values of all rows, and those between them.
    pub fn values(&self) -> &'a [T] {
        self.values
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Where row `i` is in the values.
    #[inline]
    pub fn bounds(&self, i: usize) -> Range<usize> {
        self.starts[i] as usize..self.stops[i] as usize // in range, by the invariant
    }

    /// The values of row `i`.
    #[inline]
    pub fn row(&self, i: usize) -> &'a [T] {
        &self.values[self.bounds(i)]
    }

    /// The rows in order.
    pub fn rows(&self) -> impl Iterator<Item = &'a [T]> + '_ {
        (0..self.len()).map(|i| self.row(i))
    }

    /// The longest run of rows from `first` on in which each row starts after the previous one, at most `gap` values later.
    pub fn adjacent_rows(&self, first: usize, gap: usize) -> Range<usize> {
        let near = |i: &usize| {
            let (start, previous) = (self.starts[*i], self.stops[*i - 1]);
            previous <= start && start - previous <= gap as i64
        };
        first..(first + 1..self.len()).take_while(near).last().unwrap_or(first) + 1
    }

    /// The values from the start of the first of the rows `run` to the end of the last, and where they start.
    pub fn covering_slice(&self, run: Range<usize>) -> (usize, &'a [T]) {
        let (first, last) = (self.bounds(run.start), self.bounds(run.end - 1));
        (first.start, &self.values[first.start..last.end])
    }

    /// The rows `range`, numbered from 0 again.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self { values: self.values, starts: &self.starts[range.clone()], stops: &self.stops[range] }
    }

    /// The tokens of all rows together.
    pub fn tokens(&self) -> usize {
        (0..self.len()).map(|i| self.bounds(i).len()).sum()
    }
}

/// Whether rows that start and stop here are inside an array of `len` values.
///
/// Errors: as [`Ragged::from_bounds`].
pub fn check_bounds(len: usize, starts: &[i64], stops: &[i64]) -> Result<(), Error> {
    if starts.len() != stops.len() {
        return Err(Error::Length { want: starts.len(), got: stops.len() });
    }
    for (row, (&start, &stop)) in starts.iter().zip(stops).enumerate() {
        if start < 0 || stop < start || usize::try_from(stop).is_ok_and(|stop| stop > len) {
            return Err(Error::Bounds { row, start, stop, len });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_values_between_offsets() {
        let ragged = Ragged::new(&[1, 2, 3], &[0, 2, 2, 3]).unwrap();
        assert_eq!(ragged.rows().collect::<Vec<_>>(), [&[1, 2][..], &[], &[3]]);
        assert_eq!(ragged.slice(1..3).rows().collect::<Vec<_>>(), [&[][..], &[3]]);
    }

    #[test]
    fn adjacent_rows_ascend_with_small_gaps() {
        let (starts, stops) = ([0, 2, 5, 6, 4, 9], [2, 3, 6, 6, 5, 9]);
        let ragged = Ragged::from_bounds(&[(); 9], &starts, &stops).unwrap();
        let runs = [(0, 2, 0..4), (0, 1, 0..2), (2, 0, 2..4), (4, 3, 4..5), (4, 4, 4..6), (5, 0, 5..6)];
        for (first, gap, run) in runs {
            assert_eq!(ragged.adjacent_rows(first, gap), run, "from {first}, {gap} apart");
        }
        assert_eq!(Ragged::new(&[7, 8, 9], &[1, 2, 3]).unwrap().covering_slice(0..2), (1, &[8, 9][..]));
    }

    #[test]
    fn no_offset_means_no_row() {
        assert!(Ragged::<u16>::new(&[], &[]).unwrap().is_empty());
        assert!(Ragged::<u16>::new(&[], &[0]).unwrap().is_empty());
    }

    #[test]
    fn bad_bounds_name_the_row() {
        for (offsets, row) in [(&[0, 2, 1][..], 1), (&[-1, 2], 0), (&[0, 1, 4], 1)] {
            let error = Ragged::new(&[1, 2, 3], offsets).unwrap_err();
            assert!(matches!(error, Error::Bounds { row: r, .. } if r == row), "{error}");
        }
    }
}

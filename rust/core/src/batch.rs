//! What a batch looks like: rows are padded into cells, concatenated, or stay at their positions in a 2-D input.

use crate::search::Searcher;
use crate::stop::{self, EVERY, poll_at};
use crate::{Error, Ragged, Token};
use core::ops::Range;

/// On which side of a row its padding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Tokens first.
    Right,
    /// Padding first.
    Left,
}

/// Where rows go in an output. A row's **cell** is its part of the output: its tokens and the padding around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// How cells follow each other.
    pub shape: Shape,
    /// A row keeps its first `max_len` tokens.
    pub max_len: usize,
}

/// How cells follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Concatenated, without padding: ragged values, or a flattened batch.
    Packed,
    /// Cells of `width`, padded on one side.
    Padded {
        /// Places of a cell.
        width: usize,
        /// On which side the padding is.
        side: Side,
    },
    /// Cells of `width`; each row keeps its position in a 2-D input of that width.
    InPlace {
        /// Places of a cell.
        width: usize,
    },
}

/// A row's cell in an output, split where its tokens begin and end.
#[derive(Debug)]
pub struct Cell<'o, O> {
    /// Padding before the tokens.
    pub before: &'o mut [O],
    /// One place for each token that is kept.
    pub content: &'o mut [O],
    /// Padding after the tokens.
    pub after: &'o mut [O],
}

impl<O: Copy> Cell<'_, O> {
    /// Writes `value` to all padding.
    pub fn fill_padding(&mut self, value: O) {
        stop::fill(self.before, value);
        stop::fill(self.after, value);
    }

    /// Writes `value` for each token, `padding` around them.
    pub fn fill(&mut self, value: O, padding: O) {
        self.fill_padding(padding);
        stop::fill(self.content, value);
    }
}

impl Shape {
    /// Cells as wide as the longest row after the cut, rounded up to a multiple.
    pub fn padded(
        lengths: impl Iterator<Item = usize>,
        side: Side,
        max_len: usize,
        multiple_of: usize,
    ) -> Self {
        let longest = lengths.max().unwrap_or(0).min(max_len);
        let width = longest.checked_next_multiple_of(multiple_of.max(1)).unwrap_or(usize::MAX);
        Self::Padded { width, side }
    }
}

impl Layout {
    /// How many places a row of `len` tokens takes after the cut.
    fn cell_len(self, len: usize) -> usize {
        match self.shape {
            Shape::Packed => len,
            Shape::Padded { width, .. } | Shape::InPlace { width } => width,
        }
    }

    /// How many places all rows take. If the number would overflow, it is greater than any memory.
    pub fn output_len<T>(self, rows: &Ragged<T>) -> usize {
        let cell = |i| self.cell_len(rows.bounds(i).len().min(self.max_len));
        (0..rows.len()).map(cell).fold(0, usize::saturating_add)
    }

    /// How many tokens of the rows are kept.
    pub fn kept_tokens<T>(self, rows: &Ragged<T>) -> usize {
        (0..rows.len()).map(|i| rows.bounds(i).len().min(self.max_len)).fold(0, usize::saturating_add)
    }

    /// Calls `write(row number, row, cell)` for each row, in order. `cell.content` has a place for each token that is kept; `row` holds
    /// all tokens.
    ///
    /// Errors: [`Error::Length`] if `out` is not [`Layout::output_len`] long, [`Error::Width`] if a row does not fit its cell,
    /// and the errors of `write`.
    pub fn for_each_cell<T, O>(
        self,
        rows: &Ragged<T>,
        mut out: &mut [O],
        mut write: impl FnMut(usize, &[T], Cell<O>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let want = self.output_len(rows);
        if out.len() != want {
            return Err(Error::Length { want, got: out.len() });
        }
        for i in 0..rows.len() {
            let cell;
            (cell, out) = self.split_cell(i, rows.bounds(i), out)?;
            write(i, rows.row(i), cell)?;
        }
        Ok(())
    }

    /// The cell of row `i`, with which `out` begins, and the rest of `out`. This is for kernels that write several outputs in one pass.
    /// `bounds`: the row's position in its values, or `0..len` if outputs have their own lengths.
    ///
    /// Errors: [`Error::Width`] if the row does not fit its cell, [`Error::Length`] if `out` ends before the cell does.
    pub fn split_cell<O>(
        self,
        i: usize,
        bounds: Range<usize>,
        out: &mut [O],
    ) -> Result<(Cell<'_, O>, &mut [O]), Error> {
        let len = bounds.len().min(self.max_len);
        let (want, got) = (self.cell_len(len), out.len());
        let (cell, rest) = out.split_at_mut_checked(want).ok_or(Error::Length { want, got })?;
        let before = match self.shape {
            Shape::Padded { side: Side::Left, width } => width.saturating_sub(len),
            Shape::InPlace { width } if width > 0 => bounds.start % width,
            _ => 0,
        };
        if before + len > cell.len() {
            return Err(Error::Width { row: i, len, width: cell.len() });
        }
        let (before, content) = cell.split_at_mut(before);
        let (content, after) = content.split_at_mut(len);
        Ok((Cell { before, content, after }, rest))
    }

    /// Like [`Layout::split_cell`], but leaves the rest in `out`.
    pub fn next_cell<'o, O>(
        self,
        i: usize,
        bounds: Range<usize>,
        out: &mut &'o mut [O],
    ) -> Result<Cell<'o, O>, Error> {
        let cell;
        (cell, *out) = self.split_cell(i, bounds, core::mem::take(out))?;
        Ok(cell)
    }
}

/// Writes the rows' values, `padding` around them.
pub fn values_into<T: Copy, O: Copy>(
    rows: &Ragged<T>,
    layout: Layout,
    convert: impl Fn(T) -> O,
    padding: O,
    out: &mut [O],
) -> Result<(), Error> {
    layout.for_each_cell(rows, out, |_, row, mut cell| {
        cell.fill_padding(padding);
        for (part, (places, values)) in cell.content.chunks_mut(EVERY).zip(row.chunks(EVERY)).enumerate() {
            poll_at(part, EVERY);
            for (place, &value) in places.iter_mut().zip(values) {
                *place = convert(value);
            }
        }
        Ok(())
    })
}

/// Writes for each place of an output the value of the token that it stands for, `padding` where it stands for none. `sources`: cells of
/// `width`, a row's position or -1 for each place.
///
/// Errors: [`Error::Length`] if `sources` or `out` is not made for these rows, [`Error::Bounds`] for a position outside its row.
pub fn take_into<T: Copy, O: Copy>(
    rows: &Ragged<T>,
    width: usize,
    sources: &[i64],
    convert: impl Fn(T) -> O,
    padding: O,
    out: &mut [O],
) -> Result<(), Error> {
    let want = rows.len().saturating_mul(width);
    if let Some(got) = [sources.len(), out.len()].into_iter().find(|&got| got != want) {
        return Err(Error::Length { want, got });
    }
    for (at, (place, &source)) in out.iter_mut().zip(sources).enumerate() {
        poll_at(at, 1);
        *place = match usize::try_from(source) {
            Ok(position) => {
                let i = at / width;
                let row = rows.row(i);
                let outside = Error::Bounds { row: i, start: source, stop: source, len: row.len() };
                convert(*row.get(position).ok_or(outside)?)
            }
            Err(_) => padding,
        };
    }
    Ok(())
}

/// Writes decoder inputs: the whole cell of labels shifted by one place, after `start`, with `padding` in place of the labels' padding.
/// Transformers' models do the same with labels. `out` is as long as the cell; the last label is dropped.
pub fn decoder_inputs_into(labels: &Cell<i64>, start: i64, padding: i64, out: &mut [i64]) {
    let Some((first, mut rest)) = out.split_first_mut() else {
        return;
    };
    *first = start;
    let mut next = |len: usize| {
        let len = len.min(rest.len());
        let (part, others) = core::mem::take(&mut rest).split_at_mut(len);
        rest = others;
        part
    };
    stop::fill(next(labels.before.len()), padding);
    let content = next(labels.content.len());
    stop::copy(&labels.content[..content.len()], content);
    stop::fill(next(labels.after.len()), padding);
}

/// The real tokens of each row of an attention mask, from its first nonzero entry to its last, as positions in the values.
///
/// Errors: [`Error::MaskHole`] if there are zeros between them, which no pair of bounds can express.
pub fn mask_bounds<T: Token>(mask: &Ragged<T>) -> Result<Vec<(i64, i64)>, Error> {
    let real = |entry: &T| entry.to_i64() != 0;
    let bounds = |i: usize| {
        poll_at(i, 64);
        let (row, at) = (mask.row(i), mask.bounds(i).start);
        let start = row.iter().position(real).unwrap_or(row.len());
        let stop = row.iter().rposition(real).map_or(start, |last| last + 1);
        match row[start..stop].iter().position(|entry| !real(entry)) {
            Some(hole) => Err(Error::MaskHole { row: i, position: start + hole }),
            None => Ok(((at + start) as i64, (at + stop) as i64)),
        }
    };
    let mut found = Vec::new();
    stop::reserve(&mut found, mask.len());
    for i in 0..mask.len() {
        found.push(bounds(i)?);
    }
    Ok(found)
}

/// Whether a cut to `max_len` tokens leaves all `ids` in their rows: ids that belong to something that is not cut with them, such as the
/// pixels of an image.
///
/// Errors: [`Error::Cut`] names the first row that would lose one of them.
pub fn check_cut<T: Token>(rows: &Ragged<T>, max_len: usize, ids: &[i64]) -> Result<(), Error> {
    let ids = Searcher::<T>::new(ids.chunks(1));
    for (i, row) in rows.rows().enumerate() {
        let lost = row.get(max_len..).and_then(|tail| ids.candidates(tail).last());
        if let Some(last) = lost {
            return Err(Error::Cut { row: i, max_len, needed: max_len + last + 1 });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(shape: Shape, max_len: usize) -> Vec<i64> {
        let rows = Ragged::new(&[1i32, 2, 3, 4], &[0, 3, 3, 4]).unwrap();
        let layout = Layout { shape, max_len };
        let mut out = vec![9; layout.output_len(&rows)];
        values_into(&rows, layout, i64::from, 0, &mut out).unwrap();
        out
    }

    #[test]
    fn layouts_place_rows() {
        assert_eq!(padded(Shape::Padded { width: 3, side: Side::Right }, 9), [1, 2, 3, 0, 0, 0, 4, 0, 0]);
        assert_eq!(padded(Shape::Padded { width: 3, side: Side::Left }, 9), [1, 2, 3, 0, 0, 0, 0, 0, 4]);
        assert_eq!(padded(Shape::Padded { width: 2, side: Side::Left }, 2), [1, 2, 0, 0, 0, 4]);
        assert_eq!(padded(Shape::Packed, 2), [1, 2, 4]);
    }

    #[test]
    fn in_place_keeps_the_position_of_every_row() {
        let values = [0, 1, 2, 3, 0, 0, 0, 0, 0];
        let rows = Ragged::from_bounds(&values, &[1, 3, 6], &[3, 4, 6]).unwrap();
        let mut out = [9; 9];
        let layout = Layout { shape: Shape::InPlace { width: 3 }, max_len: usize::MAX };
        values_into(&rows, layout, |v| v, -1, &mut out).unwrap();
        assert_eq!(out, [-1, 1, 2, 3, -1, -1, -1, -1, -1]);
    }

    #[test]
    fn places_take_the_values_of_their_tokens() {
        let rows = Ragged::new(&[0.5f32, 1.5, 2.5], &[0, 2, 3]).unwrap();
        let mut out = [9.0; 6];
        take_into(&rows, 3, &[1, -1, 0, 0, 0, -1], |v| v, -1.0, &mut out).unwrap();
        assert_eq!(out, [1.5, -1.0, 0.5, 2.5, 2.5, -1.0]);
        let outside = take_into(&rows, 3, &[0, 0, 0, 0, 1, -1], |v| v, -1.0, &mut out);
        assert_eq!(outside, Err(Error::Bounds { row: 1, start: 1, stop: 1, len: 1 }));
        assert_eq!(
            take_into(&rows, 2, &[0; 6], |v| v, -1.0, &mut out),
            Err(Error::Length { want: 4, got: 6 })
        );
        assert_eq!(take_into(&rows, 0, &[], |v| v, -1.0, &mut []), Ok(()));
    }

    #[test]
    fn a_row_wider_than_its_cell_is_an_error() {
        let rows = Ragged::new(&[1i32, 2, 3], &[0, 1, 3]).unwrap();
        let layout = Layout { shape: Shape::Padded { width: 1, side: Side::Right }, max_len: usize::MAX };
        let error = values_into(&rows, layout, i64::from, 0, &mut [0; 2]).unwrap_err();
        assert_eq!(error, Error::Width { row: 1, len: 2, width: 1 });
    }

    #[test]
    fn a_cut_keeps_ids_whole() {
        let rows = Ragged::new(&[1i32, 9, 9, 2, 1, 2, 9], &[0, 4, 7]).unwrap();
        assert_eq!(check_cut(&rows, 3, &[9]), Ok(()));
        assert_eq!(
            check_cut(&rows, 2, &[9, 70_000_000_000]),
            Err(Error::Cut { row: 0, max_len: 2, needed: 3 })
        );
        assert_eq!(check_cut(&rows, 2, &[2]), Err(Error::Cut { row: 0, max_len: 2, needed: 4 }));
    }

    #[test]
    fn decoder_inputs_are_the_cell_shifted() {
        let (mut padding, mut ids, mut out) = ([-100, -100], [7, 8], [9; 4]);
        let left = Cell { before: &mut padding, content: &mut ids, after: &mut [] };
        decoder_inputs_into(&left, 5, 0, &mut out);
        assert_eq!(out, [5, 0, 0, 7]);
        let right = Cell { before: &mut [], content: &mut ids, after: &mut padding };
        decoder_inputs_into(&right, 5, 0, &mut out);
        assert_eq!(out, [5, 7, 8, 0]);
    }

    #[test]
    fn bounds_of_masks() {
        let bounds = |mask: &[i32]| mask_bounds(&Ragged::new(mask, &[0, mask.len() as i64]).unwrap());
        assert_eq!(bounds(&[0, 1, 1, 0]), Ok(vec![(1, 3)]));
        assert_eq!(bounds(&[0, 0]), Ok(vec![(2, 2)]));
        assert_eq!(bounds(&[]), Ok(vec![(0, 0)]));
        assert_eq!(bounds(&[1, 0, 1]), Err(Error::MaskHole { row: 0, position: 1 }));
    }
}

//! Inputs made of bytes. The vocabulary is tiny, so that markers, words, sentinels and special ids overlap.

use crate::units::Columns;
use arbitrary::Unstructured;
use spanmask_core::noise::words::Words;
use spanmask_core::{Ragged, Token};

/// Ids that lie at the edges of the types; few inputs have one.
const EDGES: [i64; 6] = [-200, -1, 65_535, 70_000, u32::MAX as i64, 1 << 32];

/// A row that has so many tokens gets no more.
const LONG: usize = 400;

/// Bytes, from which everything else is made. When none are left, all choices are the first one.
pub struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self(Unstructured::new(data))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.int_in_range(0..=bound - 1).unwrap_or(0)
    }

    /// True once in `one_in` times.
    pub fn rarely(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 1
    }

    pub fn flag(&mut self) -> bool {
        self.rarely(2)
    }

    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    pub fn list<T>(&mut self, most: usize, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| item(self)).collect()
    }

    pub fn maybe<T>(&mut self, one_in: usize, item: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.rarely(one_in) { Some(item(self)) } else { None }
    }

    pub fn word(&mut self) -> u64 {
        self.0.arbitrary().unwrap_or(0)
    }

    /// A number from 0 to 1, both included.
    pub fn share(&mut self) -> f64 {
        self.below(256) as f64 / 255.0
    }

    /// An id, mostly one of ten.
    pub fn id(&mut self) -> i64 {
        match self.below(256) {
            edge @ 250.. => EDGES[edge - 250],
            id => (id % 10) as i64,
        }
    }

    /// An id that fits in 32 bits.
    pub fn short_id(&mut self) -> i64 {
        self.id().clamp(0, i64::from(u32::MAX))
    }

    /// Ids of a set.
    pub fn ids(&mut self, most: usize) -> Vec<i64> {
        self.list(most, Self::short_id)
    }

    /// Sequences of one to three ids.
    pub fn sequences(&mut self, most: usize) -> Vec<Vec<i64>> {
        self.list(most, |input| (0..1 + input.below(3)).map(|_| input.id()).collect())
    }

    /// A row: ids, some of which are repeated, so that a few bytes give rows of several blocks of 64 tokens. The longest groups of the core
    /// that fit in a row are of 256 tokens; the next ones, of 4,096, would make inputs slow.
    pub fn row<T: Token>(&mut self) -> Vec<T> {
        let mut row = Vec::new();
        for _ in 0..self.below(24) {
            let (id, times) = (self.id(), self.below(256));
            let id = T::from_i64(id).or(T::from_i64(7)).unwrap();
            if row.len() < LONG {
                row.extend(std::iter::repeat_n(id, 1 + times.saturating_sub(235) * 5));
            }
        }
        row
    }

    /// At most three rows.
    pub fn rows<T: Token>(&mut self) -> Vec<Vec<T>> {
        (0..1 + self.below(3)).map(|_| self.row()).collect()
    }

    /// Flags for `len` tokens. A byte is repeated.
    pub fn flags(&mut self, len: usize) -> Vec<bool> {
        let bytes: Vec<usize> = (0..1 + self.below(4)).map(|_| self.below(256)).collect();
        (0..len).map(|at| bytes[at / 8 % bytes.len()] >> (at % 8) & 1 == 1).collect()
    }

    /// What may be hidden, by token, for rows of these lengths.
    pub fn columns(&mut self, lengths: &[usize]) -> Vec<Columns> {
        let (protected, words) = (self.rarely(3), self.below(4));
        let column = |(len, input): (usize, &mut Self)| Columns {
            protected: protected.then(|| input.flags(len)),
            word_ids: (words == 1).then(|| {
                let (starts, none) = (input.flags(len), input.flags(len));
                let mut number = 0;
                let word = |at: usize| {
                    number += i64::from(starts[at]);
                    if none[at] && none[at / 2] { -1 - number % 2 } else { number }
                };
                (0..len).map(word).collect()
            }),
            word_starts: (words == 2).then(|| input.flags(len)),
        };
        lengths.iter().map(|&len| column((len, self))).collect()
    }
}

/// A column of all rows, as the core reads it.
pub struct Flat<T> {
    values: Vec<T>,
    offsets: Vec<i64>,
}

impl<T: Copy> Flat<T> {
    /// `None` if the rows have no such column.
    pub fn new(rows: impl IntoIterator<Item = Option<Vec<T>>>) -> Option<Self> {
        let (mut values, mut offsets) = (Vec::new(), vec![0]);
        for row in rows {
            values.extend(row?);
            offsets.push(values.len() as i64);
        }
        Some(Self { values, offsets })
    }

    pub fn ragged(&self) -> Ragged<'_, T> {
        Ragged::new(&self.values, &self.offsets).unwrap()
    }
}

/// The columns of all rows, as the core reads them.
pub struct FlatColumns {
    protected: Option<Flat<bool>>,
    ids: Option<Flat<i64>>,
    starts: Option<Flat<bool>>,
}

impl FlatColumns {
    pub fn new(rows: &[Columns]) -> Self {
        Self {
            protected: Flat::new(rows.iter().map(|row| row.protected.clone())),
            ids: Flat::new(rows.iter().map(|row| row.word_ids.clone())),
            starts: Flat::new(rows.iter().map(|row| row.word_starts.clone())),
        }
    }

    pub fn protected(&self) -> Option<Ragged<'_, bool>> {
        self.protected.as_ref().map(Flat::ragged)
    }

    pub fn words(&self) -> Option<Words<'_>> {
        let ids = self.ids.as_ref().map(|ids| Words::Ids(ids.ragged()));
        ids.or(self.starts.as_ref().map(|starts| Words::Starts(starts.ragged())))
    }
}

/// Ids of any type as the twins read them.
pub fn wide<T: Token>(row: &[T]) -> Vec<i64> {
    row.iter().map(|id| id.to_i64()).collect()
}

/// Ids as the specs of noise hold them.
pub fn narrow(ids: &[i64]) -> Vec<u32> {
    ids.iter().map(|&id| id as u32).collect()
}

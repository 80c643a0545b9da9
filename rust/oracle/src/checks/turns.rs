//! Search and turns: rows anywhere in one array, sequences that overlap.

use super::input::{Input, wide};
use super::with_type;
use crate::turns::find_turns;
use spanmask_core::search::{Searcher, naive};
use spanmask_core::turns::{self, Boundary, Format, FormatParts, Turn, TurnSource, TurnTable};
use spanmask_core::{Ragged, Token};
use std::convert::Infallible;

pub fn check(input: &mut Input) {
    with_type!(input, typed);
}

/// A chat format whose markers are made of the ids of rows.
pub fn format(input: &mut Input) -> FormatParts {
    let boundary = |input: &mut Input| Boundary {
        role: input.below(3),
        starts: input.sequences(2),
        ends: input.sequences(2),
        include_start: input.rarely(4),
        include_end: !input.rarely(4),
        anchored: input.rarely(4),
    };
    let boundaries = input.list(4, boundary);
    let more = input.flag();
    let few = |input: &mut Input| if more { input.sequences(2) } else { Vec::new() };
    FormatParts {
        boundaries,
        stop_token_ids: if more { input.list(2, Input::id) } else { Vec::new() },
        anchor_ids: if more { input.list(2, Input::id) } else { Vec::new() },
        generation_prefills: few(input),
        reasoning_openings: few(input),
        reasoning_closings: few(input),
        empty_reasoning: few(input),
    }
}

/// Where rows are in one array: adjacent, with gaps between them, or at any place.
pub fn bounds(input: &mut Input, len: usize) -> (Vec<i64>, Vec<i64>) {
    let adjacent = input.flag();
    let mut last = 0;
    let row = |input: &mut Input| {
        let start = if adjacent { last } else { input.below(len + 1) };
        last = (start + input.below(256)).min(len);
        (start as i64, last as i64)
    };
    input.list(4, row).into_iter().unzip()
}

fn typed<T: Token>(input: &mut Input) {
    let format = format(input);
    let values: Vec<T> = input.row();
    let (starts, stops) = bounds(input, values.len());
    search(input, &values);
    let rows = Ragged::from_bounds(&values, &starts, &stops).unwrap();
    let want: Vec<Vec<Turn>> = rows.rows().map(|row| find_turns(&wide(row), &format)).collect();

    let mut found: Vec<Vec<Turn>> = Vec::new();
    let compiled = Format::<T>::new(&format);
    let Ok(()) = turns::find_turns::<_, Infallible>(&rows, &compiled, |i, turns| {
        assert_eq!(i, found.len(), "rows come in order");
        found.push(turns.to_vec());
        Ok(())
    });
    assert_eq!(found, want, "{format:?} in {values:?}");

    // A table of the same turns gives them back.
    let numbers: Vec<i64> = (0i64..).zip(&want).flat_map(|(i, turns)| turns.iter().map(move |_| i)).collect();
    let lengths: Vec<usize> = rows.rows().map(<[T]>::len).collect();
    let table = TurnTable::new(want.concat(), &numbers, compiled.roles(), lengths).unwrap();
    let mut given = Vec::new();
    let source = TurnSource::Table(&table, 0);
    let done = source.for_each_row(&rows, |_, turns| {
        given.push(turns.to_vec());
        Ok(())
    });
    assert_eq!(done, Ok(()));
    assert_eq!(given, want);
}

/// Sequences of any ids, few or many, in one row.
fn search<T: Token>(input: &mut Input, row: &[T]) {
    let mut needles = input.sequences(4);
    if input.rarely(8) {
        // More first tokens than are compared one by one, adjacent or scattered.
        let (count, step) = (input.below(12), input.pick(&[1, 2, 300, 7001]));
        needles.extend((0..count as i64).map(|n| vec![n * step]));
    }
    let searcher = Searcher::<T>::new(needles.iter().map(Vec::as_slice));
    let found: Vec<(usize, usize)> = searcher.find_all(row).collect();
    assert_eq!(found, naive::find_all(&wide(row), &needles), "{needles:?} in {row:?}");
}

//! Batches of masked rows: planned, then written; padding, cutting, sides, multiples, padding-free. And what else writes into cells.

use super::input::{Flat, Input, wide};
use super::labels::{Case, IGNORE, policy};
use super::with_type;
use crate::batch::{decoder_inputs, lay_out, padded};
use spanmask_core::batch::{
    Cell, Layout, Shape, Side, check_cut, decoder_inputs_into, mask_bounds, take_into, values_into,
};
use spanmask_core::labels::{BatchOutput, Plan, RowColumns, Target, write_batch_into};
use spanmask_core::turns::{Format, TurnSource};
use spanmask_core::{Error, Ragged, Token};

const PADDING: i64 = -5;

pub fn check(input: &mut Input) {
    with_type!(input, typed);
}

fn typed<T: Token>(input: &mut Input) {
    let rows: Vec<Vec<T>> = input.rows();
    let ids: Vec<Vec<i64>> = rows.iter().map(|row| wide(row)).collect();
    let skip_first = input.flag();
    let case = Case::new(input, &ids, skip_first);
    let flat = Flat::new(rows.iter().cloned().map(Some)).unwrap();
    let ragged = flat.ragged();
    let labels = Flat::new((0..rows.len()).map(|i| case.labels.as_ref().map(|labels| labels[i].clone())));
    let weights = Flat::new((0..rows.len()).map(|i| case.turn_weights.as_ref().map(|all| all[i].clone())));
    let columns = RowColumns {
        labels: labels.as_ref().map(Flat::ragged),
        turn_weights: weights.as_ref().map(Flat::ragged),
        turn_flags: false,
    };
    let compiled = Format::<T>::new(&case.format);
    let target = Target { ignore_index: IGNORE, max_len: case.max_len, skip_first };
    let planned = Plan::new(&ragged, TurnSource::Search(&compiled), &policy(&case.rules), &columns, target);
    if let Some(row) = case.expected.iter().position(Option::is_none) {
        assert_eq!(planned.err(), Some(Error::NoTrainedTurn { row }));
        return;
    }
    let plan = planned.unwrap();
    for (i, row) in ids.iter().enumerate() {
        case.check_report(i, row, &plan.rows[i]);
        assert_eq!(plan.open[i], case.turns[i].last().is_some_and(|turn| !turn.closed));
        let with_tokens = case.turns[i].iter().filter(|turn| turn.stop > turn.content_start);
        let roles: Vec<usize> = with_tokens.map(|turn| turn.role).collect();
        assert_eq!(plan.roles[plan.role_edges[i]..plan.role_edges[i + 1]], roles);
    }
    let kept: Vec<usize> = (0..rows.len()).filter(|_| !input.rarely(4)).collect();
    let lengths: Vec<usize> = kept.iter().map(|&i| rows[i].len()).collect();
    let layout = layout(input, &lengths, case.max_len);
    written(&case, &ids, &ragged, &plan, &kept, &columns, layout);
    cells(input, &ids, &ragged);
}

fn layout(input: &mut Input, lengths: &[usize], max_len: usize) -> Layout {
    match input.below(3) {
        0 => Layout { shape: Shape::Packed, max_len },
        side => {
            let side = if side == 1 { Side::Right } else { Side::Left };
            let (layout, multiple) = (lengths.iter().copied(), 1 + input.below(9));
            let shape = Shape::padded(layout, side, max_len, multiple);
            let layout = Layout { shape, max_len };
            assert_eq!(layout, padded(lengths, side, max_len, multiple));
            layout
        }
    }
}

fn written<T: Token>(
    case: &Case,
    ids: &[Vec<i64>],
    rows: &Ragged<T>,
    plan: &Plan,
    kept: &[usize],
    columns: &RowColumns,
    layout: Layout,
) {
    let chosen: Vec<Vec<i64>> = kept.iter().map(|&i| ids[i].clone()).collect();
    let starts = vec![0; kept.len()];
    let input_ids = lay_out(&chosen, &starts, layout, PADDING);
    let places = input_ids.len();
    let (mut out, mut mask, mut labels) = (vec![77; places], vec![77; places], vec![77; places]);
    let (mut weights, mut positions, mut numbers) = (vec![77.0; places], vec![77; places], vec![77; places]);
    let output = BatchOutput {
        layout,
        padding: PADDING,
        ignore_index: IGNORE,
        input_ids: &mut out,
        attention_mask: Some(&mut mask),
        labels: &mut labels,
        weights: Some(&mut weights),
        position_ids: Some(&mut positions),
        seq_idx: Some(&mut numbers),
    };
    write_batch_into(rows, plan, kept, columns, case.rules.shift, output).unwrap();
    assert_eq!(out, input_ids);
    let of = |value: fn(usize, usize) -> i64, padding: i64| {
        let row = |(number, row): (usize, &Vec<i64>)| (0..row.len()).map(|at| value(number, at)).collect();
        lay_out(&chosen.iter().enumerate().map(row).collect::<Vec<Vec<i64>>>(), &starts, layout, padding)
    };
    assert_eq!(mask, of(|_, _| 1, 0));
    assert_eq!(positions, of(|_, at| at as i64, 0));
    assert_eq!(numbers.into_iter().map(i64::from).collect::<Vec<_>>(), of(|number, _| number as i64, -1));
    let expected: Vec<_> = kept.iter().filter_map(|&i| case.expected[i].as_ref()).collect();
    let want: Vec<Vec<i64>> = expected.iter().map(|row| row.labels.clone()).collect();
    assert_eq!(labels, lay_out(&want, &starts, layout, IGNORE), "{:?} {:?}", case.format, case.rules);
    let want: Vec<Vec<f32>> = expected.iter().map(|row| row.weights.clone()).collect();
    assert_eq!(weights, lay_out(&want, &starts, layout, 0.0), "{:?} {:?}", case.format, case.rules);
}

/// The other functions that write rows into cells, and those that look at rows before.
fn cells<T: Token>(input: &mut Input, ids: &[Vec<i64>], rows: &Ragged<T>) {
    let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let max_len = input.below(longest + 2);
    let layout = layout(input, &lengths, max_len);
    let want = lay_out(ids, &vec![0; ids.len()], layout, PADDING);
    let mut out = vec![77; layout.output_len(rows)];
    values_into(rows, layout, Token::to_i64, PADDING, &mut out).unwrap();
    assert_eq!(out, want);
    let mut short = vec![77; want.len() + 1];
    let got = short.len();
    let error = values_into(rows, layout, Token::to_i64, PADDING, &mut short);
    assert_eq!(error, Err(Error::Length { want: want.len(), got }));

    // Places that stand for tokens, and one that may lie outside of its row.
    let width = input.below(5);
    let sources: Vec<i64> = (0..ids.len() * width).map(|_| input.below(longest + 2) as i64 - 1).collect();
    let mut taken = vec![77; sources.len()];
    let done = take_into(rows, width, &sources, Token::to_i64, PADDING, &mut taken);
    let value = |(at, &source): (usize, &i64)| match usize::try_from(source) {
        Ok(position) => ids[at / width].get(position).copied(),
        Err(_) => Some(PADDING),
    };
    let want: Option<Vec<i64>> = sources.iter().enumerate().map(value).collect();
    assert_eq!(done.ok().map(|()| taken), want);

    let special = input.list(2, Input::id);
    let lost = |row: &Vec<i64>| row.iter().skip(max_len).any(|id| special.contains(id));
    let cut = check_cut(rows, max_len, &special);
    assert_eq!(cut.is_err(), ids.iter().any(lost));
    if let Err(Error::Cut { row, needed, .. }) = cut {
        assert!(Some(row) == ids.iter().position(lost) && special.contains(&ids[row][needed - 1]));
        assert!(!ids[row][needed..].iter().any(|id| special.contains(id)));
    }

    // Zeros between ones are the only fault of a mask.
    let bounds = mask_bounds(rows);
    let real = |row: &Vec<i64>| -> Vec<usize> { (0..row.len()).filter(|&at| row[at] != 0).collect() };
    let whole = |row: &Vec<i64>| real(row).windows(2).all(|pair| pair[0] + 1 == pair[1]);
    assert_eq!(bounds.is_ok(), ids.iter().all(whole));
    for (i, (start, stop)) in bounds.into_iter().flatten().enumerate() {
        let (real, first) = (real(&ids[i]), rows.bounds(i).start);
        let want = match (real.first(), real.last()) {
            (Some(start), Some(last)) => (first + start, first + last + 1),
            _ => (first + ids[i].len(), first + ids[i].len()),
        };
        assert_eq!((start as usize, stop as usize), want);
    }

    // Decoder inputs: the label of a token may be the one that padding has, so the cell's parts decide.
    let row = &ids[0];
    let (before, after) = (input.below(3), input.below(3));
    let cell: Vec<i64> = [vec![IGNORE; before], row.clone(), vec![IGNORE; after]].concat();
    let (mut left, mut content, mut right) = (vec![IGNORE; before], row.clone(), vec![IGNORE; after]);
    let labels = Cell { before: &mut left, content: &mut content, after: &mut right };
    let mut out = vec![77; cell.len()];
    decoder_inputs_into(&labels, 8, PADDING, &mut out);
    if !cell.is_empty() {
        assert_eq!(out, decoder_inputs(&cell, IGNORE, 8, PADDING));
    }
}

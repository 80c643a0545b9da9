//! Batches of inputs and labels, which every noise that makes both writes in the same way.

use super::input::Input;
use crate::batch::{decoder_inputs, lay_out, padded};
use spanmask_core::Error;
use spanmask_core::batch::{Layout, Shape, Side};
use spanmask_core::noise::seq_to_seq::{Batch, Lengths, Outputs, SeqToSeq};

const IGNORE: i64 = -100;
const PADDING: i64 = -5;
const START: i64 = -6;
/// What outputs hold before they are written.
const UNWRITTEN: i64 = i64::MIN;

/// What a call wrote.
pub struct Written {
    batch: Batch,
    inputs: Vec<i64>,
    attention: Vec<i64>,
    labels: Vec<i64>,
    decoder: Vec<i64>,
    sources: Vec<i64>,
}

/// Writes planned rows, in a layout that the input chooses.
pub fn write<N: SeqToSeq>(input: &mut Input, call: &N, plans: &mut [N::Plan]) -> Result<Written, Error> {
    let (input_lengths, label_lengths): (Vec<usize>, Vec<usize>) =
        plans.iter().map(|plan| plan.lengths()).unzip();
    let (pad, side) = (input.flag(), input.pick(&[Side::Right, Side::Left]));
    let layout = |lengths: &[usize]| match pad {
        true => padded(lengths, side, usize::MAX, 4),
        false => Layout { shape: Shape::Packed, max_len: usize::MAX },
    };
    let batch = Batch {
        inputs: layout(&input_lengths),
        labels: layout(&label_lengths),
        padding: PADDING,
        ignore_index: IGNORE,
        decoder_start: START,
    };
    let unwritten = |layout: Layout, lengths: &[usize]| {
        let places = match layout.shape {
            Shape::Padded { width, .. } => width * lengths.len(),
            _ => lengths.iter().sum(),
        };
        vec![UNWRITTEN; places]
    };
    let [mut inputs, mut attention, mut sources] = [(); 3].map(|()| unwritten(batch.inputs, &input_lengths));
    let [mut labels, mut decoder] = [(); 2].map(|()| unwritten(batch.labels, &label_lengths));
    let outputs = Outputs {
        inputs: &mut inputs,
        attention: &mut attention,
        labels: &mut labels,
        decoder: &mut decoder,
        sources: &mut sources,
    };
    call.write_into(plans, &batch, outputs)?;
    Ok(Written { batch, inputs, attention, labels, decoder, sources })
}

impl Written {
    /// Compares the outputs with what the twin made of each row: its inputs, the sources of these, its labels.
    pub fn check(&self, rows: &[[&[i64]; 3]], context: impl Fn() -> String) {
        let starts = vec![0; rows.len()];
        let column = |number: usize| rows.iter().map(|row| row[number].to_vec()).collect::<Vec<_>>();
        let (inputs, labels) = (self.batch.inputs, self.batch.labels);
        assert_eq!(self.inputs, lay_out(&column(0), &starts, inputs, PADDING), "{}", context());
        assert_eq!(self.sources, lay_out(&column(1), &starts, inputs, -1), "{}", context());
        let ones: Vec<Vec<i64>> = rows.iter().map(|row| vec![1; row[0].len()]).collect();
        assert_eq!(self.attention, lay_out(&ones, &starts, inputs, 0));
        assert_eq!(self.labels, lay_out(&column(2), &starts, labels, IGNORE), "{}", context());
        let cells = match labels.shape {
            Shape::Padded { width, .. } => self.labels.chunks(width.max(1)).map(<[i64]>::to_vec).collect(),
            _ => column(2),
        };
        let full = cells.iter().filter(|cell| !cell.is_empty());
        let shifted: Vec<i64> = full.flat_map(|cell| decoder_inputs(cell, IGNORE, START, PADDING)).collect();
        assert_eq!(self.decoder, shifted);
    }
}

//! What a batch looks like, spelled out.

use spanmask_core::batch::{Layout, Shape, Side};

/// How rows of these lengths are laid out: padded to the longest of them after the cut, rounded up.
pub fn padded(lengths: &[usize], side: Side, max_len: usize, multiple_of: usize) -> Layout {
    let mut width = lengths.iter().map(|&len| len.min(max_len)).max().unwrap_or(0);
    while width % multiple_of != 0 {
        width += 1;
    }
    Layout { shape: Shape::Padded { width, side }, max_len }
}

/// The rows, each cut, with `padding` around them. Rows keep their `starts` in a 2-D input.
pub fn lay_out<O: Copy>(rows: &[Vec<O>], starts: &[usize], layout: Layout, padding: O) -> Vec<O> {
    let mut out = Vec::new();
    for (row, &start) in rows.iter().zip(starts) {
        let kept = &row[..row.len().min(layout.max_len)];
        let (before, width) = match layout.shape {
            Shape::Packed => (0, kept.len()),
            Shape::Padded { width, side: Side::Right } => (0, width),
            Shape::Padded { width, side: Side::Left } => (width - kept.len(), width),
            Shape::InPlace { width } => (start % width.max(1), width),
        };
        out.extend(std::iter::repeat_n(padding, before));
        out.extend_from_slice(kept);
        out.extend(std::iter::repeat_n(padding, width - before - kept.len()));
    }
    out
}

/// Decoder inputs for one row of labels, padded or not.
pub fn decoder_inputs(labels: &[i64], ignore_index: i64, start: i64, padding: i64) -> Vec<i64> {
    let mut inputs: Vec<i64> =
        labels.iter().map(|&label| if label == ignore_index { padding } else { label }).collect();
    inputs.insert(0, start);
    inputs.pop();
    inputs
}

//! A planned batch -> all arrays that a model reads, row by row.

use super::plan::Plan;
use super::{RowColumns, Shift, write};
use crate::batch::Layout;
use crate::level::SimdLevel;
use crate::stop;
use crate::{Error, Ragged, Token};

/// The buffers of a batch.
#[derive(Debug)]
pub struct BatchOutput<'a> {
    /// The positions of rows in all outputs.
    pub layout: Layout,
    /// The id that padding gets.
    pub padding: i64,
    /// The label of a token without loss.
    pub ignore_index: i64,
    /// The ids.
    pub input_ids: &'a mut [i64],
    /// 1 for a token, 0 for padding.
    pub attention_mask: Option<&'a mut [i64]>,
    /// Labels.
    pub labels: &'a mut [i64],
    /// Loss weights: 0 where no loss is wanted.
    pub weights: Option<&'a mut [f32]>,
    /// Each token's position in its row.
    pub position_ids: Option<&'a mut [i64]>,
    /// The number of each token's row among those that are kept.
    pub seq_idx: Option<&'a mut [i32]>,
}

/// Writes the rows `kept` of a planned batch. `rows`, `columns` and `shift` are those of the plan.
///
/// Errors: [`Error::Length`] for a buffer of the wrong size or a row that was not planned, [`Error::Width`].
pub fn write_batch_into<T: Token>(
    rows: &Ragged<T>,
    plan: &Plan,
    kept: &[usize],
    columns: &RowColumns,
    shift: Shift,
    mut out: BatchOutput,
) -> Result<(), Error> {
    if let Some(&row) = kept.iter().find(|&&row| row >= rows.len() || row >= plan.rows.len()) {
        return Err(Error::Length { want: row + 1, got: rows.len().min(plan.rows.len()) });
    }
    let BatchOutput { layout, padding, ignore_index, .. } = out;
    let level = SimdLevel::detect();
    for (number, &i) in kept.iter().enumerate() {
        let (ids, bounds) = (rows.row(i), rows.bounds(i));
        let mut cell = layout.next_cell(number, bounds.clone(), &mut out.input_ids)?;
        cell.fill_padding(padding);
        let len = cell.content.len();
        stop::copy(&ids[..len], cell.content);
        if let Some(mask) = &mut out.attention_mask {
            layout.next_cell(number, bounds.clone(), mask)?.fill(1, 0);
        }
        if let Some(numbers) = &mut out.seq_idx {
            layout.next_cell(number, bounds.clone(), numbers)?.fill(number as i32, -1);
        }
        if let Some(positions) = &mut out.position_ids {
            let mut cell = layout.next_cell(number, bounds.clone(), positions)?;
            cell.fill_padding(0);
            cell.content.iter_mut().zip(0..).for_each(|(place, position)| *place = position);
        }
        let labels = columns.labels.map(|labels| labels.row(i));
        let row = write::Row { ids, spans: plan.spans(i), labels };
        let weights = match &mut out.weights {
            Some(weights) => Some(layout.next_cell(number, bounds.clone(), weights)?),
            None => None,
        };
        row.write_into(
            level,
            shift,
            ignore_index,
            layout.next_cell(number, bounds, &mut out.labels)?,
            weights,
        );
    }
    Ok(())
}

//! Turns -> labels. The only place that decides which tokens carry loss.
//! Oracle: `spanmask.reference.mask_labels`.

use crate::batch::Layout;
use crate::search::Searcher;
use crate::turns::{Format, Turn, find_turns};
use crate::{Error, Ragged, Token};
use core::ops::Range;

/// Which turns of the trained roles train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turns {
    /// Every one.
    All,
    /// The row's last one.
    Last,
}

/// Whose closing tokens train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainOnEos {
    /// Nobody's.
    None,
    /// Those of the turns that train.
    Turn,
    /// Those of the row's last turn of a trained role, if it trains.
    Last,
    /// Those of every turn of every role.
    All,
}

/// What becomes of a turn that the row's end cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenTurn {
    /// It trains.
    Train,
    /// It does not.
    Drop,
}

/// What becomes of a row without a turn of a trained role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// Nothing trains.
    Mask,
    /// Everything trains but the ignored ids.
    Keep,
    /// [`Error::NoTrainedTurn`].
    Raise,
}

/// Which tokens carry loss.
#[derive(Debug, Clone)]
pub struct Policy<T> {
    /// By role number: whether its turns train. Missing entries do not.
    pub roles: Vec<bool>,
    /// Which of their turns.
    pub turns: Turns,
    /// Whose closing tokens.
    pub train_on_eos: TrainOnEos,
    /// Opening tokens train with their turn.
    pub include_start: bool,
    /// Turns cut off by the row's end.
    pub open_turn: OpenTurn,
    /// Rows without a trained turn.
    pub on_missing: OnMissing,
    /// Ids that never train.
    pub ignore_ids: Searcher<T>,
}

/// Why a row trains, or why not. The numbers are what the binding hands to Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// At least one token trains.
    Trained = 0,
    /// The row has no token.
    EmptyRow = 1,
    /// No start marker of any role.
    NoMarker = 2,
    /// Turns, but none of a trained role, or its content was cut off.
    Truncated = 3,
    /// All that would train are ignored ids.
    OnlyIgnored = 4,
    /// The trained turns hold no token that the policy trains.
    EmptyTurn = 5,
    /// Existing labels or a turn mask exclude all that would train.
    Excluded = 6,
}

/// What happened to one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowReport {
    /// Tokens with a label, among those kept.
    pub trained: usize,
    /// Why.
    pub outcome: Outcome,
    /// The last turn was cut off by the row's end.
    pub open: bool,
}

/// What a call may be given beside the rows.
#[derive(Debug, Clone, Copy)]
pub struct Extras<'a> {
    /// Existing labels, intersected: where they are `ignore_index`, nothing trains.
    pub labels: Option<Ragged<'a, i64>>,
    /// A flag for each turn of a trained role. More flags than turns: the row's tail was cut.
    pub turn_mask: Option<Ragged<'a, bool>>,
    /// What stands where no loss is wanted.
    pub ignore_index: i64,
}

/// What happened, written beside the labels.
#[derive(Debug)]
pub struct Report<'a> {
    /// One entry a row.
    pub rows: &'a mut [RowReport],
    /// By role number; raised by each turn that was found.
    pub turns: &'a mut [u64],
}

/// Labels of `rows` into `out`, whose places `layout` gives. Masks are made before the layout cuts rows.
///
/// One pass over the ids to find markers, one to write, a row at a time while it is in cache.
///
/// Errors: [`Error::Length`] for a buffer of another size, [`Error::NoTrainedTurn`], [`Error::TurnMask`], [`Error::LabelsLength`].
pub fn mask_labels_into<T: Token>(
    rows: &Ragged<T>,
    format: &Format<T>,
    policy: &Policy<T>,
    extras: &Extras,
    layout: Layout,
    out: &mut [i64],
    report: Report,
) -> Result<(), Error> {
    for (want, got) in [(rows.len(), report.rows.len()), (format.roles(), report.turns.len())] {
        if got != want {
            return Err(Error::Length { want, got });
        }
    }
    let (mut turns, mut spans) = (Vec::new(), Spans::default());
    layout.for_each_cell(rows, out, |i, row, mut cell| {
        let flags = extras.turn_mask.map(|mask| mask.row(i));
        find_turns(row, format, &mut turns);
        let outcome =
            trained_spans(row, &turns, format, policy, flags, &mut spans).map_err(|e| e.at_row(i))?;
        cell.fill_padding(extras.ignore_index);
        labels_into(row, &spans, extras.ignore_index, cell.content);
        let mut trained = spans.tokens_before(cell.content.len());
        let mut excluded = false;
        if let Some(labels) = extras.labels {
            let kept = intersect(row.len(), labels.row(i), extras.ignore_index, cell.content)
                .map_err(|e| e.at_row(i))?;
            excluded = kept == 0 && trained > 0;
            trained = kept;
        }
        report.rows[i] = RowReport {
            trained,
            outcome: match outcome {
                _ if trained > 0 => Outcome::Trained,
                _ if excluded => Outcome::Excluded,
                Outcome::Trained => Outcome::Truncated, // trained tokens, all of them behind the cut
                other => other,
            },
            open: turns.last().is_some_and(|turn| !turn.closed),
        };
        for turn in &turns {
            report.turns[turn.role] += 1;
        }
        Ok(())
    })
}

/// Copies `row` inside the spans, writes `ignore` elsewhere. `out` may be shorter than `row`: the rest is cut.
fn labels_into<T: Token>(row: &[T], spans: &Spans, ignore: i64, out: &mut [i64]) {
    out.fill(ignore); // Spans are few and long: two bulk passes, no branch a token.
    for span in &spans.0 {
        let stop = span.stop.min(out.len());
        let start = span.start.min(stop);
        for (label, token) in out[start..stop].iter_mut().zip(&row[start..stop]) {
            *label = token.to_i64();
        }
    }
}

/// Ignores in `out` what `labels` ignore; returns how many tokens still train.
fn intersect(row_len: usize, labels: &[i64], ignore: i64, out: &mut [i64]) -> Result<usize, Error> {
    if labels.len() != row_len {
        return Err(Error::LabelsLength { row: 0, ids: row_len, labels: labels.len() });
    }
    let mut trained = 0;
    for (out, &label) in out.iter_mut().zip(labels) {
        *out = if *out == ignore { ignore } else { label };
        trained += usize::from(*out != ignore);
    }
    Ok(trained)
}

/// The spans of a row that carry loss. Returns why there are none, or [`Outcome::Trained`].
fn trained_spans<T: Token>(
    row: &[T],
    turns: &[Turn],
    format: &Format<T>,
    policy: &Policy<T>,
    flags: Option<&[bool]>,
    spans: &mut Spans,
) -> Result<Outcome, Error> {
    spans.0.clear();
    let is_trained = |turn: &&Turn| policy.roles.get(turn.role).copied().unwrap_or(false);
    let candidates = turns.iter().filter(is_trained).count();
    if let Some(flags) = flags
        && flags.len() < candidates
    {
        return Err(Error::TurnMask { row: 0, turns: candidates, flags: flags.len() });
    }
    if candidates == 0 {
        match policy.on_missing {
            OnMissing::Raise => return Err(Error::NoTrainedTurn { row: 0 }),
            OnMissing::Keep => spans.push(0..row.len()),
            OnMissing::Mask => {}
        }
    }
    let mut number = 0; // of the turn among those of trained roles
    let mut flagged_off = false;
    for turn in turns {
        let boundary = format.boundary(turn);
        let mut closing = policy.train_on_eos == TrainOnEos::All;
        if is_trained(&turn) {
            let last = number + 1 == candidates;
            let wanted = flags.is_none_or(|flags| flags[number]);
            flagged_off |= !wanted;
            number += 1;
            if wanted
                && (last || policy.turns == Turns::All)
                && (turn.closed || policy.open_turn == OpenTurn::Train)
            {
                if policy.include_start || boundary.include_start {
                    spans.push(turn.header());
                }
                spans.push(turn.content());
                closing |= match policy.train_on_eos {
                    TrainOnEos::None => false,
                    TrainOnEos::Last => last,
                    TrainOnEos::Turn | TrainOnEos::All => true,
                };
            }
        }
        if closing && boundary.include_end {
            spans.push(turn.closing());
        }
    }
    let without_ignored = spans.0.is_empty();
    spans.subtract(row, &policy.ignore_ids);
    Ok(match () {
        () if !spans.0.is_empty() => Outcome::Trained,
        () if row.is_empty() => Outcome::EmptyRow,
        () if !without_ignored => Outcome::OnlyIgnored,
        () if turns.is_empty() => Outcome::NoMarker,
        () if candidates == 0 || turns.last().is_some_and(|turn| !turn.closed && is_trained(&turn)) => {
            Outcome::Truncated
        }
        () if flagged_off => Outcome::Excluded,
        () => Outcome::EmptyTurn,
    })
}

/// A half-open span of token positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: usize,
    stop: usize,
}

/// Spans of one row. Invariant: they ascend, hold at least one token each and neither overlap nor touch; [`Spans::push`] keeps it.
#[derive(Debug, Clone, Default)]
struct Spans(Vec<Span>);

impl Spans {
    /// Adds a span behind all others; joins it to the last one where they touch. An empty one adds nothing.
    fn push(&mut self, span: Range<usize>) {
        if span.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.stop >= span.start => last.stop = span.end,
            _ => self.0.push(Span { start: span.start, stop: span.end }),
        }
    }

    /// Takes out every position where a single-token needle of `ids` stands.
    fn subtract<T: Token>(&mut self, row: &[T], ids: &Searcher<T>) {
        if ids.is_empty() {
            return;
        }
        for span in core::mem::take(&mut self.0) {
            let mut start = span.start;
            for hit in ids.candidates(&row[span.start..span.stop]).map(|hit| span.start + hit) {
                self.push(start..hit);
                start = hit + 1;
            }
            self.push(start..span.stop);
        }
    }

    /// How many tokens the spans hold in front of position `stop`.
    fn tokens_before(&self, stop: usize) -> usize {
        self.0.iter().map(|span| span.stop.min(stop).saturating_sub(span.start)).sum()
    }
}

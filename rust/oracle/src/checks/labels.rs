//! Labels, weights and reports with every policy, in ragged, padded and 2-D outputs.

use super::input::{Flat, Input, wide};
use super::turns::{bounds, format};
use super::with_type;
use crate::batch::{lay_out, padded};
use crate::labels::{Columns, Labels, Rules, mask_labels};
use crate::turns::find_turns;
use spanmask_core::batch::{Layout, Shape, Side};
use spanmask_core::labels::{
    Ignore, MarkerPair, OnNoTrainedTurn, Outcome, Output, Policy, Reasoning, Report, RowColumns, RowReport,
    Shift, TrainOnEos, TruncatedTurn, WhichTurns, mask_labels_into,
};
use spanmask_core::turns::{Format, FormatParts, Turn, TurnSource};
use spanmask_core::{Error, Ragged, Token};

pub const IGNORE: i64 = -100;

pub fn check(input: &mut Input) {
    with_type!(input, typed);
}

pub fn rules(input: &mut Input) -> Rules {
    let pair = |input: &mut Input| -> MarkerPair { (input.sequences(2), input.sequences(2)) };
    let weight = |input: &mut Input| input.pick(&[1.0, 0.0, 0.5, 3.0]);
    let ignores = input.flag();
    Rules {
        roles: input.list(3, |input| input.maybe(2, weight)),
        reasoning: input.pick(&[Reasoning::IgnoreEmpty, Reasoning::Train, Reasoning::Ignore]),
        prompt_weight: input.pick(&[0.0, 0.0, 0.25, 1.0]),
        turns: input.pick(&[WhichTurns::All, WhichTurns::Last]),
        train_on_eos: input.pick(&[TrainOnEos::Turn, TrainOnEos::None, TrainOnEos::Last, TrainOnEos::All]),
        include_start: input.flag(),
        train_generation_prefill: input.flag(),
        truncated_turn: input.pick(&[TruncatedTurn::Train, TruncatedTurn::Drop]),
        on_no_trained_turn: input.pick(&[
            OnNoTrainedTurn::Mask,
            OnNoTrainedTurn::Mask,
            OnNoTrainedTurn::Keep,
            OnNoTrainedTurn::Raise,
        ]),
        ignore_ids: if ignores { input.list(2, Input::id) } else { Vec::new() },
        ignore_sequences: if ignores { input.sequences(3) } else { Vec::new() },
        ignore_between: if ignores { input.list(2, pair) } else { Vec::new() },
        train_between_markers: input.flag(),
        shift: input.pick(&[Shift::None, Shift::Left]),
    }
}

/// The core's policy for these rules.
pub fn policy<T: Token>(rules: &Rules) -> Policy<T> {
    Policy {
        roles: rules.roles.clone(),
        reasoning: rules.reasoning,
        prompt_weight: rules.prompt_weight,
        turns: rules.turns,
        train_on_eos: rules.train_on_eos,
        include_start: rules.include_start,
        train_generation_prefill: rules.train_generation_prefill,
        truncated_turn: rules.truncated_turn,
        on_no_trained_turn: rules.on_no_trained_turn,
        ignore: Ignore::new(
            &rules.ignore_ids,
            &rules.ignore_sequences,
            &rules.ignore_between,
            rules.train_between_markers,
        ),
        shift: rules.shift,
    }
}

/// Rows with all that masks them, and what the twin makes of them.
pub struct Case {
    pub format: FormatParts,
    pub rules: Rules,
    pub turns: Vec<Vec<Turn>>,
    pub labels: Option<Vec<Vec<i64>>>,
    pub turn_weights: Option<Vec<Vec<f32>>>,
    pub max_len: usize,
    pub skip_first: bool,
    /// What becomes of each row, cut to `max_len`.
    pub expected: Vec<Option<Labels>>,
}

impl Case {
    pub fn new(input: &mut Input, rows: &[Vec<i64>], skip_first: bool) -> Self {
        let (format, rules) = (format(input), rules(input));
        let turns: Vec<Vec<Turn>> = rows.iter().map(|row| find_turns(row, &format)).collect();
        let trained = |turns: &Vec<Turn>| {
            turns.iter().filter(|turn| rules.roles.get(turn.role).copied().flatten().is_some()).count()
        };
        let (with_labels, with_weights) = (input.rarely(3), input.rarely(3));
        let labels = with_labels.then(|| {
            let masked = |row: &Vec<i64>| {
                let flags = input.flags(row.len());
                row.iter().zip(flags).map(|(&id, flag)| if flag { IGNORE } else { id }).collect()
            };
            rows.iter().map(masked).collect()
        });
        let turn_weights = with_weights.then(|| {
            let row = |turns: &Vec<Turn>| {
                let more = usize::from(input.rarely(4));
                (0..trained(turns) + more).map(|_| input.pick(&[1.0, 0.0, 2.0])).collect()
            };
            turns.iter().map(row).collect()
        });
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let max_len = input.maybe(2, |input| input.below(longest + 2)).unwrap_or(usize::MAX);
        let expected = Vec::new();
        let mut case = Self { format, rules, turns, labels, turn_weights, max_len, skip_first, expected };
        case.expected = rows.iter().enumerate().map(|(i, row)| case.masked(i, row, max_len)).collect();
        case
    }

    /// What becomes of row `i` if it is cut to `max_len`.
    fn masked(&self, i: usize, row: &[i64], max_len: usize) -> Option<Labels> {
        let columns = Columns {
            labels: self.labels.as_ref().map(|labels| labels[i].as_slice()),
            turn_weights: self.turn_weights.as_ref().map(|weights| weights[i].as_slice()),
            ignore_index: IGNORE,
            max_len,
            skip_first: self.skip_first,
        };
        mask_labels(row, &self.turns[i], &self.rules, columns)
    }

    /// Compares the report of row `i` with the row and with what became of it.
    pub fn check_report(&self, i: usize, row: &[i64], report: &RowReport) {
        let trained = self.expected[i].as_ref().unwrap().trained;
        assert_eq!(report.trained, trained, "{report:?}");
        assert_eq!(report.outcome == Outcome::Trained, trained > 0, "{report:?}");
        let lost = trained == 0 && self.masked(i, row, usize::MAX).unwrap().trained > 0;
        assert_eq!(matches!(report.outcome, Outcome::Cut | Outcome::CutAnswer), lost, "{report:?}");
        let turns = &self.turns[i];
        let last = turns.iter().rev().find(|turn| turn.start < self.max_len);
        let open = last.is_some_and(|turn| !turn.closed || turn.stop > self.max_len);
        assert_eq!(report.truncated, open, "{report:?}");
        let trained_role = |turn: &Turn| self.rules.roles.get(turn.role).copied().flatten().is_some();
        match report.outcome {
            Outcome::EmptyRow => assert!(row.is_empty()),
            Outcome::NoMarker => assert!(turns.is_empty()),
            Outcome::NoTrainedTurn => assert!(!turns.is_empty() && !turns.iter().any(trained_role)),
            Outcome::EmptyTurn => assert!(turns.iter().any(trained_role)),
            Outcome::OnlyFirst => assert!(self.skip_first || self.rules.shift == Shift::Left),
            Outcome::Excluded => {
                assert!(self.labels.is_some() || self.turn_weights.is_some() || self.has_zero())
            }
            Outcome::OnlyIgnored => assert!(self.ignores(turns)),
            _ => {}
        }
    }

    /// Whether the policy gives some role the weight 0.
    fn has_zero(&self) -> bool {
        self.rules.roles.contains(&Some(0.0))
    }

    /// Whether some token may be ignored.
    fn ignores(&self, turns: &[Turn]) -> bool {
        let rules = &self.rules;
        let reasoning = turns.iter().any(|turn| turn.reasoning_stop > turn.content_start);
        reasoning
            || !(rules.ignore_ids.is_empty()
                && rules.ignore_sequences.is_empty()
                && rules.ignore_between.is_empty())
    }
}

fn typed<T: Token>(input: &mut Input) {
    let values: Vec<T> = input.row();
    let (starts, stops) = match input.flag() {
        true => bounds(input, values.len()),
        false => (vec![0], vec![values.len() as i64]),
    };
    let rows = Ragged::from_bounds(&values, &starts, &stops).unwrap();
    let ids: Vec<Vec<i64>> = rows.rows().map(wide).collect();
    let case = Case::new(input, &ids, false);
    let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
    let kept = |len: usize| len.min(case.max_len);
    let layout = match input.below(4) {
        0 => Layout { shape: Shape::Packed, max_len: case.max_len },
        1 => padded(&lengths, Side::Right, case.max_len, 1 + input.below(9)),
        2 => padded(&lengths, Side::Left, case.max_len, 1 + input.below(9)),
        _ => {
            let fit = |width: usize| {
                starts.iter().zip(&lengths).all(|(&start, &len)| start as usize % width + kept(len) <= width)
            };
            let width = 1 + input.below(values.len() + 1);
            let shape = if fit(width) { Shape::InPlace { width } } else { Shape::Packed };
            Layout { shape, max_len: case.max_len }
        }
    };
    let places = layout.output_len(&rows);
    let (mut labels, mut weights) = (vec![77; places], vec![77.0; places]);
    let nothing = RowReport { trained: 0, outcome: Outcome::Trained, truncated: false, unclosed_regions: 0 };
    let mut reports = vec![nothing; rows.len()];
    let compiled = Format::<T>::new(&case.format);
    let mut counts = vec![0; compiled.roles()];
    let with_weights = input.flag();
    let columns = [Flat::new((0..rows.len()).map(|i| case.labels.as_ref().map(|labels| labels[i].clone())))];
    let turn_weights =
        Flat::new((0..rows.len()).map(|i| case.turn_weights.as_ref().map(|all| all[i].clone())));
    let done = mask_labels_into(
        &rows,
        TurnSource::Search(&compiled),
        &policy(&case.rules),
        &RowColumns {
            labels: columns[0].as_ref().map(Flat::ragged),
            turn_weights: turn_weights.as_ref().map(Flat::ragged),
            turn_flags: false,
        },
        Output {
            layout,
            ignore_index: IGNORE,
            labels: &mut labels,
            weights: with_weights.then_some(&mut weights),
        },
        Report { rows: &mut reports, turns: &mut counts },
    );
    if let Some(row) = case.expected.iter().position(Option::is_none) {
        assert_eq!(done, Err(Error::NoTrainedTurn { row }));
        return;
    }
    assert_eq!(done, Ok(()));
    let places: Vec<usize> = starts.iter().map(|&start| start as usize).collect();
    let want: Vec<Vec<i64>> = case.expected.iter().flatten().map(|row| row.labels.clone()).collect();
    assert_eq!(labels, lay_out(&want, &places, layout, IGNORE), "{:?} {:?}", case.format, case.rules);
    if with_weights {
        let want: Vec<Vec<f32>> = case.expected.iter().flatten().map(|row| row.weights.clone()).collect();
        assert_eq!(weights, lay_out(&want, &places, layout, 0.0), "{:?} {:?}", case.format, case.rules);
    }
    for (i, row) in ids.iter().enumerate() {
        case.check_report(i, row, &reports[i]);
    }
    for (role, &count) in counts.iter().enumerate() {
        let turns = case.turns.iter().flatten();
        let kept = turns.filter(|turn| turn.role == role && turn.start < case.max_len);
        assert_eq!(count, kept.count() as u64);
    }
}

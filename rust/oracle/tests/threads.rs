//! The core on threads, as the binding runs it: chunks of rows, shared inputs, parts of one output. Results are those of one thread.
//!
//! It is small, and free of processes and files, so that ThreadSanitizer and Miri can run it: `make tsan`, `make miri`.
#![allow(clippy::unwrap_used, reason = "a test may fail where something is missing")]

use spanmask_core::batch::{Layout, Shape};
use spanmask_core::labels::{
    Ignore, OnNoTrainedTurn, Outcome, Output, Policy, Reasoning, Report, RowColumns, RowReport, Shift,
    TrainOnEos, TruncatedTurn, WhichTurns, mask_labels_into,
};
use spanmask_core::noise::corrupt::{Corruption, OnExhausted, RowOptions, RowPlan, Spec};
use spanmask_core::noise::draw;
use spanmask_core::noise::ids::IdSet;
use spanmask_core::noise::mixture::{Denoiser, Mixture, Objective};
use spanmask_core::noise::seq_to_seq::{Batch, Outputs, SeqToSeq};
use spanmask_core::rng::SeedEpoch;
use spanmask_core::turns::{Boundary, Format, FormatParts, TurnSource};
use spanmask_core::{Error, Ragged};
use std::ops::Range;
use std::sync::Mutex;

// Miri takes minutes for what takes the processor a millisecond.
const ROWS: usize = if cfg!(miri) { 6 } else { 24 };
const LEN: usize = if cfg!(miri) { 70 } else { 150 };
const PACKED: Layout = Layout { shape: Shape::Packed, max_len: usize::MAX };

fn ids() -> Vec<u16> {
    (0..ROWS * LEN).map(|at| (at * 7919 % 61 % 11) as u16).collect()
}

fn offsets() -> Vec<i64> {
    (0..=ROWS).map(|row| (row * LEN) as i64).collect()
}

/// Runs the jobs on as many threads; each takes the next one until none is left.
fn on_threads<F: FnOnce() -> Result<(), Error> + Send>(threads: usize, jobs: Vec<F>) {
    let queue = Mutex::new(jobs);
    let work = || {
        while let Some(job) = { queue.lock().map(|mut jobs| jobs.pop()).unwrap() } {
            job().unwrap();
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
}

/// Ranges of three rows.
fn chunks() -> impl Iterator<Item = Range<usize>> {
    (0..ROWS).step_by(3).map(|first| first..first + 3)
}

#[test]
fn labels_do_not_depend_on_threads() {
    let boundary = |role, last| Boundary {
        role,
        starts: vec![vec![5, last]],
        ends: vec![vec![2]],
        include_end: true,
        ..Boundary::default()
    };
    let parts = FormatParts { boundaries: vec![boundary(0, 6), boundary(1, 7)], ..FormatParts::default() };
    let format = Format::<u16>::new(&parts);
    let policy = Policy {
        roles: vec![Some(0.5)],
        reasoning: Reasoning::Train,
        prompt_weight: 0.0,
        turns: WhichTurns::All,
        train_on_eos: TrainOnEos::Turn,
        include_start: false,
        train_generation_prefill: true,
        truncated_turn: TruncatedTurn::Train,
        on_no_trained_turn: OnNoTrainedTurn::Keep,
        ignore: Ignore::new(&[9], &[vec![3, 4]], &[(vec![vec![8]], vec![vec![1]])], false),
        shift: Shift::Left,
    };
    let (values, offsets) = (ids(), offsets());
    let rows = Ragged::new(&values, &offsets).unwrap();
    let masked = |threads| {
        let (mut labels, mut weights) = (vec![0; values.len()], vec![0.0; values.len()]);
        let nothing =
            RowReport { trained: 0, outcome: Outcome::Trained, truncated: false, unclosed_regions: 0 };
        let mut reports = vec![nothing; ROWS];
        let parts = labels.chunks_mut(3 * LEN).zip(weights.chunks_mut(3 * LEN)).zip(reports.chunks_mut(3));
        let jobs = chunks().zip(parts).map(|(chunk, ((labels, weights), reports))| {
            let (rows, format, policy) = (rows.slice(chunk), &format, &policy);
            move || {
                let output = Output { layout: PACKED, ignore_index: -100, labels, weights: Some(weights) };
                let report = Report { rows: reports, turns: &mut [0; 2] };
                let source = TurnSource::Search(format);
                mask_labels_into(&rows, source, policy, &RowColumns::default(), output, report)
            }
        });
        on_threads(threads, jobs.collect());
        (labels, weights, reports)
    };
    let want = masked(1);
    assert!(want.0.iter().any(|&label| label != -100));
    assert_eq!(masked(4), want);
}

#[test]
fn noise_does_not_depend_on_threads() {
    let denoiser = Denoiser {
        objective: Objective::Spans { density: 0.3, mean: 2.5 },
        mode_token: None,
        sentinels: true,
    };
    let spec = Spec {
        mixture: Mixture::new(vec![denoiser], &[1.0]).unwrap(),
        sentinels: (100..140).collect(),
        forbidden: IdSet::new(100..140),
        eos: Some(1),
        final_sentinel: false,
        layout: draw::Layout::Classic,
        on_exhausted: OnExhausted::MergeLast,
        protected_ids: IdSet::new([3]),
        bos_ids: IdSet::default(),
    };
    let values = ids();
    let rows: Vec<&[u16]> = values.chunks(LEN).collect();
    let call = Corruption::new(&rows, &spec, SeedEpoch { seed: 3, epoch: 1 }, RowOptions::default()).unwrap();
    let corrupted = |threads| {
        let mut plans = vec![RowPlan::default(); ROWS];
        let jobs = chunks().zip(plans.chunks_mut(3)).map(|(chunk, plans)| {
            let call = call.slice(chunk);
            move || call.plan_into(plans)
        });
        on_threads(threads, jobs.collect());
        let (inputs, targets) =
            plans.iter().fold((0, 0), |sum, plan| (sum.0 + plan.inputs, sum.1 + plan.targets));
        let (mut inputs, mut targets) = (vec![0; inputs], vec![0; targets]);
        let (mut jobs, mut rest_inputs, mut rest_targets) = (Vec::new(), &mut inputs[..], &mut targets[..]);
        for (chunk, plans) in chunks().zip(plans.chunks_mut(3)) {
            let count = |len: fn(&RowPlan) -> usize| plans.iter().map(len).sum();
            let (own_inputs, own_targets);
            (own_inputs, rest_inputs) = rest_inputs.split_at_mut(count(|plan| plan.inputs));
            (own_targets, rest_targets) = rest_targets.split_at_mut(count(|plan| plan.targets));
            let call = call.slice(chunk);
            jobs.push(move || {
                let outputs = Outputs {
                    inputs: own_inputs,
                    attention: &mut [],
                    labels: own_targets,
                    decoder: &mut [],
                    sources: &mut [],
                };
                let (padding, ignore_index, decoder_start) = (0, -100, 0);
                let batch = Batch { inputs: PACKED, labels: PACKED, padding, ignore_index, decoder_start };
                call.write_into(plans, &batch, outputs)
            });
        }
        on_threads(threads, jobs);
        (inputs, targets, plans)
    };
    let want = corrupted(1);
    assert!(want.1.len() > ROWS);
    assert_eq!(corrupted(4), want);
}

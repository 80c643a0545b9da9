//! The inputs for timing kernels and for counting their instructions. They are fixed; each kernel has a closure, and the memory copy that is
//! its lower bound.
#![allow(dead_code, reason = "each bench takes its own kernel's cases")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark may fail where something is missing"
)]

use spanmask_core::batch::{Layout, Shape, Side, values_into};
use spanmask_core::labels::{
    Ignore, OnNoTrainedTurn, Outcome, Output, Policy, Reasoning, Report, RowColumns, RowReport, Shift,
    TrainOnEos, TruncatedTurn, WhichTurns, mask_labels_into,
};
use spanmask_core::noise::corrupt::{self, Corruption, OnExhausted, RowPlan};
use spanmask_core::noise::diffusion::{self, Weighting, diffuse_into};
use spanmask_core::noise::draw;
use spanmask_core::noise::fill_in_the_middle::{
    self as fim, FillInTheMiddle, Length, Level, Loss, SpmFormat,
};
use spanmask_core::noise::ids::IdSet;
use spanmask_core::noise::infill::{self, Infilling, Replace, SpanLengths};
use spanmask_core::noise::masked_lm::{self, Choice, RandomIds, mask_tokens_into};
use spanmask_core::noise::mixture::{Denoiser, Mixture, Objective};
use spanmask_core::noise::seq_to_seq::{Batch, Outputs, SeqToSeq};
use spanmask_core::rng::SeedEpoch;
use spanmask_core::rng::bounded::threshold;
use spanmask_core::rng::trials::Trials;
use spanmask_core::search::Searcher;
use spanmask_core::turns::{Boundary, Format, FormatParts, TurnSource};
use spanmask_core::{Ragged, Token};
use std::hint::black_box;

/// One kernel on one input.
pub struct Case {
    /// `kernel/shape/dtype/case`, as in `benches/`.
    pub id: &'static str,
    /// The tokens of all rows.
    pub tokens: usize,
    /// The bytes that the kernel writes, or reads if it writes nothing. Its floor copies as many.
    pub bytes: usize,
    /// Runs one call.
    pub run: Box<dyn FnMut()>,
}

impl Case {
    fn new(id: &'static str, tokens: usize, bytes: usize, run: impl FnMut() + 'static) -> Self {
        Self { id, tokens, bytes, run: Box::new(run) }
    }

    /// A memory copy of the same number of bytes.
    pub fn floor(&self) -> impl FnMut() + 'static {
        let (from, mut into) = (vec![1u8; self.bytes], vec![0u8; self.bytes]);
        move || black_box(&mut into).copy_from_slice(black_box(&from))
    }
}

const EOS: i64 = 2;
const ASSISTANT: [i64; 3] = [5, 6, 9];
const USER: [i64; 3] = [5, 7, 9];
const PACKED: Layout = Layout { shape: Shape::Packed, max_len: usize::MAX };

/// Numbers below `bound`, by splitmix64: inputs must not change with a dependency.
fn numbers(count: usize, low: u64, bound: u64) -> impl Iterator<Item = i64> {
    let mut state = 0u64;
    (0..count).map(move |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (low + (word ^ word >> 31) % (bound - low)) as i64
    })
}

fn typed<T: Token>(ids: impl Iterator<Item = i64>) -> Vec<T> {
    ids.map(|id| T::from_i64(id).unwrap()).collect()
}

fn offsets(rows: usize, len: usize) -> Vec<i64> {
    (0..=rows).map(|row| (row * len) as i64).collect()
}

/// Rows of random ids with `turns` turns of equal length. Users and assistants alternate; the assistants' turns are closed.
fn chats(rows: usize, len: usize, turns: usize) -> Vec<i64> {
    let mut ids: Vec<i64> = numbers(rows * len, 100, 32_000).collect();
    let size = len / turns;
    for row in ids.chunks_mut(len) {
        for (number, turn) in row.chunks_mut(size).take(turns).enumerate() {
            turn[..3].copy_from_slice(if number % 2 == 0 { &USER } else { &ASSISTANT });
            if number % 2 == 1 {
                turn[size - 1] = EOS;
            }
        }
    }
    ids
}

/// The two roles, and `more` roles that occur in no row, each with a different first token.
fn boundaries(more: usize) -> Vec<Boundary> {
    let boundary = |role, start: &[i64], ends: &[i64]| Boundary {
        role,
        starts: vec![start.to_vec()],
        ends: ends.iter().map(|&end| vec![end]).collect(),
        include_start: false,
        include_end: true,
        anchored: false,
    };
    let mut all = vec![boundary(0, &ASSISTANT, &[EOS]), boundary(1, &USER, &[])];
    all.extend((0..more).map(|role| boundary(role + 2, &[10 + role as i64, 8, 9], &[])));
    all
}

fn mask_labels<T: Token>(id: &'static str, rows: usize, ids: &[i64], boundaries: &[Boundary]) -> Case {
    let ids: Vec<T> = typed(ids.iter().copied());
    let offsets = offsets(rows, ids.len() / rows);
    let format = Format::<T>::new(&FormatParts { boundaries: boundaries.to_vec(), ..FormatParts::default() });
    let policy = Policy {
        roles: vec![Some(1.0)],
        reasoning: Reasoning::IgnoreEmpty,
        prompt_weight: 0.0,
        turns: WhichTurns::All,
        train_on_eos: TrainOnEos::Turn,
        include_start: false,
        train_generation_prefill: false,
        truncated_turn: TruncatedTurn::Train,
        on_no_trained_turn: OnNoTrainedTurn::Mask,
        ignore: Ignore::new(&[], &[], &[], false),
        shift: Shift::None,
    };
    let mut labels = vec![0; ids.len()];
    let mut reports =
        vec![
            RowReport { trained: 0, outcome: Outcome::EmptyRow, truncated: false, unclosed_regions: 0 };
            rows
        ];
    let mut counts = vec![0; format.roles()];
    Case::new(id, ids.len(), ids.len() * size_of::<i64>(), move || {
        let rows = Ragged::new(black_box(&ids), &offsets).unwrap();
        let columns = RowColumns::default();
        let out =
            Output { layout: PACKED, ignore_index: -100, labels: black_box(&mut labels), weights: None };
        let report = Report { rows: &mut reports, turns: &mut counts };
        mask_labels_into(&rows, TurnSource::Search(&format), &policy, &columns, out, report).unwrap();
    })
}

/// Finds turns and writes labels.
pub fn labels() -> Vec<Case> {
    let (short, long) = (chats(8, 2048, 4), chats(32, 8192, 4));
    let two = boundaries(0);
    vec![
        mask_labels::<i64>("labels/8x2048/int64/4-turns", 8, &short, &two),
        mask_labels::<i64>("labels/32x8192/int64/4-turns", 32, &long, &two),
        mask_labels::<u16>("labels/32x8192/uint16/4-turns", 32, &long, &two),
        mask_labels::<i64>("labels/32x8192/int64/256-turns", 32, &chats(32, 8192, 256), &two),
        mask_labels::<i64>("labels/8x2048/int64/64-markers", 8, &short, &boundaries(61)),
        mask_labels::<i64>("labels/8x2048/int64/every-token-a-first", 8, &[5; 8 * 2048], &two),
    ]
}

fn find_all<T: Token>(id: &'static str, ids: &[i64], needles: &[&[i64]]) -> Case {
    let ids: Vec<T> = typed(ids.iter().copied());
    let searcher = Searcher::<T>::new(needles.iter().copied());
    Case::new(id, ids.len(), size_of_val(ids.as_slice()), move || {
        black_box(searcher.find_all(black_box(&ids)).count());
    })
}

/// Reads rows and writes nothing.
pub fn search() -> Vec<Case> {
    let text: Vec<i64> = numbers(1 << 18, 100, 32_000).collect();
    let two: &[&[i64]] = &[&ASSISTANT, &USER];
    vec![
        find_all::<i64>("search/1x262144/int64/never", &text, two),
        find_all::<u16>("search/1x262144/uint16/never", &text, two),
        find_all::<i64>(
            "search/1x262144/int64/4-firsts-never",
            &text,
            &[&ASSISTANT, &[6, 7], &[7, 7], &[EOS]],
        ),
    ]
}

/// A new epoch for each call, as each batch of a training draws new noise. The processor would learn to predict repeated noise.
fn epochs() -> impl Iterator<Item = SeedEpoch> {
    (0..).map(|epoch| SeedEpoch { seed: 0, epoch })
}

fn corruption<T: Token>(id: &'static str, rows: usize, len: usize, density: f64, mean: f64) -> Case {
    // The rows that the closure holds borrow this as long as the benchmark runs.
    let ids: &'static [T] = typed(numbers(rows * len, 100, 32_000)).leak();
    let rows: &'static [&'static [T]] = ids.chunks(len).collect::<Vec<_>>().leak();
    let sentinels: Vec<u32> = (36_001..=40_000).rev().collect();
    let denoiser =
        Denoiser { objective: Objective::Spans { density, mean }, mode_token: None, sentinels: true };
    let spec: &'static corrupt::Spec = Box::leak(Box::new(corrupt::Spec {
        mixture: Mixture::new(vec![denoiser], &[1.0]).unwrap(),
        forbidden: IdSet::new(sentinels.iter().copied()),
        sentinels,
        eos: Some(1),
        final_sentinel: false,
        layout: draw::Layout::Classic,
        on_exhausted: OnExhausted::Raise,
        protected_ids: IdSet::default(),
        bos_ids: IdSet::default(),
    }));
    let mut sources = epochs();
    let mut corruption =
        move || Corruption::new(rows, spec, sources.next().unwrap(), corrupt::RowOptions::default()).unwrap();
    let batch = Batch { inputs: PACKED, labels: PACKED, padding: 0, ignore_index: -100, decoder_start: 0 };
    let mut plans = vec![RowPlan::default(); rows.len()];
    corruption().plan_into(&mut plans).unwrap();
    let total = |length: fn(&RowPlan) -> usize| plans.iter().map(length).sum();
    let (mut inputs, mut labels) = (vec![0; total(|plan| plan.inputs)], vec![0; total(|plan| plan.targets)]);
    Case::new(id, ids.len(), (inputs.len() + labels.len()) * size_of::<i64>(), move || {
        let corruption = corruption();
        corruption.plan_into(black_box(&mut plans)).unwrap();
        let (inputs, labels) = (black_box(&mut inputs), black_box(&mut labels));
        let outputs = Outputs { inputs, attention: &mut [], labels, decoder: &mut [], sources: &mut [] };
        corruption.write_into(&mut plans, &batch, outputs).unwrap();
    })
}

/// Plans lengths, draws spans, writes inputs and targets.
pub fn noise() -> Vec<Case> {
    vec![
        corruption::<i64>("corrupt/128x568/int64/t5", 128, 568, 0.15, 3.0),
        corruption::<i32>("corrupt/128x568/int32/t5", 128, 568, 0.15, 3.0),
        corruption::<i64>("corrupt/128x568/int64/half-hidden", 128, 568, 0.5, 3.0),
    ]
}

fn masking<T: Token>(id: &'static str, rows: usize, len: usize, whole_words: bool) -> Case {
    // The rows that the closure holds borrow this as long as the benchmark runs.
    let ids: &'static [T] = typed(numbers(rows * len, 5, 30_000)).leak();
    let rows: Vec<&'static [T]> = ids.chunks(len).collect();
    let special = IdSet::new(0..5);
    let spec = masked_lm::Spec {
        choice: Choice::Each(Box::new(Trials::guided(threshold(0.15)))),
        mask_token_id: 4,
        mask_below: threshold(0.8),
        random_below: threshold(0.9),
        random_ids: RandomIds::new(30_000, &special).unwrap(),
        protected_ids: special,
        continuation_ids: whole_words.then(|| IdSet::new(20_000..30_000)),
        word_end_ids: None,
        min_one: false,
    };
    let (mut inputs, mut labels) = (vec![0; ids.len()], vec![0; ids.len()]);
    let mut reports = vec![masked_lm::RowReport::default(); rows.len()];
    let mut sources = epochs();
    Case::new(id, ids.len(), 2 * ids.len() * size_of::<i64>(), move || {
        mask_tokens_into(
            black_box(&rows),
            &spec,
            sources.next().unwrap(),
            &masked_lm::RowOptions::default(),
            &masked_lm::Batch { layout: PACKED, padding: 0, ignore_index: -100 },
            masked_lm::Outputs {
                inputs: black_box(&mut inputs),
                attention: &mut [],
                labels: black_box(&mut labels),
                reports: &mut reports,
            },
        )
        .unwrap();
    })
}

/// Chooses and replaces tokens or words.
pub fn masked_lm() -> Vec<Case> {
    vec![
        masking::<i64>("masked-lm/128x512/int64/tokens", 128, 512, false),
        masking::<i32>("masked-lm/128x512/int32/tokens", 128, 512, false),
        masking::<i64>("masked-lm/32x512/int64/whole-words", 32, 512, true),
    ]
}

fn filling<T: Token>(id: &'static str, rows: usize, len: usize, document: usize) -> Case {
    // The rows that the closure holds borrow this as long as the benchmark runs.
    let mut ids: Vec<T> = typed(numbers(rows * len, 5, 30_000));
    ids.iter_mut().skip(document).step_by(document + 1).for_each(|id| *id = T::from_i64(0).unwrap());
    let ids: &'static [T] = ids.leak();
    let rows: &'static [&'static [T]] = ids.chunks(len).collect::<Vec<_>>().leak();
    let spec: &'static fim::Spec = Box::leak(Box::new(fim::Spec {
        prefix: 1,
        middle: 2,
        suffix: 3,
        eot: None,
        boundaries: IdSet::new([0]),
        forbidden: IdSet::new([1, 2, 3]),
        below: threshold(0.5),
        spm_below: threshold(0.5),
        spm_format: SpmFormat::Joint,
        level: Level::Context,
        length: Length::Cut, // outputs of one length for all epochs
        loss: Loss::All,
    }));
    let mut sources = epochs();
    let (mut plans, mut documents) = (vec![fim::RowPlan::default(); rows.len()], Vec::new());
    let (mut inputs, mut labels) = (vec![0; ids.len()], vec![0; ids.len()]);
    Case::new(id, ids.len(), 2 * ids.len() * size_of::<i64>(), move || {
        let call =
            FillInTheMiddle::new(black_box(rows), spec, sources.next().unwrap(), fim::RowOptions::default())
                .unwrap();
        documents.clear();
        call.plan_into(&mut plans, &mut documents).unwrap();
        let (inputs, labels) = (black_box(&mut inputs), black_box(&mut labels));
        let outputs = fim::Outputs { inputs, attention: &mut [], labels, sources: &mut [] };
        let batch = fim::Batch { layout: PACKED, padding: 0, ignore_index: -100 };
        call.write_into(&plans, &documents, &batch, outputs).unwrap();
    })
}

/// Draws cuts, writes documents in their new order.
pub fn fill_in_the_middle() -> Vec<Case> {
    vec![
        filling::<i64>("fill-in-the-middle/64x2048/int64/packed", 64, 2048, 400),
        filling::<u16>("fill-in-the-middle/64x2048/uint16/packed", 64, 2048, 400),
        filling::<i64>("fill-in-the-middle/64x2048/int64/tiny-documents", 64, 2048, 8),
    ]
}

/// Hides tokens with one probability per row, all rates.
pub fn diffusion() -> Vec<Case> {
    let (rows, len) = (128, 512);
    // The rows that the closure holds borrow this as long as the benchmark runs.
    let ids: &'static [i64] = typed(numbers(rows * len, 5, 30_000)).leak();
    let rows: Vec<&'static [i64]> = ids.chunks(len).collect();
    let protected_ids = IdSet::new(0..5);
    let spec = diffusion::Spec { mask_token_id: 4, eps: 1e-3, protected_ids, weighting: Weighting::Token };
    let (mut inputs, mut labels, mut weights) =
        (vec![0; ids.len()], vec![0; ids.len()], vec![0.0; ids.len()]);
    let mut reports = vec![diffusion::RowReport::default(); rows.len()];
    let mut sources = epochs();
    vec![Case::new("masked-diffusion/128x512/int64/tokens", ids.len(), 20 * ids.len(), move || {
        diffuse_into(
            black_box(&rows),
            &spec,
            sources.next().unwrap(),
            &diffusion::RowOptions::default(),
            &diffusion::Batch { layout: PACKED, padding: 0, ignore_index: -100, fill: None },
            diffusion::Outputs {
                inputs: black_box(&mut inputs),
                attention: &mut [],
                labels: black_box(&mut labels),
                weights: black_box(&mut weights),
                reports: &mut reports,
            },
        )
        .unwrap();
    })]
}

/// Draws span lengths and places, writes inputs and targets.
pub fn infill() -> Vec<Case> {
    let (rows, len) = (128, 512);
    // The rows that the closure holds borrow this as long as the benchmark runs.
    let ids: &'static [i64] = typed(numbers(rows * len, 5, 30_000)).leak();
    let rows: &'static [&'static [i64]] = ids.chunks(len).collect::<Vec<_>>().leak();
    // Poisson with mean 3.5.
    let weights: Vec<f64> =
        (1..24).scan(1.0, |last, k| Some(core::mem::replace(last, *last * 3.5 / f64::from(k)))).collect();
    let spec: &'static infill::Spec = Box::leak(Box::new(infill::Spec {
        mask_token_id: 4,
        mask_ratio: 0.3,
        lengths: SpanLengths::new(&weights).unwrap(),
        replace: Replace::OneMask,
        random: None,
        permute_sentence_ratio: 0.0,
        sentence_end_ids: IdSet::default(),
        protected_ids: IdSet::new(0..5),
        continuation_ids: None,
        word_end_ids: None,
    }));
    let mut sources = epochs();
    let batch = Batch { inputs: PACKED, labels: PACKED, padding: 0, ignore_index: -100, decoder_start: 0 };
    let mut plans = vec![infill::RowPlan::default(); rows.len()];
    let (mut inputs, mut labels) = (vec![0; 2 * ids.len()], vec![0; ids.len()]);
    vec![Case::new("infill/128x512/int64/spans", ids.len(), 2 * ids.len() * size_of::<i64>(), move || {
        let infilling =
            Infilling::new(rows, spec, sources.next().unwrap(), infill::RowOptions::default()).unwrap();
        infilling.plan_into(black_box(&mut plans)).unwrap();
        let total = plans.iter().map(|plan| plan.inputs).sum();
        let (inputs, labels) = (black_box(&mut inputs[..total]), black_box(&mut labels[..]));
        let outputs = Outputs { inputs, attention: &mut [], labels, decoder: &mut [], sources: &mut [] };
        infilling.write_into(&mut plans, &batch, outputs).unwrap();
    })]
}

fn pad<T: Token>(id: &'static str, rows: usize, longest: usize, side: Side) -> Case {
    let lengths: Vec<usize> =
        numbers(rows, longest as u64 / 2, longest as u64 + 1).map(|len| len as usize).collect();
    let offsets: Vec<i64> = std::iter::once(0)
        .chain(lengths.iter().scan(0, |at, &len| {
            *at += len as i64;
            Some(*at)
        }))
        .collect();
    let ids: Vec<T> = typed(numbers(lengths.iter().sum(), 100, 32_000));
    let layout = Layout { shape: Shape::Padded { width: longest, side }, max_len: usize::MAX };
    let mut out = vec![0; rows * longest];
    Case::new(id, ids.len(), out.len() * size_of::<i64>(), move || {
        let rows = Ragged::new(black_box(&ids), &offsets).unwrap();
        values_into(&rows, layout, T::to_i64, 0, black_box(&mut out)).unwrap();
    })
}

/// Pads rows into cells.
pub fn batch() -> Vec<Case> {
    vec![
        pad::<i64>("pad/8x1k-2k/int64/right", 8, 2048, Side::Right),
        pad::<i32>("pad/8x1k-2k/int32/left", 8, 2048, Side::Left),
    ]
}

/// All cases.
pub fn all() -> Vec<Case> {
    [batch(), diffusion(), fill_in_the_middle(), infill(), labels(), masked_lm(), noise(), search()]
        .into_iter()
        .flatten()
        .collect()
}

/// The case with this id.
pub fn named(cases: Vec<Case>, id: &str) -> Case {
    cases.into_iter().find(|case| case.id == id).expect("the id of a case")
}

/// Benchmarks of `$cases`: the kernel, and the memory copy.
#[macro_export]
macro_rules! against_floor {
    ($cases:path) => {
        fn ids() -> Vec<&'static str> {
            $cases().iter().map(|case| case.id).collect()
        }

        #[divan::bench(args = ids())]
        fn kernel(bencher: divan::Bencher, id: &str) {
            let mut run = cases::named($cases(), id).run;
            bencher.bench_local(move || run());
        }

        #[divan::bench(args = ids())]
        fn memcpy(bencher: divan::Bencher, id: &str) {
            let mut copy = cases::named($cases(), id).floor();
            bencher.bench_local(move || copy());
        }

        fn main() {
            divan::main();
        }
    };
}

//! Masked diffusion: a row's tokens become the mask with one probability, its mask ratio, which is drawn too (Nie et al. 2025).
//! Oracle: `spanmask.reference.diffusion`.

use super::ids::IdSet;
use super::row::{check_and_key, check_len};
use super::words::blocks;
use crate::batch::{Layout, Shape};
use crate::bitblock::{BLOCK, bits, bytes};
use crate::error::Column;
use crate::level::{Kernel, SimdLevel};
use crate::rng::bounded::threshold;
use crate::rng::{Purpose, SeedEpoch};
use crate::stop::{self, poll_at};
use crate::{Error, Ragged, Token};
use core::ops::Range;

/// How rows are masked.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The id that hides a token.
    pub mask_token_id: u32,
    /// The lowest mask ratio that is drawn.
    pub eps: f64,
    /// Ids that are never masked, the mask itself among them.
    pub protected_ids: IdSet,
    /// What the weights of a row add up to.
    pub weighting: Weighting,
}

/// What the weights of a row add up to, in expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weighting {
    /// The tokens that may be masked: a weight is 1 / ratio.
    Token,
    /// 1: a weight is 1 / (ratio * tokens that may be masked).
    Row,
}

/// The options of a call, in addition to rows and spec.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowOptions<'a> {
    /// Keys of the rows, instead of hashes of their ids.
    pub keys: Option<&'a [u64]>,
    /// Mask ratios, instead of drawn ones.
    pub ratios: Option<&'a [f64]>,
    /// A flag for each token that is never masked.
    pub protected_mask: Option<Ragged<'a, bool>>,
    /// Labels: a token may be masked if its label is not `ignore_index`. It is then the token itself.
    pub labels: Option<Ragged<'a, i64>>,
    /// A factor for the weight of each token. A token of factor 0 has no loss, and is never masked.
    pub weights: Option<Ragged<'a, f32>>,
    /// Where each row's tokens start and stop in its slice; the rest is padding, which is copied. If `None`, all entries are tokens.
    pub bounds: Option<&'a [Range<usize>]>,
}

impl RowOptions<'_> {
    /// The same for the rows `range`.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self {
            keys: self.keys.map(|keys| &keys[range.clone()]),
            ratios: self.ratios.map(|ratios| &ratios[range.clone()]),
            protected_mask: self.protected_mask.map(|flags| flags.slice(range.clone())),
            labels: self.labels.map(|labels| labels.slice(range.clone())),
            weights: self.weights.map(|weights| weights.slice(range.clone())),
            bounds: self.bounds.map(|bounds| &bounds[range]),
        }
    }

    fn check(&self, rows: usize) -> Result<(), Error> {
        let counts = [
            self.keys.map(<[_]>::len),
            self.ratios.map(<[_]>::len),
            self.protected_mask.map(|flags| flags.len()),
            self.labels.map(|labels| labels.len()),
            self.weights.map(|weights| weights.len()),
            self.bounds.map(<[_]>::len),
        ];
        match counts.into_iter().flatten().find(|&got| got != rows) {
            Some(got) => Err(Error::Length { want: rows, got }),
            None => Ok(()),
        }
    }

    /// Errors: [`Error::ColumnLength`] if a column is not aligned with row `i`, which has `len` tokens.
    fn check_row(&self, i: usize, len: usize) -> Result<(), Error> {
        let columns = [
            (Column::ProtectedMask, self.protected_mask.map(|flags| flags.bounds(i).len())),
            (Column::Labels, self.labels.map(|labels| labels.bounds(i).len())),
            (Column::LossWeights, self.weights.map(|weights| weights.bounds(i).len())),
        ];
        for (column, got) in columns {
            if let Some(got) = got.filter(|&got| got != len) {
                return Err(Error::ColumnLength { row: i, column, ids: len, got });
            }
        }
        Ok(())
    }
}

/// What was done with a row.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RowReport {
    /// The mask ratio.
    pub ratio: f64,
    /// Tokens that could be masked.
    pub eligible: u32,
    /// Tokens that were.
    pub masked: u32,
    /// The row's key.
    pub key: u64,
}

/// What a batch looks like.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// The layout of all outputs. It cuts rows before they are masked.
    pub layout: Layout,
    /// Pads inputs.
    pub padding: i64,
    /// Pads labels, and is the label of tokens that are not masked.
    pub ignore_index: i64,
    /// An id that continues rows up to the width of the batch, like tokens that may be masked, where the padding would be. Rows of which
    /// nothing may be masked are padded.
    pub fill: Option<u32>,
}

/// The buffers of a batch. If `attention` is empty, it is not written.
#[derive(Debug)]
pub struct Outputs<'o> {
    /// The rows, with masks.
    pub inputs: &'o mut [i64],
    /// 1 for tokens, 0 for padding.
    pub attention: &'o mut [i64],
    /// The masked tokens.
    pub labels: &'o mut [i64],
    /// The loss weights of masked tokens; 0 for others.
    pub weights: &'o mut [f32],
    /// One entry per row.
    pub reports: &'o mut [RowReport],
}

/// The mask ratio of a random number from 0 to 1: uniform from `eps` to 1.
fn ratio_of(eps: f64, uniform: f64) -> f64 {
    eps + (1.0 - eps) * uniform
}

/// A uniform number from 0 to 1, 1 excluded, for one example and purpose.
fn uniform(seed_epoch: SeedEpoch, key: u64, purpose: Purpose) -> f64 {
    f64::from(seed_epoch.stream(key, purpose).next_u32()) / 4_294_967_296.0
}

/// Mask ratios of a batch that together cover the range evenly: each of as many equal parts of it as there are rows holds one.
///
/// A row's part is the rank of the number that it would get alone, so the order of the rows does not matter; where in the part is drawn
/// separately. Each ratio on its own is uniform, as without this.
pub fn antithetic_ratios(keys: &[u64], seed_epoch: SeedEpoch, eps: f64) -> Vec<f64> {
    let mut ranked = Vec::new();
    stop::reserve(&mut ranked, keys.len());
    ranked.extend(keys.iter().enumerate().map(|(i, &key)| (uniform(seed_epoch, key, Purpose::Rate), i)));
    ranked.sort_unstable_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1))); // in place: no two are equal
    let mut ratios = Vec::new();
    stop::resize(&mut ratios, keys.len(), 0.0);
    for (rank, &(_, i)) in ranked.iter().enumerate() {
        let place = rank as f64 + uniform(seed_epoch, keys[i], Purpose::RateOffset);
        ratios[i] = ratio_of(eps, place / keys.len() as f64);
    }
    ratios
}

/// The keys of rows, as [`diffuse_into`] computes them.
///
/// Errors: [`Error::Length`] for options of the wrong size, [`Error::IdRange`], [`Error::RowLength`].
pub fn row_keys<T: Token>(rows: &[&[T]], layout: Layout, options: &RowOptions) -> Result<Vec<u64>, Error> {
    options.check(rows.len())?;
    let mut pack = Vec::new();
    let mut key = |(i, whole): (usize, &&[T])| {
        let row = options.bounds.map_or(*whole, |bounds| &whole[bounds[i].clone()]);
        check_len(i, row.len())?;
        let row = &row[..row.len().min(layout.max_len)];
        check_and_key(i, row, &IdSet::default(), options.keys.map(|keys| keys[i]), &mut pack)
    };
    let mut made = Vec::new();
    stop::reserve(&mut made, rows.len());
    for row in rows.iter().enumerate() {
        made.push(key(row)?);
    }
    Ok(made)
}

/// Masks `rows` into a batch.
///
/// Errors: [`Error::Length`] for outputs or options of the wrong size, [`Error::Width`], [`Error::IdRange`], [`Error::ColumnLength`],
/// [`Error::RowLength`], [`Error::Label`] for a label that is not its token.
pub fn diffuse_into<T: Token>(
    rows: &[&[T]],
    spec: &Spec,
    seed_epoch: SeedEpoch,
    options: &RowOptions,
    batch: &Batch,
    outputs: Outputs,
) -> Result<(), Error> {
    options.check(rows.len())?;
    let Outputs { mut inputs, mut attention, mut labels, mut weights, reports } = outputs;
    if reports.len() != rows.len() {
        return Err(Error::Length { want: rows.len(), got: reports.len() });
    }
    let with_attention = !attention.is_empty();
    let mut call =
        Call { spec, seed_epoch, options, batch, level: SimdLevel::detect(), scratch: Scratch::default() };
    for (i, (whole, report)) in rows.iter().zip(reports).enumerate() {
        let bounds = options.bounds.map_or(0..whole.len(), |bounds| bounds[i].clone());
        let row = &whole[bounds.clone()];
        check_len(i, row.len())?;
        options.check_row(i, row.len())?;
        if options.bounds.is_some() && whole.len() > batch.layout.max_len {
            return Err(Error::Width { row: i, len: whole.len(), width: batch.layout.max_len });
        }
        let row = &row[..row.len().min(batch.layout.max_len)];
        let plan = call.plan_row(i, row)?;
        // Padding that is copied, and ids that fill the row, count as content of the cell.
        let len = match (options.bounds, plan.filled) {
            (Some(_), _) => whole.len(),
            (None, true) => row.len().max(call.width()),
            (None, false) => row.len(),
        };
        let mut input = batch.layout.next_cell(i, 0..len, &mut inputs)?;
        let mut label = batch.layout.next_cell(i, 0..len, &mut labels)?;
        let mut weight = batch.layout.next_cell(i, 0..len, &mut weights)?;
        input.fill_padding(batch.padding);
        label.fill_padding(batch.ignore_index);
        weight.fill_padding(0.0);
        if with_attention {
            batch.layout.next_cell(i, 0..len, &mut attention)?.fill(1, 0);
        }
        if options.bounds.is_some() {
            stop::copy(&whole[..len], input.content);
            stop::fill(label.content, batch.ignore_index);
            stop::fill(weight.content, 0.0);
        }
        let kept = if plan.filled { 0..len } else { bounds.start..bounds.start + row.len() };
        let target = Target {
            input: &mut input.content[kept.clone()],
            label: &mut label.content[kept.clone()],
            weight: &mut weight.content[kept],
        };
        *report = call.mask_row(i, row, plan, target);
    }
    match [inputs.len(), labels.len(), weights.len()].into_iter().find(|&rest| rest > 0) {
        Some(got) => Err(Error::Length { want: 0, got }),
        None => Ok(()),
    }
}

/// What is known of a row before anything is written.
#[derive(Clone, Copy)]
struct RowPlan {
    key: u64,
    /// Tokens that may be masked, without those that fill the row.
    eligible: usize,
    /// The row is continued up to the width of the batch.
    filled: bool,
}

/// The part of the outputs that belongs to the tokens of a row.
struct Target<'o> {
    input: &'o mut [i64],
    label: &'o mut [i64],
    weight: &'o mut [f32],
}

/// Memory that is reused from row to row.
#[derive(Default)]
struct Scratch {
    pack: Vec<[u8; 4]>,
    /// One bit for each token, block by block: whether it may be masked.
    bits: Vec<u64>,
}

/// One call of [`diffuse_into`].
struct Call<'a> {
    spec: &'a Spec,
    seed_epoch: SeedEpoch,
    options: &'a RowOptions<'a>,
    batch: &'a Batch,
    level: SimdLevel,
    scratch: Scratch,
}

impl Call<'_> {
    /// Places of a row's cell, where rows can be filled.
    fn width(&self) -> usize {
        match self.batch.layout.shape {
            Shape::Padded { width, .. } => width,
            _ => 0,
        }
    }

    /// Checks row `i`, and finds which of its tokens may be masked.
    fn plan_row<T: Token>(&mut self, i: usize, row: &[T]) -> Result<RowPlan, Error> {
        let known = self.options.keys.map(|keys| keys[i]);
        let key = check_and_key(i, row, &IdSet::default(), known, &mut self.scratch.pack)?;
        let flags = self.options.protected_mask.map(|flags| flags.row(i));
        let labels = self.options.labels.map(|labels| labels.row(i));
        let factors = self.options.weights.map(|weights| weights.row(i));
        let ignore_index = self.batch.ignore_index;
        let mut eligible = 0;
        self.scratch.bits.clear();
        for (range, block) in blocks(row) {
            let mut free = u64::MAX >> (BLOCK - block.len()) & !self.spec.protected_ids.find(block);
            if let Some(flags) = flags {
                free &= !bits(flags[range.clone()].iter().copied());
            }
            if let Some(labels) = labels {
                let found = self.level.run(Labelled { block, labels: &labels[range.clone()], ignore_index });
                if found.wrong {
                    return Err(find_wrong(i, row, labels, ignore_index));
                }
                free &= found.trained;
            }
            if let Some(factors) = factors {
                free &= bits(factors[range].iter().map(|&factor| factor > 0.0));
            }
            eligible += free.count_ones() as usize;
            stop::push(&mut self.scratch.bits, free);
        }
        let filled = self.batch.fill.is_some() && self.options.bounds.is_none() && eligible > 0;
        Ok(RowPlan { key, eligible, filled })
    }

    /// Masks row `i`, whose plan was made last.
    fn mask_row<T: Token>(&mut self, i: usize, row: &[T], plan: RowPlan, target: Target) -> RowReport {
        let ratio = self.options.ratios.map_or_else(
            || ratio_of(self.spec.eps, uniform(self.seed_epoch, plan.key, Purpose::Rate)),
            |ratios| ratios[i],
        );
        let fill = [self.batch.fill.unwrap_or_default(); BLOCK];
        let len = target.input.len();
        let eligible = plan.eligible + (len - row.len());
        let weight = match self.spec.weighting {
            Weighting::Token => 1.0 / ratio,
            Weighting::Row => 1.0 / (ratio * eligible as f64),
        };
        self.allow_fill(row.len(), len);
        let factors = self.options.weights.map(|weights| weights.row(i));
        let shared = Shared {
            mask: i64::from(self.spec.mask_token_id),
            ignore_index: self.batch.ignore_index,
            weight: weight as f32,
        };
        let mut stream = self.seed_epoch.stream(plan.key, Purpose::Choice);
        let (mut words, mut masked) = ([0; BLOCK], 0);
        let threshold = threshold(ratio);
        for (n, &free) in self.scratch.bits.iter().enumerate() {
            poll_at(n, BLOCK);
            let range = n * BLOCK..(n * BLOCK + BLOCK).min(len);
            // One word for each token, also for those that may not be masked: they do not change what happens to the others.
            let words = &mut words[..range.len()];
            if free == 0 {
                stream.skip(words.len()); // most of a long prompt
            } else {
                stream.words_into(words);
            }
            let hidden = free & self.level.run(Below { words, threshold });
            masked += hidden.count_ones();
            let hidden = bytes(hidden);
            let own = range.start.min(row.len())..range.end.min(row.len());
            let (input, tail) = target.input[range.clone()].split_at_mut(own.len());
            let (label, label_tail) = target.label[range.clone()].split_at_mut(own.len());
            let (weight, weight_tail) = target.weight[range].split_at_mut(own.len());
            let block = &row[own.clone()];
            self.level.run(Write { block, hidden: &hidden, shared, input, label, weight: &mut *weight });
            if !tail.is_empty() {
                let (block, hidden) = (&fill[..tail.len()], &hidden[own.len()..]);
                let (input, label, weight) = (tail, label_tail, weight_tail);
                self.level.run(Write { block, hidden, shared, input, label, weight });
            }
            if let Some(factors) = factors {
                weight.iter_mut().zip(&factors[own]).for_each(|(weight, factor)| *weight *= factor);
            }
        }
        RowReport { ratio, eligible: eligible as u32, masked, key: plan.key }
    }

    /// Sets the bits of the tokens that fill a row of `len` tokens up to `end`.
    fn allow_fill(&mut self, len: usize, end: usize) {
        let all = &mut self.scratch.bits;
        stop::resize(all, end.div_ceil(BLOCK), 0);
        for at in len..end {
            all[at / BLOCK] |= 1 << (at % BLOCK);
        }
    }
}

/// Which words of a block are below a threshold of 32 bits, as bits.
struct Below<'a> {
    words: &'a [u32],
    threshold: u64,
}

impl Kernel for Below<'_> {
    type Out = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        match u32::try_from(self.threshold) {
            Ok(threshold) => bits(self.words.iter().map(|&word| word < threshold)),
            Err(_) => u64::MAX, // 2^32: all
        }
    }
}

/// Which tokens of a block have labels.
struct Labelled<'a, T> {
    block: &'a [T],
    labels: &'a [i64],
    ignore_index: i64,
}

struct Found {
    trained: u64,
    /// A label is not its token.
    wrong: bool,
}

impl<T: Token> Kernel for Labelled<'_, T> {
    type Out = Found;

    #[inline(always)]
    fn run(self) -> Found {
        let Self { block, labels, ignore_index } = self;
        let wrong = block.iter().zip(labels).fold(false, |wrong, (token, &label)| {
            wrong | ((label != ignore_index) & (label != token.to_i64()))
        });
        Found { trained: bits(labels.iter().map(|&label| label != ignore_index)), wrong }
    }
}

#[cold]
fn find_wrong<T: Token>(row: usize, ids: &[T], labels: &[i64], ignore_index: i64) -> Error {
    let wrong = |(token, label): (&T, &i64)| *label != ignore_index && *label != token.to_i64();
    let position = ids.iter().zip(labels).position(wrong).unwrap_or_default();
    Error::Label { row, position, label: labels[position], id: ids[position].to_i64() }
}

/// What is the same for all tokens of a row.
#[derive(Clone, Copy)]
struct Shared {
    mask: i64,
    ignore_index: i64,
    weight: f32,
}

/// Writes a block.
struct Write<'a, 'o, T> {
    block: &'a [T],
    /// 1 for each token that is masked, 0 for the others.
    hidden: &'a [u8],
    shared: Shared,
    input: &'o mut [i64],
    label: &'o mut [i64],
    weight: &'o mut [f32],
}

impl<T: Token> Kernel for Write<'_, '_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let Self { block, hidden, shared: Shared { mask, ignore_index, weight: shared }, .. } = self;
        // One loop for each output: their elements differ in size, and one loop for all is not vectorized.
        for ((input, token), &hidden) in self.input.iter_mut().zip(block).zip(hidden) {
            *input = if hidden == 1 { mask } else { token.to_i64() };
        }
        for ((label, token), &hidden) in self.label.iter_mut().zip(block).zip(hidden) {
            *label = if hidden == 1 { token.to_i64() } else { ignore_index };
        }
        for (weight, &hidden) in self.weight.iter_mut().zip(hidden) {
            *weight = if hidden == 1 { shared } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::at_every_level;
    use proptest::prelude::*;

    #[test]
    fn every_level_masks_the_same() {
        fn check<T: Token>() {
            let shared = Shared { mask: 99, ignore_index: -100, weight: 2.5 };
            for len in [1, 7, 8, 33, 63, 64] {
                let ids: Vec<i64> = (0..len).map(|i| i * 7919 % 60_000).collect();
                let block: Vec<T> = ids.iter().map(|&id| T::from_i64(id).unwrap()).collect();
                let words: Vec<u32> = (0..len as u32).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
                let free = 0x9249_2492_4924_9249;
                for threshold in [0, 1 << 31, 1 << 32] {
                    let written = at_every_level(|level| {
                        let (mut input, mut label, mut weight) =
                            (ids.clone(), ids.clone(), vec![0.0; ids.len()]);
                        let (one, two, three) = (&mut input, &mut label, &mut weight);
                        let hidden = bytes(free & level.run(Below { words: &words, threshold }));
                        level.run(Write {
                            block: &block,
                            hidden: &hidden,
                            shared,
                            input: one,
                            label: two,
                            weight: three,
                        });
                        (hidden, input, label, weight)
                    });
                    let hidden = |at: usize| free >> at & 1 == 1 && u64::from(words[at]) < threshold;
                    for (at, &id) in ids.iter().enumerate() {
                        assert_eq!(written.0[at] == 1, hidden(at));
                        assert_eq!(written.1[at], if hidden(at) { 99 } else { id });
                        assert_eq!(written.2[at], if hidden(at) { id } else { -100 });
                        assert_eq!(written.3[at], if hidden(at) { 2.5 } else { 0.0 });
                    }
                }
            }
        }
        check::<u16>();
        check::<u32>();
        check::<i32>();
        check::<i64>();
    }

    #[test]
    fn every_level_reads_labels_the_same() {
        for len in [1, 8, 63, 64] {
            let block: Vec<u16> = (0..len).map(|i| i * 31 % 97).collect();
            let masked = |at: usize| at % 3 == 1;
            let labels: Vec<i64> =
                (0..block.len()).map(|at| if masked(at) { -100 } else { i64::from(block[at]) }).collect();
            let want = (0..block.len()).filter(|&at| !masked(at)).fold(0, |bits, at| bits | 1 << at);
            for wrong_at in [None, Some(block.len() - 1)] {
                let mut labels = labels.clone();
                wrong_at.into_iter().for_each(|at| labels[at] = 98);
                let found = at_every_level(|level| {
                    let found = level.run(Labelled { block: &block, labels: &labels, ignore_index: -100 });
                    (found.trained, found.wrong)
                });
                let want = wrong_at.map_or(want, |at| want | 1 << at);
                assert_eq!(found, (want, wrong_at.is_some()));
            }
        }
    }

    proptest! {
        #[test]
        fn antithetic_ratios_have_one_in_each_part_and_ignore_the_order(keys: Vec<u64>, seed: u64, eps in 0.001..0.5f64) {
            let seed_epoch = SeedEpoch { seed, epoch: 1 };
            let ratios = antithetic_ratios(&keys, seed_epoch, eps);
            let mut sorted = ratios.clone();
            sorted.sort_by(f64::total_cmp);
            for (part, ratio) in sorted.iter().enumerate() {
                let place = (ratio - eps) / (1.0 - eps) * keys.len() as f64;
                prop_assert!((part as f64 - 1e-6..=part as f64 + 1.0 + 1e-6).contains(&place));
            }
            let mut turned = keys.clone();
            turned.reverse();
            let mut again = antithetic_ratios(&turned, seed_epoch, eps);
            again.sort_by(f64::total_cmp);
            prop_assert_eq!(again, sorted);
        }
    }
}

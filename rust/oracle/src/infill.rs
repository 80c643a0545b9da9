//! Text infilling of one row, spelled out.

use crate::rng::{Seeds, Words, below, choose, threshold};
use crate::units::{Columns, Rules, Span, composition, units_of, words_of};
use spanmask_core::noise::infill::Replace;
use spanmask_core::rng::Purpose;

/// How rows are infilled.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the core's spec")]
pub struct Spec {
    pub mask_token_id: i64,
    pub mask_ratio: f64,
    /// How likely the lengths 0, 1, 2, ... are.
    pub lengths: Vec<f64>,
    pub replace: Replace,
    /// The fraction of spans that become random ids, and those ids.
    pub random: Option<(f64, Vec<i64>)>,
    pub permute_sentence_ratio: f64,
    pub sentence_end_ids: Vec<i64>,
    pub rules: Rules,
}

/// What a call gives for one row.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the fields are those of the core's options")]
pub struct Options {
    pub ratio: Option<f64>,
    pub columns: Columns,
    pub sentence_starts: Option<Vec<bool>>,
    pub max_inputs: Option<usize>,
}

/// One infilled row. Its targets are the row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Infilled {
    /// Its inputs.
    pub inputs: Vec<i64>,
    /// Which token of the row each of them stands for.
    pub sources: Vec<i64>,
    /// Sentences that are at another place than before.
    pub moved: usize,
    /// How many tokens are hidden.
    pub hidden: usize,
    /// Spans that hide a token.
    pub spans: usize,
    /// Masks that hide nothing.
    pub inserted: usize,
}

/// Infills a row, whose ids fit in 32 bits and which is not longer than inputs may be.
pub fn infill(row: &[i64], spec: &Spec, seeds: Seeds, options: &Options) -> Infilled {
    let columns = &options.columns;
    let mut rules = spec.rules.clone();
    if columns.word_ids.is_some() || columns.word_starts.is_some() {
        rules.continuation_ids = None;
    }
    let sentences = sentences_of(row, spec, &rules, options);
    let permuted = permute(&sentences, spec.permute_sentence_ratio, &mut seeds.words(Purpose::Permutation));
    let moved = sentences.iter().zip(&permuted).filter(|(one, other)| one != other).count();
    // The positions of the row in their new order.
    let (mut order, mut from) = (Vec::new(), 0);
    for (place, sentence) in sentences.iter().zip(&permuted) {
        order.extend(from..place.0);
        order.extend(sentence.0..sentence.1);
        from = place.1;
    }
    order.extend(from..row.len());
    let mut places = vec![0; row.len()];
    order.iter().enumerate().for_each(|(place, &position)| places[position] = place);
    let units = units_of(row, &rules, columns);
    let mut units: Vec<Span> =
        units.into_iter().map(|(start, stop)| (places[start], places[stop - 1] + 1)).collect();
    units.sort_unstable();

    let mut spans = spans_of(&units, spec, options.ratio.unwrap_or(spec.mask_ratio), seeds);
    if let Some(most) = options.max_inputs {
        let len = |span: &Span| count(spec, span.1 - span.0);
        let clear = row.len() - spans.iter().map(|span| span.1 - span.0).sum::<usize>();
        while clear + spans.iter().map(len).sum::<usize>() > most {
            spans.remove(spans.iter().rposition(|span| span.0 == span.1).unwrap());
        }
    }
    let mut out = Infilled { moved, ..Infilled::default() };
    let mut replacements = seeds.words(Purpose::Replacement);
    let mut random_ids = seeds.words(Purpose::RandomId);
    let mut tokens: Vec<(i64, usize)> = Vec::new();
    let clear = |from: usize, to: usize| order[from..to].iter().map(|&at| (row[at], at));
    let mut position = 0;
    for &(start, stop) in &spans {
        tokens.extend(clear(position, start));
        let ids = replacing(spec, count(spec, stop - start), &mut replacements, &mut random_ids);
        // An inserted mask stands for the token after it, or for the last one.
        let first = start.min(order.len() - 1);
        tokens.extend(ids.into_iter().enumerate().map(|(n, id)| (id, order[first + n])));
        out.hidden += stop - start;
        out.spans += usize::from(start < stop);
        out.inserted += usize::from(start == stop);
        position = stop;
    }
    tokens.extend(clear(position, row.len()));
    out.inputs = tokens.iter().map(|&(id, _)| id).collect();
    out.sources = tokens.iter().map(|&(_, at)| at as i64).collect();
    out
}

/// How many ids replace a span of `len` tokens.
fn count(spec: &Spec, len: usize) -> usize {
    match spec.replace {
        _ if len == 0 => 1,
        Replace::OneMask => 1,
        Replace::EachToken => len,
        Replace::Nothing => 0,
    }
}

fn replacing(spec: &Spec, count: usize, replacements: &mut Words, random_ids: &mut Words) -> Vec<i64> {
    match &spec.random {
        Some((share, ids)) if count > 0 && replacements.next_word() < threshold(*share) => {
            (0..count).map(|_| ids[below(random_ids, ids.len())]).collect()
        }
        _ => vec![spec.mask_token_id; count],
    }
}

/// The sentences of a row, without the special tokens around them.
fn sentences_of(row: &[i64], spec: &Spec, rules: &Rules, options: &Options) -> Vec<Span> {
    let mut begins_word = vec![false; row.len()];
    words_of(row, rules, &options.columns).iter().for_each(|word| begins_word[word.0] = true);
    let may_begin = |at: usize| {
        let numbers = options.columns.word_ids.as_ref();
        begins_word[at] || numbers.is_some_and(|numbers| numbers[at] < 0)
    };
    let begins = |at: usize| match &options.sentence_starts {
        Some(flags) => flags[at],
        None => spec.sentence_end_ids.contains(&row[at - 1]) && !spec.sentence_end_ids.contains(&row[at]),
    };
    let mut edges: Vec<usize> = (1..row.len()).filter(|&at| may_begin(at) && begins(at)).collect();
    edges.insert(0, 0);
    edges.push(row.len());
    let special = |at: &usize| rules.protected_ids.contains(&row[*at]);
    let sentence = |edges: &[usize]| {
        let others: Vec<usize> = (edges[0]..edges[1]).filter(|at| !special(at)).collect();
        Some((*others.first()?, others.last()? + 1))
    };
    edges.windows(2).filter_map(sentence).collect()
}

/// The sentences in their new order: a random choice of them swaps places at random.
fn permute(sentences: &[Span], ratio: f64, words: &mut Words) -> Vec<Span> {
    let chosen = share(sentences.len(), ratio);
    if chosen < 2 {
        return sentences.to_vec();
    }
    let mut numbers: Vec<usize> = (0..sentences.len()).collect();
    for place in 0..chosen {
        let other = place + below(words, sentences.len() - place);
        numbers.swap(place, other);
    }
    numbers.truncate(chosen);
    let mut places = numbers.clone();
    places.sort_unstable();
    let mut permuted = sentences.to_vec();
    for (place, number) in places.into_iter().zip(numbers) {
        permuted[place] = sentences[number];
    }
    permuted
}

/// How many of `count` things a fraction is, rounded up; at least one, if there is a fraction at all.
fn share(count: usize, fraction: f64) -> usize {
    if fraction <= 0.0 {
        return 0;
    }
    ((count as f64 * fraction - 1e-6).ceil().max(1.0) as usize).min(count)
}

/// What is hidden, in order; an empty span is an insertion.
fn spans_of(units: &[Span], spec: &Spec, ratio: f64, seeds: Seeds) -> Vec<Span> {
    let lengths = lengths_of(share(units.len(), ratio), spec, &mut seeds.words(Purpose::InfillLengths));
    if lengths.is_empty() {
        return Vec::new();
    }
    let clear = units.len() - lengths.iter().sum::<usize>();
    let gaps = composition(&mut seeds.words(Purpose::Spans), clear + lengths.len() + 1, lengths.len() + 1);
    let (mut spans, mut at) = (Vec::new(), 0);
    for (gap, len) in gaps.into_iter().zip(lengths) {
        at += gap - 1;
        spans.extend(pieces(units, at, len));
        at += len;
    }
    spans
}

/// The tokens of some units: a span for each run of adjacent ones. Without any: where the next unit begins, or the last one ends.
fn pieces(units: &[Span], first: usize, len: usize) -> Vec<Span> {
    if len == 0 {
        let at = if first < units.len() { units[first].0 } else { units[units.len() - 1].1 };
        return vec![(at, at)];
    }
    let mut spans: Vec<Span> = Vec::new();
    for &unit in &units[first..first + len] {
        match spans.last_mut() {
            Some(last) if last.1 == unit.0 => last.1 = unit.1,
            _ => spans.push(unit),
        }
    }
    spans
}

/// Span lengths that add up to `hidden`. The last one drawn is shortened to fit, and changes places with any of them.
fn lengths_of(hidden: usize, spec: &Spec, words: &mut Words) -> Vec<usize> {
    let (mut lengths, mut left) = (Vec::new(), hidden);
    while left > 0 {
        let len = choose(words, &spec.lengths).min(left);
        lengths.push(len);
        left -= len;
    }
    if !lengths.is_empty() {
        let (last, other) = (lengths.len() - 1, below(words, lengths.len()));
        lengths.swap(other, last);
    }
    lengths
}

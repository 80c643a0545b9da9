//! What may be hidden, and how it is drawn, spelled out. Spans are pairs of positions.

use crate::rng::{Words, below};

/// A half-open span.
pub type Span = (usize, usize);

/// What may be hidden.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Ids that are never hidden.
    pub protected_ids: Vec<i64>,
    /// Ids that are not hidden where a row begins with them.
    pub leading_ids: Vec<i64>,
    /// Ids that continue the word before them.
    pub continuation_ids: Option<Vec<i64>>,
    /// Ids after which a word begins.
    pub word_end_ids: Vec<i64>,
}

/// The same for each token of one row.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Tokens that are never hidden.
    pub protected: Option<Vec<bool>>,
    /// The number of each token's word.
    pub word_ids: Option<Vec<i64>>,
    /// The tokens that begin a word.
    pub word_starts: Option<Vec<bool>>,
}

/// The words of a row, or its tokens if nothing says what a word is.
pub fn words_of(row: &[i64], rules: &Rules, columns: &Columns) -> Vec<Span> {
    let begins = |at: usize| match (&columns.word_ids, &columns.word_starts, &rules.continuation_ids) {
        (Some(numbers), _, _) => numbers[at] != numbers[at - 1],
        (_, Some(flags), _) => flags[at],
        (_, _, Some(ids)) => !ids.contains(&row[at]) || rules.word_end_ids.contains(&row[at - 1]),
        _ => true,
    };
    let mut words: Vec<Span> = Vec::new();
    for at in 0..row.len() {
        match words.last_mut() {
            Some(last) if !begins(at) => last.1 = at + 1,
            _ => words.push((at, at + 1)),
        }
    }
    words
}

/// The words that may be hidden: those without a protected token.
pub fn units_of(row: &[i64], rules: &Rules, columns: &Columns) -> Vec<Span> {
    let protected = |at: usize| {
        rules.protected_ids.contains(&row[at])
            || (at == 0 && rules.leading_ids.contains(&row[at]))
            || columns.protected.as_ref().is_some_and(|flags| flags[at])
            || columns.word_ids.as_ref().is_some_and(|numbers| numbers[at] < 0)
    };
    words_of(row, rules, columns).into_iter().filter(|&(start, stop)| !(start..stop).any(protected)).collect()
}

/// Spans of units -> spans of tokens; adjacent units of one span are joined.
pub fn expand(units: &[Span], spans: &[Span]) -> Vec<Span> {
    let mut expanded: Vec<Span> = Vec::new();
    for &(start, stop) in spans {
        for &unit in &units[start..stop] {
            match expanded.last_mut() {
                Some(last) if last.1 == unit.0 => last.1 = unit.1,
                _ => expanded.push(unit),
            }
        }
    }
    expanded
}

/// Hidden units of `len` (at least 2), and their spans.
pub fn plan(len: usize, density: f64, mean: f64) -> (usize, usize) {
    let noise = ((len as f64 * density).round_ties_even() as usize).max(1).min(len - 1);
    let spans = ((noise as f64 / mean).round_ties_even() as usize).max(1).min(noise).min(len - noise);
    (noise, spans)
}

/// `total` as a sum of `parts` positive integers, each such list equally likely.
pub fn composition(words: &mut Words, total: usize, parts: usize) -> Vec<usize> {
    let mut is_cut = vec![false; total];
    for place in total - parts..total - 1 {
        let drawn = below(words, place + 1);
        let cut = if is_cut[drawn] { place } else { drawn };
        is_cut[cut] = true;
    }
    is_cut[total - 1] = true;
    let cuts = (0..total).filter(|&place| is_cut[place]);
    let mut before = 0;
    let part = |cut: usize| {
        let part = cut + 1 - before;
        before = cut + 1;
        part
    };
    cuts.map(part).collect()
}

/// The spans of `noise` units of `len` in `spans` spans; those after the `most`-th join it, with what is between them.
pub fn draw(
    words: &mut Words,
    len: usize,
    noise: usize,
    spans: usize,
    uniform: bool,
    most: usize,
) -> Vec<Span> {
    let hidden = composition(words, noise, spans);
    let mut clear = if uniform {
        composition(words, len - noise + 2, spans + 1)
    } else {
        composition(words, len - noise, spans)
    };
    if uniform {
        clear[0] -= 1; // the outer parts may be empty
    }
    let mut placed = place(&clear, &hidden);
    if placed.len() > most {
        // All clear tokens up to the last span precede the joined one.
        let joined: usize = hidden[most - 1..].iter().sum();
        let stop = placed[spans - 1].1;
        placed.truncate(most - 1);
        placed.push((stop - joined, stop));
    }
    placed
}

/// The spans of the hidden parts, from the lengths of alternating clear and hidden parts.
pub fn place(clear: &[usize], hidden: &[usize]) -> Vec<Span> {
    let mut at = 0;
    let span = |(gap, size): (&usize, &usize)| {
        let start = at + gap;
        at = start + size;
        (start, at)
    };
    clear.iter().zip(hidden).map(span).collect()
}

//! Fill-in-the-middle of one row and its inverse, spelled out.

use crate::rng::{Seeds, Words, below, threshold};
use spanmask_core::noise::fill_in_the_middle::{Length, Level, Loss, Split, SpmFormat};
use spanmask_core::rng::Purpose;

/// How documents are transformed.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the core's spec")]
pub struct Spec {
    pub prefix: i64,
    pub middle: i64,
    pub suffix: i64,
    pub eot: Option<i64>,
    pub boundaries: Vec<i64>,
    pub rate: f64,
    pub spm_rate: f64,
    pub spm_format: SpmFormat,
    pub level: Level,
    pub length: Length,
    pub loss: Loss,
}

/// One transformed row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filled {
    /// Its inputs.
    pub inputs: Vec<i64>,
    /// Which token of the row each of them stands for.
    pub sources: Vec<i64>,
    /// Its labels.
    pub labels: Vec<i64>,
    /// Its documents that are not cut off whole.
    pub documents: usize,
    /// How many of them are transformed.
    pub transformed: usize,
}

/// A token of the output, the token of the row that it stands for, and whether it has a label.
type Piece = Vec<(i64, usize, bool)>;

/// Transforms one row. `None` if the given splits do not fit it. `rate` replaces that of the spec.
pub fn fill_in_the_middle(
    row: &[i64],
    spec: &Spec,
    seeds: Seeds,
    rate: Option<f64>,
    splits: Option<&[Split]>,
    max_len: usize,
    ignore_index: i64,
) -> Option<Filled> {
    let limit = if spec.length == Length::Cut { max_len.min(row.len()) } else { max_len };
    let used = if spec.level == Level::Context { &row[..row.len().min(limit)] } else { row };
    let mut words = seeds.words(Purpose::FillInTheMiddle);
    let limits = (threshold(rate.unwrap_or(spec.rate)), threshold(spec.spm_rate));
    let (mut out, mut filled) = (Piece::new(), Filled::default());
    let mut cut_off = false;
    for (start, stop) in pieces(used, &spec.boundaries) {
        let plain = || (start..stop).map(|at| (row[at], at, true));
        cut_off |= out.len() >= limit && !spec.boundaries.contains(&row[start]);
        if cut_off || spec.boundaries.contains(&row[start]) {
            out.extend(plain());
            continue;
        }
        let given = splits.map(|all| all.iter().find(|split| split.document as usize == filled.documents));
        filled.documents += 1;
        let order = match given {
            Some(split) => split.map(|split| split.spm),
            None if words.next_word() >= limits.0 => None,
            None => Some(words.next_word() < limits.1),
        };
        let fits = (spec.level, spec.length) == (Level::Context, Length::Grow);
        let room = if fits { limit - out.len() } else { usize::MAX };
        let transformed = match order {
            Some(spm) => transformed(row, start, stop, spec, spm, given.flatten(), &mut words, room)?,
            None => None,
        };
        match transformed {
            Some(piece) => {
                filled.transformed += 1;
                out.extend(piece);
            }
            None => out.extend(plain()),
        }
    }
    let unused =
        splits.is_some_and(|all| all.iter().any(|split| split.document as usize >= filled.documents));
    if unused && !cut_off {
        return None;
    }
    out.truncate(limit);
    for (id, source, labelled) in out {
        filled.inputs.push(id);
        filled.sources.push(source as i64);
        filled.labels.push(if labelled { id } else { ignore_index });
    }
    Some(filled)
}

/// A document with its middle at the end. `None` if the split does not fit, `Some(None)` if the document stays as it is.
#[expect(clippy::too_many_arguments, reason = "a document and all that decides about it")]
fn transformed(
    row: &[i64],
    start: usize,
    stop: usize,
    spec: &Spec,
    spm: bool,
    given: Option<&Split>,
    words: &mut Words,
    room: usize,
) -> Option<Option<Piece>> {
    let added =
        if spm && spec.spm_format == SpmFormat::Unmarked { 2 } else { 3 } + usize::from(spec.eot.is_some());
    if room <= added {
        return Some(None);
    }
    let len = (stop - start).min(room - added);
    let (first, second) = match given {
        Some(split) => (split.first as usize, split.second as usize),
        None => {
            let cuts = [below(words, len + 1), below(words, len + 1)];
            (cuts[0].min(cuts[1]), cuts[0].max(cuts[1]))
        }
    };
    if first > second || second > len {
        return None;
    }
    let mut end = len;
    if spec.length == Length::Keep {
        if len - second <= added {
            return Some(None);
        }
        end = len - added;
    }
    let all = spec.loss == Loss::All;
    let part = |from: usize, to: usize, labelled: bool| -> Piece {
        (start + from..start + to).map(|at| (row[at], at, labelled)).collect()
    };
    // A marker stands for the token that follows it in the row, or for the document's last one.
    let marker = |id: i64, at: usize| vec![(id, (start + at).min(stop - 1), all)];
    let (pre, mid, suf) = (marker(spec.prefix, 0), marker(spec.middle, first), marker(spec.suffix, second));
    let (prefix, suffix) = (part(0, first, all), part(second, end, all));
    let prompt = match (spm, spec.spm_format) {
        (false, _) => [pre, prefix, suf, suffix, mid].concat(),
        (true, SpmFormat::Joint) => [pre, suf, suffix, mid, prefix].concat(),
        (true, SpmFormat::Plain) => [suf, suffix, pre, prefix, mid].concat(),
        (true, SpmFormat::Unmarked) => [suf, suffix, pre, prefix].concat(),
    };
    let eot: Piece = spec.eot.map(|eot| (eot, stop - 1, true)).into_iter().collect();
    Some(Some([prompt, part(first, second, true), eot].concat()))
}

/// The documents of a row, and each boundary id on its own.
fn pieces(row: &[i64], boundaries: &[i64]) -> Vec<(usize, usize)> {
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    for at in 0..row.len() {
        let joins = |at: usize| !boundaries.contains(&row[at]);
        match pieces.last_mut() {
            Some(last) if joins(at) && joins(last.0) => last.1 = at + 1,
            _ => pieces.push((at, at + 1)),
        }
    }
    pieces
}

/// The row of which `ids` were made; `None` if a document is not complete.
pub fn merge_documents(ids: &[i64], spec: &Spec) -> Option<Vec<i64>> {
    let mut row = Vec::new();
    for (start, stop) in pieces(ids, &spec.boundaries) {
        let piece = &ids[start..stop];
        row.extend(if spec.boundaries.contains(&piece[0]) { piece.to_vec() } else { merged(piece, spec)? });
    }
    Some(row)
}

fn merged(mut document: &[i64], spec: &Spec) -> Option<Vec<i64>> {
    let is_marker = |id: &i64| [spec.prefix, spec.middle, spec.suffix].contains(id) || Some(*id) == spec.eot;
    if !document.iter().any(is_marker) {
        return Some(document.to_vec());
    }
    if let Some(eot) = spec.eot {
        let (last, rest) = document.split_last()?;
        if *last != eot {
            return None;
        }
        document = rest;
    }
    let places: Vec<usize> = (0..document.len()).filter(|&at| is_marker(&document[at])).collect();
    if places.first() != Some(&0) {
        return None;
    }
    let markers: Vec<i64> = places.iter().map(|&at| document[at]).collect();
    let part = |number: usize| {
        let stop = places.get(number + 1).copied().unwrap_or(document.len());
        &document[places[number] + 1..stop]
    };
    let order: &[usize] = if markers == [spec.prefix, spec.suffix, spec.middle] {
        &[0, 2, 1]
    } else if markers == [spec.suffix, spec.prefix, spec.middle] {
        &[1, 2, 0]
    } else if markers == [spec.suffix, spec.prefix] && spec.spm_format == SpmFormat::Unmarked {
        &[1, 0]
    } else {
        return None;
    };
    Some(order.iter().flat_map(|&number| part(number).to_vec()).collect())
}

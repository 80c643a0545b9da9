//! Sentences: where they begin, and which places they get.

use super::super::draw::Span;
use super::super::words::{Words, after_word_ends, blocks};
use super::spec::share;
use super::{Infilling, Scratch};
use crate::Token;
use crate::bitblock::{BLOCK, bits, set_bits_into};
use crate::rng::{Purpose, bounded::below};
use crate::stop::{self, poll_at};

impl<T: Token> Infilling<'_, T> {
    /// Puts the sentences of row `i` into `scratch.sentences`, and in their new order into `scratch.ordered`. Returns how many of them are at
    /// another place than before; if none is, the row stays as it is.
    pub(super) fn permute(&self, i: usize, row: &[T], key: u64, scratch: &mut Scratch<T>) -> u32 {
        self.sentences_into(i, row, scratch);
        let Scratch { sentences, ordered, numbers, places, .. } = scratch;
        let count = sentences.len() as u32;
        let chosen = share(count, self.spec.permute_sentence_ratio);
        if chosen < 2 {
            return 0;
        }
        numbers.clear();
        stop::reserve(numbers, count as usize);
        numbers.extend(0..count);
        let mut stream = self.seed_epoch.stream(key, Purpose::Permutation);
        for place in 0..chosen {
            poll_at(place as usize, 4);
            let other = place + below(&mut stream, count - place);
            numbers.swap(place as usize, other as usize);
        }
        // The chosen sentences, in a random order, get the places that they had in the row.
        let chosen = &numbers[..chosen as usize];
        places.clear();
        stop::extend(places, chosen);
        places.sort_unstable();
        ordered.clear();
        stop::extend(ordered, sentences);
        let mut moved = 0;
        for (&place, &number) in places.iter().zip(chosen) {
            ordered[place as usize] = sentences[number as usize];
            moved += u32::from(place != number);
        }
        moved
    }

    /// Finds the sentences of row `i`, in order. Special tokens before, between and after them are in none: they stay in place.
    fn sentences_into(&self, i: usize, row: &[T], scratch: &mut Scratch<T>) {
        let Scratch { sentences, numbers: cuts, .. } = scratch;
        let rules = self.rules();
        let (mut found, mut after_end, mut word_ended) = (0, 0, false);
        for (range, block) in blocks(row) {
            let first = range.start as u32;
            // A sentence begins with a word, or with a token that belongs to none.
            let mut begins = rules.starts(i, block, range.clone());
            if let Some(ids) = rules.word_end_ids {
                begins |= after_word_ends(ids, block, &mut word_ended);
            }
            if let Some(Words::Ids(ids)) = rules.words {
                begins |= bits(ids.row(i)[range.clone()].iter().map(|&id| id < 0));
            }
            let starts = match self.options.sentence_starts {
                Some(flags) => bits(flags.row(i)[range].iter().copied()),
                None => {
                    let ends = self.spec.sentence_end_ids.find(block);
                    let starts = (ends << 1 | after_end) & !ends;
                    after_end = ends >> (BLOCK - 1);
                    starts
                }
            };
            stop::resize(cuts, cuts.len().max(found + BLOCK), 0);
            found += set_bits_into(starts & begins, first, &mut cuts[found..]);
        }
        let special = |at: u32| self.spec.protected_ids.contains(row[at as usize].to_i64() as u32);
        sentences.clear();
        let mut from = 0;
        for &cut in cuts[..found].iter().chain([&(row.len() as u32)]) {
            let (mut start, mut stop) = (from, cut);
            while start < stop && special(start) {
                start += 1;
            }
            while start < stop && special(stop - 1) {
                stop -= 1;
            }
            if start < stop {
                stop::push(sentences, Span { start, stop });
            }
            from = cut;
        }
    }
}

impl<T: Token> Scratch<T> {
    /// For each sentence in its new order: the sentence, and where it begins now.
    fn moves(&self) -> impl Iterator<Item = (Span, u32)> {
        let mut shift = 0; // how much longer the sentences so far are than those that were there
        self.sentences.iter().zip(&self.ordered).map(move |(place, sentence)| {
            let at = place.start.wrapping_add(shift);
            shift = shift.wrapping_add(sentence.stop - sentence.start).wrapping_sub(place.stop - place.start);
            (*sentence, at)
        })
    }

    /// Writes the row with its sentences in their new order, and moves the units with them.
    pub(super) fn move_sentences(&mut self, row: &[T]) {
        let (mut permuted, mut moved) =
            (core::mem::take(&mut self.permuted), core::mem::take(&mut self.expanded));
        permuted.clear();
        moved.clear();
        stop::reserve(&mut permuted, row.len());
        stop::reserve(&mut moved, self.units.len());
        let mut clear = 0; // where the special tokens after the sentence begin in the row
        for (number, ((sentence, at), place)) in self.moves().zip(&self.sentences).enumerate() {
            poll_at(number, 16);
            permuted.extend_from_slice(&row[clear..place.start as usize]);
            permuted.extend_from_slice(&row[sentence.start as usize..sentence.stop as usize]);
            clear = place.stop as usize;
            let first = self.units.partition_point(|unit| unit.start < sentence.start);
            let inside = self.units[first..].iter().take_while(|unit| unit.start < sentence.stop);
            let to = |position: u32| position - sentence.start + at;
            moved.extend(inside.map(|unit| Span { start: to(unit.start), stop: to(unit.stop) }));
        }
        permuted.extend_from_slice(&row[clear..]);
        self.permuted = permuted;
        self.expanded = core::mem::replace(&mut self.units, moved);
    }

    /// Writes to `scratch.numbers` where each token of the permuted row, of `len` tokens, was before.
    pub(super) fn origins(&mut self, len: u32) {
        let mut origins = core::mem::take(&mut self.numbers);
        origins.clear();
        stop::reserve(&mut origins, len as usize);
        let mut clear = 0;
        for ((sentence, _), place) in self.moves().zip(&self.sentences) {
            origins.extend(clear..place.start);
            origins.extend(sentence.start..sentence.stop);
            clear = place.stop;
        }
        origins.extend(clear..len);
        self.numbers = origins;
    }
}

/// How many of the protected positions the row begins with.
pub(super) fn leading(protected: &[u32]) -> u32 {
    (0..).zip(protected).take_while(|&(at, &position)| at == position).count() as u32
}

/// Where the last token that is not protected stops, in a row of `len` tokens.
pub(super) fn before_trailing(len: u32, protected: &[u32]) -> u32 {
    let trailing = (1..=len).zip(protected.iter().rev()).take_while(|&(back, &at)| len - back == at).count();
    len - trailing as u32
}

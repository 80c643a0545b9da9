//! How rows are infilled, and the options of a call.

use super::super::ids::IdSet;
use super::super::masked_lm::RandomIds;
use super::super::rules::Rules;
use crate::rng::Stream;
use crate::rng::bounded::cumulative;
use crate::{Error, Ragged};
use core::ops::Range;

/// What replaces a hidden span. An empty span is always an insertion of one mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// One mask, however long the span is.
    OneMask,
    /// A mask for each token.
    EachToken,
    /// Nothing: the span is deleted.
    Nothing,
}

/// Words with the same high bits have the same entry in the guide.
const GUIDE_BITS: u32 = 8;

/// Running thresholds of the span lengths 0, 1, 2, ... Invariant: a length above 0 can be drawn.
#[derive(Debug, Clone)]
pub struct SpanLengths {
    upto: Vec<u64>,
    /// By the high bits of a word, the lowest length that it can mean; the next entry is the highest one (Chen and Asau, AIIE Transactions 6,
    /// 1974). Without it, infilling 128 rows of 512 tokens took 5 % longer.
    guide: Box<[u32; (1 << GUIDE_BITS) + 1]>,
}

impl SpanLengths {
    /// `weights`: how likely the lengths 0, 1, 2, ... are. `None` if one is negative or not finite, or if no length above 0 can be drawn.
    pub fn new(weights: &[f64]) -> Option<Self> {
        let upto = cumulative(weights).filter(|upto| upto[0] < 1 << 32)?;
        let mut guide = Box::new([0; (1 << GUIDE_BITS) + 1]);
        for (entry, low) in guide.iter_mut().zip((0..).step_by(1 << (32 - GUIDE_BITS))) {
            *entry = upto.partition_point(|&limit| limit <= low) as u32;
        }
        Some(Self { upto, guide })
    }

    /// The next length.
    pub(super) fn draw(&self, stream: &mut Stream) -> u32 {
        let word = stream.next_u32();
        let part = (word >> (32 - GUIDE_BITS)) as usize;
        let (least, most) = (self.guide[part], self.guide[part + 1]);
        let between = &self.upto[least as usize..most as usize];
        least + between.partition_point(|&limit| limit <= u64::from(word)) as u32
    }
}

/// How rows are infilled.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The id that replaces spans.
    pub mask_token_id: u32,
    /// The fraction of the tokens (or words) that is hidden, from 0 to 1.
    pub mask_ratio: f64,
    /// How long spans are.
    pub lengths: SpanLengths,
    /// What replaces them.
    pub replace: Replace,
    /// A span gets random ids instead of masks if its random word is below this threshold (of 2^32). `None`: none does.
    pub random: Option<(u64, RandomIds)>,
    /// The fraction of the sentences that change places, from 0 to 1.
    pub permute_sentence_ratio: f64,
    /// Ids that end a sentence, if a call does not say where sentences begin.
    pub sentence_end_ids: IdSet,
    /// Ids that are never hidden.
    pub protected_ids: IdSet,
    /// Ids that continue the word before them, if words are hidden whole and a call gives no words.
    pub continuation_ids: Option<IdSet>,
    /// Ids after which a word begins, even with one of `continuation_ids`.
    pub word_end_ids: Option<IdSet>,
}

/// The options of a call, in addition to rows and spec.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowOptions<'a> {
    /// Keys of the rows, instead of hashes of their ids.
    pub keys: Option<&'a [u64]>,
    /// Mask ratios by row.
    pub ratios: Option<&'a [f64]>,
    /// What may be hidden. Protected ids, continuation ids and word end ids are set from the spec.
    pub rules: Rules<'a>,
    /// A flag for each token that begins a sentence.
    pub sentence_starts: Option<Ragged<'a, bool>>,
    /// The greatest length of inputs. Insertions that do not fit, the last ones of a row, are left out.
    pub max_inputs: Option<usize>,
}

impl RowOptions<'_> {
    /// The same for the rows `range`.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self {
            keys: self.keys.map(|keys| &keys[range.clone()]),
            ratios: self.ratios.map(|all| &all[range.clone()]),
            sentence_starts: self.sentence_starts.map(|flags| flags.slice(range.clone())),
            rules: self.rules.slice(range),
            max_inputs: self.max_inputs,
        }
    }

    /// Errors: [`Error::Length`] if an option has entries for another number of rows than `rows`.
    pub(super) fn check(&self, rows: usize) -> Result<(), Error> {
        let counts = [
            self.keys.map(<[_]>::len),
            self.ratios.map(<[_]>::len),
            self.sentence_starts.map(|flags| flags.len()),
        ];
        match counts.into_iter().flatten().find(|&got| got != rows) {
            Some(got) => Err(Error::Length { want: rows, got }),
            None => self.rules.check_rows(rows),
        }
    }
}

/// How many of `count` things a fraction is: rounded up, at least one if there is a fraction at all.
///
/// A product that exceeds a whole number by rounding alone is that number: .1 of 70 is 7.
pub(super) fn share(count: u32, fraction: f64) -> u32 {
    if count == 0 || fraction <= 0.0 {
        return 0;
    }
    ((f64::from(count) * fraction - 1e-6).ceil() as u32).clamp(1, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::bounded::choose;

    #[test]
    fn shares_are_rounded_up() {
        for (count, fraction, want) in
            [(70, 0.1, 7), (71, 0.1, 8), (10, 0.3, 3), (1, 0.001, 1), (9, 1.0, 9), (0, 0.5, 0), (9, 0.0, 0)]
        {
            assert_eq!(share(count, fraction), want, "{fraction} of {count}");
        }
    }

    #[test]
    fn a_length_is_where_its_word_is_among_the_thresholds() {
        let mut many = vec![0.01; 700];
        many[3] = 50.0;
        for weights in [&[0.0, 1.0][..], &[3.0, 0.0, 0.0, 5.0], &[0.2, 0.3, 0.1, 0.4], &many] {
            let lengths = SpanLengths::new(weights).unwrap();
            let upto = cumulative(weights).unwrap();
            let (mut one, mut other) = (Stream::new([3, 4], [0; 4]), Stream::new([3, 4], [0; 4]));
            for _ in 0..3000 {
                assert_eq!(lengths.draw(&mut one) as usize, choose(&mut other, &upto));
            }
        }
    }

    #[test]
    fn lengths_that_never_hide_a_token_are_refused() {
        assert!(SpanLengths::new(&[1.0]).is_none());
        assert!(SpanLengths::new(&[1.0, 0.0]).is_none());
        assert!(SpanLengths::new(&[1.0, 1e-30]).is_none());
        assert!(SpanLengths::new(&[]).is_none());
        assert!(SpanLengths::new(&[0.0, 1.0]).is_some());
    }
}

//! The inverse of `apply`: inputs and targets -> the row.
//! Oracle: `spanmask.reference.merge`.

use super::ids::IdSet;
use crate::stop::poll_at;
use crate::{Error, Token};

/// The ids that are needed to undo a corruption.
#[derive(Debug, Clone, Default)]
pub struct Merger {
    /// The ids that replace spans.
    pub sentinels: IdSet,
    /// Removed from the end of inputs and targets.
    pub eos: Option<u32>,
    /// Removed from the beginning of inputs.
    pub mode_tokens: IdSet,
}

impl Merger {
    /// Appends the row from which `inputs` and `targets` were made to `row`, without its EOS.
    ///
    /// Sentinels must come in the same order on both sides. Targets before the first one continue the inputs (a prefix LM without
    /// sentinels). A last sentinel with nothing after it is the targets' final one. Empty targets mean that the row was copied unchanged.
    ///
    /// Errors: [`Error::StraySentinel`] if the two sides do not match.
    pub fn merge<T: Token>(&self, inputs: &[T], targets: &[T], row: &mut Vec<i64>) -> Result<(), Error> {
        let mut visible = self.without_eos(inputs);
        if targets.is_empty() {
            row.extend(visible.iter().map(|token| token.to_i64()));
            return Ok(());
        }
        let mut skipped = 0;
        if let [first, rest @ ..] = visible
            && contains(&self.mode_tokens, *first)
        {
            (visible, skipped) = (rest, 1);
        }
        let hidden = self.without_eos(targets);
        let ahead = self.run(hidden);
        let mut at = ahead;
        for (position, &token) in visible.iter().enumerate() {
            poll_at(position, 1);
            if !contains(&self.sentinels, token) {
                row.push(token.to_i64());
                continue;
            }
            if hidden.get(at) != Some(&token) {
                let (position, id) = (position + skipped, token.to_i64());
                return Err(Error::StraySentinel { row: 0, position, id, in_targets: false });
            }
            let span = &hidden[at + 1..];
            let span = &span[..self.run(span)];
            row.extend(span.iter().map(|token| token.to_i64()));
            at += 1 + span.len();
        }
        row.extend(hidden[..ahead].iter().map(|token| token.to_i64()));
        match hidden.get(at) {
            Some(token) if at + 1 < hidden.len() => {
                Err(Error::StraySentinel { row: 0, position: at, id: token.to_i64(), in_targets: true })
            }
            _ => Ok(()), // nothing, or the final sentinel
        }
    }

    fn without_eos<'a, T: Token>(&self, ids: &'a [T]) -> &'a [T] {
        match ids {
            [rest @ .., last] if self.eos.is_some_and(|eos| last.to_i64() == i64::from(eos)) => rest,
            _ => ids,
        }
    }

    /// How many tokens precede the next sentinel.
    fn run<T: Token>(&self, ids: &[T]) -> usize {
        ids.iter().position(|&id| contains(&self.sentinels, id)).unwrap_or(ids.len())
    }
}

fn contains<T: Token>(set: &IdSet, token: T) -> bool {
    u32::try_from(token.to_i64()).is_ok_and(|id| set.contains(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(inputs: &[i64], targets: &[i64]) -> Result<Vec<i64>, Error> {
        let merger = Merger { sentinels: IdSet::new(97..=99), eos: Some(1), mode_tokens: IdSet::new([70]) };
        let mut row = Vec::new();
        merger.merge(inputs, targets, &mut row).map(|()| row)
    }

    #[test]
    fn spans_replace_their_sentinels() {
        assert_eq!(merged(&[7, 99, 9, 1], &[99, 8, 8, 1]), Ok(vec![7, 8, 8, 9]));
        assert_eq!(merged(&[70, 7, 99, 1], &[99, 8, 98, 1]), Ok(vec![7, 8])); // a mode token, a final sentinel
        assert_eq!(merged(&[70, 7, 1], &[8, 9, 1]), Ok(vec![7, 8, 9])); // a prefix without a sentinel
        assert_eq!(merged(&[70, 1], &[]), Ok(vec![70])); // copied unchanged
        assert_eq!(merged(&[], &[]), Ok(vec![]));
    }

    #[test]
    fn stray_sentinels_are_named() {
        let stray = |position, id, in_targets| Err(Error::StraySentinel { row: 0, position, id, in_targets });
        assert_eq!(merged(&[7, 98], &[99, 8]), stray(1, 98, false));
        assert_eq!(merged(&[70, 99, 98], &[99, 8]), stray(2, 98, false));
        assert_eq!(merged(&[7], &[99, 8]), stray(0, 99, true));
    }
}

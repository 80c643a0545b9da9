//! The inverse: the middle of each document moves back to its place.
//! Oracle: `spanmask.reference.merge_documents`.

use super::spec::{Spec, SpmFormat};
use crate::{Error, Token};

/// A transformed document has at most so many markers: prefix, middle, suffix, EOT.
const MARKERS: usize = 4;

impl Spec {
    /// Appends the row from which `ids` were made to `row`. Documents without the ids of this spec were not transformed.
    ///
    /// Errors: [`Error::BrokenDocument`] names the position at which a document starts whose ids are not complete and in order.
    pub fn merge<T: Token>(&self, ids: &[T], row: &mut Vec<i64>) -> Result<(), Error> {
        let is_boundary =
            |token: &T| u32::try_from(token.to_i64()).is_ok_and(|id| self.boundaries.contains(id));
        let mut position = 0;
        for document in ids.split_inclusive(is_boundary) {
            let (document, boundary) = match document {
                [body @ .., last] if is_boundary(last) => (body, Some(last)),
                whole => (whole, None),
            };
            self.merge_document(document, row).ok_or(Error::BrokenDocument { row: 0, position })?;
            row.extend(boundary.map(|token| token.to_i64()));
            position += document.len() + 1;
        }
        Ok(())
    }

    /// `None` if the document is not complete.
    fn merge_document<T: Token>(&self, document: &[T], row: &mut Vec<i64>) -> Option<()> {
        let is = |token: T, id: u32| token.to_i64() == i64::from(id);
        let is_marker = |&token: &T| {
            [self.prefix, self.middle, self.suffix].into_iter().chain(self.eot).any(|id| is(token, id))
        };
        let mut parts = Vec::with_capacity(MARKERS); // each marker with the tokens after it
        let mut rest = document;
        let plain = rest.iter().position(is_marker).unwrap_or(rest.len());
        if plain == rest.len() {
            row.extend(document.iter().map(|token| token.to_i64()));
            return Some(());
        }
        while let Some((&marker, after)) = rest.split_first() {
            if parts.len() == MARKERS {
                return None;
            }
            let len = after.iter().position(is_marker).unwrap_or(after.len());
            parts.push((marker, &after[..len]));
            rest = &after[len..];
        }
        if let Some(eot) = self.eot {
            let (last, after) = parts.pop()?;
            if !is(last, eot) || !after.is_empty() {
                return None;
            }
        }
        let (middle, prefix, suffix) = (self.middle, self.prefix, self.suffix);
        let order: &[&[T]] = match *parts.as_slice() {
            _ if plain > 0 => return None,
            [(p, before), (s, after), (m, hidden)] if is(p, prefix) && is(s, suffix) && is(m, middle) => {
                &[before, hidden, after]
            }
            [(s, after), (p, before), (m, hidden)] if is(s, suffix) && is(p, prefix) && is(m, middle) => {
                &[before, hidden, after]
            }
            [(s, after), (p, before)]
                if self.spm_format == SpmFormat::Unmarked && is(s, suffix) && is(p, prefix) =>
            {
                &[before, after]
            }
            _ => return None,
        };
        row.extend(order.iter().copied().flatten().map(|token| token.to_i64()));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, FillInTheMiddle, Length, Level, Loss, Outputs, RowOptions, RowPlan};
    use super::*;
    use crate::batch::{Layout, Shape};
    use crate::noise::ids::IdSet;
    use crate::rng::SeedEpoch;
    use proptest::prelude::*;

    const PREFIX: u32 = 20;
    const MIDDLE: u32 = 21;
    const SUFFIX: u32 = 22;
    const EOT: u32 = 23;

    fn spec(spm_format: SpmFormat, eot: Option<u32>) -> Spec {
        Spec {
            prefix: PREFIX,
            middle: MIDDLE,
            suffix: SUFFIX,
            eot,
            boundaries: IdSet::new([0, 1]),
            forbidden: IdSet::new([PREFIX, MIDDLE, SUFFIX]),
            below: 3 << 30,
            spm_below: 1 << 31,
            spm_format,
            level: Level::Document,
            length: Length::Grow,
            loss: Loss::All,
        }
    }

    fn merged(spec: &Spec, ids: &[i64]) -> Result<Vec<i64>, Error> {
        let mut row = Vec::new();
        spec.merge(ids, &mut row).map(|()| row)
    }

    proptest! {
        #[test]
        fn merge_is_the_inverse(
            row in prop::collection::vec(0i64..20, 0..200),
            format in prop::sample::select(vec![SpmFormat::Joint, SpmFormat::Plain, SpmFormat::Unmarked]),
            eot in prop::sample::select(vec![None, Some(EOT)]),
            seed: u64,
        ) {
            let (spec, rows) = (spec(format, eot), [row.as_slice()]);
            let call =
                FillInTheMiddle::new(&rows, &spec, SeedEpoch { seed, epoch: 0 }, RowOptions::default()).unwrap();
            let (mut plans, mut documents) = ([RowPlan::default()], Vec::new());
            call.plan_into(&mut plans, &mut documents).unwrap();
            let (mut inputs, mut labels) = (vec![0; plans[0].len], vec![0; plans[0].len]);
            let layout = Layout { shape: Shape::Packed, max_len: usize::MAX };
            let outputs =
                Outputs { inputs: &mut inputs, attention: &mut [], labels: &mut labels, sources: &mut [] };
            let batch = Batch { layout, padding: 0, ignore_index: -100 };
            call.write_into(&plans, &documents, &batch, outputs).unwrap();
            prop_assert_eq!(merged(&spec, &inputs), Ok(row));
        }
    }

    #[test]
    fn incomplete_documents_are_named() {
        let [prefix, middle, suffix, eot] = [PREFIX, MIDDLE, SUFFIX, EOT].map(i64::from);
        let broken = |position| Err(Error::BrokenDocument { row: 0, position });
        let plain = spec(SpmFormat::Plain, None);
        assert_eq!(merged(&plain, &[5, 0, prefix, 6, suffix, 7, middle, 8]), Ok(vec![5, 0, 6, 8, 7]));
        assert_eq!(merged(&plain, &[5, 0, prefix, 6, suffix, 7]), broken(2));
        assert_eq!(merged(&plain, &[suffix, 6, prefix, 7]), broken(0)); // only a document without a middle id looks so
        assert_eq!(merged(&plain, &[5, prefix, suffix, middle]), broken(0));
        let with_eot = spec(SpmFormat::Unmarked, Some(EOT));
        assert_eq!(merged(&with_eot, &[suffix, 6, prefix, 7, eot, 1]), Ok(vec![7, 6, 1]));
        assert_eq!(merged(&with_eot, &[1, suffix, 6, prefix, 7]), broken(1));
        assert_eq!(merged(&with_eot, &[suffix, 6, prefix, 7, eot, 8]), broken(0));
    }
}

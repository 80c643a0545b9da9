//! Where documents are cut, and how long rows become.

use super::super::row::{check_and_key, check_len};
use super::spec::{Length, Level, Split};
use super::{FillInTheMiddle, for_each_document};
use crate::rng::bounded::{below, threshold};
use crate::rng::{Purpose, Stream};
use crate::stop;
use crate::{Error, Token};
use core::ops::{ControlFlow, Range};

/// What is known of a row before it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowPlan {
    /// How long it becomes.
    pub len: usize,
    /// Its key.
    pub key: u64,
    /// The number of its documents that are not cut off whole.
    pub documents: u32,
    /// How many of them are transformed.
    pub transformed: u32,
    /// How many of its tokens have labels.
    pub labelled: usize,
}

/// A document that is transformed, as positions in its row: its prefix is `start..first`, its middle `first..second`, its suffix
/// `second..kept`. The tokens `kept..stop` are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document {
    /// Its number in the row.
    pub number: u32,
    /// Whether its suffix comes first.
    pub spm: bool,
    /// Where it starts.
    pub start: u32,
    /// Where its middle starts.
    pub first: u32,
    /// Where its suffix starts.
    pub second: u32,
    /// Where its suffix ends.
    pub kept: u32,
    /// Where the document ends.
    pub stop: u32,
}

impl Document {
    /// What a call needs to transform it in the same way.
    pub fn split(&self) -> Split {
        let Self { number: document, spm, start, first, second, .. } = *self;
        Split { document, spm, first: first - start, second: second - start }
    }
}

/// Where decisions about the documents of a row come from.
enum Source<'a> {
    Drawn { stream: Stream, below: u64 },
    Given(&'a [Split]),
}

/// The plan of a row so far.
struct Planner<'a, T> {
    call: &'a FillInTheMiddle<'a, T>,
    row: usize,
    source: Source<'a>,
    /// No document starts after this place of the output.
    limit: usize,
    /// If not `None`, a transformed document must fit this length of the output.
    room: Option<usize>,
    /// Ids that were added so far.
    grown: usize,
    documents: u32,
    found: &'a mut Vec<Document>,
}

impl<T: Token> FillInTheMiddle<'_, T> {
    /// Plans all rows. `documents` are those that are transformed, row by row.
    ///
    /// Errors: [`Error::RowLength`], [`Error::IdRange`], [`Error::Sentinel`]; [`Error::Split`] and [`Error::SplitDocument`] for splits
    /// that do not fit their row.
    pub fn plan_into(&self, plans: &mut [RowPlan], documents: &mut Vec<Document>) -> Result<(), Error> {
        let mut pack = Vec::new();
        plans.iter_mut().enumerate().try_for_each(|(i, plan)| {
            *plan = self.plan_row(i, documents, &mut pack)?;
            Ok(())
        })
    }

    fn plan_row(
        &self,
        i: usize,
        found: &mut Vec<Document>,
        pack: &mut Vec<[u8; 4]>,
    ) -> Result<RowPlan, Error> {
        let (mut row, spec) = (self.rows[i], self.spec);
        check_len(i, row.len())?;
        let key = check_and_key(i, row, &spec.forbidden, self.options.keys.map(|keys| keys[i]), pack)?;
        let mut limit = self.options.max_len;
        if spec.length == Length::Cut {
            limit = limit.min(row.len());
        }
        if spec.level == Level::Context {
            row = &row[..row.len().min(limit)];
        }
        let source = match self.options.splits {
            Some(splits) => Source::Given(splits.row(i)),
            None => Source::Drawn {
                stream: self.seed_epoch.stream(key, Purpose::FillInTheMiddle),
                below: self.options.rates.map_or(spec.below, |rates| threshold(rates[i])),
            },
        };
        let before = found.len();
        let fits = spec.level == Level::Context && spec.length == Length::Grow;
        let mut planner = Planner {
            call: self,
            row: i,
            source,
            limit,
            room: fits.then_some(limit),
            grown: 0,
            documents: 0,
            found,
        };
        let walk = for_each_document(row, &spec.boundaries, |document| planner.next(document));
        if let ControlFlow::Break(Some(error)) = walk {
            return Err(error);
        }
        if let (Source::Given([split, ..]), ControlFlow::Continue(())) = (&planner.source, walk) {
            let (document, documents) = (split.document, planner.documents);
            return Err(Error::SplitDocument { row: i, document, documents });
        }
        let len = (row.len() + planner.grown).min(limit);
        let documents = planner.documents;
        let own = &found[before..];
        let without_loss: usize = self.prompts(own, len).map(|prompt| prompt.len()).sum();
        let (transformed, labelled) = (own.len() as u32, len - without_loss);
        Ok(RowPlan { len, key, documents, transformed, labelled })
    }
}

impl<T: Token> Planner<'_, T> {
    /// Decides about the next document. Breaks with an error, or with `None` if the output has no place for the document.
    fn next(&mut self, place: Range<usize>) -> ControlFlow<Option<Error>> {
        if place.start + self.grown >= self.limit {
            return ControlFlow::Break(None);
        }
        let number = self.documents;
        self.documents += 1;
        let Some((spm, given)) = self.order(number) else { return ControlFlow::Continue(()) };
        let spec = self.call.spec;
        let added = spec.added(spm);
        let mut len = place.len();
        if let Some(room) = self.room {
            let room = room.saturating_sub(place.start + self.grown);
            if room <= added {
                return ControlFlow::Continue(());
            }
            len = len.min(room - added);
        }
        let (first, second) = match (given, &mut self.source) {
            (Some(split), _) => (split.first as usize, split.second as usize),
            (None, Source::Drawn { stream, .. }) => {
                let cuts = [(); 2].map(|()| below(stream, len as u32 + 1) as usize);
                (cuts[0].min(cuts[1]), cuts[0].max(cuts[1]))
            }
            (None, Source::Given(_)) => return ControlFlow::Continue(()),
        };
        if first > second || second > len {
            let row = self.row;
            return ControlFlow::Break(Some(Error::Split { row, document: number, first, second, len }));
        }
        let mut kept = len;
        if spec.length == Length::Keep {
            if len - second <= added {
                return ControlFlow::Continue(());
            }
            kept -= added;
        } else {
            self.grown += added;
        }
        // Positions of a row fit in 32 bits, as `check_len` made sure.
        let at = |position: usize| (place.start + position) as u32;
        let (start, first, second, kept) = (at(0), at(first), at(second), at(kept));
        let stop = place.end as u32;
        stop::push(self.found, Document { number, spm, start, first, second, kept, stop });
        ControlFlow::Continue(())
    }

    /// Whether the suffix of the next document comes first, and its cuts if they are given; `None` if it is not transformed.
    fn order(&mut self, number: u32) -> Option<(bool, Option<Split>)> {
        match &mut self.source {
            Source::Drawn { stream, below } => {
                if u64::from(stream.next_u32()) >= *below {
                    return None;
                }
                Some((u64::from(stream.next_u32()) < self.call.spec.spm_below, None))
            }
            Source::Given(splits) => {
                let (split, rest) = splits.split_first()?;
                if split.document != number {
                    return None;
                }
                *splits = rest;
                Some((split.spm, Some(*split)))
            }
        }
    }
}

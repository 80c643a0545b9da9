//! The markers of a chat format, compiled: what acts at a position, and what the format says about a turn's content.

use super::Turn;
use crate::Token;
use crate::search::Searcher;

/// How the turns of one role open and close, as ids. Several boundaries of one role are alternatives.
#[derive(Debug, Clone, Default)]
pub struct Boundary {
    /// The role's number.
    pub role: usize,
    /// Sequences that open a turn.
    pub starts: Vec<Vec<i64>>,
    /// Sequences that close a turn of this role; empty if only the next start does.
    pub ends: Vec<Vec<i64>>,
    /// The opening tokens train with the turn.
    pub include_start: bool,
    /// The closing tokens may train.
    pub include_end: bool,
    /// A start counts only where a turn can begin: see [`Format`].
    pub anchored: bool,
}

/// What a chat format consists of, as ids. The default value is a format without any.
#[derive(Debug, Clone, Default)]
pub struct FormatParts {
    /// Order matters: of two starts with the same length, the first one listed wins.
    pub boundaries: Vec<Boundary>,
    /// Tokens by which a model ends its turn although they belong to what follows (the next role's header).
    pub stop_token_ids: Vec<i64>,
    /// Tokens with which a text begins or ends (BOS, EOS, padding): an anchored start may directly follow them.
    pub anchor_ids: Vec<i64>,
    /// What the template's generation prompt puts after a header, so that the model never writes it.
    pub generation_prefills: Vec<Vec<i64>>,
    /// What opens the reasoning at the beginning of a turn's content.
    pub reasoning_openings: Vec<Vec<i64>>,
    /// What closes it.
    pub reasoning_closings: Vec<Vec<i64>>,
    /// Whole blocks without reasoning, as the template writes them.
    pub empty_reasoning: Vec<Vec<i64>>,
}

/// What a marker does where it occurs.
#[derive(Debug, Clone, Copy)]
pub(super) enum MarkerKind {
    Start { boundary: usize, anchored: bool },
    End { role: usize },
}

/// A chat format, ready to be searched for in rows of `T`.
///
/// A start of an anchored boundary counts only as a row's first token, or directly after an end of any role, after a token that ends a
/// turn, or after one with which texts begin or end. Elsewhere it is content.
#[derive(Debug, Clone)]
pub struct Format<T> {
    pub(super) searcher: Searcher<T>,
    /// What each marker does, by the searcher's needle numbers.
    markers: Vec<MarkerKind>,
    pub(super) boundaries: Vec<Boundary>,
    roles: usize,
    stop_token_ids: Vec<T>,
    /// The sequences that an anchored start may follow.
    anchors: Vec<Vec<T>>,
    /// The format says something about the beginning of contents.
    has_heads: bool,
    generation_prefills: Searcher<T>,
    reasoning_openings: Searcher<T>,
    reasoning_closings: Searcher<T>,
    empty_reasoning: Searcher<T>,
}

impl<T: Token> Format<T> {
    /// Compiles the parts. An id that does not fit `T` occurs in no row, and neither does a marker with such an id.
    pub fn new(parts: &FormatParts) -> Self {
        let mut markers = Vec::new();
        let mut needles: Vec<&[i64]> = Vec::new();
        for (number, boundary) in parts.boundaries.iter().enumerate() {
            for start in &boundary.starts {
                needles.push(start);
                markers.push(MarkerKind::Start { boundary: number, anchored: boundary.anchored });
            }
            for end in &boundary.ends {
                needles.push(end);
                markers.push(MarkerKind::End { role: boundary.role });
            }
        }
        let ends = parts.boundaries.iter().flat_map(|boundary| &boundary.ends).map(Vec::as_slice);
        let anchors = ends.chain(parts.stop_token_ids.chunks(1)).chain(parts.anchor_ids.chunks(1));
        let searcher = |sequences: &[Vec<i64>]| Searcher::new(sequences.iter().map(Vec::as_slice));
        Self {
            searcher: Searcher::new(needles),
            markers,
            boundaries: parts.boundaries.clone(),
            roles: parts.boundaries.iter().map(|boundary| boundary.role + 1).max().unwrap_or(0),
            stop_token_ids: parts.stop_token_ids.iter().filter_map(|&id| T::from_i64(id)).collect(),
            anchors: anchors.filter_map(|ids| ids.iter().map(|&id| T::from_i64(id)).collect()).collect(),
            has_heads: [&parts.generation_prefills, &parts.reasoning_openings, &parts.empty_reasoning]
                .iter()
                .any(|sequences| !sequences.is_empty()),
            generation_prefills: searcher(&parts.generation_prefills),
            reasoning_openings: searcher(&parts.reasoning_openings),
            reasoning_closings: searcher(&parts.reasoning_closings),
            empty_reasoning: searcher(&parts.empty_reasoning),
        }
    }

    /// How many roles there are; turns carry numbers below it.
    pub fn roles(&self) -> usize {
        self.roles
    }

    /// Completes `turn` with what the format says about its content and the token after it.
    #[inline]
    pub(super) fn complete(&self, row: &[T], turn: &mut Turn) {
        turn.stop_token = row.get(turn.stop).is_some_and(|token| self.stop_token_ids.contains(token));
        if self.has_heads {
            self.complete_head(row, turn);
        }
    }

    /// Completes `turn` with what the format says about the beginning of its content.
    #[inline(never)] // inlined, it made rows without any of this slower
    fn complete_head(&self, row: &[T], turn: &mut Turn) {
        let content = &row[turn.content()];
        let prefill = longest(&self.generation_prefills, content, 0).unwrap_or(0);
        let (reasoning, empty_reasoning) = self.reasoning(content, prefill);
        turn.prefill_stop = turn.content_start + prefill;
        turn.reasoning_stop = turn.content_start + reasoning;
        turn.empty_reasoning = empty_reasoning;
    }

    /// How many tokens of `content` are reasoning, tags included, and whether they hold none. The reasoning begins with the content, or
    /// inside or directly after its first `prefill` tokens, which the generation prompt supplies.
    fn reasoning(&self, content: &[T], prefill: usize) -> (usize, bool) {
        for start in 0..=prefill {
            if let Some(len) = longest(&self.empty_reasoning, content, start) {
                return (start + len, true);
            }
            if let Some(len) = longest(&self.reasoning_openings, content, start) {
                let inside = start + len;
                let rest = &content[inside..];
                let closing = self
                    .reasoning_closings
                    .candidates(rest)
                    .find_map(|at| longest(&self.reasoning_closings, rest, at).map(|len| inside + at + len));
                return (closing.unwrap_or(content.len()), false);
            }
        }
        (0, false)
    }

    /// Whether `tokens` end with the beginning of a start marker, but not with a whole one.
    pub(super) fn ends_in_start(&self, tokens: &[T]) -> bool {
        let starts = self.boundaries.iter().flat_map(|boundary| &boundary.starts);
        let ids = |start: &[i64]| start.iter().map(|&id| T::from_i64(id)).collect::<Option<Vec<T>>>();
        starts
            .filter_map(|start| ids(start))
            .any(|start| (1..start.len()).any(|len| tokens.ends_with(&start[..len])))
    }

    /// Whether tokens that the format counts as reasoning neither are an empty block nor end with a closing marker.
    pub(super) fn is_open(&self, reasoning: &[T]) -> bool {
        let ends_at = |needles: &Searcher<T>, at| {
            longest(needles, reasoning, at).is_some_and(|len| at + len == reasoning.len())
        };
        !reasoning.is_empty()
            && !(0..reasoning.len())
                .any(|at| ends_at(&self.reasoning_closings, at) || ends_at(&self.empty_reasoning, at))
    }

    /// The marker that acts at `position`, and its length. In a turn of role `open` an end of that role takes precedence over any start.
    #[inline(always)] // a call for each candidate took a tenth longer in rows of short turns
    pub(super) fn marker_at(
        &self,
        row: &[T],
        position: usize,
        open: Option<usize>,
    ) -> Option<(MarkerKind, usize)> {
        let mut start = None;
        for (needle, len) in self.searcher.matches_at(row, position) {
            match self.markers[needle] {
                marker @ MarkerKind::End { role } if Some(role) == open => return Some((marker, len)),
                marker @ MarkerKind::Start { anchored, .. }
                    if start.is_none() && (!anchored || self.may_begin(&row[..position])) =>
                {
                    start = Some((marker, len));
                }
                _ => {}
            }
        }
        start
    }

    /// Whether an anchored start may follow these tokens of its row.
    #[inline(never)]
    fn may_begin(&self, before: &[T]) -> bool {
        before.is_empty() || self.anchors.iter().any(|anchor| before.ends_with(anchor))
    }
}

/// The length of the longest needle that occurs in `content` at `position`.
fn longest<T: Token>(needles: &Searcher<T>, content: &[T], position: usize) -> Option<usize> {
    if needles.is_empty() {
        return None;
    }
    needles.matches_at(content, position).next().map(|(_, len)| len)
}

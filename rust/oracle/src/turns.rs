//! The chat state machine, spelled out.

use spanmask_core::turns::{Boundary, FormatParts, Turn};

/// The turns of one row, in order.
pub fn find_turns(row: &[i64], format: &FormatParts) -> Vec<Turn> {
    let (mut turns, mut position) = (Vec::new(), 0);
    while position < row.len() {
        let Some((boundary, len)) = longest_start(row, position, format) else {
            position += 1;
            continue;
        };
        let content_start = position + len;
        let (content_stop, stop, closed) = find_close(row, content_start, boundary.role, format);
        let content = &row[content_start..content_stop];
        let prefill = longest(content, 0, &format.generation_prefills);
        let (reasoning, empty_reasoning) = find_reasoning(content, prefill, format);
        turns.push(Turn {
            role: boundary.role,
            start: position,
            content_start,
            content_stop,
            stop,
            closed,
            prefill_stop: content_start + prefill,
            reasoning_stop: content_start + reasoning,
            empty_reasoning,
            stop_token: stop < row.len() && format.stop_token_ids.contains(&row[stop]),
            include_start: boundary.include_start,
            include_end: boundary.include_end,
        });
        position = stop;
    }
    turns
}

/// Where the content stops, where its closing tokens stop, and whether anything closed it.
fn find_close(row: &[i64], content_start: usize, role: usize, format: &FormatParts) -> (usize, usize, bool) {
    let own = format.boundaries.iter().filter(|boundary| boundary.role == role);
    let ends: Vec<Vec<i64>> = own.flat_map(|boundary| boundary.ends.clone()).collect();
    for position in content_start..row.len() {
        let end = longest(row, position, &ends);
        if end > 0 {
            return (position, position + end, true);
        }
        if longest_start(row, position, format).is_some() {
            return (position, position, true);
        }
    }
    (row.len(), row.len(), false)
}

/// The boundary whose start opens a turn with the most tokens (the first one listed on a tie), and how many these are.
fn longest_start<'f>(row: &[i64], position: usize, format: &'f FormatParts) -> Option<(&'f Boundary, usize)> {
    let mut found: Option<(&Boundary, usize)> = None;
    for boundary in &format.boundaries {
        for start in &boundary.starts {
            let counts = !boundary.anchored || may_begin(&row[..position], format);
            if counts && occurs(row, position, start) && found.is_none_or(|(_, len)| start.len() > len) {
                found = Some((boundary, start.len()));
            }
        }
    }
    found
}

/// Whether an anchored start may follow these tokens: none, or a token or marker that ends something.
fn may_begin(before: &[i64], format: &FormatParts) -> bool {
    let single = |ids: &[i64]| before.last().is_some_and(|last| ids.contains(last));
    let mut ends = format.boundaries.iter().flat_map(|boundary| &boundary.ends);
    before.is_empty()
        || single(&format.stop_token_ids)
        || single(&format.anchor_ids)
        || ends.any(|end| before.ends_with(end))
}

/// How many tokens of the content are reasoning, and whether the template added them without any text between.
fn find_reasoning(content: &[i64], prefill: usize, format: &FormatParts) -> (usize, bool) {
    for start in 0..=prefill {
        let block = longest(content, start, &format.empty_reasoning);
        if block > 0 {
            return (start + block, true);
        }
        let opening = longest(content, start, &format.reasoning_openings);
        if opening > 0 {
            for position in start + opening..content.len() {
                let closing = longest(content, position, &format.reasoning_closings);
                if closing > 0 {
                    return (position + closing, false);
                }
            }
            return (content.len(), false);
        }
    }
    (0, false)
}

/// The length of the longest of these sequences that occurs at `position`, 0 if none does.
pub fn longest(row: &[i64], position: usize, sequences: &[Vec<i64>]) -> usize {
    let found = sequences.iter().filter(|sequence| occurs(row, position, sequence));
    found.map(Vec::len).max().unwrap_or(0)
}

/// Token by token: libFuzzer looks at each call of `memcmp`, and slices are compared with it.
fn occurs(row: &[i64], position: usize, sequence: &[i64]) -> bool {
    position < row.len() && row[position..].iter().take(sequence.len()).eq(sequence)
}

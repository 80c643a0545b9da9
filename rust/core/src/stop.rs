//! How a kernel ends before its rows do: its caller asks for it, as for Ctrl-C, or working memory is not there.
//!
//! A row may take seconds, and any kernel may have many frames between the loop over its tokens and its caller. It therefore unwinds, up to
//! [`stoppable`], as cancelled queries do in some compilers, and results of all functions in between stay as they are. Outside of `stoppable`
//! nothing here has an effect.

use crate::Token;
use core::cell::Cell;
use core::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Why a kernel ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The function that [`stoppable`] got said so.
    Asked,
    /// Working memory of this many bytes is not there.
    Memory {
        /// How many bytes a buffer needed: what is in it, too, but not the space that it grows by beyond that.
        bytes: usize,
    },
}

thread_local! {
    static ASK: Cell<Option<fn() -> bool>> = const { Cell::new(None) };
}

/// Tokens between two questions, about: some 20 to 500 microseconds.
pub(crate) const EVERY: usize = 1 << 16;

/// Runs `work`, which ends early if `ask` returns true, or if working memory is not there. `ask` is called on this thread, every [`EVERY`]
/// tokens of a row.
///
/// Outputs then hold what was written until then. The crate must be built with `panic = "unwind"`.
pub fn stoppable<R>(ask: fn() -> bool, work: impl FnOnce() -> R) -> Result<R, Stopped> {
    let before = ASK.replace(Some(ask));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    ASK.set(before);
    outcome.map_err(|payload| match payload.downcast::<Stopped>() {
        Ok(stopped) => *stopped,
        Err(panic) => resume_unwind(panic),
    })
}

/// Unwinds if the caller of [`stoppable`] asks for it.
#[cold]
#[inline(never)]
pub fn poll() {
    if ASK.get().is_some_and(|ask| ask()) {
        resume_unwind(Box::new(Stopped::Asked)); // without a message of the panic hook
    }
}

/// Polls at every `EVERY / unit`-th step of a loop whose steps take about as long as `unit` tokens, but not at the first one: short rows
/// never poll.
#[inline(always)]
pub(crate) fn poll_at(step: usize, unit: usize) {
    let every = EVERY / unit;
    if step > 0 && step % every == every - 1 {
        poll();
    }
}

/// Cuts a loop of `len` steps, each of which takes about as long as `unit` tokens, into parts, and polls between them: the steps of a part
/// are as fast as if nothing polled.
#[inline(always)]
pub(crate) fn parts(len: usize, unit: usize) -> impl Iterator<Item = Range<usize>> {
    let every = EVERY / unit;
    (0..len).step_by(every).map(move |start| {
        if start > 0 {
            poll();
        }
        start..len.min(start + every)
    })
}

/// Polls where `at` has reached `next`, and moves `next` on: for a loop over runs of tokens that may be as short as one, and as long as
/// [`EVERY`].
#[inline(always)]
pub(crate) fn poll_past(at: usize, next: &mut usize) {
    if at >= *next {
        *next = at.saturating_add(EVERY);
        poll();
    }
}

/// Reserves space for `more` entries.
#[inline]
pub(crate) fn reserve<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        grow(vec, more);
    }
}

#[cold]
fn grow<T>(vec: &mut Vec<T>, more: usize) {
    if ASK.get().is_some() && vec.try_reserve(more).is_err() {
        let bytes = vec.len().saturating_add(more).saturating_mul(size_of::<T>());
        *vec = Vec::new(); // so that there is memory to report it
        resume_unwind(Box::new(Stopped::Memory { bytes }));
    }
    vec.reserve(more);
}

/// `Vec::resize`.
#[inline]
pub(crate) fn resize<T: Clone>(vec: &mut Vec<T>, len: usize, value: T) {
    reserve(vec, len.saturating_sub(vec.len()));
    vec.resize(len, value);
}

/// `Vec::push`.
#[inline(always)]
pub(crate) fn push<T>(vec: &mut Vec<T>, value: T) {
    if vec.len() == vec.capacity() {
        grow(vec, 1);
    }
    vec.push(value);
}

/// `Vec::extend_from_slice`.
pub(crate) fn extend<T: Copy>(vec: &mut Vec<T>, values: &[T]) {
    reserve(vec, values.len());
    for part in values.chunks(EVERY) {
        if part.len() == EVERY {
            poll();
        }
        vec.extend_from_slice(part);
    }
}

/// Fills a slice.
#[inline(always)]
pub(crate) fn fill<V: Copy>(mut out: &mut [V], value: V) {
    while out.len() > EVERY {
        poll();
        let part;
        (part, out) = out.split_at_mut(EVERY);
        part.fill(value);
    }
    out.fill(value);
}

/// Copies ids as `i64`. Both slices have the same length.
#[inline(always)]
pub(crate) fn copy<T: Token>(mut ids: &[T], mut out: &mut [i64]) {
    while ids.len() > EVERY {
        poll();
        let (part, places);
        (part, ids) = ids.split_at(EVERY);
        (places, out) = out.split_at_mut(EVERY);
        T::copy_into(part, places);
    }
    T::copy_into(ids, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static LEFT: Cell<usize> = const { Cell::new(0) };
    }

    fn after_a_few() -> bool {
        LEFT.set(LEFT.get().saturating_sub(1));
        LEFT.get() == 0
    }

    #[test]
    fn work_ends_when_it_is_asked_to() {
        LEFT.set(3);
        let mut out = vec![0; 10 * EVERY];
        assert_eq!(stoppable(after_a_few, || fill(&mut out, 7)), Err(Stopped::Asked));
        assert_eq!(out.iter().filter(|&&value| value == 7).count(), 2 * EVERY);
        fill(&mut out, 8); // nobody asks
        assert!(out.iter().all(|&value| value == 8));
    }

    #[test]
    fn memory_that_is_not_there_ends_work() {
        let mut vec = vec![1u64; 3];
        let more = isize::MAX as usize / 8;
        let bytes = (3 + more) * 8;
        assert_eq!(stoppable(|| false, || reserve(&mut vec, more)), Err(Stopped::Memory { bytes }));
        assert_eq!(stoppable(|| false, || resize(&mut vec, 5, 2)), Ok(()));
        assert_eq!(vec, [2; 5]);
    }

    #[test]
    fn other_panics_pass() {
        let outer = std::panic::catch_unwind(|| stoppable(|| false, || resume_unwind(Box::new("other"))));
        assert_eq!(outer.err().and_then(|payload| payload.downcast_ref::<&str>().copied()), Some("other"));
    }

    #[test]
    fn parts_are_copied_and_filled_whole() {
        for len in [0, 1, EVERY - 1, EVERY, EVERY + 1, 2 * EVERY, 2 * EVERY + 3] {
            let ids: Vec<u16> = (0..len).map(|at| (at % 60_000) as u16).collect();
            let mut out = vec![-1; len];
            copy(&ids, &mut out);
            assert!(out.iter().zip(&ids).all(|(&got, &id)| got == i64::from(id)));
            let mut copied = Vec::new();
            extend(&mut copied, &ids);
            assert_eq!(copied, ids);
            fill(&mut out, 9);
            assert_eq!(out, vec![9; len]);
        }
    }
}

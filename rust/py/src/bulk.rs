//! Many rows: in chunks, on threads that end with the call. Ctrl-C is handled between chunks.
//!
//! No thread pool outlives a call: a process that is forked later (a DataLoader worker) would wait for threads that it does not have.
//! Chunks and their outputs are fixed before any thread starts, so results do not depend on the number of threads.

use pyo3::prelude::*;
use spanmask_core::{Error, Ragged};
use std::ops::Range;
use std::sync::Mutex;
use std::thread::Builder;

/// The approximate number of tokens in a chunk. A chunk takes between a fraction of a millisecond and a few, so that the load is balanced
/// and interrupts are seen soon.
const CHUNK_TOKENS: usize = 1 << 18;

/// Cuts rows into ranges of about [`CHUNK_TOKENS`] tokens, at least one row each.
pub fn chunks<T>(rows: &Ragged<T>) -> Vec<Range<usize>> {
    chunks_of((0..rows.len()).map(|i| rows.bounds(i).len()))
}

/// The same for rows of these lengths.
pub fn chunks_of(lengths: impl ExactSizeIterator<Item = usize>) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let (mut first, mut tokens) = (0, 0);
    let rows = lengths.len();
    for (i, len) in lengths.enumerate() {
        tokens += len + 1; // empty rows count too
        if tokens >= CHUNK_TOKENS || i + 1 == rows {
            chunks.push(first..i + 1);
            (first, tokens) = (i + 1, 0);
        }
    }
    chunks
}

/// Calls `job` for each chunk, in order, to make the closure that works on it, then runs all closures as [`run`] does. `job` divides the
/// outputs into parts: see [`take`].
pub fn for_chunks<F>(
    py: Python<'_>,
    chunks: Vec<Range<usize>>,
    num_threads: usize,
    rows: &str,
    mut job: impl FnMut(Range<usize>) -> F,
) -> PyResult<()>
where
    F: FnOnce() -> Result<(), Error> + Send,
{
    let jobs = chunks.into_iter().map(|chunk| (chunk.start, job(chunk))).collect();
    run(py, jobs, num_threads, rows)
}

/// The next `len` places of an output; `rest` keeps the others.
pub fn take<'a, T>(rest: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let (part, tail) = core::mem::take(rest).split_at_mut(len);
    *rest = tail;
    part
}

/// Runs every job without the GIL, on up to `num_threads` threads. A job is a chunk's first row and the closure that works on the chunk.
///
/// The error of the first failing row is returned, its row counted over all chunks. Ctrl-C is handled between two jobs.
pub fn run<F>(py: Python<'_>, jobs: Vec<(usize, F)>, num_threads: usize, rows: &str) -> PyResult<()>
where
    F: FnOnce() -> Result<(), Error> + Send,
{
    let threads = num_threads.clamp(1, jobs.len().max(1));
    if let [_] = jobs.as_slice() {
        return py
            .detach(|| jobs.into_iter().try_for_each(|(first, job)| job().map_err(|e| e.at_row(first))))
            .map_err(|e| crate::error::to_py(e, rows));
    }
    let queue = Mutex::new(Queue { jobs: jobs.into_iter().enumerate(), failed: None });
    let outcome = py.detach(|| {
        std::thread::scope(|scope| {
            for _ in 1..threads {
                // Where no further thread can be started (`RLIMIT_NPROC`, the pids of a container), those that there are do all jobs.
                let worker = Builder::new().spawn_scoped(scope, || while Queue::run_next(&queue) {});
                if worker.is_err() {
                    break;
                }
            }
            while Queue::run_next(&queue) {
                if let Err(interrupt) = Python::attach(|py| py.check_signals()) {
                    Queue::lock(&queue).jobs = Vec::new().into_iter().enumerate();
                    return Err(interrupt);
                }
            }
            Ok(())
        })
    });
    outcome?;
    match Queue::lock(&queue).failed {
        Some((_, error)) => Err(crate::error::to_py(error, rows)),
        None => Ok(()),
    }
}

/// The jobs that no thread has taken yet, and the failure of the lowest-numbered job so far.
struct Queue<F> {
    jobs: std::iter::Enumerate<std::vec::IntoIter<(usize, F)>>,
    failed: Option<(usize, Error)>,
}

impl<F: FnOnce() -> Result<(), Error>> Queue<F> {
    /// A panic in a job would poison the lock. The queue itself stays valid, so continue and let the scope report the panic.
    fn lock(queue: &Mutex<Self>) -> std::sync::MutexGuard<'_, Self> {
        queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes and runs one job; `false` when none is left. Jobs are taken in order, so when one fails, all lower ones were taken: later
    /// ones are dropped, and the lowest failure wins, whatever the timing of the threads.
    fn run_next(queue: &Mutex<Self>) -> bool {
        let Some((number, (first, job))) = Self::lock(queue).jobs.next() else { return false };
        if let Err(error) = job() {
            let mut queue = Self::lock(queue);
            queue.jobs = Vec::new().into_iter().enumerate();
            if queue.failed.is_none_or(|(lowest, _)| number < lowest) {
                queue.failed = Some((number, error.at_row(first)));
            }
        }
        true
    }
}

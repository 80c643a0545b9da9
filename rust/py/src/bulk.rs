//! Work without the GIL, which Ctrl-C ends; many rows: in chunks, on threads that end with the call.
//!
//! No thread pool outlives a call: a process that is forked later (a DataLoader worker) would wait for threads that it does not have.
//! Chunks and their outputs are fixed before any thread starts, so results do not depend on the number of threads.

use crate::error::{interrupted, no_working_memory};
use pyo3::prelude::*;
use spanmask_core::stop::{Stopped, poll, stoppable};
use spanmask_core::{Error, Ragged};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Builder, Thread};
use std::time::{Duration, Instant};

/// The approximate number of tokens in a chunk. A chunk takes between a fraction of a millisecond and a few, so that the load is balanced.
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

/// How often signals are looked at. It takes the GIL, for which other threads of Python may have to be waited for.
const PAUSE: Duration = Duration::from_millis(20);

thread_local! {
    /// When this thread last looked at signals.
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
    /// What a signal handler raised then.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
    /// Where a thread of [`run`] is told to stop.
    static STOP: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Whether a signal handler has raised an exception: asked by the thread that called from Python.
fn is_interrupted() -> bool {
    let now = Instant::now();
    if LOOKED.get().is_some_and(|last| now.duration_since(last) < PAUSE) {
        return false;
    }
    LOOKED.set(Some(now));
    let raised = Python::attach(|py| py.check_signals()).err();
    let is_raised = raised.is_some();
    RAISED.replace(raised);
    is_raised
}

/// The same, asked by a thread of [`run`].
fn is_told_to_stop() -> bool {
    STOP.with_borrow(|stop| stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)))
}

/// The exception for work that ended early.
fn to_exception(stopped: Stopped) -> PyErr {
    match stopped {
        Stopped::Asked => RAISED.take().unwrap_or_else(interrupted),
        Stopped::Memory { bytes } => no_working_memory(bytes),
    }
}

/// Runs `work` without the GIL. It ends within a row if a signal handler raises an exception (Ctrl-C), or if there is no working memory.
pub fn detached<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> PyResult<R> {
    py.detach(|| stoppable(is_interrupted, work)).map_err(to_exception)
}

/// Runs every job as [`detached`] does, on up to `num_threads` threads. A job is a chunk's first row and the closure that works on the
/// chunk.
///
/// The error of the first failing row is returned, its row counted over all chunks.
pub fn run<F>(py: Python<'_>, jobs: Vec<(usize, F)>, num_threads: usize, rows: &str) -> PyResult<()>
where
    F: FnOnce() -> Result<(), Error> + Send,
{
    let threads = num_threads.clamp(1, jobs.len().max(1));
    if let [_] = jobs.as_slice() {
        return detached(py, || {
            jobs.into_iter().try_for_each(|(first, job)| job().map_err(|e| e.at_row(first)))
        })?
        .map_err(|e| crate::error::to_py(e, rows));
    }
    let queue = Mutex::new(Queue { jobs: jobs.into_iter().enumerate(), failed: None, stopped: None });
    py.detach(|| run_all(&queue, threads)).map_err(to_exception)?;
    let Queue { failed, stopped, .. } = &*Queue::lock(&queue);
    match (stopped, failed) {
        (Some(stopped), _) => Err(to_exception(*stopped)),
        (None, Some((_, error))) => Err(crate::error::to_py(*error, rows)),
        (None, None) => Ok(()),
    }
}

/// Runs the jobs of a queue on this thread and `threads - 1` others.
fn run_all<F>(queue: &Mutex<Queue<F>>, threads: usize) -> Result<(), Stopped>
where
    F: FnOnce() -> Result<(), Error> + Send,
{
    let stop = Arc::new(AtomicBool::new(false));
    let running = AtomicUsize::new(0);
    let caller = thread::current();
    thread::scope(|scope| {
        for _ in 1..threads {
            let work = || {
                let _ended = Ended { running: &running, caller: &caller };
                STOP.replace(Some(Arc::clone(&stop)));
                if let Err(why) = stoppable(is_told_to_stop, || while Queue::run_next(queue) {}) {
                    Queue::lock(queue).stop(why);
                }
            };
            running.fetch_add(1, Ordering::AcqRel);
            // Where no further thread can be started (`RLIMIT_NPROC`, the pids of a container), those that there are do all jobs.
            if Builder::new().spawn_scoped(scope, work).is_err() {
                running.fetch_sub(1, Ordering::AcqRel);
                break;
            }
        }
        let outcome = stoppable(is_interrupted, || {
            while Queue::run_next(queue) {
                poll();
            }
            while running.load(Ordering::Acquire) > 0 {
                thread::park_timeout(PAUSE);
                poll();
            }
        });
        if let Err(why) = outcome {
            stop.store(true, Ordering::Relaxed);
            Queue::lock(queue).stop(why);
        }
        outcome
    })
}

/// Says that a thread has ended, when it is dropped.
struct Ended<'a> {
    running: &'a AtomicUsize,
    caller: &'a Thread,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
        self.caller.unpark();
    }
}

/// The jobs that no thread has taken yet, the failure of the lowest-numbered job so far, and why a thread stopped early.
struct Queue<F> {
    jobs: std::iter::Enumerate<std::vec::IntoIter<(usize, F)>>,
    failed: Option<(usize, Error)>,
    stopped: Option<Stopped>,
}

impl<F: FnOnce() -> Result<(), Error>> Queue<F> {
    /// A panic in a job would poison the lock. The queue itself stays valid, so continue and let the scope report the panic.
    fn lock(queue: &Mutex<Self>) -> std::sync::MutexGuard<'_, Self> {
        queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Drops all jobs that are left.
    fn stop(&mut self, why: Stopped) {
        self.jobs = Vec::new().into_iter().enumerate();
        self.stopped.get_or_insert(why);
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

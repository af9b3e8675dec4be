//! The one thread pool of a worker: it splits a kernel's loop over a fixed number of threads.
//!
//! The calling thread always takes part, so a pool of one thread starts nothing and costs nothing. Helpers spin for some
//! microseconds after each job, because the kernels of one forward pass follow each other that closely, and then sleep.
//! Each thread has its own part of every loop, and helps with the others' when it is done: so what a thread wrote in one
//! kernel it mostly reads again in the next one, from its own cache. The pool does not queue: concurrent callers each
//! finish their own job, with whatever help is free.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::shared::SharedMut;

/// Rounds of `spin_loop` before a helper goes to sleep: some 20 µs, longer than the serial parts between two kernels.
const SPINS: usize = 2_000;

/// A fixed set of threads for data-parallel loops.
pub struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Number of jobs posted so far; read without the lock while spinning.
    epoch: AtomicUsize,
    stop: AtomicBool,
    slot: Mutex<Slot>,
    posted: Condvar,
}

#[derive(Default)]
struct Slot {
    job: Option<Arc<Job>>,
    /// Helpers that sleep: waking nobody would cost a system call for each kernel.
    sleeping: usize,
}

/// One loop in progress.
struct Job {
    body: Body,
    items: usize,
    /// How many of its part each thread, and who helps it, has claimed.
    claimed: Vec<Claims>,
    finished: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A counter in a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Claims(AtomicUsize);

/// The caller's closure with its lifetime erased.
struct Body(*const (dyn Fn(usize) + Sync));

// SAFETY: the closure is `Sync`, so any thread may call it through a shared pointer. It is only dereferenced by
// `Job::run` for a claimed item, and `Pool::run` does not return before every claimed item is finished.
unsafe impl Send for Body {}
// SAFETY: as above.
unsafe impl Sync for Body {}

impl Pool {
    /// Starts a pool in which `threads` threads (the caller among them; at least one) work on each loop.
    ///
    /// A helper that the system refuses to start is left out: the pool then works with fewer threads.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            slot: Mutex::default(),
            posted: Condvar::new(),
        });
        let helpers = (1..threads)
            .filter_map(|index| {
                let shared = Arc::clone(&shared);
                let builder = std::thread::Builder::new().name(format!("kernel-{index}"));
                builder.spawn(move || shared.help(index)).ok()
            })
            .collect();
        Self { shared, helpers }
    }

    /// How many threads work on a loop.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `body(0)`, …, `body(items - 1)`, each once, in any order and on any thread; returns when all are done.
    ///
    /// A panic in `body` is carried over to the caller after the other items have ended.
    pub fn run(&self, items: usize, body: &(dyn Fn(usize) + Sync)) {
        if self.helpers.is_empty() || items <= 1 {
            (0..items).for_each(body);
            return;
        }
        #[expect(clippy::transmute_ptr_to_ptr, reason = "a cast can't extend the lifetime of a trait object")]
        // SAFETY: only the lifetime is erased. `job.wait()` below returns after the last claimed item has ended, and an
        // unclaimed item is never called, so no thread can use the closure after this function has returned.
        let body = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync + 'static)>(body)
        };
        let job = Arc::new(Job {
            body: Body(body),
            items,
            claimed: (0..self.threads()).map(|_| Claims::default()).collect(),
            finished: AtomicUsize::new(0),
            panic: Mutex::new(None),
        });
        let sleeping = {
            // Under the lock, so that a helper can't miss the job between its last look at the epoch and its sleep.
            let mut slot = lock(&self.shared.slot);
            slot.job = Some(Arc::clone(&job));
            self.shared.epoch.fetch_add(1, Ordering::Release);
            slot.sleeping
        };
        if sleeping > 0 {
            self.shared.posted.notify_all();
        }
        job.work(0);
        job.wait();
        if let Some(panic) = lock(&job.panic).take() {
            resume_unwind(panic);
        }
    }

    /// Splits `items` into about `parts` contiguous ranges and calls `body` with each; `parts` is capped by `items`.
    pub fn run_ranges(&self, items: usize, parts: usize, body: &(dyn Fn(std::ops::Range<usize>) + Sync)) {
        let parts = parts.clamp(1, items.max(1));
        self.run(parts, &|part| body(items * part / parts..items * (part + 1) / parts));
    }

    /// Cuts `data` into chunks of `length` and calls `body` with the index and the numbers of each.
    ///
    /// # Panics
    /// When `length` is zero or `data` is not a whole number of chunks.
    pub fn run_chunks<T: Send>(&self, data: &mut [T], length: usize, body: &(dyn Fn(usize, &mut [T]) + Sync)) {
        assert!(data.len().is_multiple_of(length), "{} in chunks of {length}", data.len());
        let chunks = data.len() / length;
        let data = SharedMut::new(data);
        self.run_ranges(chunks, self.threads() * 4, &|range| {
            for index in range {
                // SAFETY: `run_ranges` hands out each chunk once, and chunks do not overlap.
                body(index, unsafe { data.slice_mut(index * length, length) });
            }
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let guard = lock(&self.shared.slot);
        self.shared.stop.store(true, Ordering::Release);
        self.shared.epoch.fetch_add(1, Ordering::Release);
        drop(guard);
        self.shared.posted.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper catches the panics of its jobs, so joining can't fail.
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn help(&self, index: usize) {
        let mut seen = 0;
        while !self.stop.load(Ordering::Acquire) {
            let mut spins = 0;
            while self.epoch.load(Ordering::Acquire) == seen && spins < SPINS {
                std::hint::spin_loop();
                spins += 1;
            }
            let mut slot = lock(&self.slot);
            while self.epoch.load(Ordering::Acquire) == seen {
                slot.sleeping += 1;
                slot = self.posted.wait(slot).unwrap_or_else(PoisonError::into_inner);
                slot.sleeping -= 1;
            }
            seen = self.epoch.load(Ordering::Acquire);
            let job = slot.job.clone();
            drop(slot);
            if let Some(job) = job {
                job.work(index);
            }
        }
    }
}

impl Job {
    /// Claims and runs items until none is left: those of the thread's own part, then the others'.
    fn work(&self, index: usize) {
        let parts = self.claimed.len();
        // Where a helper could not be started, there are fewer parts than names.
        let index = index % parts;
        let end = |part: usize| self.items * (part + 1) / parts;
        for part in (index..parts).chain(0..index) {
            let begin = self.items * part / parts;
            loop {
                let item = begin + self.claimed[part].0.fetch_add(1, Ordering::Relaxed);
                if item >= end(part) {
                    break;
                }
                self.run(item);
            }
        }
    }

    fn run(&self, item: usize) {
        // SAFETY: this item was claimed by the caller and counts as finished only below, so `Pool::run` is still waiting
        // and the closure it borrowed is alive.
        let body = unsafe { &*self.body.0 };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(item))) {
            lock(&self.panic).get_or_insert(panic);
        }
        self.finished.fetch_add(1, Ordering::Release);
    }

    /// Returns when every item has ended. Yields after a while: the machine may have fewer cores than threads.
    fn wait(&self) {
        let mut spins = 0;
        while self.finished.load(Ordering::Acquire) < self.items {
            if spins < SPINS {
                std::hint::spin_loop();
                spins += 1;
            } else {
                std::thread::yield_now();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads);
            for items in [0, 1, 2, 3, 64, 1_000] {
                let counts: Vec<_> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                pool.run(items, &|item| {
                    counts[item].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    counts.iter().all(|count| count.load(Ordering::Relaxed) == 1),
                    "{threads} threads, {items} items"
                );
            }
        }
    }

    #[test]
    fn ranges_cover_everything_without_overlap() {
        let pool = Pool::new(2);
        for (items, parts) in [(10, 3), (3, 10), (1, 1), (0, 4), (7, 0)] {
            let counts: Vec<_> = (0..items).map(|_| AtomicUsize::new(0)).collect();
            pool.run_ranges(items, parts, &|range| {
                for item in range {
                    counts[item].fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{items} in {parts}");
        }
    }

    #[test]
    fn chunks_are_each_handed_out_once() {
        for threads in [1, 3] {
            let pool = Pool::new(threads);
            for (chunks, length) in [(0, 4), (1, 5), (23, 3)] {
                let mut data = vec![0; chunks * length];
                pool.run_chunks(&mut data, length, &|index, chunk| chunk.iter_mut().for_each(|x| *x += index + 1));
                let expected: Vec<usize> = (0..chunks * length).map(|at| at / length + 1).collect();
                assert_eq!(data, expected);
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(3);
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.run(100, &|item| assert!(item != 42, "item {item}"))));
        assert!(outcome.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(10, &|item| {
            sum.fetch_add(item, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 45);
    }

    #[test]
    fn concurrent_callers_each_get_their_own_loop() {
        let pool = Pool::new(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 1..50 {
                        let sum = AtomicUsize::new(0);
                        pool.run(round, &|item| {
                            sum.fetch_add(item, Ordering::Relaxed);
                        });
                        assert_eq!(sum.load(Ordering::Relaxed), round * (round - 1) / 2);
                    }
                });
            }
        });
    }
}

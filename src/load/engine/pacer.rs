//! The pacer: a thread that sleeps until the next arrival is due and releases all that are.
//!
//! A thread of its own, because the runtime's timers are a millisecond coarse, and because a
//! runtime that is busy with answers would make requests late without noticing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::load::schedule::{Arrival, Arrivals};

/// Released together.
pub(super) type Batch = Vec<Arrival>;

/// A running pacer. It ends when its schedule does, when it is dropped or when nobody receives.
#[derive(Debug)]
pub(super) struct Pacer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    /// Shorter naps cost more in wake-ups than they gain: at 20 000 requests a second four are
    /// released at a time, 0.1 ms late on average.
    const SHORTEST_NAP: Duration = Duration::from_micros(200);
    /// Most requests in one batch, so that the first of a large spike leave while the last are made.
    const MAX_BATCH: usize = 256;
    /// Batches that may wait for the engine; when it is that far behind, the pacer waits, and every
    /// later request is late by so much, which the report shows.
    const WAITING: usize = 64;

    /// Starts at `start`, which may lie in the future.
    pub(super) fn start(arrivals: Arrivals, start: Instant) -> std::io::Result<(Self, mpsc::Receiver<Batch>)> {
        let (batches, receiver) = mpsc::channel(Self::WAITING);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("load-pacer".to_owned())
            .spawn(move || pace(arrivals, start, &batches, &stopped))?;
        Ok((Self { stop, thread: Some(thread) }, receiver))
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It may wait for room in the channel, whose receiver is dropped after this: not joined.
        }
    }
}

fn pace(arrivals: Arrivals, start: Instant, batches: &mpsc::Sender<Batch>, stop: &AtomicBool) {
    let mut arrivals = arrivals.peekable();
    while let Some(next) = arrivals.peek() {
        sleep_until(start + next.due, stop);
        if stop.load(Ordering::Acquire) {
            return;
        }
        let now = start.elapsed();
        let mut batch = Batch::new();
        while let Some(arrival) = arrivals.next_if(|a| a.due <= now && batch.len() < Pacer::MAX_BATCH) {
            batch.push(arrival);
        }
        if !batch.is_empty() && batches.blocking_send(batch).is_err() {
            return;
        }
    }
}

fn sleep_until(due: Instant, stop: &AtomicBool) {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() || stop.load(Ordering::Acquire) {
            return;
        }
        thread::park_timeout(left.max(Pacer::SHORTEST_NAP));
    }
}

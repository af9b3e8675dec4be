//! What a simulated worker is in, whatever the coordinator believes of it.

use std::collections::VecDeque;

use aiq::protocol::WorkerState;
use aiq::scheduler::{AttemptId, Time};

/// A worker's true state.
pub(super) struct Worker {
    pub(super) state: WorkerState,
    pub(super) frozen: bool,
    pub(super) hung: bool,
    pub(super) partitioned: bool,
    pub(super) fails: bool,
    pub(super) slow: f64,
    /// The slowness that it reports: a moving average of its batches.
    pub(super) felt_slow: f64,
    pub(super) queue: VecDeque<(AttemptId, Time)>,
    pub(super) batch: Vec<(AttemptId, Time)>,
    pub(super) batch_number: u64,
    pub(super) batch_started: Time,
    pub(super) progress: u64,
    pub(super) last_report: Time,
    pub(super) fallback: bool,
}

impl Worker {
    /// One that serves.
    pub(super) fn new(fallback: bool) -> Self {
        Self {
            state: WorkerState::Ready,
            frozen: false,
            hung: false,
            partitioned: false,
            fails: false,
            slow: 1.0,
            felt_slow: 1.0,
            queue: VecDeque::new(),
            batch: Vec::new(),
            batch_number: 0,
            batch_started: Time::ZERO,
            progress: 0,
            last_report: Time::ZERO,
            fallback,
        }
    }
}

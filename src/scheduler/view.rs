//! Read-only snapshots for `/status`, `/queue/stats`, `/workers` and `/workers/performance`.

use std::time::Duration;

use super::{Suspicion, WorkerKey};
use crate::protocol::{BreakerState, LatencySummary, ServiceTime, TaskStats, WorkerId, WorkerState};

/// What the scheduler knows of one worker: its part of a `WorkerDetail` and of a `WorkerPerformance`.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerView {
    /// Its key.
    pub key: WorkerKey,
    /// Its name.
    pub id: WorkerId,
    /// Where it is in its life.
    pub state: WorkerState,
    /// Ready and not suspect.
    pub healthy: bool,
    /// Why it is suspect, if it is.
    pub suspicion: Option<Suspicion>,
    /// Its circuit breaker.
    pub breaker: BreakerState,
    /// Attempts that it has now.
    pub in_flight: u32,
    /// Most attempts that it gets at once now (of its cheapest task).
    pub credits: u32,
    /// Attempts sent to it.
    pub attempts: u64,
    /// Attempts that it answered.
    pub completed: u64,
    /// Attempts that failed on it.
    pub failed: u64,
    /// Share of recent attempts that succeeded, 0 to 1.
    pub success_rate: f64,
    /// 100 · success · min(1, fleet median service time / its own).
    pub score: f64,
    /// Answers a second over the last 10 s.
    pub throughput: f64,
    /// Attempt latency over the last minute, seconds.
    pub latency: LatencySummary,
    /// Smoothed network share of an attempt, seconds.
    pub rtt: f64,
    /// What each task takes on it, as far as it is known.
    pub service_times: Vec<ServiceTime>,
    /// Per-task counts.
    pub tasks: Vec<TaskStats>,
    /// Since it was last heard of.
    pub last_seen: Duration,
    /// Since it registered.
    pub uptime: Duration,
}

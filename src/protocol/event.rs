//! `GET /events`: what a monitor follows. Server-sent events whose data is an [`Event`] as JSON.
//!
//! The stream begins with a `snapshot` and repeats one each second; between them stand single
//! happenings. `seq` grows by one with each event, so a reader that sees a gap knows how many it
//! missed (a slow reader's events are dropped, never kept without bound).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Attempt, BreakerState, Priority, ProblemCode, QueueStats, RequestId, Status, TaskType, WorkerAction, WorkerDetail,
    WorkerId, WorkerState,
};

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Grows by one with each event of this coordinator process.
    pub seq: u64,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// Everything, at once; the first event of a stream, then once a second.
    Snapshot(Box<Snapshot>),
    /// A request was answered.
    RequestFinished {
        /// Which.
        request_id: RequestId,
        /// What it was.
        task: TaskType,
        /// How urgent.
        priority: Priority,
        /// Who answered.
        worker: WorkerId,
        /// Seconds since it was accepted.
        latency: f64,
        /// Seconds until it was given to a worker.
        queue_time: f64,
        /// What it took.
        attempts: Vec<Attempt>,
    },
    /// A request ended without a result.
    RequestFailed {
        /// Which.
        request_id: RequestId,
        /// What it was.
        task: TaskType,
        /// How urgent.
        priority: Priority,
        /// Why.
        code: ProblemCode,
        /// Seconds since it was accepted.
        latency: f64,
        /// What was tried.
        attempts: Vec<Attempt>,
    },
    /// A request goes to another worker.
    RequestRerouted {
        /// Which.
        request_id: RequestId,
        /// What it was.
        task: TaskType,
        /// Where it failed.
        from: WorkerId,
        /// Why: the attempt's outcome.
        outcome: super::AttemptOutcome,
    },
    /// A worker registered.
    WorkerJoined {
        /// Which.
        worker: WorkerId,
    },
    /// A worker left in good order.
    WorkerLeft {
        /// Which.
        worker: WorkerId,
    },
    /// A worker changed state.
    WorkerState {
        /// Which.
        worker: WorkerId,
        /// What it was.
        from: WorkerState,
        /// What it is.
        to: WorkerState,
        /// Why, or empty.
        reason: String,
    },
    /// A worker is suspect, or is so no longer.
    WorkerSuspect {
        /// Which.
        worker: WorkerId,
        /// Whether it is suspect now.
        suspect: bool,
        /// Why, or empty.
        reason: String,
    },
    /// A worker's circuit breaker changed.
    Breaker {
        /// Which.
        worker: WorkerId,
        /// What it is now.
        state: BreakerState,
    },
    /// An operator acted on a worker.
    Operator {
        /// On which.
        worker: WorkerId,
        /// What.
        action: WorkerAction,
    },
    /// An operator set a worker's faults.
    FaultsSet {
        /// On which.
        worker: WorkerId,
        /// Whether any fault is in force now.
        any: bool,
    },
}

/// The whole state at one instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// As `GET /status`.
    pub status: Status,
    /// As `GET /queue/stats`.
    pub queue: QueueStats,
    /// As `GET /workers`.
    pub workers: Vec<WorkerDetail>,
}

//! What the scheduler wants done. With `event`, the whole surface between the pure core and its shell.

use std::time::Duration;

use super::{AttemptId, TicketId, WorkerKey};
use crate::protocol::{Attempt, AttemptOutcome, BreakerState, Priority, ProblemCode, TaskType, WorkerState};

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send a request to a worker.
    Dispatch(Dispatch),
    /// Stop an attempt: close its connection, tell the worker. Its end is not to be reported.
    CancelAttempt {
        /// Which.
        attempt: AttemptId,
        /// Where it runs.
        worker: WorkerKey,
    },
    /// Answer a request; the ticket is free again.
    Answer(Box<Answer>),
    /// An attempt failed and the request goes to another worker.
    Rerouted {
        /// Which request.
        ticket: TicketId,
        /// Where it failed.
        from: WorkerKey,
        /// How.
        outcome: AttemptOutcome,
    },
    /// A worker's state changed, as the fleet should see it.
    WorkerState {
        /// Which.
        worker: WorkerKey,
        /// What it was.
        from: WorkerState,
        /// What it is.
        to: WorkerState,
    },
    /// A worker is suspect for this reason, or for none any more.
    Suspect {
        /// Which.
        worker: WorkerKey,
        /// Why, or that it is over.
        reason: Option<Suspicion>,
    },
    /// A worker's circuit breaker changed.
    Breaker {
        /// Which.
        worker: WorkerKey,
        /// What it is now.
        state: BreakerState,
    },
}

/// A request on its way to a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dispatch {
    /// Which attempt.
    pub attempt: AttemptId,
    /// To whom.
    pub worker: WorkerKey,
    /// Why.
    pub kind: DispatchKind,
    /// What is left of the request's time; goes to the worker with it.
    pub budget: Duration,
    /// When the scheduler gives this attempt up by itself (with [`Action::CancelAttempt`]); the shell needs
    /// no timer.
    pub timeout: Duration,
}

/// Why a request is dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DispatchKind {
    /// For the first time.
    First,
    /// Again, after a failure.
    Retry,
    /// Again, after a worker handed it back or was busy; no retry is charged.
    Again,
    /// Beside a slow attempt.
    Hedge,
}

/// A request's end.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Which request.
    pub ticket: TicketId,
    /// How it ended.
    pub verdict: Verdict,
    /// What it was.
    pub task: TaskType,
    /// How urgent it was.
    pub priority: Priority,
    /// Since it was submitted.
    pub latency: Duration,
    /// From its submission to the start of its last attempt (all of it, if there was none).
    pub queue_time: Duration,
    /// Attempts beyond the first.
    pub retries: u32,
    /// Every attempt, in the order in which they ended.
    pub attempts: Vec<Attempt>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// This attempt's result is the answer.
    Success {
        /// Which attempt.
        attempt: AttemptId,
        /// On which worker.
        worker: WorkerKey,
    },
    /// The worker refused the input: its problem is the answer.
    Rejected {
        /// Which attempt.
        attempt: AttemptId,
        /// On which worker.
        worker: WorkerKey,
    },
    /// There is no result.
    Failure {
        /// Why.
        code: ProblemCode,
        /// When to try again, where that can be said.
        retry_after: Option<Duration>,
    },
}

/// Why a worker is suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// No heartbeat.
    Silent,
    /// Work in flight, and none of it moves.
    Stalled,
    /// It does not answer when asked from outside.
    CheckFailed,
}

impl Suspicion {
    /// For a person.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "no heartbeat",
            Self::Stalled => "work in flight does not move",
            Self::CheckFailed => "health check failed",
        }
    }
}

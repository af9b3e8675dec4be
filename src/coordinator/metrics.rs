//! What `/metrics` says, in the Prometheus text format: counts since the start, and the state now.
//!
//! Every series is there from the start, at zero. `docs/metrics.md` names them all.

mod refused;
mod text;

use crate::protocol::{Priority, ProblemCode, TaskType};
use crate::scheduler::{Answer, DispatchKind, PerTask, Timing, Verdict};
use crate::telemetry::prometheus::Histogram;

use super::core::is_refusal;
pub(crate) use refused::Refused;

/// How a request ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With a result.
    Success,
    /// A worker refused the input.
    Invalid,
    /// Refused at the door: queue full, deadline unmeetable, no worker.
    Refused,
    /// Accepted, and there was no result.
    Failed,
    /// Accepted, and its deadline passed.
    Timeout,
    /// Withdrawn by its client.
    Cancelled,
}

impl End {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Success, "success"),
        (Self::Invalid, "invalid"),
        (Self::Refused, "refused"),
        (Self::Failed, "failed"),
        (Self::Timeout, "timeout"),
        (Self::Cancelled, "cancelled"),
    ];

    fn of(answer: &Answer) -> Self {
        match answer.verdict {
            Verdict::Success { .. } => Self::Success,
            Verdict::Rejected { .. } => Self::Invalid,
            Verdict::Failure { .. } if is_refusal(answer) => Self::Refused,
            Verdict::Failure { code: ProblemCode::DeadlineExceeded, .. } => Self::Timeout,
            Verdict::Failure { code: ProblemCode::Cancelled, .. } => Self::Cancelled,
            Verdict::Failure { .. } => Self::Failed,
        }
    }
}

/// Why a dispatch happened, as a label.
const KINDS: [(DispatchKind, &str); 4] = [
    (DispatchKind::First, "first"),
    (DispatchKind::Retry, "retry"),
    (DispatchKind::Again, "again"),
    (DispatchKind::Hedge, "hedge"),
];

/// Counts since the start.
#[derive(Debug)]
pub(crate) struct Tally {
    requests: PerTask<[[u64; End::ALL.len()]; Priority::ALL.len()]>,
    dispatches: [u64; KINDS.len()],
    latency: PerTask<Histogram>,
    wait: PerTask<Histogram>,
    inference: PerTask<Histogram>,
    batch: PerTask<Histogram>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let seconds = || TaskType::ALL.map(|_| Histogram::new(Histogram::SECONDS));
        Self {
            requests: PerTask::default(),
            dispatches: [0; KINDS.len()],
            latency: seconds(),
            wait: seconds(),
            inference: seconds(),
            batch: TaskType::ALL.map(|_| Histogram::new(Histogram::SIZES)),
        }
    }

    /// Counts a request's end.
    pub(crate) fn ended(&mut self, answer: &Answer) {
        let task = answer.task.index();
        let end = End::of(answer);
        self.requests[task][answer.priority as usize][end as usize] += 1;
        if end == End::Success {
            self.latency[task].observe(answer.latency.as_secs_f64());
        }
        if !answer.attempts.is_empty() {
            self.wait[task].observe(answer.queue_time.as_secs_f64());
        }
    }

    /// Counts a dispatch.
    pub(crate) fn dispatched(&mut self, kind: DispatchKind) {
        self.dispatches[kind as usize] += 1;
    }

    /// Counts what a worker measured.
    pub(crate) fn computed(&mut self, task: TaskType, timing: &Timing) {
        self.inference[task.index()].observe(timing.computed);
        self.batch[task.index()].observe(f64::from(timing.batch_size));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_at_their_own_place() {
        for (at, (end, _)) in End::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, at);
        }
        for (at, (kind, _)) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
    }
}

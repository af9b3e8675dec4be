//! What the scheduler is told. With `action`, the whole surface between the pure core and its shell.

use std::time::Duration;

use super::Time;
use crate::protocol::{
    AttemptOutcome, Capability, Heartbeat, Priority, RegisterWorker, TaskType, WorkerId, WorkerState,
};

/// Something for each task, by [`TaskType::index`].
pub type PerTask<T> = [T; TaskType::ALL.len()];

/// A request, as the shell names it: unique among those not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TicketId(pub u64);

/// A worker, as the shell names it: a small number below `max_workers`, which may be used again after
/// the worker left. [`Scheduler::free_worker_key`](super::Scheduler::free_worker_key) gives one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerKey(pub u32);

/// One attempt at a request: its number counts from 1 and is never used again for that request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId {
    /// Of which request.
    pub ticket: TicketId,
    /// Which attempt.
    pub number: u32,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request came in. It is answered exactly once, perhaps in the same call.
    Submitted(Submission),
    /// Its client went away or withdrew it. Answered as [`ProblemCode::Cancelled`](crate::protocol::ProblemCode::Cancelled), unless it was
    /// answered already.
    Cancelled {
        /// Which.
        ticket: TicketId,
    },
    /// A dispatched attempt is over. To be sent once for each dispatch that was not cancelled by
    /// [`Action::CancelAttempt`](super::Action::CancelAttempt); anything else is ignored.
    AttemptEnded {
        /// Which.
        attempt: AttemptId,
        /// How. [`AttemptOutcome::Cancelled`] means that the worker handed it back unstarted: it goes to
        /// another, and no retry is charged. [`AttemptOutcome::Rejected`] ends the request with what
        /// the worker said.
        outcome: AttemptOutcome,
        /// What the worker measured, where it answered.
        timing: Option<Timing>,
    },
    /// A worker registered, anew or again (then this is its new description).
    WorkerJoined {
        /// Under which key.
        worker: WorkerKey,
        /// Who it is.
        spec: Box<WorkerSpec>,
    },
    /// A worker's heartbeat.
    WorkerReported {
        /// Whose.
        worker: WorkerKey,
        /// What it says.
        report: Box<WorkerReport>,
    },
    /// A worker's state became known by another way than its heartbeat.
    WorkerStateChanged {
        /// Whose.
        worker: WorkerKey,
        /// What it is now.
        state: WorkerState,
    },
    /// An operator said what this worker may do; it holds whatever the worker itself reports, until
    /// it is set again or the worker registers anew.
    WorkerHeld {
        /// Which.
        worker: WorkerKey,
        /// What for.
        hold: Hold,
    },
    /// An active health check from outside ended.
    WorkerChecked {
        /// Whose.
        worker: WorkerKey,
        /// How.
        check: Check,
    },
    /// A worker left and is forgotten; what it held goes elsewhere.
    WorkerLeft {
        /// Which.
        worker: WorkerKey,
    },
    /// The time that [`Scheduler::next_wakeup`](super::Scheduler::next_wakeup) named has come.
    Tick,
}

/// A request that came in. Its body stays with the shell.
#[derive(Clone, Copy, Debug)]
pub struct Submission {
    /// The shell's name for it.
    pub ticket: TicketId,
    /// What is to be done.
    pub task: TaskType,
    /// How urgent it is.
    pub priority: Priority,
    /// When it is of no use any more.
    pub deadline: Time,
    /// Its size in memory, bytes.
    pub bytes: usize,
}

/// What a worker measured of one answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Seconds in the worker's batch queue.
    pub queued: f64,
    /// Seconds that the model computed the batch.
    pub computed: f64,
    /// Requests in that batch.
    pub batch_size: u32,
}

/// What a worker can do with a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ability {
    /// Nothing.
    #[default]
    None,
    /// A fallback model answers, on a worker that is meant for other tasks.
    Fallback,
    /// A fallback model answers, on a worker that is meant for this task.
    Interim,
    /// The model that is meant to answer does.
    Full,
}

/// How a worker's being alive is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Liveness {
    /// It sends heartbeats and holds a lease.
    #[default]
    Heartbeat,
    /// It is asked from outside; until the first good answer it is suspect.
    ActiveCheck,
}

/// Who a worker is and what it can do.
#[derive(Clone, Debug)]
pub struct WorkerSpec {
    /// Its name.
    pub id: WorkerId,
    /// What it can do.
    pub abilities: PerTask<Ability>,
    /// Requests that it accepts at once.
    pub capacity: u32,
    /// Where it is in its life.
    pub state: WorkerState,
    /// How its being alive is known.
    pub liveness: Liveness,
}

impl WorkerSpec {
    /// What a worker says of itself when it registers.
    pub fn from_registration(r: &RegisterWorker) -> Self {
        Self {
            id: r.worker_id.clone(),
            abilities: abilities(&r.capabilities),
            capacity: r.capacity,
            state: r.state,
            liveness: Liveness::Heartbeat,
        }
    }
}

/// The abilities that a list of capabilities means.
pub fn abilities(capabilities: &[Capability]) -> PerTask<Ability> {
    let mut table = PerTask::default();
    for c in capabilities {
        table[c.task.index()] = match (c.degraded, c.specialised) {
            (false, _) => Ability::Full,
            (true, true) => Ability::Interim,
            (true, false) => Ability::Fallback,
        };
    }
    table
}

/// What a batch of n requests takes, in seconds: `fixed + per_item · n`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// See above.
    pub fixed: f64,
    /// See above.
    pub per_item: f64,
    /// The greatest n.
    pub max_batch: u32,
}

/// What a heartbeat says.
#[derive(Clone, Debug)]
pub struct WorkerReport {
    /// Where it is in its life.
    pub state: WorkerState,
    /// How old the serving process's own report is: a live supervisor may speak for a dead child.
    pub age: Duration,
    /// Requests that it holds, queued or running.
    pub in_flight: u32,
    /// Grows whenever work moves.
    pub progress: u64,
    /// What each task takes.
    pub costs: PerTask<Option<Cost>>,
    /// What it can do now.
    pub abilities: PerTask<Ability>,
}

impl WorkerReport {
    /// What a heartbeat on the wire says.
    pub fn from_heartbeat(h: &Heartbeat) -> Self {
        let mut costs = PerTask::default();
        for s in &h.service_times {
            // A model that was never fitted has the moving average alone.
            let fitted = s.fixed > 0.0 || s.per_item > 0.0;
            let (fixed, per_item) = if fitted { (s.fixed, s.per_item) } else { (0.0, s.seconds) };
            costs[s.task.index()] = Some(Cost { fixed, per_item, max_batch: s.max_batch });
        }
        // Of a process that is not there, its supervisor is the witness, and speaks now.
        let gone = matches!(h.state, WorkerState::Killed | WorkerState::Crashed);
        Self {
            state: h.state,
            age: if gone { Duration::ZERO } else { Duration::from_millis(h.report_age_ms) },
            in_flight: h.in_flight.len() as u32,
            progress: h.progress,
            costs,
            abilities: abilities(&h.capabilities),
        }
    }
}

/// What an operator wants of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// Nothing special.
    #[default]
    Free,
    /// It finishes what it holds and gets nothing new.
    Drain,
    /// It is being killed: what it holds goes elsewhere at once.
    Kill,
}

/// How an active check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It answered that it serves.
    Passed,
    /// No answer, or a bad one.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(state: WorkerState) -> Heartbeat {
        Heartbeat {
            seq: 1,
            state,
            report_age_ms: 8000,
            in_flight: Vec::new(),
            queue_depth: 0,
            progress: 0,
            service_times: Vec::new(),
            mean_batch_size: 0.0,
            capabilities: Vec::new(),
            pid: None,
            restarts: 0,
            rss_bytes: 0,
            faults: crate::protocol::FaultSettings::default(),
            fault_injection: false,
        }
    }

    #[test]
    fn a_killed_worker_stays_killed_while_its_supervisor_speaks() {
        let age = |state| WorkerReport::from_heartbeat(&heartbeat(state)).age;
        assert_eq!(age(WorkerState::Killed), Duration::ZERO);
        assert_eq!(age(WorkerState::Crashed), Duration::ZERO);
        assert_eq!(age(WorkerState::Ready), Duration::from_secs(8));
    }
}

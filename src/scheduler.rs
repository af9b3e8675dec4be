//! The pure core: which request goes to which worker, when, and what becomes of it.
//!
//! A state machine without I/O, clock or randomness of its own: [`Scheduler::handle`] takes the time
//! and an [`Event`] and says what is to be done as [`Action`]s. The same seed and the same events give
//! the same actions, so a simulator can run a thousand workers and a million requests in seconds and
//! replay any failure.
//!
//! It owns the order of waiting requests, what is known of each worker, every count of work in
//! flight, deadlines, retries, hedges, breakers, and the statistics of all that. It does not own
//! bodies, results or request ids: joining a request to one of the same id is the result store's,
//! which has both payloads to compare.

mod event;
mod time;
mod view;

pub use event::{
    Ability, Action, Answer, AttemptId, Check, Cost, Dispatch, DispatchKind, Event, Hold, Liveness, PerTask,
    Submission, Suspicion, TicketId, Timing, Verdict, WorkerKey, WorkerReport, WorkerSpec, abilities,
};
pub use time::Time;
pub use view::WorkerView;

use crate::config::SchedulerConfig;
use crate::protocol::{Counters, LatencySummary, ProblemCode, QueueStats, TaskStatus};

/// The scheduler. See the module.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    counters: Counters,
    now: Time,
}

impl Scheduler {
    /// A scheduler that knows no worker and has no work. `seed` decides ties and jitter.
    pub fn new(config: SchedulerConfig, _seed: u64) -> Self {
        Self { config, counters: Counters::default(), now: Time::ZERO }
    }

    /// Takes what happened and adds what is to be done to `out`, in order. A time before the last
    /// one counts as the last one. Timers that are due run first.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        self.now = self.now.max(now);
        if let Event::Submitted(s) = event {
            let verdict = Verdict::Failure { code: ProblemCode::NoWorker, retry_after: None };
            let zero = std::time::Duration::ZERO;
            out.push(Action::Answer(Box::new(Answer {
                ticket: s.ticket,
                verdict,
                task: s.task,
                priority: s.priority,
                latency: zero,
                queue_time: zero,
                retries: 0,
                attempts: Vec::new(),
            })));
        }
    }

    /// When [`Event::Tick`] is due, if nothing else happens before.
    pub fn next_wakeup(&self) -> Option<Time> {
        None
    }

    /// The lowest worker key that is not in use; `None` when there are as many workers as may be.
    pub fn free_worker_key(&self) -> Option<WorkerKey> {
        (self.config.max_workers > 0).then_some(WorkerKey(0))
    }

    /// Requests that are not answered yet.
    pub fn live(&self) -> usize {
        0
    }

    /// Requests that wait for a worker.
    pub fn queued(&self) -> usize {
        0
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// `GET /queue/stats`, with `stored_results` left at zero for the result store to fill in.
    pub fn queue_stats(&self, _now: Time) -> QueueStats {
        QueueStats {
            queue_size: 0,
            active_tasks: 0,
            total_workers: 0,
            healthy_workers: 0,
            busy_workers: 0,
            stats: self.counters,
            queue_capacity: self.config.queue_capacity as u64,
            queued_by_priority: crate::protocol::ByPriority::default(),
            queued_by_task: Vec::new(),
            oldest_age: 0.0,
            wait: LatencySummary::default(),
            stored_results: 0,
        }
    }

    /// Each task: whether it can be served, by how many, how fast.
    pub fn task_status(&self, _now: Time) -> Vec<TaskStatus> {
        Vec::new()
    }

    /// Answers with a result, a second, over the last 10 s.
    pub fn throughput(&self, _now: Time) -> f64 {
        0.0
    }

    /// Share of requests that failed over the last minute, 0 to 1.
    pub fn error_rate(&self, _now: Time) -> f64 {
        0.0
    }

    /// Latency of answered requests over the last minute, seconds.
    pub fn latency(&self, _now: Time) -> LatencySummary {
        LatencySummary::default()
    }

    /// What is known of one worker.
    pub fn worker(&self, _now: Time, _key: WorkerKey) -> Option<WorkerView> {
        None
    }

    /// What is known of every worker, by key.
    pub fn workers(&self, _now: Time) -> Vec<WorkerView> {
        Vec::new()
    }
}

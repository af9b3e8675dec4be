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
//!
//! In reading order: `event` and `action` are the surface. `queue` orders what waits, `fleet` and `worker` hold what is
//! known of workers, `score` what they are expected to take. `admission`, `dispatch`, `outcome` and
//! `members` are the four kinds of decision; `breaker` and `retry` are what those lean on. `heap`,
//! `runs`, `ticket`, `timers`, `stats`, `rng` and `time` are the parts. Every timer is the scheduler's own: the shell
//! sleeps until [`Scheduler::next_wakeup`] and sends [`Event::Tick`].

/// What a change of a worker's standing is judged by, borrowed from beside the fleet.
macro_rules! surroundings {
    ($s:expr) => {
        crate::scheduler::fleet::Surroundings {
            now: $s.now,
            config: &$s.config,
            figures: &$s.stats.tasks,
            rng: &mut $s.rng,
        }
    };
}

mod action;
mod admission;
mod breaker;
mod dispatch;
mod event;
mod fleet;
mod heap;
mod members;
mod outcome;
mod queue;
mod retry;
mod rng;
mod runs;
mod score;
mod stats;
#[cfg(test)]
mod tests;
mod ticket;
mod time;
mod timers;
mod view;
mod worker;

pub use action::{Action, Answer, Dispatch, DispatchKind, Suspicion, Verdict};
pub use event::{
    Ability, AttemptId, Check, Cost, Event, Hold, Liveness, PerTask, Submission, TicketId, Timing, WorkerKey,
    WorkerReport, WorkerSpec, abilities,
};
pub use time::Time;
pub use view::WorkerView;

use std::time::Duration;

use crate::config::SchedulerConfig;
use crate::protocol::{AttemptOutcome, ProblemCode};

use self::fleet::Fleet;
use self::heap::IndexedHeap;
use self::queue::{Order, Queue};
use self::retry::Budget;
use self::rng::Rng;
use self::stats::Stats;
use self::ticket::{Phase, Tickets};
use self::timers::Timers;

/// The scheduler. See the module.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    rng: Rng,
    now: Time,
    tickets: Tickets,
    queue: Queue,
    /// Failed requests for which the retry budget has no room yet.
    parked: IndexedHeap<Order>,
    /// When something is due for a request.
    timers: Timers,
    fleet: Fleet,
    budget: Budget,
    /// Attempts in flight.
    in_flight: usize,
    /// Bytes of requests that are not answered yet.
    bytes: usize,
    /// When a request stops waiting for a full-size model.
    reconsider_at: Time,
    stats: Stats,
}

impl Scheduler {
    /// Woken this much later than asked for, the scheduler takes it that it was stopped itself.
    const PAUSE: Duration = Duration::from_millis(500);

    /// A scheduler that knows no worker and has no work. `seed` decides ties and jitter.
    pub fn new(config: SchedulerConfig, seed: u64) -> Self {
        Self {
            config,
            rng: Rng::new(seed),
            now: Time::ZERO,
            tickets: Tickets::default(),
            queue: Queue::default(),
            parked: IndexedHeap::default(),
            timers: Timers::default(),
            fleet: Fleet::default(),
            budget: Budget::default(),
            in_flight: 0,
            bytes: 0,
            reconsider_at: Time::NEVER,
            stats: Stats::new(),
        }
    }

    /// Takes what happened and adds what is to be done to `out`, in order. A time before the last
    /// one counts as the last one. Timers that are due run first.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        let due = self.next_wakeup().unwrap_or(Time::NEVER);
        let overslept = now.since(due.max(self.now));
        self.now = self.now.max(now);
        if overslept > Self::PAUSE {
            self.forgive(overslept);
        }
        if due <= self.now {
            self.run_timers(out);
        }
        match event {
            Event::Submitted(s) => self.submitted(&s, out),
            Event::Cancelled { ticket } => self.cancel(ticket, out),
            Event::AttemptEnded { attempt, outcome, timing } => self.attempt_ended(attempt, outcome, timing, out),
            Event::WorkerJoined { worker, spec } => self.worker_joined(worker, &spec, out),
            Event::WorkerReported { worker, report } => {
                self.fleet.refresh_medians(self.now);
                self.worker_reported(worker, &report, out);
            }
            Event::WorkerStateChanged { worker, state } => self.set_reported(worker.0, state, out),
            Event::WorkerHeld { worker, hold } => self.worker_held(worker, hold, out),
            Event::WorkerChecked { worker, check } => self.worker_checked(worker, check, out),
            Event::WorkerLeft { worker } => self.worker_left(worker, out),
            Event::Tick => {}
        }
        self.pump(out);
    }

    /// When [`Event::Tick`] is due, if nothing else happens before.
    pub fn next_wakeup(&self) -> Option<Time> {
        let tickets = self.timers.peek().map_or(Time::NEVER, |e| e.0);
        let workers = self.fleet.timers.peek().map_or(Time::NEVER, |e| e.0);
        let next = tickets.min(workers).min(self.reconsider_at);
        (next != Time::NEVER).then_some(next)
    }

    /// The lowest worker key that is not in use; `None` when there are as many workers as may be.
    pub fn free_worker_key(&self) -> Option<WorkerKey> {
        let key = self.fleet.free_key();
        ((key as usize) < self.config.max_workers).then_some(WorkerKey(key))
    }

    fn submitted(&mut self, s: &Submission, out: &mut Vec<Action>) {
        if self.tickets.slot_of(s.ticket).is_some() {
            return; // the shell's mistake; the first of that name keeps it
        }
        if let Err(refusal) = self.admit(s) {
            let counters = &mut self.stats.counters;
            counters.total_requests += 1;
            counters.rejected_requests += 1;
            out.push(Action::Answer(Box::new(Answer {
                ticket: s.ticket,
                verdict: Verdict::Failure { code: refusal.code, retry_after: refusal.retry_after },
                task: s.task,
                priority: s.priority,
                latency: Duration::ZERO,
                queue_time: Duration::ZERO,
                retries: 0,
                attempts: Vec::new(),
            })));
            return;
        }
        let slot = self.tickets.insert(s, self.now, &self.config);
        self.bytes += s.bytes;
        let t = &self.tickets[slot];
        self.queue.enter(t);
        self.queue.push(slot, t);
        self.timers.set(slot, t);
        let depth = self.queue.len() as u64;
        let high = &mut self.stats.counters.queue_high_watermark;
        *high = (*high).max(depth);
    }

    /// Does everything that is due by now, earliest first.
    fn run_timers(&mut self, out: &mut Vec<Action>) {
        loop {
            let ticket = self.timers.peek().filter(|e| e.0 <= self.now);
            let worker = self.fleet.timers.peek().filter(|e| e.0 <= self.now);
            match (ticket, worker) {
                (Some((due, slot)), None) => self.ticket_due(due, slot, out),
                (Some((due, slot)), Some((other, _))) if due <= other => self.ticket_due(due, slot, out),
                (_, Some((_, key))) => self.check_worker(key, out),
                (None, None) => break,
            }
        }
    }

    fn ticket_due(&mut self, due: Time, slot: u32, out: &mut Vec<Action>) {
        let t = &self.tickets[slot];
        if t.deadline <= due {
            return self.fail(slot, ProblemCode::DeadlineExceeded, None, out);
        }
        let gives_up = |(lane, r): (usize, &ticket::Running)| (r.gives_up <= due).then_some(lane);
        let late = t.running().find_map(gives_up);
        if let Some(lane) = late {
            self.end_attempt(slot, lane, AttemptOutcome::Timeout, out);
        } else if t.look_at > due {
            self.timers.set(slot, t);
        } else if t.phase == Phase::BackingOff {
            self.resume(slot);
        } else {
            self.hedge(slot, out);
        }
    }
}

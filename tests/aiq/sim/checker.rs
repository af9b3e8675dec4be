//! An independent reading of the history: it sees events and actions only, and keeps its own books.

use std::collections::{BTreeSet, HashMap, HashSet};

use aiq::config::SchedulerConfig;
use aiq::protocol::{Counters, Priority, ProblemCode};
use aiq::scheduler::*;

struct Request {
    arrival: Time,
    deadline: Time,
    task: usize,
    retries: u32,
    started: bool,
    out: u32,
}

pub(super) struct Checker {
    config: SchedulerConfig,
    capacity: u32,
    /// Whether the policy keeps aiq's own promises, beyond one answer each.
    strict: bool,
    live: HashMap<TicketId, Request>,
    answered: HashSet<TicketId>,
    /// Attempts out, with their workers, and whether they are repeats.
    out: HashMap<AttemptId, (WorkerKey, bool)>,
    repeats: usize,
    on_worker: HashMap<WorkerKey, u32>,
    /// Requests that never ran, by task and arrival.
    unstarted: PerTask<BTreeSet<(Time, TicketId)>>,
    pub(super) submitted: u64,
    pub(super) attempts: u64,
    pub(super) hedges: u64,
    pub(super) refused: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    /// Seconds of each success.
    pub(super) latencies: Vec<f64>,
    /// Attempts sent to each worker.
    pub(super) sent: HashMap<WorkerKey, u64>,
}

macro_rules! holds {
    ($condition:expr, $($text:tt)+) => {
        let held: bool = $condition;
        if !held {
            return Err(format!($($text)+));
        }
    };
}

impl Checker {
    pub(super) fn new(config: SchedulerConfig, capacity: u32, strict: bool) -> Self {
        Self {
            config,
            capacity,
            strict,
            live: HashMap::new(),
            answered: HashSet::new(),
            out: HashMap::new(),
            repeats: 0,
            on_worker: HashMap::new(),
            unstarted: PerTask::default(),
            submitted: 0,
            attempts: 0,
            hedges: 0,
            refused: 0,
            succeeded: 0,
            failed: 0,
            cancelled: 0,
            latencies: Vec::new(),
            sent: HashMap::new(),
        }
    }

    pub(super) fn is_out(&self, attempt: AttemptId) -> bool {
        self.out.contains_key(&attempt)
    }

    pub(super) fn worker_of(&self, attempt: AttemptId) -> Option<WorkerKey> {
        self.out.get(&attempt).map(|o| o.0)
    }

    pub(super) fn deadline_of(&self, ticket: TicketId) -> Option<Time> {
        self.live.get(&ticket).map(|r| r.deadline)
    }

    pub(super) fn task_of(&self, ticket: TicketId) -> Option<usize> {
        self.live.get(&ticket).map(|r| r.task)
    }

    pub(super) fn submitted(&mut self, now: Time, s: &Submission) {
        self.submitted += 1;
        let task = s.task.index();
        let request = Request { arrival: now, deadline: s.deadline, task, retries: 0, started: false, out: 0 };
        self.live.insert(s.ticket, request);
        self.unstarted[task].insert((now, s.ticket));
    }

    /// An attempt ended by itself.
    pub(super) fn ended(&mut self, attempt: AttemptId) {
        let Some((worker, repeat)) = self.out.remove(&attempt) else { return };
        self.repeats -= usize::from(repeat);
        *self.on_worker.entry(worker).or_default() -= 1;
        if let Some(r) = self.live.get_mut(&attempt.ticket) {
            r.out -= 1;
        }
    }

    /// The scheduler has decided this, `now`; `shown` is the latest time that it was told, all that it can go by.
    pub(super) fn action(&mut self, now: Time, shown: Time, action: &Action) -> Result<(), String> {
        match action {
            Action::Dispatch(d) => self.dispatched(shown, d),
            Action::CancelAttempt { attempt, worker } => {
                holds!(self.worker_of(*attempt) == Some(*worker), "{now}: cancels {attempt:?}, which is not out");
                self.ended(*attempt);
                Ok(())
            }
            Action::Answer(a) => self.answer(now, a),
            _ => Ok(()),
        }
    }

    fn dispatched(&mut self, now: Time, d: &Dispatch) -> Result<(), String> {
        let ticket = d.attempt.ticket;
        holds!(self.live.contains_key(&ticket), "{now}: dispatches {ticket:?}, which is not live");
        let in_flight = self.out.len();
        let Some(r) = self.live.get_mut(&ticket) else { return Ok(()) };
        holds!(now < r.deadline, "{now}: {ticket:?} starts after its deadline {}", r.deadline);
        holds!(!self.out.contains_key(&d.attempt), "{now}: {:?} is sent twice", d.attempt);
        r.retries += u32::from(d.kind == DispatchKind::Retry);
        holds!(r.retries <= self.config.max_retries, "{now}: {ticket:?} is retried {} times", r.retries);
        if !r.started {
            r.started = true;
            self.unstarted[r.task].remove(&(r.arrival, ticket));
            if let Some(&(oldest, waiting)) = self.unstarted[r.task].first().filter(|_| self.strict) {
                let most = self.config.patience[Priority::Low as usize];
                holds!(
                    r.arrival <= oldest + most,
                    "{now}: {ticket:?} of {} overtakes {waiting:?} of {oldest}, by more than {most:?}",
                    r.arrival
                );
            }
        }
        r.out += 1;
        holds!(r.out <= 2, "{now}: {ticket:?} has {} attempts at once", r.out);
        let repeat = matches!(d.kind, DispatchKind::Retry | DispatchKind::Hedge);
        if d.kind == DispatchKind::Hedge {
            self.hedges += 1;
            // The attempt whose end is being told was in flight when this was decided.
            let most = ((self.config.retry_budget * (in_flight + 1) as f64) as usize).max(self.config.retry_budget_min);
            holds!(self.repeats < most, "{now}: a hedge beside {} repeats of {in_flight} attempts", self.repeats);
        }
        self.attempts += 1;
        self.repeats += usize::from(repeat);
        self.out.insert(d.attempt, (d.worker, repeat));
        let on = self.on_worker.entry(d.worker).or_default();
        *on += 1;
        *self.sent.entry(d.worker).or_default() += 1;
        holds!(!self.strict || *on <= self.capacity, "{now}: {:?} holds {on} of {}", d.worker, self.capacity);
        Ok(())
    }

    fn answer(&mut self, now: Time, a: &Answer) -> Result<(), String> {
        let ticket = a.ticket;
        holds!(self.answered.insert(ticket), "{now}: {ticket:?} is answered twice");
        let Some(r) = self.live.remove(&ticket) else { return Err(format!("{now}: {ticket:?} was never asked")) };
        holds!(r.out == 0 || matches!(a.verdict, Verdict::Success { .. }), "{now}: {ticket:?} runs on");
        self.unstarted[r.task].remove(&(r.arrival, ticket));
        match a.verdict {
            Verdict::Success { .. } => {
                self.succeeded += 1;
                self.latencies.push(now.secs_since(r.arrival));
            }
            Verdict::Failure { code: ProblemCode::Cancelled, .. } => self.cancelled += 1,
            Verdict::Failure { .. } if now == r.arrival && a.attempts.is_empty() && !r.started => self.refused += 1,
            Verdict::Failure { code, .. } => {
                self.failed += 1;
                let early = code == ProblemCode::DeadlineExceeded && now < r.deadline;
                holds!(!early, "{now}: {ticket:?} is given up before its deadline {}", r.deadline);
            }
            Verdict::Rejected { .. } => self.failed += 1,
        }
        Ok(())
    }

    /// At any moment.
    pub(super) fn still(&self, now: Time, stopped: bool) -> Result<(), String> {
        if !self.strict || stopped {
            return Ok(());
        }
        let waiting = self.live.values().filter(|r| r.out == 0).count();
        let most = self.config.queue_capacity + self.live.values().filter(|r| r.started).count();
        holds!(waiting <= most, "{now}: {waiting} wait");
        if let Some((ticket, r)) = self.live.iter().find(|(_, r)| r.deadline < now) {
            return Err(format!("{now}: {ticket:?} is not answered at its deadline {}", r.deadline));
        }
        Ok(())
    }

    /// At the end, when every deadline has passed.
    pub(super) fn finish(&self, counters: Option<Counters>) -> Result<(), String> {
        holds!(self.live.is_empty(), "{} requests are never answered", self.live.len());
        holds!(self.out.is_empty(), "{} attempts run on", self.out.len());
        let sum = self.succeeded + self.failed + self.refused + self.cancelled;
        holds!(sum == self.submitted, "{sum} answers to {} requests", self.submitted);
        let share = self.config.hedge_share * self.attempts as f64 + 1.0;
        holds!(self.hedges as f64 <= 1.5 * share, "{} hedges of {} attempts", self.hedges, self.attempts);
        if let Some(c) = counters {
            let theirs = (c.successful_requests, c.failed_requests + c.rejected_requests, c.cancelled_requests);
            let ours = (self.succeeded, self.failed + self.refused, self.cancelled);
            holds!(theirs == ours, "the counters say {theirs:?}, the history {ours:?}");
            holds!((c.attempts, c.hedges) == (self.attempts, self.hedges), "attempts: {c:?}, {}", self.attempts);
        }
        Ok(())
    }
}

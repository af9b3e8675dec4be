//! What is known of one worker: its life, its load, its pace and its record.

use std::time::Duration;

use super::breaker::Breaker;
use super::score::{Success, TaskCost};
use super::stats::{Least, Ring, Rolling};
use super::{Ability, Hold, Liveness, PerTask, Suspicion, Time, WorkerSpec};
use crate::config::SchedulerConfig;
use crate::protocol::{BreakerState, TaskType, WorkerId, WorkerState};

/// See the module.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) abilities: PerTask<Ability>,
    pub(super) capacity: u32,
    pub(super) liveness: Liveness,
    pub(super) joined: Time,

    /// As it says itself, or `Lost`.
    pub(super) reported: WorkerState,
    pub(super) hold: Hold,
    /// Whether another process serves since it last was in service.
    pub(super) replaced: bool,
    /// When it was last known to be well.
    pub(super) seen: Time,
    pub(super) silent: bool,
    pub(super) stalled: bool,
    pub(super) check_failed: bool,
    /// Whether an attempt succeeded since the last active check.
    pub(super) worked_since_check: bool,
    /// What the fleet was last told of it.
    pub(super) announced: (WorkerState, Option<Suspicion>),

    /// Attempts that it has, by task.
    pub(super) load: PerTask<u32>,
    /// Attempts that ran out of time and that it may still work on.
    pub(super) orphans: u32,
    /// When the latest of the attempts that it answered was sent.
    pub(super) answered_from: Time,
    /// When it last moved, as far as is known, while it had work.
    pub(super) moved: Time,
    pub(super) progress: u64,
    pub(super) reported_in_flight: u32,

    pub(super) costs: PerTask<TaskCost>,
    /// Seconds of an attempt that are the network's, smoothed.
    pub(super) rtt: f64,
    least_rtt: Least,
    /// When an answer last told of it.
    rtt_at: Time,
    pub(super) success: Success,
    pub(super) breaker: Breaker,
    pub(super) paused_until: Time,
    pub(super) ramp_from: Option<Time>,

    /// Apart, so that what decides is close together in memory.
    pub(super) figures: Box<Figures>,
}

/// Counts and latencies of one worker, those that every attempt changes in the first two cache lines.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Figures {
    pub(super) done: Ring<11>,
    pub(super) sent: u64,
    pub(super) completed: PerTask<u64>,
    pub(super) failed: PerTask<u64>,
    pub(super) latency: PerTask<Rolling>,
}

impl Worker {
    /// Most weight of a new round-trip time.
    const RTT_WEIGHT: f64 = 0.1;
    /// Seconds over which round-trip times are averaged that come faster than that: the answers of a batch come together
    /// and tell of one moment, not of many.
    const RTT_MEMORY: f64 = 0.75;
    /// A round trip is compared with others by the least that was seen for this long to twice as long, as BBR does.
    const LEAST_RTT_WINDOW: Duration = Duration::from_secs(5);
    /// Seconds in which a round-trip time that nothing confirms loses half of its weight in the choice.
    const RTT_HALF_LIFE: f64 = 30.0;

    pub(super) fn new(spec: &WorkerSpec, now: Time, config: &SchedulerConfig) -> Self {
        Self {
            id: spec.id.clone(),
            abilities: spec.abilities,
            capacity: spec.capacity,
            liveness: spec.liveness,
            joined: now,
            reported: spec.state,
            hold: Hold::Free,
            replaced: false,
            seen: now,
            silent: false,
            stalled: false,
            check_failed: spec.liveness == Liveness::ActiveCheck,
            worked_since_check: false,
            announced: (spec.state, None),
            load: PerTask::default(),
            orphans: 0,
            answered_from: Time::ZERO,
            moved: now,
            progress: 0,
            reported_in_flight: 0,
            costs: TaskType::ALL.map(|_| TaskCost::unknown()),
            rtt: 0.0,
            least_rtt: Least::new(Self::LEAST_RTT_WINDOW),
            rtt_at: now,
            success: Success::default(),
            breaker: Breaker::new(config),
            paused_until: Time::ZERO,
            ramp_from: None,
            figures: Box::new(Figures {
                sent: 0,
                completed: PerTask::default(),
                failed: PerTask::default(),
                latency: PerTask::default(),
                done: Ring::new(Duration::from_secs(1)),
            }),
        }
    }

    /// A new process serves in the place of one that ended: what that one did is not held against it.
    /// True if its breaker was open, and lets a probe through now.
    pub(super) fn begin_anew(&mut self) -> bool {
        self.replaced = false;
        self.success = Success::default();
        self.paused_until = Time::ZERO;
        self.breaker.begin_anew()
    }

    /// Its state as the fleet should see it.
    pub(super) fn state(&self) -> WorkerState {
        match (self.hold, self.reported) {
            (Hold::Kill, WorkerState::Starting | WorkerState::Ready | WorkerState::Draining) => WorkerState::Killing,
            (Hold::Drain, WorkerState::Ready) => WorkerState::Draining,
            (_, state) => state,
        }
    }

    /// Why it is suspect, if it is.
    pub(super) fn suspicion(&self) -> Option<Suspicion> {
        if self.state() != WorkerState::Ready {
            None
        } else if self.silent {
            Some(Suspicion::Silent)
        } else if self.check_failed {
            Some(Suspicion::CheckFailed)
        } else if self.stalled {
            Some(Suspicion::Stalled)
        } else {
            None
        }
    }

    /// Whether it could work at all.
    pub(super) fn alive(&self) -> bool {
        let checked = self.reports() || !self.check_failed;
        self.state() == WorkerState::Ready && !self.silent && checked
    }

    /// Whether it should rather not work, while others can.
    pub(super) fn barred(&self) -> bool {
        self.stalled || self.check_failed || self.breaker.state() == BreakerState::Open
    }

    /// Whether it sends heartbeats that tell what it holds.
    pub(super) fn reports(&self) -> bool {
        self.liveness == Liveness::Heartbeat
    }

    pub(super) fn can(&self, task: usize) -> bool {
        self.abilities[task] != Ability::None
    }

    /// Attempts that it has.
    pub(super) fn in_flight(&self) -> u32 {
        self.load.iter().sum()
    }

    /// The same and those that it may still have.
    pub(super) fn held(&self) -> u32 {
        self.in_flight() + self.orphans
    }

    /// Seconds of work that it holds.
    pub(super) fn backlog(&self) -> f64 {
        let mut seconds = 0.0;
        let mut most = 0.0_f64;
        for (n, cost) in self.load.iter().zip(&self.costs) {
            if *n > 0 {
                seconds += f64::from(*n) * cost.unit();
                most = most.max(cost.unit());
            }
        }
        if self.orphans > 0 {
            let unit = if most > 0.0 { most } else { self.costs.iter().map(TaskCost::unit).fold(0.0, f64::max) };
            seconds += f64::from(self.orphans) * unit;
        }
        seconds
    }

    /// Seconds until it would answer one more request of this task.
    pub(super) fn predict(&self, task: usize) -> f64 {
        self.predict_after(self.backlog(), task)
    }

    /// The same, if it holds `backlog` seconds of work.
    pub(super) fn predict_after(&self, backlog: f64, task: usize) -> f64 {
        backlog + self.costs[task].single() + self.rtt
    }

    /// Whether it may take one more request of this task now, with `backlog` seconds of work that it holds.
    pub(super) fn has_room(&self, task: usize, backlog: f64, now: Time, config: &SchedulerConfig) -> bool {
        if self.held() >= self.capacity || now < self.paused_until {
            return false;
        }
        // One that has nothing but what was given up takes one more: its answer says that it is there after all.
        if self.in_flight() == 0 {
            return true;
        }
        if self.breaker.state() == BreakerState::HalfOpen {
            return false;
        }
        // What it holds of another task may be as much as that task's limit, so this one may come up to that, too: were
        // each held to its own, those with the largest batches would always come first. Nor does it matter how long the
        // next one takes, or the quick ones would.
        let below = |cost: &TaskCost| backlog < self.limit(cost, now, config);
        let others = || self.load.iter().zip(&self.costs).any(|(n, cost)| *n > 0 && below(cost));
        below(&self.costs[task]) || others()
    }

    /// Seconds from which on an attempt that was sent at `started` is the worker's failure, although it ended only because
    /// its client gave no more time. Under overload all that is taken has hardly time enough, so that one that is stopped
    /// for a moment would look as if it failed. But what others have overtaken was lost, and one that says nothing of
    /// itself is judged by its answers alone.
    pub(super) fn fair_when_cut_short(&self, started: Time, p99: f64) -> f64 {
        match (started < self.answered_from, self.reports()) {
            (true, _) => p99,
            (false, true) => f64::INFINITY,
            (false, false) => 3.0 * p99,
        }
    }

    /// Seconds of work from which on it gets no more of a task with this cost.
    fn limit(&self, cost: &TaskCost, now: Time, config: &SchedulerConfig) -> f64 {
        // Less what rounding may have added.
        cost.credit(self.rtt, config.credit_slack) * self.eased(now, config) * (1.0 - 1e-9)
    }

    /// Seconds of work that it holds in a batch of this task that fills up behind a full one, if there is such a batch.
    /// Where a batch costs about the same however full it is, one more in it costs nothing.
    pub(super) fn forming(&self, task: usize) -> Option<f64> {
        let cost = &self.costs[task];
        let load = f64::from(self.load[task]);
        if load <= cost.batch() || !cost.is_mostly_fixed() {
            return None;
        }
        let over = load % cost.batch();
        (over > 0.0).then(|| over * cost.unit())
    }

    /// How much of its work a worker that came back gets: from a tenth to all.
    pub(super) fn eased(&self, now: Time, config: &SchedulerConfig) -> f64 {
        let Some(from) = self.ramp_from else { return 1.0 };
        let whole = config.slow_start.as_secs_f64();
        if whole <= 0.0 { 1.0 } else { (now.secs_since(from) / whole).clamp(0.1, 1.0) }
    }

    /// Most requests of a task that it gets at once now, if it has no others.
    pub(super) fn credits(&self, task: usize, now: Time, config: &SchedulerConfig) -> u32 {
        if self.breaker.state() == BreakerState::HalfOpen {
            return 1.min(self.capacity);
        }
        let cost = &self.costs[task];
        ((self.limit(cost, now, config) / cost.unit()).ceil() as u32).max(1).min(self.capacity)
    }

    /// The network's share of an attempt was seen.
    pub(super) fn observe_rtt(&mut self, now: Time, seconds: f64) {
        let first = self.least_rtt.get().is_none();
        let since_last = now.secs_since(self.rtt_at) / Self::RTT_MEMORY;
        let weight = if first { 1.0 } else { since_last.min(Self::RTT_WEIGHT).max(self.rtt_doubt(now)) };
        self.rtt += weight * (seconds.max(0.0) - self.rtt);
        self.least_rtt.record(now, seconds.max(0.0));
        self.rtt_at = now;
    }

    /// Seconds until it would answer one more request of this task, to be compared with other workers', if it holds
    /// `backlog` seconds of work.
    ///
    /// Of its round trips the least counts: what comes on top is mostly their wait for the coordinator's own turn, which
    /// all workers share. And less of it, the longer ago that was: one bad moment must not keep a worker from work for
    /// good, as nothing but work measures it again (Finagle's peak EWMA decays for the same reason).
    pub(super) fn predict_to_compare(&self, now: Time, backlog: f64, task: usize) -> f64 {
        let rtt = self.least_rtt.get().unwrap_or(self.rtt);
        backlog + self.costs[task].single() + rtt * (1.0 - self.rtt_doubt(now))
    }

    /// How little the round-trip time is worth that was last measured some time ago, 0 to 1.
    fn rtt_doubt(&self, now: Time) -> f64 {
        let age = now.secs_since(self.rtt_at);
        if age < 1.0 { 0.0 } else { 1.0 - (-age / Self::RTT_HALF_LIFE).exp2() }
    }

    /// When something about it is due, given how long it may stand still.
    pub(super) fn due(&self, now: Time, stall_limit: f64, config: &SchedulerConfig) -> Time {
        let mut due = Time::NEVER;
        if self.reports() && self.reported != WorkerState::Lost {
            due = self.seen + if self.silent { config.lease } else { config.suspect_after };
        }
        if self.may_stall() && !self.stalled {
            due = due.min(self.moved.plus_secs(stall_limit));
        }
        if let Some(at) = self.breaker.reopens_at() {
            due = due.min(at);
        }
        if self.paused_until > now {
            due = due.min(self.paused_until);
        }
        if self.ramp_from.is_some() {
            due = due.min(now + config.slow_start / 10);
        }
        due
    }

    /// Whether standing still would be odd: it has work, and says so itself.
    pub(super) fn may_stall(&self) -> bool {
        self.reports() && self.alive() && self.in_flight() > 0 && self.reported_in_flight > 0
    }
}

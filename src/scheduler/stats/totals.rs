//! The scheduler's own figures: totals, and each task's pace and latencies.

use std::time::Duration;

use super::{Ring, Rolling};
use crate::config::SchedulerConfig;
use crate::protocol::{Counters, LatencySummary, Priority, TaskType};
use crate::scheduler::{PerTask, Time};

/// Slice of the short windows: 44 of them are 11 s, so that ten whole seconds are always there.
const SHORT: Duration = Duration::from_millis(250);

/// What is known of one task across the fleet.
#[derive(Debug)]
pub(crate) struct TaskFigures {
    /// Answers with a result.
    pub(crate) done: Ring<44>,
    /// First dispatches by priority: how fast its queue drains.
    drained: [Ring<44>; Priority::ALL.len()],
    /// How fast it drained in the last second, and when that was looked at.
    passed: ([f64; Priority::ALL.len()], Time),
    /// How far down its order the queue is served: the latest virtual deadline that was dispatched of
    /// late, and when.
    frontier: (Time, Time),
    /// Since when its queue has never been empty.
    pub(crate) saturated_since: Option<Time>,
    /// Submission to answer.
    pub(crate) latency: Rolling,
    /// Dispatch to end.
    pub(crate) attempts: Rolling,
    /// Attempts that ended, and of those the timed-out ones; halved now and then.
    ended: f64,
    timed_out: f64,
    /// Hedges, and of those the ones that were first to succeed; halved now and then.
    hedges: f64,
    hedge_wins: f64,
    /// What `attempts` said when it was last asked.
    pub(crate) known: KnownAttempts,
}

/// Percentiles of attempts, asked for once a second at most.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KnownAttempts {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    asked: Option<Time>,
}

impl KnownAttempts {
    /// What is clearly more than the usual time, over that.
    pub(crate) const LATE: f64 = 1.25;

    /// Asks again, if it is a second ago.
    fn refresh(&mut self, now: Time, ask: impl FnOnce() -> LatencySummary) {
        if self.asked.is_none_or(|at| now.since(at) >= Duration::from_secs(1)) {
            let s = ask();
            *self = Self { count: s.count, p50: s.p50, p95: s.p95, p99: s.p99, asked: Some(now) };
        }
    }

    /// Seconds after which an attempt is so late that another may overtake it: the 95th percentile,
    /// which histogram buckets know within 3 %, and clearly more than the usual time, or a task that
    /// always takes the same would be hedged for nothing. Of too few attempts it can't tell.
    pub(crate) fn hedge_after(&self, config: &SchedulerConfig) -> Option<f64> {
        (self.count >= config.hedge_min_samples).then(|| 1.03 * self.p95.max(Self::LATE * self.p50))
    }
}

impl TaskFigures {
    /// Attempts that must have been seen before their 99th percentile sets time-outs.
    const MIN_SAMPLES: u64 = 20;

    /// Hedges that are taken to have won before any was sent.
    const HEDGES_BELIEVED: f64 = 5.0;
    /// Share of hedges that must win, or hardly any are sent.
    const WORTH_HEDGING: f64 = 0.25;

    fn new() -> Self {
        Self {
            done: Ring::new(SHORT),
            drained: Priority::ALL.map(|_| Ring::new(SHORT)),
            passed: ([0.0; Priority::ALL.len()], Time::ZERO),
            frontier: (Time::ZERO, Time::ZERO),
            saturated_since: None,
            latency: Rolling::default(),
            attempts: Rolling::default(),
            ended: 0.0,
            timed_out: 0.0,
            hedges: Self::HEDGES_BELIEVED,
            hedge_wins: Self::HEDGES_BELIEVED,
            known: KnownAttempts::default(),
        }
    }

    /// An attempt ended in its own way, or was overtaken by its hedge (then it would have taken at
    /// least this long).
    pub(crate) fn attempt_took(&mut self, now: Time, seconds: f64) {
        self.count_end(0.0);
        self.attempts.record(now, seconds);
    }

    /// An attempt ran into its time-out. A few of those say nothing of how long the task takes; a
    /// quarter of all does: then the time-out is too short, and must be able to grow.
    pub(crate) fn attempt_timed_out(&mut self, now: Time, seconds: f64) {
        self.count_end(1.0);
        if self.timed_out > 0.25 * self.ended {
            self.attempts.record(now, seconds);
        }
    }

    fn count_end(&mut self, timed_out: f64) {
        self.ended += 1.0;
        self.timed_out += timed_out;
        if self.ended > 200.0 {
            self.ended /= 2.0;
            self.timed_out /= 2.0;
        }
    }

    /// A hedge was sent.
    pub(crate) fn hedged(&mut self) {
        self.hedges += 1.0;
        if self.hedges > 50.0 {
            self.hedges /= 2.0;
            self.hedge_wins /= 2.0;
        }
    }

    /// A hedge succeeded before the attempt that it ran beside.
    pub(crate) fn hedge_won(&mut self) {
        self.hedge_wins += 1.0;
    }

    /// Hedges that are affordable, as a share of attempts. Where second attempts seldom win (the first
    /// was slow for a reason that the second meets too, or nearly done), an eighth of that is enough
    /// to notice when it changes.
    pub(crate) fn hedge_share(&self, config: &SchedulerConfig) -> f64 {
        let pays = self.hedge_wins >= Self::WORTH_HEDGING * self.hedges;
        if pays { config.hedge_share } else { config.hedge_share / 8.0 }
    }

    /// The percentiles, at most a second old.
    pub(crate) fn refresh(&mut self, now: Time) -> KnownAttempts {
        self.known.refresh(now, || self.attempts.summary(now));
        self.known
    }

    /// Time-out of an attempt that is predicted to take `predicted` seconds, of a request that has
    /// `remaining` seconds left. As long as nothing is known, it leaves time for two others.
    pub(crate) fn attempt_timeout(&self, predicted: f64, remaining: f64, config: &SchedulerConfig) -> f64 {
        let (least, most) = (config.attempt_timeout_min.as_secs_f64(), config.attempt_timeout_max.as_secs_f64());
        if self.known.count < Self::MIN_SAMPLES {
            return (remaining / 3.0).clamp(least, most).max(3.0 * predicted);
        }
        // A model that takes long by its own account may take longer than the usual limit.
        (3.0 * self.known.p99.max(predicted)).clamp(least, most.max(3.0 * predicted))
    }

    /// A request with this virtual deadline left the queue for the first time.
    pub(crate) fn drained(&mut self, now: Time, priority: Priority, order: Time) {
        self.drained[priority as usize].add(now, 1);
        // What is more urgent goes between; the frontier is where the least urgent of late was.
        if order >= self.frontier.0 || now.since(self.frontier.1) > 2 * SHORT {
            self.frontier = (order, now);
        }
    }

    /// How long the queue has been full without a break, up to five seconds, if it is at least so long.
    fn full_for(&self, now: Time, least: Duration) -> Option<Duration> {
        let full_for = now.since(self.saturated_since?).min(Duration::from_secs(5));
        (full_for >= least).then_some(full_for)
    }

    /// Requests a second that leave the queue, measured while it is full.
    pub(crate) fn drain_rate(&self, now: Time) -> Option<f64> {
        // The current slice is part of the sum, and only partly over.
        let full_for = self.full_for(now, Duration::from_secs(1))?;
        let slices = (full_for.as_nanos() / SHORT.as_nanos()) as u32;
        let partly = now.nanos() % SHORT.as_nanos() as u64;
        let seconds = f64::from(slices - 1) * SHORT.as_secs_f64() + partly as f64 * 1e-9;
        let drained: u32 = self.drained.iter().map(|of| of.sum(now, SHORT * slices)).sum();
        Some(f64::from(drained) / seconds).filter(|rate| *rate > 0.0)
    }

    /// Requests a second of each priority that left the queue in the last second, full or not; a little while old.
    pub(crate) fn passed(&mut self, now: Time) -> [f64; Priority::ALL.len()] {
        let (of, at) = &mut self.passed;
        if now.since(*at) >= SHORT / 25 {
            let partly = now.nanos() % SHORT.as_nanos() as u64;
            let seconds = 3.0 * SHORT.as_secs_f64() + partly as f64 * 1e-9;
            *of = self.drained.each_ref().map(|drained| f64::from(drained.sum(now, 4 * SHORT)) / seconds);
            *at = now;
        }
        *of
    }

    /// Seconds until the queue is served down to this virtual deadline, while it is full: under a steady
    /// overload the frontier moves as fast as time does, whoever comes between.
    pub(crate) fn reached_in(&self, now: Time, order: Time) -> Option<f64> {
        self.full_for(now, 2 * SHORT)?;
        Some(order.secs_since(self.frontier.0))
    }

    /// Answers a second over the last ten.
    pub(crate) fn throughput(&self, now: Time) -> f64 {
        f64::from(self.done.sum(now, Duration::from_secs(10))) / 10.0
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) counters: Counters,
    pub(crate) tasks: PerTask<TaskFigures>,
    /// The attempts of all tasks together.
    pooled: KnownAttempts,
    /// Submission to first dispatch.
    pub(crate) wait: Rolling,
    /// Requests that succeeded and failed, over a minute.
    pub(crate) ok: Ring<13>,
    pub(crate) failed: Ring<13>,
    /// Attempts and hedges of the last while, halved now and then, for the share of hedges.
    recent_attempts: f64,
    recent_hedges: f64,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self {
            counters: Counters::default(),
            tasks: TaskType::ALL.map(|_| TaskFigures::new()),
            pooled: KnownAttempts::default(),
            wait: Rolling::default(),
            ok: Ring::new(Duration::from_secs(5)),
            failed: Ring::new(Duration::from_secs(5)),
            recent_attempts: 0.0,
            recent_hedges: 0.0,
        }
    }

    /// Seconds after which an attempt is late by what all tasks together took, asked for once a second at most.
    pub(crate) fn hedge_after_any(&mut self, now: Time, config: &SchedulerConfig) -> Option<f64> {
        self.pooled.refresh(now, || Rolling::merged(self.tasks.iter().map(|figures| &figures.attempts), now));
        self.pooled.hedge_after(config)
    }

    pub(crate) fn attempt_sent(&mut self, hedge: f64) {
        self.recent_attempts += 1.0;
        self.recent_hedges += hedge;
        if self.recent_attempts > 2000.0 {
            self.recent_attempts /= 2.0;
            self.recent_hedges /= 2.0;
        }
    }

    /// The share of hedges if one more were sent now.
    pub(crate) fn hedge_share(&self) -> f64 {
        (self.recent_hedges + 1.0) / (self.recent_attempts + 1.0)
    }
}

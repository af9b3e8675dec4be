//! Whether a request is taken at all: refused at once, it costs next to nothing and its client knows
//! when to come again; refused late, it has cost a worker's time.

use std::time::Duration;

use super::{Scheduler, Submission, Time};
use crate::protocol::{Priority, ProblemCode};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: ProblemCode,
    pub(super) retry_after: Option<Duration>,
}

impl Scheduler {
    /// Least and most that a client is told to wait.
    const RETRY_AFTER: (f64, f64) = (0.1, 60.0);
    /// What it is told where nothing can be computed: about what a worker takes to come back.
    const COMES_BACK: f64 = 2.0;
    /// How much longer than computed the wait is taken to be: under a steady overload everything that
    /// is taken is taken at the edge, and half of it would be late.
    const CAUTION: f64 = 1.15;
    /// Share of the queue that should be free when a client that met a full one comes again.
    const FREE_AGAIN: f64 = 0.1;

    /// Whether this request can be taken.
    pub(super) fn admit(&mut self, s: &Submission) -> Result<(), Refusal> {
        let task = s.task.index();
        if s.deadline <= self.now {
            return Err(Refusal { code: ProblemCode::DeadlineExceeded, retry_after: None });
        }
        if self.fleet.eligible_all(task) == 0 {
            return Err(self.refuse(ProblemCode::NoWorker, self.soonest_back(task)));
        }
        let rate = self.drain_rate(task);
        if self.queue.len() >= self.config.queue_capacity {
            let over = self.queue.len() as f64 - (1.0 - Self::FREE_AGAIN) * self.config.queue_capacity as f64;
            return Err(self.refuse(ProblemCode::QueueFull, over / rate));
        }
        if s.bytes > self.config.queue_bytes.saturating_sub(self.bytes) {
            let mean = self.bytes as f64 / self.tickets.len().max(1) as f64;
            let over = (self.bytes + s.bytes) as f64 - (1.0 - Self::FREE_AGAIN) * self.config.queue_bytes as f64;
            return Err(self.refuse(ProblemCode::QueueFull, over / mean.max(1.0) / rate));
        }
        let late = self.expected(s) - s.deadline.secs_since(self.now);
        if late > 0.0 {
            return Err(self.refuse(ProblemCode::DeadlineUnmeetable, late));
        }
        Ok(())
    }

    /// Seconds until this request would be answered. Zero where a worker is idle: what it takes then
    /// is best found out by trying, or a wrong figure would never be corrected.
    fn expected(&mut self, s: &Submission) -> f64 {
        let task = s.task.index();
        let ahead = self.queue.ahead_of(task, s.priority);
        let known = self.stats.tasks[task].refresh(self.now);
        if ahead == 0
            && let Some(seconds) = self.soonest(task)
        {
            return seconds;
        }
        // Every worker holds what it may: the queue drains first, then one round at a worker,
        // for which the slower ones of late are the guide.
        let drains = ahead as f64 / self.drain_rate(task);
        // Whoever is more urgent and still to come goes before it too. What its own priority gets of
        // the fleet, and how far down the order the fleet gets, tell of that.
        let own = self.stats.tasks[task].drain_rate(self.now, &[s.priority]);
        let own = own.map_or(0.0, |rate| self.queue.waiting_at(task, s.priority) as f64 / rate);
        let order = super::ticket::virtual_deadline(s, self.now, &self.config);
        let reached = self.stats.tasks[task].reached_in(self.now, order).unwrap_or(0.0);
        Self::CAUTION * drains.max(own).max(reached) + known.p95
    }

    /// Seconds until a worker with room would answer a request of this task; zero if one is idle.
    fn soonest(&mut self, task: usize) -> Option<f64> {
        self.fleet.rank_stale(task, &mut surroundings!(self));
        (0..2)
            .filter_map(|tier| self.fleet.best(task, tier, |_| true))
            .filter_map(|key| self.fleet.get(key))
            .map(|w| if w.held() == 0 { 0.0 } else { w.predict(task) })
            .min_by(f64::total_cmp)
    }

    /// Requests a second that leave the queue of a task: measured where it has been full for a
    /// while, otherwise what its workers say that they can do.
    pub(super) fn drain_rate(&self, task: usize) -> f64 {
        let measured = self.stats.tasks[task].drain_rate(self.now, &Priority::ALL);
        measured.unwrap_or_else(|| self.fleet.rate(task)).max(1e-3)
    }

    /// Seconds until a worker that can do this task may be back.
    fn soonest_back(&self, task: usize) -> f64 {
        let rests = self.fleet.iter().filter(|(_, w)| w.can(task)).filter_map(|(_, w)| w.breaker.rest(self.now));
        rests.min().map_or(Self::COMES_BACK, |rest| rest.as_secs_f64())
    }

    /// A refusal; what is told is up to a quarter longer than computed, so that those who are
    /// refused together don't come back together.
    pub(super) fn refuse(&mut self, code: ProblemCode, seconds: f64) -> Refusal {
        let (least, most) = Self::RETRY_AFTER;
        let seconds = (seconds * (1.0 + 0.25 * self.rng.unit())).clamp(least, most);
        Refusal { code, retry_after: Some(Time::ZERO.plus_secs(seconds).since_start()) }
    }
}

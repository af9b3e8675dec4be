//! Whether a request is taken at all: refused at once, it costs next to nothing and its client knows
//! when to come again; refused late, it has cost a worker's time.

use std::time::Duration;

use super::{Scheduler, Submission, Time};
use crate::protocol::{Priority, ProblemCode, TaskType};

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
    /// Least share of a fleet that is taken to be left for a task, whatever the others use.
    const LEAST_SHARE: f64 = 0.1;
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
        if self.queue.len() >= self.config.queue_capacity {
            let over = self.queue.len() as f64 - (1.0 - Self::FREE_AGAIN) * self.config.queue_capacity as f64;
            let after = over / self.drain_rate(task);
            return Err(self.refuse(ProblemCode::QueueFull, after));
        }
        if s.bytes > self.config.queue_bytes.saturating_sub(self.bytes) {
            let mean = self.bytes as f64 / self.tickets.len().max(1) as f64;
            let over = (self.bytes + s.bytes) as f64 - (1.0 - Self::FREE_AGAIN) * self.config.queue_bytes as f64;
            let after = over / mean.max(1.0) / self.drain_rate(task);
            return Err(self.refuse(ProblemCode::QueueFull, after));
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
        let drains = self.drains_in(s);
        // How far down the order the fleet gets tells of what that leaves out.
        let order = super::ticket::virtual_deadline(s, self.now, &self.config);
        let reached = self.stats.tasks[task].reached_in(self.now, order).unwrap_or(0.0);
        Self::CAUTION * drains.max(reached) + known.p95
    }

    /// Seconds until the queue has drained down to this request, with those who are still to come and go before it, as
    /// many as of late. Of other priorities' requests it is taken that they have as much time as this one.
    fn drains_in(&mut self, s: &Submission) -> f64 {
        let task = s.task.index();
        let passed = self.stats.tasks[task].passed(self.now);
        let rate = self.drain_rate(task);
        let time = s.deadline.secs_since(self.now);
        let lead = |p: Priority| time.min(self.config.patience[p as usize].as_secs_f64());
        let mine = lead(s.priority);
        let waiting = |p: Priority| self.queue.waiting_at(task, p) as f64;
        let ahead = Priority::ALL.iter().filter(|p| lead(**p) <= mine).map(|p| waiting(*p)).sum();
        let overtaking = Priority::ALL.map(|p| Overtaking { rate: passed[p as usize], lasts: mine - lead(p) });
        served_in(ahead, rate, overtaking)
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
    /// while, otherwise what its workers say that they can do, less what they do for other tasks.
    pub(super) fn drain_rate(&mut self, task: usize) -> f64 {
        let measured = self.stats.tasks[task].drain_rate(self.now);
        measured.unwrap_or_else(|| self.fleet.rate(task) * self.left_by_others(task)).max(1e-3)
    }

    /// The share of the fleet that other tasks did not use in the last second.
    fn left_by_others(&mut self, task: usize) -> f64 {
        let used_by = |other: usize| {
            let passed: f64 = self.stats.tasks[other].passed(self.now).iter().sum();
            if passed > 0.0 { passed / self.fleet.rate(other).max(passed) } else { 0.0 }
        };
        let used: f64 = (0..TaskType::ALL.len()).filter(|other| *other != task).map(used_by).sum();
        (1.0 - used).max(Self::LEAST_SHARE)
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

/// Requests that go before others which came earlier.
#[derive(Clone, Copy, Debug)]
struct Overtaking {
    /// How many come, a second.
    rate: f64,
    /// For how many seconds from now those that come still go before.
    lasts: f64,
}

/// Seconds until `ahead` requests are served, and all that overtake meanwhile, `rate` a second.
fn served_in(ahead: f64, rate: f64, mut overtaking: [Overtaking; Priority::ALL.len()]) -> f64 {
    /// What is left for those who are overtaken is at least this share.
    const LEAST: f64 = 0.02;
    overtaking.sort_by(|a, b| a.lasts.total_cmp(&b.lasts));
    let mut work = ahead;
    let mut left = rate - overtaking.iter().map(|o| o.rate).sum::<f64>();
    for o in overtaking {
        if work / left.max(LEAST * rate) <= o.lasts {
            break;
        }
        work += o.rate * o.lasts.max(0.0);
        left += o.rate;
    }
    work / left.max(LEAST * rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(ahead: f64, rate: f64, overtaking: [(f64, f64); 3]) -> f64 {
        served_in(ahead, rate, overtaking.map(|(rate, lasts)| Overtaking { rate, lasts }))
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} {b}");
    }

    #[test]
    fn those_who_overtake_take_their_share() {
        close(served(100.0, 100.0, [(0.0, 0.0); 3]), 1.0);
        // All the while: half of what is served is theirs.
        close(served(100.0, 100.0, [(50.0, 9.0), (30.0, 0.0), (0.0, -5.0)]), 2.0);
        // For one second; then they come too late.
        close(served(100.0, 100.0, [(50.0, 1.0), (0.0, 0.0), (0.0, 0.0)]), 1.5);
        close(served(300.0, 100.0, [(50.0, 1.0), (20.0, 9.0), (0.0, 0.0)]), 350.0 / 80.0);
        // They come as fast as anybody is served, for a while and for ever.
        close(served(100.0, 100.0, [(100.0, 4.0), (0.0, 0.0), (0.0, 0.0)]), 5.0);
        assert!(served(1.0, 100.0, [(100.0, 9.0), (50.0, 9.0), (0.0, 0.0)]) <= 0.5);
        close(served(0.0, 100.0, [(100.0, 9.0); 3]), 0.0);
    }
}

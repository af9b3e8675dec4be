//! The order in which the workers that may get a task's work would answer.

use std::time::Duration;

use super::{Fleet, Surroundings, Worker, tier_of};
use crate::protocol::BreakerState;
use crate::scheduler::Ability;
use crate::scheduler::score::failure_penalty;

/// A predicted finish, as [`grained`] bits that order like the number; then who was touched longest ago, give or
/// take chance.
pub(super) type Rank = (u64, u64);

/// A number's bits, which order like it, without what lies within an eighth of it: measured times differ by
/// more than that from chance, and workers that are as good as equal should share the work.
fn grained(cost: f64) -> u64 {
    const DROPPED: u32 = f64::MANTISSA_DIGITS - 1 - 3;
    cost.max(0.0).to_bits() >> DROPPED << DROPPED
}

impl Fleet {
    /// Notes that a worker's rank is to be taken again.
    pub(super) fn mark_stale(&mut self, key: u32, task: usize) {
        if let Some(counted) = self.counted.get_mut(key as usize)
            && !std::mem::replace(&mut counted[task].stale, true)
        {
            self.stale[task].push(key);
        }
    }

    /// Brings the order of a task's workers up to date; to be called before it is looked at.
    pub(in crate::scheduler) fn rank_stale(&mut self, task: usize, around: &mut Surroundings<'_>) {
        while let Some(key) = self.stale[task].pop() {
            self.counted[key as usize][task].stale = false;
            self.rank(key, task, around);
        }
    }

    /// Puts a worker into a task's index, or takes it out.
    fn rank(&mut self, key: u32, task: usize, around: &mut Surroundings<'_>) {
        let eligible = self.is_eligible(key, task);
        let tier = self.counted.get(key as usize).and_then(|c| tier_of(c[task].ability));
        let worker = self.workers.get(key as usize).and_then(Option::as_deref);
        let backlog = worker.map_or(0.0, Worker::backlog);
        let room = worker.is_some_and(|w| w.has_room(task, backlog, around.now, around.config));
        let rank = match (worker, eligible) {
            (Some(w), true) => {
                // A tie-break by chance alone would keep those that once drew a high number from ever
                // being touched again; one by turns alone would march in step.
                let chance = u64::from(around.rng.next_u32()) % (4 * self.len as u64).max(1);
                // A batch that fills up is filled before another one is begun: behind the batch that was begun first,
                // and so is over first, since its worker is the one that was touched longest ago.
                let (spared, turn) = w.forming(task).map_or((0.0, self.touches + chance), |spared| (spared, 0));
                Some((grained(self.cost(w, task, backlog - spared, around)), turn))
            }
            _ => None,
        };
        let view = &mut self.tasks[task];
        for (i, (index, full)) in view.index.iter_mut().zip(&mut view.full).enumerate() {
            let (holds, lacks) = if room { (index, full) } else { (full, index) };
            lacks.remove(key);
            match rank {
                Some(rank) if tier == Some(i) => holds.set(key, rank),
                _ => {
                    holds.remove(key);
                }
            }
        }
    }

    /// What choosing this worker, which holds `backlog` seconds of work, is expected to cost, seconds.
    fn cost(&self, w: &Worker, task: usize, backlog: f64, around: &Surroundings<'_>) -> f64 {
        if w.breaker.state() == BreakerState::HalfOpen {
            // Only work closes a breaker: the next request is its probe. While that runs nobody waits for it.
            return if w.held() == 0 { 0.0 } else { f64::INFINITY };
        }
        let Surroundings { now, config, figures, .. } = around;
        let mut predicted = w.predict_to_compare(*now, backlog, task);
        if let (Some(measured), Some(median)) = (w.costs[task].measured, self.medians[task])
            && now.since(measured) > Self::STALE
            && w.costs[task].unit() > median
        {
            // Long not measured, because it was slow: give it a chance to show otherwise.
            predicted += median - w.costs[task].single();
        }
        let success = w.success.share(*now, config.success_half_life);
        let penalty = if success < 1.0 {
            failure_penalty(success, figures[task].attempt_timeout(predicted, f64::INFINITY, config))
        } else {
            0.0
        };
        let idle_at_home = w.abilities[task] == Ability::Interim && w.load.iter().all(|n| *n == 0);
        (predicted + penalty) * if idle_at_home { Self::AT_HOME } else { 1.0 } / w.eased(*now, config)
    }

    /// Among fallback models, the one on the worker that is meant for the task goes first while it is
    /// idle, unless it takes three times as long as the best: people find the worker that they expect,
    /// and its weights are warm.
    const AT_HOME: f64 = 1.0 / 3.0;

    /// After this long without an answer, a worker's slowness is not held against it any more.
    const STALE: Duration = Duration::from_secs(30);
}

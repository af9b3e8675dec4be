//! The order in which the workers that may get a task's work would answer.

use std::time::Duration;

use super::{Fleet, Surroundings, tier_of};
use crate::protocol::{BreakerState, TaskType};
use crate::scheduler::Ability;
use crate::scheduler::score::failure_penalty;
use crate::scheduler::worker::Worker;

/// A predicted finish, as [`grained`] bits that order like the number; then who was touched longest ago, give or
/// take chance.
pub(super) type Rank = (u64, u64);

/// Where a worker is in a task's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    tier: usize,
    /// Whether it has room: it is in the index, or among the full.
    room: bool,
}

/// Grains of each power of two, as bits.
pub(super) const GRAIN_BITS: u32 = 3;

/// A number's bits, which order like it, without what lies within an eighth of it: measured times differ by
/// more than that from chance, and workers that are as good as equal should share the work.
fn grained(cost: f64) -> u64 {
    const DROPPED: u32 = f64::MANTISSA_DIGITS - 1 - GRAIN_BITS;
    cost.max(0.0).to_bits() >> DROPPED << DROPPED
}

impl Fleet {
    /// Notes that a worker's ranks are to be taken again, as its load changed, or more than that.
    pub(super) fn mark_stale(&mut self, key: u32, changed: bool) {
        const ALL: u8 = (1 << TaskType::ALL.len()) - 1;
        let Some(seat) = self.seats.get_mut(key as usize) else { return };
        if changed {
            seat.changed = ALL;
        }
        let fresh = ALL & !std::mem::replace(&mut seat.stale, ALL);
        for (task, stale) in self.stale.iter_mut().enumerate() {
            if fresh & (1 << task) != 0 {
                stale.push(key);
            }
        }
    }

    /// Brings the order of a task's workers up to date; to be called before it is looked at.
    #[inline]
    pub(in crate::scheduler) fn rank_stale(&mut self, task: usize, around: &mut Surroundings<'_>) {
        if !self.stale[task].is_empty() {
            self.rank_all_stale(task, around);
        }
    }

    fn rank_all_stale(&mut self, task: usize, around: &mut Surroundings<'_>) {
        while let Some(key) = self.stale[task].pop() {
            let seat = &mut self.seats[key as usize];
            let changed = seat.changed & (1 << task) != 0;
            seat.stale &= !(1 << task);
            seat.changed &= !(1 << task);
            self.rank(key, task, changed, around);
        }
    }

    /// Puts a worker into a task's order, or takes it out. One that was full and is full again stays where it is, unless
    /// more than its load changed: about as much waits there as before.
    fn rank(&mut self, key: u32, task: usize, changed: bool, around: &mut Surroundings<'_>) {
        let worker = self.workers.get(key as usize).and_then(Option::as_deref);
        let Some(seat) = self.seats.get(key as usize) else { return };
        let tier = tier_of(seat.tasks[task].ability);
        let before = seat.places[task];
        let (place, cost, turn) = match (worker, tier) {
            (Some(w), Some(tier)) if self.is_eligible(key, task) => {
                let backlog = w.backlog();
                let room = w.has_room(task, backlog, around.now, around.config);
                if !changed && before == Some(Place { tier, room: false }) && !room {
                    return;
                }
                // A batch that fills up is filled before another one is begun: behind the batch that was begun first,
                // and so is over first, since its worker is the one that was touched longest ago.
                let forming = w.forming(task);
                let turn = if room && forming.is_none() {
                    // A tie-break by chance alone would keep those that once drew a high number from ever
                    // being touched again; one by turns alone would march in step.
                    self.touches + u64::from(around.rng.next_u32()) % (4 * self.len as u64).max(1)
                } else {
                    0
                };
                let cost = self.cost(w, task, backlog - forming.unwrap_or(0.0), around);
                (Some(Place { tier, room }), grained(cost), turn)
            }
            _ => (None, 0, 0),
        };
        self.seats[key as usize].places[task] = place;
        let view = &mut self.tasks[task];
        if let Some(Place { tier, room }) = before.filter(|_| before != place) {
            if room {
                view.index[tier].remove(key);
            } else {
                view.full[tier].remove(key);
            }
        }
        match place {
            Some(Place { tier, room: true }) => view.index[tier].set(key, (cost, turn)),
            Some(Place { tier, room: false }) => view.full[tier].set(key, f64::from_bits(cost)),
            None => {}
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

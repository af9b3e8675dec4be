//! The workers together: who may get work of which task now; `ranking` puts them in order, those that are full
//! into `buckets`.

mod buckets;
mod ranking;

use std::time::Duration;

use self::buckets::ByCost;
use self::ranking::{Place, Rank};
use super::heap::IndexedHeap;
use super::rng::Rng;
use super::stats::TaskFigures;
use super::worker::Worker;
use super::{Ability, PerTask, Time};
use crate::config::SchedulerConfig;
use crate::protocol::{BreakerState, TaskType};

/// How a worker stands with one task, as it was last counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// It can't work.
    #[default]
    Out,
    /// It can, but only when nobody else is left.
    Barred,
    /// It may get work.
    In,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counted {
    standing: Standing,
    ability: Ability,
    /// Requests a second that it can do.
    rate: f64,
}

/// A worker, as it was last counted.
#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    /// How it stands with what it can do.
    standing: Standing,
    /// The tasks among whose stale ranks it is noted, as bits.
    stale: u8,
    /// Those of them for which more may have changed than its load.
    changed: u8,
    tasks: PerTask<Counted>,
    /// Where it is in each task's order.
    places: PerTask<Option<Place>>,
}

/// One task's view of the fleet.
#[derive(Debug, Default)]
struct TaskView {
    /// Workers with room, by tier and predicted finish.
    index: [IndexedHeap<Rank>; 2],
    /// The others that may get work, by tier and predicted finish.
    full: [ByCost; 2],
    usable: Group,
    barred: Group,
}

/// Workers of one standing.
#[derive(Debug, Default)]
struct Group {
    /// How many, by tier.
    workers: [u32; 2],
    /// Requests a second that they can do together.
    rate: f64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    workers: Vec<Option<Box<Worker>>>,
    seats: Vec<Seat>,
    tasks: PerTask<TaskView>,
    /// Workers whose rank is to be taken again before a task's order is next looked at: after most changes
    /// nobody asks about most tasks.
    stale: PerTask<Vec<u32>>,
    pub(super) timers: IndexedHeap<Time>,
    len: usize,
    /// Refreshes so far: the order in which workers were last touched.
    touches: u64,
    /// Fleet medians of a request's compute seconds, and when they were taken.
    medians: PerTask<Option<f64>>,
    medians_at: Option<Time>,
}

/// What a refresh of a worker's standing needs beside the fleet.
pub(super) struct Surroundings<'a> {
    pub(super) now: Time,
    pub(super) config: &'a SchedulerConfig,
    pub(super) figures: &'a PerTask<TaskFigures>,
    pub(super) rng: &'a mut Rng,
}

impl Fleet {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: u32) -> Option<&Worker> {
        self.workers.get(key as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut Worker> {
        self.workers.get_mut(key as usize)?.as_deref_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Worker)> {
        (0..).zip(&self.workers).filter_map(|(key, w)| Some((key, w.as_deref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Worker)> {
        (0..).zip(&mut self.workers).filter_map(|(key, w)| Some((key, w.as_deref_mut()?)))
    }

    pub(super) fn free_key(&self) -> u32 {
        self.workers.iter().position(Option::is_none).unwrap_or(self.workers.len()) as u32
    }

    pub(super) fn insert(&mut self, key: u32, worker: Worker) {
        let at = key as usize;
        if at >= self.workers.len() {
            self.workers.resize_with(at + 1, || None);
            self.seats.resize(at + 1, Seat::default());
        }
        if self.workers[at].replace(Box::new(worker)).is_none() {
            self.len += 1;
        }
    }

    /// Takes a worker out, after its standing was withdrawn.
    pub(super) fn remove(&mut self, key: u32) {
        if self.workers.get_mut(key as usize).and_then(Option::take).is_some() {
            self.len -= 1;
        }
        self.timers.remove(key);
    }

    /// Workers that may get work of this task, with or without room, in a tier.
    pub(super) fn eligible(&self, task: usize, tier: usize) -> u32 {
        self.group(task).workers[tier]
    }

    /// The same, of both tiers.
    pub(super) fn eligible_all(&self, task: usize) -> u32 {
        self.group(task).workers.iter().sum()
    }

    /// Requests a second that those workers can do together.
    pub(super) fn rate(&self, task: usize) -> f64 {
        self.group(task).rate.max(0.0)
    }

    fn group(&self, task: usize) -> &Group {
        let view = &self.tasks[task];
        if self.desperate(task) { &view.barred } else { &view.usable }
    }

    /// Whether this worker may get work of this task.
    pub(super) fn is_eligible(&self, key: u32, task: usize) -> bool {
        match self.seats.get(key as usize).map_or(Standing::Out, |seat| seat.tasks[task].standing) {
            Standing::In => true,
            Standing::Barred => self.desperate(task),
            Standing::Out => false,
        }
    }

    /// Nobody is left but workers that should rather not: then they work.
    fn desperate(&self, task: usize) -> bool {
        self.tasks[task].usable.workers == [0, 0]
    }

    /// Whether any worker has room for this task.
    pub(super) fn has_room(&self, task: usize) -> bool {
        self.tasks[task].index.iter().any(|tier| !tier.is_empty())
    }

    /// The worker of a tier that would finish first, among those wanted.
    pub(super) fn best(&self, task: usize, tier: usize, wanted: impl FnMut(u32) -> bool) -> Option<u32> {
        self.tasks[task].index[tier].find(8, wanted)
    }

    /// What a worker with room was last expected to cost, seconds.
    pub(super) fn cost_of(&self, task: usize, tier: usize, key: u32) -> f64 {
        self.tasks[task].index[tier].key(key).map_or(0.0, |rank| f64::from_bits(rank.0))
    }

    /// The worker without room of a tier that would cost least if it had some, among those wanted, and what it would.
    pub(super) fn best_full(&self, task: usize, tier: usize, wanted: impl FnMut(u32) -> bool) -> Option<(f64, u32)> {
        self.tasks[task].full[tier].least(4, wanted)
    }

    /// Seconds that those who wait for a place at one of a tier's workers without room wait for it on average, where
    /// `waiting` do and all of these workers are like `worker`. What that one holds, over what each of those takes, is
    /// how many places it has a second (Little's law).
    pub(super) fn turn_at_full(&self, task: usize, tier: usize, worker: u32, waiting: usize) -> f64 {
        let each = self.get(worker).map_or(0.0, |w| (w.backlog() + w.rtt) / f64::from(w.held().max(1)));
        waiting as f64 / 2.0 * each / self.tasks[task].full[tier].len().max(1) as f64
    }

    /// Counts a worker again after an attempt of this task began or ended there.
    pub(super) fn touch(&mut self, key: u32, task: usize, around: &Surroundings<'_>) {
        let standing = self.standing(key);
        if self.seats.get(key as usize).is_some_and(|seat| seat.standing == standing) {
            // Its load and maybe the task's cost are all that can have changed, and no timer of it is due the sooner for
            // that: `arm` sees to it.
            self.touches += 1;
            self.count(key, task, standing);
            self.mark_stale(key, false);
        } else {
            self.refresh(key, around);
        }
    }

    /// Counts a worker again after anything about it changed.
    pub(super) fn refresh(&mut self, key: u32, around: &Surroundings<'_>) {
        let mut flipped = 0_u8;
        self.touches += 1;
        let standing = self.standing(key);
        if let Some(seat) = self.seats.get_mut(key as usize) {
            seat.standing = standing;
        }
        for task in 0..TaskType::ALL.len() {
            let before = self.desperate(task);
            self.count(key, task, standing);
            if before != self.desperate(task) {
                flipped |= 1 << task;
            }
        }
        self.mark_stale(key, true);
        self.arm(key, around);
        if flipped != 0 {
            let barred = |seat: &Seat| {
                (0..TaskType::ALL.len())
                    .any(|task| flipped & (1 << task) != 0 && seat.tasks[task].standing == Standing::Barred)
            };
            for other in 0..self.seats.len() {
                if barred(&self.seats[other]) {
                    self.mark_stale(other as u32, true);
                }
            }
        }
    }

    fn standing(&self, key: u32) -> Standing {
        match self.get(key) {
            Some(w) if w.alive() => {
                if w.barred() {
                    Standing::Barred
                } else {
                    Standing::In
                }
            }
            _ => Standing::Out,
        }
    }

    /// Puts a worker of this standing into the counts of a task, in place of what was counted of it before.
    fn count(&mut self, key: u32, task: usize, standing: Standing) {
        let worker = self.workers.get(key as usize).and_then(Option::as_deref);
        let new = match worker {
            Some(w) if w.can(task) && standing != Standing::Out => {
                Counted { standing, ability: w.abilities[task], rate: 1.0 / w.costs[task].unit() }
            }
            _ => Counted::default(),
        };
        let Some(seat) = self.seats.get_mut(key as usize) else { return };
        let old = std::mem::replace(&mut seat.tasks[task], new);
        if old == new {
            return; // as with most tasks after most changes
        }
        let view = &mut self.tasks[task];
        for (counted, sign) in [(old, -1), (new, 1)] {
            let Some(tier) = tier_of(counted.ability) else { continue };
            let group = match counted.standing {
                Standing::In => &mut view.usable,
                Standing::Barred => &mut view.barred,
                Standing::Out => continue,
            };
            group.workers[tier] = group.workers[tier].saturating_add_signed(sign);
            group.rate += f64::from(sign) * counted.rate;
            if group.workers == [0, 0] {
                // Nothing of what was rounded away stays.
                group.rate = 0.0;
            }
        }
    }

    /// Sets a worker's timer: to when something is due, or sooner, so that it rings in time for what may
    /// be due if the worker gets work meanwhile.
    pub(super) fn arm(&mut self, key: u32, around: &Surroundings<'_>) {
        let Some(w) = self.get(key) else { return };
        let due = w.due(around.now, Self::stall_limit(w, around), around.config);
        if due == Time::NEVER {
            self.timers.remove(key);
        } else {
            let due = due.min(around.now + around.config.stall_after);
            // Never in the past: a timer that fires must make way for others.
            self.timers.set(key, due.max(around.now + Duration::from_micros(1)));
        }
    }

    /// Seconds that a worker with work may stand still.
    pub(super) fn stall_limit(w: &Worker, around: &Surroundings<'_>) -> f64 {
        let usual = around.config.stall_after.as_secs_f64();
        w.load.iter().zip(&w.costs).zip(around.figures).filter(|((n, _), _)| **n > 0).fold(
            usual,
            |limit, ((_, cost), figures)| {
                let p99 = figures.known.p99.min(around.config.attempt_timeout_max.as_secs_f64() / 3.0);
                limit.max(3.0 * p99).max(3.0 * cost.full())
            },
        )
    }

    /// Whether this worker's breaker may open: never those of more than half of the living workers, and
    /// never that of the last one that can do a task.
    pub(super) fn may_open(&self, key: u32) -> bool {
        let Some(worker) = self.get(key) else { return false };
        let alive = self.iter().filter(|(_, w)| w.alive()).count();
        let open =
            self.iter().filter(|(k, w)| *k != key && w.alive() && w.breaker.state() != BreakerState::Closed).count();
        let others_can = |task: usize| {
            let me = u32::from(self.seats[key as usize].tasks[task].standing == Standing::In);
            self.tasks[task].usable.workers.iter().sum::<u32>() > me
        };
        (open + 1) * 2 <= alive && (0..TaskType::ALL.len()).all(|task| !worker.can(task) || others_can(task))
    }

    /// The resting worker to let through next, if more than half of the living workers rest.
    pub(super) fn one_too_many_open(&self) -> Option<u32> {
        let alive = self.iter().filter(|(_, w)| w.alive()).count();
        let open = || self.iter().filter(|(_, w)| w.alive() && w.breaker.state() == BreakerState::Open);
        if open().count() * 2 <= alive {
            return None;
        }
        open().min_by_key(|(_, w)| w.breaker.reopens_at()).map(|(key, _)| key)
    }

    /// Takes the fleet's median service times again, once a second at most.
    pub(super) fn refresh_medians(&mut self, now: Time) {
        if self.medians_at.is_some_and(|at| now.since(at) < Duration::from_secs(1)) {
            return;
        }
        self.medians_at = Some(now);
        self.medians = self.medians();
    }

    /// For each task the median over the living of what a request takes, seconds.
    pub(super) fn medians(&self) -> PerTask<Option<f64>> {
        std::array::from_fn(|task| {
            let known = self.iter().filter(|(_, w)| w.alive() && w.can(task) && w.costs[task].measured.is_some());
            let mut units: Vec<f64> = known.map(|(_, w)| w.costs[task].unit()).collect();
            let middle = units.len().checked_sub(1)? / 2;
            Some(*units.select_nth_unstable_by(middle, f64::total_cmp).1)
        })
    }
}

/// Full-size models first.
fn tier_of(ability: Ability) -> Option<usize> {
    match ability {
        Ability::None => None,
        Ability::Full => Some(0),
        Ability::Interim | Ability::Fallback => Some(1),
    }
}

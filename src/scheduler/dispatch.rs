//! From the queue to a worker: which request next, where to, and beside which a second try runs.

use std::time::Duration;

use super::stats::KnownAttempts;
use super::ticket::{Phase, Running, Ticket};
use super::worker::Worker;
use super::{Action, AttemptId, Dispatch, DispatchKind, PerTask, Scheduler, Time, WorkerKey};
use crate::protocol::ProblemCode;

/// After this long, an attempt of which nothing is known is looked at again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Where a waiting request could go now.
#[derive(Clone, Copy, Debug)]
enum Choice {
    /// To this worker.
    Worker(u32),
    /// Nowhere; something else must happen first, or this time must come.
    Wait(Time),
    /// It would be too late wherever it went.
    Hopeless,
}

impl Scheduler {
    /// Gives out whatever can be given out.
    pub(super) fn pump(&mut self, out: &mut Vec<Action>) {
        self.release_parked();
        self.reconsider_at = Time::NEVER;
        // The first of each task for which there may be a worker: among tasks, too, the earliest virtual deadline goes first.
        let mut firsts: PerTask<_> = std::array::from_fn(|task| self.queue.first(task));
        while let Some((_, task)) = (0..).zip(&firsts).filter_map(|(task, first)| Some(((*first)?, task))).min() {
            self.fleet.rank_stale(task, &mut surroundings!(self));
            let placed = self.fleet.has_room(task) && self.place_one(task, out);
            firsts[task] = if placed { self.queue.first(task) } else { None };
        }
        for (task, figures) in self.stats.tasks.iter_mut().enumerate() {
            if self.queue.ready(task) == 0 {
                figures.saturated_since = None;
            } else if figures.saturated_since.is_none() {
                figures.saturated_since = Some(self.now);
            }
        }
    }

    /// Places the first request of a task that can be placed; false if none can.
    fn place_one(&mut self, task: usize, out: &mut Vec<Action>) -> bool {
        let mut choice = Choice::Wait(Time::NEVER);
        let mut wake = Time::NEVER;
        let mut waits: Option<&Ticket> = None;
        let one_tier = (0..2).any(|tier| self.fleet.best(task, tier, |_| true).is_none());
        let found = self.queue.find(task, |slot| {
            let t = &self.tickets[slot];
            // What was never tried waits at least as long as another one that came no later and has no more time, unless
            // it is more patient in the choice between tiers.
            let plain = one_tier && t.dispatched == 0;
            if plain && waits.is_some_and(|other| other.arrival <= t.arrival && other.deadline <= t.deadline) {
                return false;
            }
            choice = self.choose(slot);
            if let Choice::Wait(until) = choice {
                wake = wake.min(until);
                waits = plain.then_some(t).or(waits);
            }
            !matches!(choice, Choice::Wait(_))
        });
        self.reconsider_at = self.reconsider_at.min(wake);
        match (found, choice) {
            (Some(slot), Choice::Worker(worker)) => {
                self.dispatch(slot, worker, out);
                true
            }
            (Some(slot), Choice::Hopeless) => {
                let late = 1.0 / self.drain_rate(task);
                let refusal = self.refuse(ProblemCode::DeadlineUnmeetable, late);
                self.fail(slot, refusal.code, refusal.retry_after, out);
                true
            }
            _ => false,
        }
    }

    /// Where a waiting request could go now.
    fn choose(&self, slot: u32) -> Choice {
        let t = &self.tickets[slot];
        let task = t.task.index();
        let fresh = |w: u32| !t.has_tried(w);
        let mut best = [0, 1].map(|tier| self.fleet.best(task, tier, fresh));
        if best == [None, None] && t.tried().next().is_some() {
            let tried = t.tried().filter(|&w| self.fleet.is_eligible(w, task)).count() as u32;
            if self.fleet.eligible_all(task) > tried {
                return Choice::Wait(Time::NEVER); // another worker first, and there is one
            }
            best = [0, 1].map(|tier| self.fleet.best(task, tier, |_| true));
        }
        let predict = |key: u32| self.fleet.get(key).map_or(f64::INFINITY, |w| w.predict(task));
        let in_time = |seconds: f64| self.now.plus_secs(seconds) <= t.deadline;
        // Past this, a request takes what it can get.
        let choosy_until = t.deadline.min(t.arrival + self.config.fallback_after);
        let chosen = match best {
            [None, None] => return Choice::Wait(Time::NEVER),
            [Some(full), None] => full,
            [None, Some(fallback)] => {
                let until = choosy_until.min(t.deadline.minus_secs(1.5 * predict(fallback)));
                if self.fleet.eligible(task, 0) > 0 && self.now < until {
                    return Choice::Wait(until);
                }
                fallback
            }
            [Some(full), Some(fallback)] => {
                let waits = self.fleet.get(full).map_or(0.0, Worker::backlog);
                let patient = self.now.plus_secs(waits) <= choosy_until && in_time(predict(full));
                if patient || predict(full) <= predict(fallback) { full } else { fallback }
            }
        };
        // One that has room may be worse than one that will have it: a slow worker, or one that fails. But not where so
        // many wait that their turn there comes too late; and no request waits longer for the better one than the worse
        // one would take, or so long that only the better one would do.
        let tier = usize::from(best[0] != Some(chosen));
        let cost = self.fleet.cost_of(task, tier, chosen);
        let predicted = predict(chosen);
        let last_call = t.deadline.minus_secs(1.5 * predicted);
        let worth_until = t.arrival.plus_secs(cost).min(choosy_until).min(last_call);
        if t.dispatched == 0 && self.now < worth_until {
            let better = |tier: usize| {
                self.fleet.best_full(task, tier, fresh).is_some_and(|(other, full)| {
                    other < cost && other + self.fleet.turn_at_full(task, tier, full, self.queue.ready(task)) < cost
                })
            };
            if (0..=tier).any(better) {
                return Choice::Wait(worth_until);
            }
        }
        // A busy fleet's time is not spent on what will be late; an idle worker may as well try, and
        // what was begun is carried through.
        let idle = self.fleet.get(chosen).is_none_or(|w| w.held() == 0);
        if !idle && t.dispatched == 0 && !in_time(predicted) {
            return Choice::Hopeless;
        }
        Choice::Worker(chosen)
    }

    /// Sends a waiting request to a worker.
    fn dispatch(&mut self, slot: u32, worker: u32, out: &mut Vec<Action>) {
        let t = &mut self.tickets[slot];
        self.queue.leave(slot, t);
        let kind = t.next_kind;
        let extra = std::mem::take(&mut t.has_token);
        if t.dispatched == 0 {
            self.stats.wait.record(self.now, self.now.secs_since(t.arrival));
            self.stats.tasks[t.task.index()].drained(self.now, t.priority, t.order);
        }
        t.phase = Phase::Running;
        t.last_start = self.now;
        let (task, hedged) = (t.task.index(), t.hedged);
        self.tickets[slot].look_at =
            if hedged { Time::NEVER } else { self.late_from(task, worker, Worker::backlog, self.now) };
        self.send(slot, worker, kind, extra, out);
    }

    /// When an attempt that this worker was given at `started`, with `ahead` seconds of work before it, is late enough for
    /// a second one. Of a task of which too little is known, it is when the time that the worker says has passed, and
    /// then what all tasks together are given. Where nothing is known, it is when to ask again.
    fn late_from(&mut self, task: usize, worker: u32, ahead: impl Fn(&Worker) -> f64, started: Time) -> Time {
        let known = self.stats.tasks[task].refresh(self.now);
        let by_all = || {
            let worker = self.fleet.get(worker).filter(|w| w.costs[task].measured.is_some())?;
            let predicted = worker.predict_after(ahead(worker), task);
            Some(KnownAttempts::LATE * predicted + self.stats.hedge_after_any(self.now, &self.config)?)
        };
        match known.hedge_after(&self.config).or_else(by_all) {
            Some(seconds) => started.plus_secs(seconds).max(started + self.config.hedge_min),
            None => self.now + ASK_AGAIN,
        }
    }

    /// Starts an attempt. The request is in no queue.
    fn send(&mut self, slot: u32, worker: u32, kind: DispatchKind, extra: bool, out: &mut Vec<Action>) {
        let t = &mut self.tickets[slot];
        let task = t.task.index();
        let Some(w) = self.fleet.get_mut(worker) else { return };
        let budget = t.deadline.since(self.now);
        let timeout = self.stats.tasks[task].attempt_timeout(w.predict(task), budget.as_secs_f64(), &self.config);
        let timeout = Time::ZERO.plus_secs(timeout).since_start().min(budget);
        let running = Running {
            number: t.dispatched + 1,
            worker,
            started: self.now,
            gives_up: self.now + timeout,
            extra,
            hedge: kind == DispatchKind::Hedge,
        };
        if !t.start(running) {
            return;
        }
        t.dispatched += 1;
        if w.in_flight() == 0 {
            w.moved = self.now; // it stood still because it had nothing to do
        }
        w.load[task] += 1;
        w.figures.sent += 1;
        let attempt = AttemptId { ticket: t.id, number: t.dispatched };
        self.in_flight += 1;
        self.stats.counters.attempts += 1;
        self.stats.counters.retries += u64::from(kind == DispatchKind::Retry);
        self.stats.counters.hedges += u64::from(kind == DispatchKind::Hedge);
        self.stats.attempt_sent(f64::from(u8::from(kind == DispatchKind::Hedge)));
        self.timers.set(slot, &self.tickets[slot]);
        out.push(Action::Dispatch(Dispatch { attempt, worker: WorkerKey(worker), kind, budget, timeout }));
        self.touch_worker(worker, task);
    }

    /// A request's attempt is slower than most: tries it on another worker as well, if that is
    /// affordable now; otherwise looks again a little later.
    pub(super) fn hedge(&mut self, slot: u32, out: &mut Vec<Action>) {
        let t = &mut self.tickets[slot];
        let task = t.task.index();
        t.look_at = Time::NEVER;
        let alone = t.running().next().filter(|_| !t.hedged && t.in_flight() == 1);
        let Some((_, &Running { worker, started, .. })) = alone else {
            self.timers.set(slot, t);
            return;
        };
        // What is known may have changed since it was sent.
        let late = self.late_from(task, worker, |_| 0.0, started);
        if late > self.now {
            self.tickets[slot].look_at = late;
            self.timers.set(slot, &self.tickets[slot]);
            return;
        }
        self.fleet.rank_stale(task, &mut surroundings!(self));
        let t = &self.tickets[slot];
        let known = self.stats.tasks[task].known;
        let worth_it = t.deadline.secs_since(self.now) > known.p50;
        let affordable = self.stats.hedge_share() <= self.stats.tasks[task].hedge_share(&self.config)
            && self.budget.has_room(self.in_flight, &self.config)
            && self.queue.ready(task) <= self.fleet.eligible_all(task) as usize;
        let other = |w: u32| !t.runs_on(w) && !t.has_tried(w);
        let target = (0..2).find_map(|tier| self.fleet.best(task, tier, other));
        match target {
            Some(worker) if worth_it && affordable => {
                self.tickets[slot].hedged = true;
                self.stats.tasks[task].hedged();
                self.budget.take();
                self.send(slot, worker, DispatchKind::Hedge, true, out);
            }
            _ => {
                let again = (known.p95 / 2.0).max(0.05);
                self.tickets[slot].look_at = self.now.plus_secs(again);
                self.timers.set(slot, &self.tickets[slot]);
            }
        }
    }

    /// Lets parked retries into the queue as far as the budget has room.
    fn release_parked(&mut self) {
        while let Some((_, slot)) = self.parked.peek() {
            if !self.budget.has_room(self.in_flight, &self.config) {
                break;
            }
            self.parked.remove(slot);
            self.budget.take();
            let t = &mut self.tickets[slot];
            t.has_token = true;
            t.phase = Phase::Queued;
            self.queue.push(slot, t);
        }
    }
}

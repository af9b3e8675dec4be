//! Workers come, go, fall silent, stand still, fail and recover.
//!
//! Suspicion takes a worker out of rotation before its lease ends; a lost lease takes its work away.
//! Heartbeats say that a worker lives, never that it works: only work closes a breaker.

use std::time::Duration;

use super::fleet::{Fleet, Surroundings};
use super::worker::Worker;
use super::{Action, Check, Hold, Liveness, Scheduler, WorkerKey, WorkerReport, WorkerSpec};
use crate::protocol::{AttemptOutcome, BreakerState, WorkerState};

impl Scheduler {
    /// A worker registers, anew or again.
    pub(super) fn worker_joined(&mut self, key: WorkerKey, spec: &WorkerSpec, out: &mut Vec<Action>) {
        if key.0 as usize >= self.config.max_workers {
            return;
        }
        let now = self.now;
        match self.fleet.get_mut(key.0) {
            Some(w) if w.id == spec.id => {
                w.abilities = spec.abilities;
                w.capacity = spec.capacity;
                w.liveness = spec.liveness;
                w.hold = Hold::Free;
                w.seen = now;
                w.silent = false;
                self.set_reported(key.0, spec.state, out);
            }
            old => {
                if old.is_some() {
                    self.worker_left(key, out);
                }
                let mut worker = Worker::new(spec, now, &self.config);
                if self.has_seasoned_peer(&worker) {
                    worker.ramp_from = Some(now);
                }
                self.fleet.insert(key.0, worker);
                self.settle(key.0, out);
            }
        }
    }

    /// A worker leaves; what it held goes elsewhere.
    pub(super) fn worker_left(&mut self, key: WorkerKey, out: &mut Vec<Action>) {
        let Some(w) = self.fleet.get_mut(key.0) else { return };
        w.reported = WorkerState::Lost;
        w.announced.0 = w.state();
        self.take_back(key.0, out);
        self.refresh_worker(key.0);
        self.fleet.remove(key.0);
        self.keep_half(out);
    }

    /// A heartbeat.
    pub(super) fn worker_reported(&mut self, key: WorkerKey, report: &WorkerReport, out: &mut Vec<Action>) {
        let now = self.now;
        let Some(w) = self.fleet.get_mut(key.0) else { return };
        w.seen = w.seen.max(now - report.age);
        w.silent = now.since(w.seen) >= self.config.suspect_after;
        w.abilities = report.abilities;
        for (cost, said) in w.costs.iter_mut().zip(report.costs) {
            if let Some(said) = said {
                cost.report(now, said);
            }
        }
        // Standing still counts from the moment at which it is seen to have work.
        if report.progress != w.progress || report.in_flight == 0 || w.reported_in_flight == 0 {
            w.moved = now;
            w.stalled = false;
        }
        w.progress = report.progress;
        w.reported_in_flight = report.in_flight;
        w.orphans = w.orphans.min(report.in_flight.saturating_sub(w.in_flight()));
        if w.silent && report.age >= self.config.suspect_after {
            // Its supervisor lives, its serving process does not report: that is no sign of life.
            return self.check_worker(key.0, out);
        }
        self.set_reported(key.0, report.state, out);
    }

    /// A worker's own state became known.
    pub(super) fn set_reported(&mut self, key: u32, state: WorkerState, out: &mut Vec<Action>) {
        let Some(w) = self.fleet.get_mut(key) else { return };
        let before = w.state();
        w.reported = state;
        w.replaced |= matches!(state, WorkerState::Starting | WorkerState::Killed | WorkerState::Crashed);
        if before != WorkerState::Ready && w.state() == WorkerState::Ready {
            self.ready_again(key, out);
        }
        self.settle(key, out);
    }

    /// An operator says what a worker may do.
    pub(super) fn worker_held(&mut self, key: WorkerKey, hold: Hold, out: &mut Vec<Action>) {
        let Some(w) = self.fleet.get_mut(key.0) else { return };
        let before = w.state();
        w.hold = hold;
        if before != WorkerState::Ready && w.state() == WorkerState::Ready {
            self.ready_again(key.0, out);
        }
        self.settle(key.0, out);
    }

    /// An active check ended.
    pub(super) fn worker_checked(&mut self, key: WorkerKey, check: Check, out: &mut Vec<Action>) {
        let now = self.now;
        let Some(w) = self.fleet.get_mut(key.0) else { return };
        let worked = std::mem::take(&mut w.worked_since_check);
        match check {
            Check::Passed => {
                w.check_failed = false;
                if w.liveness == Liveness::ActiveCheck {
                    w.seen = now;
                    return self.set_reported(key.0, WorkerState::Ready, out);
                }
            }
            // A worker that answers requests is well, whatever its health check says.
            Check::Failed => w.check_failed = !worked,
        }
        self.settle(key.0, out);
    }

    /// A worker's timer fired: looks at everything that may be due.
    pub(super) fn check_worker(&mut self, key: u32, out: &mut Vec<Action>) {
        let now = self.now;
        let around = surroundings!(self);
        let Some(w) = self.fleet.get(key) else { return };
        let limit = Duration::from_secs_f64(Fleet::stall_limit(w, &around).clamp(0.0, 1e6));
        let Some(w) = self.fleet.get_mut(key) else { return };
        if w.reports() && w.reported != WorkerState::Lost {
            let quiet = now.since(w.seen);
            w.silent = quiet >= self.config.suspect_after;
            if quiet >= self.config.lease {
                w.reported = WorkerState::Lost;
            }
        }
        if w.may_stall() && now.since(w.moved) >= limit {
            w.stalled = true;
        }
        if w.ramp_from.is_some_and(|from| now.since(from) >= self.config.slow_start) {
            w.ramp_from = None;
        }
        if w.breaker.reopens_at().is_some_and(|at| at <= now) {
            w.breaker.half_open();
            out.push(Action::Breaker { worker: WorkerKey(key), state: BreakerState::HalfOpen });
        }
        self.settle(key, out);
    }

    /// Opens a worker's breaker, if the fleet can do without it.
    pub(super) fn open_breaker(&mut self, key: u32, out: &mut Vec<Action>) {
        // A failed probe goes back to rest; it was not part of what the fleet relied on.
        let probe = self.fleet.get(key).is_some_and(|w| w.breaker.state() == BreakerState::HalfOpen);
        let alone = self.fleet.iter().filter(|(_, w)| w.alive()).count() < 2;
        if !(self.fleet.may_open(key) || probe && !alone) {
            return;
        }
        let chance = self.rng.unit();
        let Some(w) = self.fleet.get_mut(key) else { return };
        w.breaker.open(self.now, chance, &self.config);
        out.push(Action::Breaker { worker: WorkerKey(key), state: BreakerState::Open });
    }

    /// Work closed a worker's breaker: it is eased in again.
    pub(super) fn breaker_closed(&mut self, key: u32, out: &mut Vec<Action>) {
        out.push(Action::Breaker { worker: WorkerKey(key), state: BreakerState::Closed });
        self.back_in_service(key);
    }

    /// A worker is ready that was not: a new process with a clean slate, or the one that was there.
    fn ready_again(&mut self, key: u32, out: &mut Vec<Action>) {
        if let Some(w) = self.fleet.get_mut(key)
            && w.replaced
            && w.begin_anew()
        {
            out.push(Action::Breaker { worker: WorkerKey(key), state: BreakerState::HalfOpen });
        }
        self.back_in_service(key);
    }

    /// A worker serves again after it did not: eased in, where others carry the load meanwhile.
    fn back_in_service(&mut self, key: u32) {
        let eased = self.fleet.get(key).is_some_and(|w| self.has_seasoned_peer(w));
        let now = self.now;
        if let Some(w) = self.fleet.get_mut(key) {
            w.ramp_from = eased.then_some(now);
            w.moved = now;
            w.orphans = 0;
        }
    }

    /// Whether another worker that is not new itself can do all that this one can.
    fn has_seasoned_peer(&self, worker: &Worker) -> bool {
        self.fleet.iter().any(|(_, w)| {
            w.id != worker.id
                && w.alive()
                && !w.barred()
                && self.now.since(w.joined) >= self.config.slow_start
                && (0..w.abilities.len()).all(|task| w.can(task) || !worker.can(task))
        })
    }

    /// After a change: announces it, takes work away from a worker that can't finish it, and counts anew.
    fn settle(&mut self, key: u32, out: &mut Vec<Action>) {
        let Some(w) = self.fleet.get_mut(key) else { return };
        let (state, suspicion) = (w.state(), w.suspicion());
        let (was, suspected) = std::mem::replace(&mut w.announced, (state, suspicion));
        let worker = WorkerKey(key);
        if was != state {
            out.push(Action::WorkerState { worker, from: was, to: state });
        }
        if suspected != suspicion {
            out.push(Action::Suspect { worker, reason: suspicion });
        }
        if !matches!(state, WorkerState::Ready | WorkerState::Draining) {
            self.take_back(key, out);
        }
        self.refresh_worker(key);
        if was != state || suspected != suspicion {
            self.keep_half(out);
        }
    }

    /// Takes all work away from a worker; it goes to others at once.
    fn take_back(&mut self, key: u32, out: &mut Vec<Action>) {
        if self.fleet.get(key).is_some_and(|w| w.in_flight() > 0) {
            let lane_of = |slot: u32| self.tickets[slot].running().find(|(_, r)| r.worker == key).map(|(lane, _)| lane);
            let mut places: Vec<_> = self
                .timers
                .running()
                .filter_map(|slot| Some((self.tickets[slot].sequence, slot, lane_of(slot)?)))
                .collect();
            places.sort_unstable();
            for (_, slot, lane) in places {
                self.end_attempt(slot, lane, AttemptOutcome::ConnectionLost, out);
            }
        }
        if let Some(w) = self.fleet.get_mut(key) {
            w.orphans = 0;
        }
    }

    /// Fewer workers live now: lets breakers through until no more than half of those rest.
    fn keep_half(&mut self, out: &mut Vec<Action>) {
        while let Some(key) = self.fleet.one_too_many_open() {
            if let Some(w) = self.fleet.get_mut(key) {
                w.breaker.half_open();
            }
            out.push(Action::Breaker { worker: WorkerKey(key), state: BreakerState::HalfOpen });
            self.refresh_worker(key);
        }
    }

    /// Counts a worker again after anything about it changed.
    pub(super) fn refresh_worker(&mut self, key: u32) {
        self.fleet.refresh(key, &surroundings!(self));
    }

    /// The same after an attempt of this task began or ended there.
    pub(super) fn touch_worker(&mut self, key: u32, task: usize) {
        self.fleet.touch(key, task, &surroundings!(self));
    }

    /// The scheduler itself was not run for a while: silence and slowness in that time are not the
    /// workers' doing.
    pub(super) fn forgive(&mut self, pause: Duration) {
        for (_, w) in self.fleet.iter_mut() {
            w.seen = (w.seen + pause).min(self.now);
            w.moved = (w.moved + pause).min(self.now);
        }
        let mut running = Vec::new();
        for (slot, t) in self.tickets.iter() {
            if t.in_flight() > 0 {
                running.push(slot);
            }
        }
        for slot in running {
            let t = &mut self.tickets[slot];
            t.extend(pause);
            self.timers.set(slot, t);
        }
        let keys: Vec<u32> = self.fleet.iter().map(|(key, _)| key).collect();
        let around: Surroundings<'_> = surroundings!(self);
        for key in keys {
            self.fleet.arm(key, &around);
        }
    }
}

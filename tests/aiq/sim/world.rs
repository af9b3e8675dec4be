//! The world around a policy: clients, network, workers, in virtual time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use aiq::config::SchedulerConfig;
use aiq::protocol::{AttemptOutcome, Priority, TaskType, WorkerId, WorkerState};
use aiq::scheduler::*;

use super::checker::Checker;
use super::policies::Policy;
use super::scenario::{Fault, Rng, Scenario};
use super::worker::Worker;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrival,
    Leaves(TicketId),
    /// A request reaches a worker.
    Reaches(u32, AttemptId),
    /// A batch of this number is done.
    BatchDone(u32, u64),
    /// An answer reaches the coordinator, of the batch size and compute time in nanoseconds.
    Reply(AttemptId, u8, Measured),
    Beat(u32),
    Begins(usize),
    Ends(usize),
    Wakeup,
}

/// Queue and compute nanoseconds, and batch size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Measured(u64, u64, u32);

const OUTCOMES: [AttemptOutcome; 4] =
    [AttemptOutcome::Success, AttemptOutcome::Failed, AttemptOutcome::ConnectionLost, AttemptOutcome::Cancelled];

pub(super) struct World<'a, P> {
    scenario: &'a Scenario,
    pub(super) policy: P,
    pub(super) checker: Checker,
    rng: Rng,
    now: Time,
    /// The latest time that the scheduler was shown.
    shown: Time,
    agenda: BinaryHeap<Reverse<(Time, u64, Happening)>>,
    happened: u64,
    workers: Vec<Worker>,
    /// Until when the coordinator is stopped.
    stopped_until: Time,
    next_ticket: u64,
    /// The earliest wakeup on the agenda.
    wakeup: Time,
    /// Where each dispatched attempt is, until its end is known to the coordinator.
    at: HashMap<AttemptId, u32>,
    out: Vec<Action>,
}

impl<'a, P: Policy> World<'a, P> {
    pub(super) fn new(scenario: &'a Scenario, policy: P, config: SchedulerConfig) -> Self {
        let strict = scenario.name.starts_with("seed");
        let mut world = Self {
            scenario,
            policy,
            checker: Checker::new(config, scenario.capacity, strict),
            rng: Rng(scenario.seed),
            now: Time::ZERO,
            shown: Time::ZERO,
            agenda: BinaryHeap::new(),
            happened: 0,
            workers: Vec::new(),
            stopped_until: Time::ZERO,
            next_ticket: 0,
            wakeup: Time::NEVER,
            at: HashMap::new(),
            out: Vec::new(),
        };
        for key in 0..scenario.workers as u32 {
            let fallback = world.rng.chance(scenario.fallbacks);
            world.workers.push(Worker::new(fallback));
            let spec = WorkerSpec {
                id: WorkerId::try_new(format!("worker-{key}")).unwrap(),
                abilities: [if fallback { Ability::Fallback } else { Ability::Full }; 4],
                capacity: scenario.capacity,
                state: WorkerState::Ready,
                liveness: Liveness::Heartbeat,
            };
            let joined = Event::WorkerJoined { worker: WorkerKey(key), spec: Box::new(spec) };
            world.policy.handle(Time::ZERO, joined, &mut Vec::new());
            let phase = world.rng.unit();
            world.plan(0.001 * phase, Happening::Beat(key));
            world.plan(phase, Happening::Beat(key));
        }
        for (i, incident) in scenario.incidents.iter().enumerate() {
            world.plan(incident.from, Happening::Begins(i));
            world.plan(incident.to, Happening::Ends(i));
        }
        world.plan(0.01, Happening::Arrival);
        world
    }

    fn plan(&mut self, after: f64, what: Happening) {
        self.plan_at(self.now.plus_secs(after), what);
    }

    fn plan_at(&mut self, at: Time, what: Happening) {
        self.happened += 1;
        self.agenda.push(Reverse((at, self.happened, what)));
    }

    /// Runs until every deadline has passed.
    pub(super) fn run(&mut self) -> Result<(), String> {
        let end =
            Time::from_secs_f64(self.scenario.seconds + self.scenario.timeout.1.max(self.scenario.timeout.0) + 8.0);
        while let Some(Reverse((at, _, what))) = self.agenda.pop() {
            if at > end {
                break;
            }
            self.now = at;
            self.happen(what)?;
            if self.happened.is_multiple_of(64) {
                let stopped = self.now <= self.stopped_until;
                self.checker.still(self.now, stopped)?;
            }
        }
        Ok(())
    }

    fn happen(&mut self, what: Happening) -> Result<(), String> {
        let reaches_coordinator = !matches!(
            what,
            Happening::Reaches(..) | Happening::BatchDone(..) | Happening::Begins(_) | Happening::Ends(_)
        );
        if reaches_coordinator && self.now < self.stopped_until {
            if what == Happening::Wakeup {
                self.wakeup = Time::NEVER;
            }
            self.plan_at(self.stopped_until, what);
            return Ok(());
        }
        match what {
            Happening::Arrival => self.arrive(),
            Happening::Leaves(ticket) => self.tell(Event::Cancelled { ticket }),
            Happening::Reaches(key, attempt) => {
                self.reach(key, attempt);
                Ok(())
            }
            Happening::BatchDone(key, number) => {
                self.batch_done(key, number);
                Ok(())
            }
            Happening::Reply(attempt, outcome, measured) => self.reply(attempt, OUTCOMES[outcome as usize], measured),
            Happening::Beat(key) => self.beat(key),
            Happening::Begins(i) => {
                self.begins(i);
                Ok(())
            }
            Happening::Ends(i) => {
                self.ends(i);
                Ok(())
            }
            Happening::Wakeup => {
                self.wakeup = Time::NEVER;
                self.tell(Event::Tick)
            }
        }
    }

    fn tell(&mut self, event: Event) -> Result<(), String> {
        // A clock that steps back must not matter.
        let back = if self.rng.chance(self.scenario.clock_steps) { self.rng.between(0.0, 2.0) } else { 0.0 };
        let shown = self.now - Duration::from_secs_f64(back);
        self.shown = self.shown.max(shown);
        if let Event::Submitted(submission) = &event {
            // It arrived when the scheduler saw it arrive.
            self.checker.submitted(self.shown, submission);
        }
        let mut out = std::mem::take(&mut self.out);
        let ended = if let Event::AttemptEnded { attempt, .. } = &event { Some(*attempt) } else { None };
        self.policy.handle(shown, event, &mut out);
        // Its time may have run out in the very same call.
        let cut_off = |a: &Action| matches!(a, Action::CancelAttempt { attempt, .. } if Some(*attempt) == ended);
        if let Some(attempt) = ended.filter(|_| !out.iter().any(cut_off)) {
            self.checker.ended(attempt);
        }
        for action in out.drain(..) {
            self.checker.action(self.now, self.shown, &action)?;
            match action {
                Action::Dispatch(d) => {
                    self.at.insert(d.attempt, d.worker.0);
                    let (low, high) = self.scenario.delay;
                    let delay = self.rng.between(low, high);
                    self.plan(delay, Happening::Reaches(d.worker.0, d.attempt));
                }
                Action::CancelAttempt { attempt, worker } => {
                    self.at.remove(&attempt);
                    self.workers[worker.0 as usize].queue.retain(|(a, _)| *a != attempt);
                }
                _ => {}
            }
        }
        self.out = out;
        if let Some(at) = self.policy.next_wakeup()
            && at < self.wakeup
        {
            self.wakeup = at;
            self.plan_at(at.max(self.now), Happening::Wakeup);
        }
        Ok(())
    }

    fn arrive(&mut self) -> Result<(), String> {
        if self.now < Time::from_secs_f64(self.scenario.seconds) {
            let gap = self.rng.exponential(1.0 / self.scenario.rate);
            self.plan(gap, Happening::Arrival);
        }
        let ticket = TicketId(self.next_ticket);
        self.next_ticket += 1;
        let priority = [Priority::Normal, Priority::Normal, Priority::High, Priority::Low][self.rng.below(4)];
        let (low, high) = self.scenario.timeout;
        let timeout = self.rng.between(low, high);
        if self.rng.chance(self.scenario.leaves) {
            let after = self.rng.between(0.0, timeout.min(1.0));
            self.plan(after, Happening::Leaves(ticket));
        }
        let submission = Submission {
            ticket,
            task: TaskType::ALL[self.rng.below(self.scenario.tasks)],
            priority,
            deadline: self.now.plus_secs(timeout),
            bytes: 500,
        };
        self.tell(Event::Submitted(submission))
    }

    fn answer(&mut self, key: u32, attempt: AttemptId, outcome: u8, measured: Measured) {
        // What a partitioned worker says is lost.
        if self.at.contains_key(&attempt) && !self.workers[key as usize].partitioned {
            self.plan(0.0002, Happening::Reply(attempt, outcome, measured));
        }
    }

    fn reply(&mut self, attempt: AttemptId, outcome: AttemptOutcome, m: Measured) -> Result<(), String> {
        self.at.remove(&attempt);
        if !self.checker.is_out(attempt) {
            // Cancelled while the answer was on its way: a real shell may report it all the same.
            return self.tell(Event::AttemptEnded { attempt, outcome, timing: None });
        }
        let timing = Timing { queued: m.0 as f64 * 1e-9, computed: m.1 as f64 * 1e-9, batch_size: m.2 };
        let timing = (outcome == AttemptOutcome::Success).then_some(timing);
        self.tell(Event::AttemptEnded { attempt, outcome, timing })
    }

    fn reach(&mut self, key: u32, attempt: AttemptId) {
        let roll = self.rng.unit();
        let s = self.scenario;
        let (now, w) = (self.now, &mut self.workers[key as usize]);
        if w.partitioned || !self.at.contains_key(&attempt) {
            return;
        }
        match w.state {
            WorkerState::Ready if w.fails || roll < s.crash => self.answer(key, attempt, 1, Measured::default()),
            WorkerState::Ready if roll < s.crash + s.swallow => {}
            WorkerState::Ready => {
                w.queue.push_back((attempt, now));
                self.start(key);
            }
            WorkerState::Draining => self.answer(key, attempt, 3, Measured::default()),
            _ => self.answer(key, attempt, 2, Measured::default()),
        }
    }

    fn start(&mut self, key: u32) {
        let w = &mut self.workers[key as usize];
        if !w.batch.is_empty() || w.frozen || w.hung || w.state == WorkerState::Crashed {
            return;
        }
        // What nobody waits for any more is not computed.
        let (now, checker) = (self.now, &self.checker);
        w.queue.retain(|(a, _)| checker.deadline_of(a.ticket).is_some_and(|d| d > now) && checker.is_out(*a));
        let Some(task) = w.queue.front().and_then(|(a, _)| checker.task_of(a.ticket)) else { return };
        let (mut batch, mut rest) = (Vec::new(), VecDeque::new());
        for item in w.queue.drain(..) {
            if batch.len() < self.scenario.max_batch && checker.task_of(item.0.ticket) == Some(task) {
                batch.push(item);
            } else {
                rest.push_back(item);
            }
        }
        w.queue = rest;
        let n = batch.len() as f64;
        w.batch = batch;
        w.batch_number += 1;
        w.batch_started = now;
        w.progress += 1;
        let noise = 0.9 + 0.2 * self.rng.unit() + if self.rng.chance(0.02) { 1.0 } else { 0.0 };
        let seconds = (self.scenario.fixed + self.scenario.per_item * n) * self.scenario.sizes[task] * w.slow * noise;
        let number = w.batch_number;
        self.plan(seconds, Happening::BatchDone(key, number));
    }

    fn batch_done(&mut self, key: u32, number: u64) {
        let w = &mut self.workers[key as usize];
        if w.batch_number != number || w.batch.is_empty() {
            return;
        }
        if w.frozen || w.hung {
            // Looks again later; when it can move, it is done.
            return self.plan(0.05, Happening::BatchDone(key, number));
        }
        w.progress += 1;
        w.felt_slow += 0.2 * (w.slow - w.felt_slow);
        let batch = std::mem::take(&mut w.batch);
        let started = w.batch_started;
        let computed = self.now.since(started).as_nanos() as u64;
        for (attempt, arrived) in &batch {
            let queued = started.since(*arrived).as_nanos() as u64;
            self.answer(key, *attempt, 0, Measured(queued, computed, batch.len() as u32));
        }
        self.start(key);
    }

    fn beat(&mut self, key: u32) -> Result<(), String> {
        self.plan(1.0, Happening::Beat(key));
        let (scenario, now) = (self.scenario, self.now);
        let w = &mut self.workers[key as usize];
        if w.frozen || w.partitioned {
            return Ok(());
        }
        w.last_report = now;
        let cost = |size: f64| Cost {
            fixed: scenario.fixed * size * w.felt_slow,
            per_item: scenario.per_item * size * w.felt_slow,
            max_batch: scenario.max_batch as u32,
        };
        let report = WorkerReport {
            state: w.state,
            age: Duration::ZERO,
            in_flight: (w.queue.len() + w.batch.len()) as u32,
            progress: w.progress,
            costs: scenario.sizes.map(|size| Some(cost(size))),
            abilities: [if w.fallback { Ability::Fallback } else { Ability::Full }; 4],
        };
        self.tell(Event::WorkerReported { worker: WorkerKey(key), report: Box::new(report) })
    }

    fn begins(&mut self, i: usize) {
        let incident = self.scenario.incidents[i];
        let key = incident.worker as u32;
        let w = &mut self.workers[incident.worker];
        match incident.fault {
            Fault::Crash => {
                w.state = WorkerState::Crashed;
                let lost: Vec<_> = w.queue.drain(..).chain(w.batch.drain(..)).collect();
                for (attempt, _) in lost {
                    self.answer(key, attempt, 2, Measured::default());
                }
            }
            Fault::Freeze => w.frozen = true,
            Fault::Hang => w.hung = true,
            Fault::Slow(factor) => w.slow = factor,
            Fault::Partition => w.partitioned = true,
            Fault::FailFast => w.fails = true,
            Fault::Drain => {
                if w.state == WorkerState::Ready {
                    w.state = WorkerState::Draining;
                    for (attempt, _) in w.queue.drain(..).collect::<Vec<_>>() {
                        self.answer(key, attempt, 3, Measured::default());
                    }
                }
            }
            Fault::Pause => self.stopped_until = self.stopped_until.max(Time::from_secs_f64(incident.to)),
        }
    }

    fn ends(&mut self, i: usize) {
        let incident = self.scenario.incidents[i];
        let w = &mut self.workers[incident.worker];
        match incident.fault {
            Fault::Crash | Fault::Drain => w.state = WorkerState::Ready,
            Fault::Freeze => w.frozen = false,
            Fault::Hang => w.hung = false,
            Fault::Slow(_) => w.slow = 1.0,
            Fault::Partition => w.partitioned = false,
            Fault::FailFast => w.fails = false,
            Fault::Pause => {}
        }
        self.start(incident.worker as u32);
    }
}

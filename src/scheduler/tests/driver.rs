//! A scheduler in a test's hands: virtual time, every timer honoured, every action kept.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::SchedulerConfig;
use crate::protocol::{AttemptOutcome, Priority, ProblemCode, TaskType, WorkerId, WorkerState};
use crate::scheduler::*;

pub(super) const TEXT: TaskType = TaskType::TextClassification;
pub(super) const IMAGE: TaskType = TaskType::ImageClassification;

pub(super) struct Driver {
    pub(super) scheduler: Scheduler,
    pub(super) now: Time,
    /// Every action so far, with its time.
    pub(super) log: Vec<(Time, Action)>,
    /// Attempts that a worker has, in the order in which they were sent.
    pub(super) running: Vec<Dispatch>,
    next: u64,
    /// Heartbeats are sent each second for these workers, with this progress.
    pub(super) beating: BTreeMap<u32, u64>,
    next_beat: Time,
    costs: BTreeMap<u32, PerTask<Cost>>,
    /// Seconds of each attempt that are the network's; 20 ms are the model's, the rest is the worker's queue.
    pub(super) network: f64,
}

impl Driver {
    pub(super) fn new(config: SchedulerConfig) -> Self {
        Self {
            scheduler: Scheduler::new(config, 7),
            now: Time::ZERO,
            log: Vec::new(),
            running: Vec::new(),
            next: 0,
            beating: BTreeMap::new(),
            next_beat: Time::from_secs_f64(1.0),
            costs: BTreeMap::new(),
            network: 0.0,
        }
    }

    /// With `n` workers, all able to do everything at 20 ms a request, that were there for a while.
    pub(super) fn with_workers(n: u32) -> Self {
        let mut d = Self::new(SchedulerConfig::default());
        for key in 0..n {
            d.join(key, [Ability::Full; 4]);
        }
        d.pass(6.0);
        d.log.clear();
        d
    }

    pub(super) fn join(&mut self, key: u32, abilities: PerTask<Ability>) {
        let spec = WorkerSpec {
            id: WorkerId::try_new(format!("worker-{key}")).unwrap(),
            abilities,
            capacity: 64,
            state: WorkerState::Ready,
            liveness: Liveness::Heartbeat,
        };
        self.send(Event::WorkerJoined { worker: WorkerKey(key), spec: Box::new(spec) });
        self.beating.insert(key, 0);
        self.set_cost(key, 0.02);
    }

    pub(super) fn set_cost(&mut self, key: u32, per_item: f64) {
        self.costs.insert(key, [Cost { fixed: 0.0, per_item, max_batch: 32 }; 4]);
        self.beat(key);
    }

    pub(super) fn set_cost_of(&mut self, key: u32, task: TaskType, per_item: f64) {
        self.costs.get_mut(&key).unwrap()[task.index()] = Cost { fixed: 0.0, per_item, max_batch: 32 };
        self.beat(key);
    }

    /// Its model gains much by batching: it may hold 64.
    pub(super) fn batching(&mut self, key: u32) {
        self.costs.insert(key, [Cost { fixed: 0.02, per_item: 0.0, max_batch: 32 }; 4]);
        self.beat(key);
    }

    pub(super) fn beat(&mut self, key: u32) {
        let report = self.report(key);
        self.send(Event::WorkerReported { worker: WorkerKey(key), report: Box::new(report) });
    }

    pub(super) fn report(&self, key: u32) -> WorkerReport {
        let view = self.scheduler.worker(self.now, WorkerKey(key)).unwrap();
        WorkerReport {
            state: WorkerState::Ready,
            age: Duration::ZERO,
            in_flight: view.in_flight,
            progress: self.beating.get(&key).copied().unwrap_or(0),
            costs: self.costs[&key].map(Some),
            abilities: [Ability::Full; 4],
        }
    }

    /// Tells the scheduler something now.
    pub(super) fn send(&mut self, event: Event) {
        let mut out = Vec::new();
        self.scheduler.handle(self.now, event, &mut out);
        for action in out {
            match &action {
                Action::Dispatch(d) => self.running.push(*d),
                Action::CancelAttempt { attempt, .. } => self.running.retain(|d| d.attempt != *attempt),
                _ => {}
            }
            self.log.push((self.now, action));
        }
    }

    /// Lets time pass; timers fire when they are due, and workers that beat do so each second.
    pub(super) fn pass(&mut self, seconds: f64) {
        let until = self.now.plus_secs(seconds);
        loop {
            let wake = self.scheduler.next_wakeup().unwrap_or(Time::NEVER).max(self.now);
            let next = wake.min(self.next_beat);
            if next > until {
                break;
            }
            self.now = next;
            if self.next_beat <= self.now {
                self.next_beat = self.next_beat + Duration::from_secs(1);
                for key in self.beating.keys().copied().collect::<Vec<_>>() {
                    *self.beating.get_mut(&key).unwrap() += 1;
                    self.beat(key);
                }
            } else {
                self.send(Event::Tick);
            }
        }
        self.now = until;
    }

    pub(super) fn submit(&mut self, task: TaskType, priority: Priority, timeout: f64) -> TicketId {
        let ticket = TicketId(self.next);
        self.next += 1;
        let deadline = self.now.plus_secs(timeout);
        self.send(Event::Submitted(Submission { ticket, task, priority, deadline, bytes: 100 }));
        ticket
    }

    /// A usual request: text, normal priority, 30 s.
    pub(super) fn text(&mut self) -> TicketId {
        self.submit(TEXT, Priority::Normal, 30.0)
    }

    /// Ends a running attempt.
    pub(super) fn end(&mut self, attempt: AttemptId, outcome: AttemptOutcome) {
        let sent = self.dispatches().iter().find(|(_, d)| d.attempt == attempt).map_or(self.now, |(at, _)| *at);
        self.running.retain(|d| d.attempt != attempt);
        let queued = (self.now.secs_since(sent) - 0.02 - self.network).max(0.0);
        let timing = Timing { queued, computed: 0.02, batch_size: 1 };
        let timing = (outcome == AttemptOutcome::Success).then_some(timing);
        self.send(Event::AttemptEnded { attempt, outcome, timing });
    }

    /// Ends the oldest running attempt of a request.
    pub(super) fn end_of(&mut self, ticket: TicketId, outcome: AttemptOutcome) {
        let attempt = self.running_of(ticket)[0].attempt;
        self.end(attempt, outcome);
    }

    /// Every running attempt succeeds, and whatever starts because of that, until nothing runs.
    pub(super) fn finish_all(&mut self) {
        while let Some(d) = self.running.first().copied() {
            self.pass(0.001);
            if self.running.contains(&d) {
                self.end(d.attempt, AttemptOutcome::Success);
            }
        }
    }

    pub(super) fn running_of(&self, ticket: TicketId) -> Vec<Dispatch> {
        self.running.iter().filter(|d| d.attempt.ticket == ticket).copied().collect()
    }

    pub(super) fn on(&self, key: u32) -> usize {
        self.running.iter().filter(|d| d.worker == WorkerKey(key)).count()
    }

    pub(super) fn answers(&self, ticket: TicketId) -> Vec<Answer> {
        let of = |a: &Action| if let Action::Answer(a) = a { Some((**a).clone()) } else { None };
        self.log.iter().filter_map(|(_, a)| of(a)).filter(|a| a.ticket == ticket).collect()
    }

    /// The one answer.
    pub(super) fn answer(&self, ticket: TicketId) -> Answer {
        let answers = self.answers(ticket);
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers[0].clone()
    }

    pub(super) fn code(&self, ticket: TicketId) -> ProblemCode {
        match self.answer(ticket).verdict {
            Verdict::Failure { code, .. } => code,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn succeeded(&self, ticket: TicketId) -> bool {
        matches!(self.answer(ticket).verdict, Verdict::Success { .. })
    }

    /// Dispatches so far, in order.
    pub(super) fn dispatches(&self) -> Vec<(Time, Dispatch)> {
        self.log.iter().filter_map(|(at, a)| if let Action::Dispatch(d) = a { Some((*at, *d)) } else { None }).collect()
    }

    pub(super) fn has(&self, action: &Action) -> bool {
        self.log.iter().any(|(_, a)| a == action)
    }

    /// So many successes that a task's percentiles are known: each took `seconds`, every tenth a tenth more.
    pub(super) fn teach(&mut self, n: usize, seconds: f64) {
        for i in 0..n {
            let t = self.text();
            self.pass(if i % 10 == 0 { 1.1 * seconds } else { seconds });
            if !self.running_of(t).is_empty() {
                self.end_of(t, AttemptOutcome::Success);
            }
        }
        self.log.clear();
    }
}

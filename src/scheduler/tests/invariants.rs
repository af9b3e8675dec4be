//! Whatever happens in whatever order, these hold.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;

use crate::config::SchedulerConfig;
use crate::protocol::{AttemptOutcome, Priority, TaskType, WorkerId, WorkerState};
use crate::scheduler::*;

#[derive(Clone, Debug)]
enum Step {
    Submit {
        task: u8,
        priority: u8,
        timeout_ms: u64,
        bytes: usize,
    },
    Cancel(u8),
    End {
        which: u8,
        outcome: u8,
    },
    Join {
        key: u8,
        abilities: [u8; 4],
        capacity: u32,
    },
    Report {
        key: u8,
        state: u8,
        age_ms: u64,
        cost_ms: u64,
        progress: u8,
    },
    Hold {
        key: u8,
        hold: u8,
    },
    Check {
        key: u8,
        passed: bool,
    },
    Leave(u8),
    Pass(u64),
    /// Time passes without the scheduler being woken.
    Jump(u64),
}

const OUTCOMES: [AttemptOutcome; 9] = [
    AttemptOutcome::Success,
    AttemptOutcome::Success,
    AttemptOutcome::Success,
    AttemptOutcome::Failed,
    AttemptOutcome::ConnectionLost,
    AttemptOutcome::Timeout,
    AttemptOutcome::Busy,
    AttemptOutcome::Rejected,
    AttemptOutcome::Cancelled,
];

const STATES: [WorkerState; 9] = [
    WorkerState::Ready,
    WorkerState::Ready,
    WorkerState::Ready,
    WorkerState::Ready,
    WorkerState::Starting,
    WorkerState::Draining,
    WorkerState::Killed,
    WorkerState::Crashed,
    WorkerState::Killing,
];

fn step() -> impl Strategy<Value = Step> {
    let key = 0..5_u8;
    prop_oneof![
        8 => (0..4_u8, 0..3_u8, 0..3000_u64, 0..400_usize)
            .prop_map(|(task, priority, timeout_ms, bytes)| Step::Submit { task, priority, timeout_ms, bytes }),
        1 => any::<u8>().prop_map(Step::Cancel),
        6 => (any::<u8>(), 0..9_u8).prop_map(|(which, outcome)| Step::End { which, outcome }),
        2 => (key.clone(), prop::array::uniform4(0..3_u8), 0..6_u32)
            .prop_map(|(key, abilities, capacity)| Step::Join { key, abilities, capacity }),
        3 => (key.clone(), 0..9_u8, 0..6000_u64, 0..300_u64, any::<u8>()).prop_map(
            |(key, state, age_ms, cost_ms, progress)| Step::Report { key, state, age_ms, cost_ms, progress }),
        1 => (key.clone(), 0..3_u8).prop_map(|(key, hold)| Step::Hold { key, hold }),
        1 => (key.clone(), any::<bool>()).prop_map(|(key, passed)| Step::Check { key, passed }),
        1 => key.prop_map(Step::Leave),
        4 => (0..800_u64).prop_map(Step::Pass),
        1 => (0..7000_u64).prop_map(Step::Jump),
    ]
}

/// What the outside can know, kept apart from the scheduler's own books.
#[derive(Default)]
struct Model {
    live: HashMap<TicketId, Submission>,
    answered: HashSet<TicketId>,
    /// Attempts out, with their workers.
    out: HashMap<AttemptId, WorkerKey>,
    used: HashSet<AttemptId>,
    retries: HashMap<TicketId, u32>,
    capacity: HashMap<WorkerKey, u32>,
    abilities: HashMap<WorkerKey, PerTask<Ability>>,
    /// Workers that did not serve before the event that is looked at, and that it is not about.
    unusable: HashSet<WorkerKey>,
    bytes: usize,
}

struct World {
    scheduler: Scheduler,
    config: SchedulerConfig,
    model: Model,
    now: Time,
    next: u64,
}

impl World {
    fn tell(&mut self, event: Event) {
        let subject = match &event {
            Event::WorkerJoined { worker, .. }
            | Event::WorkerReported { worker, .. }
            | Event::WorkerHeld { worker, .. }
            | Event::WorkerChecked { worker, .. } => Some(*worker),
            _ => None,
        };
        let unusable = |v: &WorkerView| v.state != WorkerState::Ready || v.suspicion == Some(Suspicion::Silent);
        let views = self.scheduler.workers(self.now);
        let others = views.iter().filter(|v| unusable(v) && Some(v.key) != subject);
        self.model.unusable = others.map(|v| v.key).collect();
        let mut out = Vec::new();
        self.scheduler.handle(self.now, event, &mut out);
        for action in out {
            self.check(&action);
        }
        self.check_books();
    }

    fn check(&mut self, action: &Action) {
        let m = &mut self.model;
        match action {
            Action::Dispatch(d) => {
                let s = m.live.get(&d.attempt.ticket).expect("only what is live is dispatched");
                assert!(self.now < s.deadline, "nothing starts after its deadline");
                assert_eq!(d.budget, s.deadline.since(self.now));
                assert!(d.timeout <= d.budget);
                assert!(m.used.insert(d.attempt), "an attempt's number is used once");
                assert!(!m.unusable.contains(&d.worker), "nothing goes to who can't work");
                assert!(m.abilities[&d.worker][s.task.index()] != Ability::None, "only the able");
                let same = |(a, w): (&AttemptId, &WorkerKey)| a.ticket == d.attempt.ticket && *w == d.worker;
                assert!(!m.out.iter().any(same), "two attempts never meet on one worker");
                m.out.insert(d.attempt, d.worker);
                let held = m.out.values().filter(|w| **w == d.worker).count() as u32;
                assert!(held <= m.capacity[&d.worker], "capacity holds");
                if d.kind == DispatchKind::Retry {
                    let n = m.retries.entry(d.attempt.ticket).or_default();
                    *n += 1;
                    assert!(*n <= self.config.max_retries);
                }
            }
            Action::CancelAttempt { attempt, worker } => {
                assert_eq!(m.out.remove(attempt), Some(*worker), "only what is out is cancelled");
            }
            Action::Answer(a) => {
                assert!(m.answered.insert(a.ticket), "exactly one answer");
                let s = m.live.remove(&a.ticket).expect("only what was submitted is answered");
                m.bytes -= s.bytes;
                assert!(!m.out.keys().any(|o| o.ticket == a.ticket), "nothing runs on after the answer");
                if let Verdict::Success { .. } = a.verdict {
                    assert!(self.now < s.deadline || a.latency.is_zero(), "success is in time");
                }
            }
            _ => {}
        }
    }

    fn check_books(&self) {
        let (s, m) = (&self.scheduler, &self.model);
        let c = s.counters();
        assert_eq!(
            c.total_requests,
            c.successful_requests + c.failed_requests + c.rejected_requests + c.cancelled_requests
        );
        assert_eq!(c.total_requests, m.answered.len() as u64);
        assert_eq!(c.attempts, m.used.len() as u64);
        assert_eq!(s.live(), m.live.len());
        assert_eq!(s.in_flight(), m.out.len());
        let running: HashSet<_> = m.out.keys().map(|a| a.ticket).collect();
        assert_eq!(s.queued(), m.live.len() - running.len());
        assert!(m.bytes <= self.config.queue_bytes);
        assert!(s.next_wakeup().is_none_or(|at| at > self.now), "nothing due is left undone");
        assert!(m.live.values().all(|s| s.deadline > self.now), "nothing outlives its deadline");
        for (key, worker) in s.fleet.iter() {
            for (task, load) in worker.load.iter().enumerate() {
                let of_task = s.tickets.iter().filter(|(_, t)| t.task.index() == task);
                let here = of_task.filter(|(_, t)| t.runs_on(key)).count();
                assert_eq!(here, *load as usize, "what it has is what runs there");
            }
        }
        let views = s.workers(self.now);
        let mut open = 0;
        let mut alive = 0;
        for v in &views {
            let here = m.out.values().filter(|w| **w == v.key).count() as u32;
            assert_eq!(v.in_flight, here);
            if !matches!(v.state, WorkerState::Ready | WorkerState::Draining) {
                assert_eq!(here, 0, "nothing stays on a worker that is gone");
            }
            if v.healthy || v.suspicion == Some(Suspicion::Stalled) || v.suspicion == Some(Suspicion::CheckFailed) {
                alive += 1;
                open += usize::from(v.breaker == crate::protocol::BreakerState::Open);
            }
        }
        assert!(open * 2 <= alive.max(1), "{open} of {alive} breakers are open");
    }

    fn pass(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while let Some(wake) = self.scheduler.next_wakeup().filter(|w| *w <= until) {
            self.now = self.now.max(wake);
            self.tell(Event::Tick);
        }
        self.now = until;
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Submit { task, priority, timeout_ms, bytes } => {
                let s = Submission {
                    ticket: TicketId(self.next),
                    task: TaskType::ALL[task as usize],
                    priority: Priority::ALL[priority as usize],
                    deadline: self.now + Duration::from_millis(timeout_ms),
                    bytes,
                };
                self.next += 1;
                self.model.live.insert(s.ticket, s);
                self.model.bytes += bytes;
                self.tell(Event::Submitted(s));
            }
            Step::Cancel(n) => {
                let ticket = TicketId(u64::from(n) % self.next.max(1));
                self.tell(Event::Cancelled { ticket });
            }
            Step::End { which, outcome } => {
                let mut all: Vec<_> = self.model.out.keys().copied().collect();
                all.sort_unstable();
                let Some(&attempt) = all.get(which as usize % all.len().max(1)) else { return };
                self.model.out.remove(&attempt);
                let outcome = OUTCOMES[outcome as usize];
                let timing = (outcome == AttemptOutcome::Success).then_some(Timing {
                    queued: 0.001,
                    computed: 0.03,
                    batch_size: 2,
                });
                self.tell(Event::AttemptEnded { attempt, outcome, timing });
            }
            Step::Join { key, abilities, capacity } => {
                let worker = WorkerKey(u32::from(key));
                let abilities = abilities.map(|a| [Ability::None, Ability::Fallback, Ability::Full][a as usize]);
                let spec = WorkerSpec {
                    id: WorkerId::try_new(format!("w{key}")).unwrap(),
                    abilities,
                    capacity,
                    state: WorkerState::Ready,
                    liveness: if key == 4 { Liveness::ActiveCheck } else { Liveness::Heartbeat },
                };
                self.pass(0);
                self.model.abilities.insert(worker, abilities);
                // What it holds may exceed a capacity that was lowered; what is sent may not.
                self.model.capacity.insert(worker, capacity);
                self.tell(Event::WorkerJoined { worker, spec: Box::new(spec) });
            }
            Step::Report { key, state, age_ms, cost_ms, progress } => {
                let worker = WorkerKey(u32::from(key));
                let Some(&abilities) = self.model.abilities.get(&worker) else { return };
                let state = STATES[state as usize];
                let cost = Cost { fixed: 0.0, per_item: cost_ms as f64 * 1e-3, max_batch: 32 };
                let report = WorkerReport {
                    state,
                    age: Duration::from_millis(age_ms / 4),
                    in_flight: u32::from(progress) % 4,
                    progress: u64::from(progress) / 64,
                    costs: [Some(cost); 4],
                    abilities,
                };
                self.tell(Event::WorkerReported { worker, report: Box::new(report) });
            }
            Step::Hold { key, hold } => {
                let worker = WorkerKey(u32::from(key));
                let hold = [Hold::Free, Hold::Drain, Hold::Kill][hold as usize];
                self.tell(Event::WorkerHeld { worker, hold });
            }
            Step::Check { key, passed } => {
                let check = if passed { Check::Passed } else { Check::Failed };
                self.tell(Event::WorkerChecked { worker: WorkerKey(u32::from(key)), check });
            }
            Step::Leave(key) => self.tell(Event::WorkerLeft { worker: WorkerKey(u32::from(key)) }),
            Step::Pass(ms) => self.pass(ms),
            Step::Jump(ms) => {
                self.now = self.now + Duration::from_millis(ms);
                self.tell(Event::Tick);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_books_balance_and_every_request_ends_once(
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 1..160),
    ) {
        let config = SchedulerConfig { queue_capacity: 12, queue_bytes: 3000, ..SchedulerConfig::default() };
        let scheduler = Scheduler::new(config.clone(), seed);
        let mut w = World { scheduler, config, model: Model::default(), now: Time::ZERO, next: 0 };
        for step in &steps {
            w.step(step);
        }
        // Left alone, everything ends by its deadline.
        w.pass(10_000);
        prop_assert!(w.model.live.is_empty());
        prop_assert_eq!(w.model.answered.len() as u64, w.next);
    }

    #[test]
    fn the_same_seed_gives_the_same_actions(seed in any::<u64>(), steps in proptest::collection::vec(step(), 1..60)) {
        let run = || {
            let mut scheduler = Scheduler::new(SchedulerConfig::default(), seed);
            let mut out = Vec::new();
            for key in 0..3 {
                let spec = WorkerSpec {
                    id: WorkerId::try_new(format!("w{key}")).unwrap(),
                    abilities: [Ability::Full; 4],
                    capacity: 4,
                    state: WorkerState::Ready,
                    liveness: Liveness::Heartbeat,
                };
                scheduler.handle(Time::ZERO, Event::WorkerJoined { worker: WorkerKey(key), spec: Box::new(spec) }, &mut out);
            }
            for (i, step) in steps.iter().enumerate() {
                let now = Time::ZERO + Duration::from_millis(7 * i as u64);
                if let Step::Submit { task, priority, timeout_ms, bytes } = *step {
                    let deadline = now + Duration::from_millis(timeout_ms);
                    let (task, priority) = (TaskType::ALL[task as usize], Priority::ALL[priority as usize]);
                    let s = Submission { ticket: TicketId(i as u64), task, priority, deadline, bytes };
                    scheduler.handle(now, Event::Submitted(s), &mut out);
                } else {
                    scheduler.handle(now, Event::Tick, &mut out);
                }
            }
            out
        };
        prop_assert_eq!(run(), run());
    }
}

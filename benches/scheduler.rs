//! How many decisions a second the scheduler makes on one core.
//!
//! A decision is the whole life of a request in the scheduler: it is submitted, queued, given to the
//! best of the workers that have room, ended and answered.
#![allow(clippy::expect_used, missing_docs, reason = "a benchmark that can't go on should say where")]

use std::collections::VecDeque;
use std::time::Duration;

use aiq::config::SchedulerConfig;
use aiq::protocol::{AttemptOutcome, Priority, TaskType, WorkerId, WorkerState};
use aiq::scheduler::{
    Ability, Action, AttemptId, Cost, Event, Liveness, Scheduler, Submission, TicketId, Time, Timing, WorkerKey,
    WorkerReport, WorkerSpec,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Requests in a measured round.
const ROUND: u64 = 10_000;

/// A fleet, a queue before it, and the attempts that its workers have.
struct Load {
    scheduler: Scheduler,
    now: Time,
    next: u64,
    running: VecDeque<AttemptId>,
    out: Vec<Action>,
    tasks: usize,
}

impl Load {
    fn new(workers: u32, queued: usize, tasks: usize) -> Self {
        let config = SchedulerConfig { queue_capacity: 2 * queued + 1000, ..SchedulerConfig::default() };
        let scheduler = Scheduler::new(config, 1);
        let mut load = Self { scheduler, now: Time::ZERO, next: 0, running: VecDeque::new(), out: Vec::new(), tasks };
        for key in 0..workers {
            let worker = WorkerKey(key);
            let spec = WorkerSpec {
                id: WorkerId::try_new(format!("worker-{key}")).expect("a good name"),
                abilities: [Ability::Full; 4],
                capacity: 64,
                state: WorkerState::Ready,
                liveness: Liveness::Heartbeat,
            };
            load.tell(Event::WorkerJoined { worker, spec: Box::new(spec) });
            let report = WorkerReport {
                state: WorkerState::Ready,
                age: Duration::ZERO,
                in_flight: 0,
                progress: 0,
                costs: [Some(Cost { fixed: 0.0, per_item: 0.001, max_batch: 32 }); 4],
                abilities: [Ability::Full; 4],
            };
            load.tell(Event::WorkerReported { worker, report: Box::new(report) });
        }
        while load.scheduler.queued() < queued {
            load.submit();
        }
        load
    }

    fn tell(&mut self, event: Event) {
        self.scheduler.handle(self.now, event, &mut self.out);
        for action in self.out.drain(..) {
            if let Action::Dispatch(d) = action {
                self.running.push_back(d.attempt);
            }
        }
    }

    fn submit(&mut self) {
        self.next += 1;
        let n = self.next as usize;
        self.tell(Event::Submitted(Submission {
            ticket: TicketId(self.next),
            task: TaskType::ALL[n % self.tasks],
            priority: Priority::ALL[n / 4 % 3],
            deadline: self.now + Duration::from_mins(10),
            bytes: 100,
        }));
    }

    /// One request in, one attempt done, the next one given out.
    fn turn(&mut self) {
        self.now = self.now + Duration::from_nanos(100);
        self.submit();
        if let Some(attempt) = self.running.pop_front() {
            let timing = Some(Timing { queued: 0.0, computed: 0.001, batch_size: 1 });
            self.tell(Event::AttemptEnded { attempt, outcome: AttemptOutcome::Success, timing });
        }
    }
}

fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("scheduler");
    group.throughput(Throughput::Elements(ROUND)).sample_size(20);
    for (workers, queued, tasks) in [(3, 0, 1), (3, 1000, 4), (50, 10_000, 4), (1000, 100_000, 1), (1000, 100_000, 4)] {
        let mut load = Load::new(workers, queued, tasks);
        group.bench_function(format!("{workers} workers, {queued} queued, {tasks} tasks"), |b| {
            b.iter(|| {
                for _ in 0..ROUND {
                    load.turn();
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);

//! Read-only snapshots for `/status`, `/queue/stats`, `/workers` and `/workers/performance`.

use std::time::Duration;

use super::stats::Rolling;
use super::worker::Worker;
use super::{Cost, PerTask, Scheduler, Suspicion, Time, WorkerKey};
use crate::protocol::{
    BreakerState, Counters, LatencySummary, QueueStats, ServiceTime, TaskCount, TaskStats, TaskStatus, TaskType,
    WorkerId, WorkerPerformance, WorkerState,
};

/// What the scheduler knows of one worker: its part of a `WorkerDetail` and of a `WorkerPerformance`.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerView {
    /// Its key.
    pub key: WorkerKey,
    /// Its name.
    pub id: WorkerId,
    /// Where it is in its life.
    pub state: WorkerState,
    /// Ready and not suspect.
    pub healthy: bool,
    /// Why it is suspect, if it is.
    pub suspicion: Option<Suspicion>,
    /// Its circuit breaker.
    pub breaker: BreakerState,
    /// Attempts that it has now.
    pub in_flight: u32,
    /// Most attempts that it gets at once now (of its cheapest task).
    pub credits: u32,
    /// Attempts sent to it.
    pub attempts: u64,
    /// Attempts that it answered.
    pub completed: u64,
    /// Attempts that failed on it.
    pub failed: u64,
    /// Share of recent attempts that succeeded, 0 to 1.
    pub success_rate: f64,
    /// 100 · success · min(1, fleet median service time / its own).
    pub score: f64,
    /// Answers a second over the last 10 s.
    pub throughput: f64,
    /// Attempt latency over the last minute, seconds.
    pub latency: LatencySummary,
    /// Smoothed network share of an attempt, seconds.
    pub rtt: f64,
    /// What each task takes on it, as far as it is known.
    pub service_times: Vec<ServiceTime>,
    /// Per-task counts, with the latencies of the last minute.
    pub tasks: Vec<TaskStats>,
    /// Since it was last heard of.
    pub last_seen: Duration,
    /// Since it registered.
    pub uptime: Duration,
}

impl From<WorkerView> for WorkerPerformance {
    fn from(v: WorkerView) -> Self {
        Self {
            worker_id: v.id,
            state: v.state,
            healthy: v.healthy,
            performance_score: v.score,
            success_rate: v.success_rate,
            total_requests: v.attempts,
            successful_requests: v.completed,
            failed_requests: v.failed,
            active_tasks: v.in_flight,
            average_latency: v.latency.mean,
            latency: v.latency,
            breaker: v.breaker,
            tasks: v.tasks,
        }
    }
}

impl Scheduler {
    /// Requests that are not answered yet.
    pub fn live(&self) -> usize {
        self.tickets.len()
    }

    /// Requests that wait for a worker.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Attempts that workers have now.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Counts since the start. A request is counted when it is answered, so that
    /// `total = successful + failed + rejected + cancelled` always.
    pub fn counters(&self) -> Counters {
        self.stats.counters
    }

    /// `GET /queue/stats`, with `stored_results` left at zero for the result store to fill in.
    pub fn queue_stats(&self, now: Time) -> QueueStats {
        let now = self.now.max(now);
        let mut healthy = 0;
        let mut busy = 0;
        for (_, w) in self.fleet.iter() {
            healthy += u64::from(is_healthy(w));
            busy += u64::from(w.in_flight() > 0);
        }
        QueueStats {
            queue_size: self.queue.len() as u64,
            active_tasks: (self.tickets.len() - self.queue.len()) as u64,
            total_workers: self.fleet.len() as u64,
            healthy_workers: healthy,
            busy_workers: busy,
            stats: self.stats.counters,
            queue_capacity: self.config.queue_capacity as u64,
            queued_by_priority: self.queue.by_priority(),
            queued_by_task: TaskType::ALL
                .map(|task| TaskCount { task, count: self.queue.waiting(task.index()) as u64 })
                .to_vec(),
            oldest_age: self.oldest_age(now),
            wait: self.stats.wait.summary(now),
            stored_results: 0,
        }
    }

    /// Seconds that the oldest request that is ready to go has waited.
    fn oldest_age(&self, now: Time) -> f64 {
        let slots = (0..TaskType::ALL.len()).flat_map(|task| self.queue.slots(task));
        slots.map(|slot| now.secs_since(self.tickets[slot].arrival)).fold(0.0, f64::max)
    }

    /// Each task: whether it can be served, by how many, how fast.
    pub fn task_status(&self, now: Time) -> Vec<TaskStatus> {
        let now = self.now.max(now);
        let status = |task: TaskType| {
            let figures = &self.stats.tasks[task.index()];
            TaskStatus {
                task,
                workers: self.fleet.eligible_all(task.index()),
                full_size: self.fleet.eligible(task.index(), 0),
                throughput: figures.throughput(now),
                latency: figures.latency.summary(now),
            }
        };
        TaskType::ALL.map(status).to_vec()
    }

    /// Answers with a result, a second, over the last 10 s.
    pub fn throughput(&self, now: Time) -> f64 {
        let now = self.now.max(now);
        self.stats.tasks.iter().map(|figures| figures.throughput(now)).sum()
    }

    /// Share of requests that failed over the last minute, 0 to 1. Refused ones and those with bad
    /// input are not among them.
    pub fn error_rate(&self, now: Time) -> f64 {
        let now = self.now.max(now);
        let failed = f64::from(self.stats.failed.sum(now, Duration::from_mins(1)));
        let ok = f64::from(self.stats.ok.sum(now, Duration::from_mins(1)));
        failed / (failed + ok).max(1.0)
    }

    /// Latency of answered requests over the last minute, seconds.
    pub fn latency(&self, now: Time) -> LatencySummary {
        Rolling::merged(self.stats.tasks.iter().map(|figures| &figures.latency), self.now.max(now))
    }

    /// What is known of one worker.
    pub fn worker(&self, now: Time, key: WorkerKey) -> Option<WorkerView> {
        Some(self.view(key.0, self.fleet.get(key.0)?, self.now.max(now), &self.fleet.medians()))
    }

    /// What is known of every worker, by key.
    pub fn workers(&self, now: Time) -> Vec<WorkerView> {
        let medians = self.fleet.medians();
        self.fleet.iter().map(|(key, w)| self.view(key, w, self.now.max(now), &medians)).collect()
    }

    fn view(&self, key: u32, w: &Worker, now: Time, medians: &PerTask<Option<f64>>) -> WorkerView {
        let able = || TaskType::ALL.into_iter().filter(|task| w.can(task.index()));
        let success_rate = w.success.share(now, self.config.success_half_life);
        let pace = |task: TaskType| {
            let cost = &w.costs[task.index()];
            let median = medians[task.index()].filter(|_| cost.measured.is_some())?;
            Some((median / cost.unit()).min(1.0))
        };
        let paces: Vec<f64> = able().filter_map(pace).collect();
        let mean_pace = if paces.is_empty() { 1.0 } else { paces.iter().sum::<f64>() / paces.len() as f64 };
        let service_time = |task: TaskType| {
            let cost = &w.costs[task.index()];
            let Cost { fixed, per_item, max_batch } = cost.line();
            cost.measured?;
            Some(ServiceTime { task, seconds: cost.unit(), fixed, per_item, max_batch })
        };
        let task_stats = |task: TaskType| {
            let latency = w.figures.latency[task.index()].summary(now);
            TaskStats {
                task,
                completed: w.figures.completed[task.index()],
                failed: w.figures.failed[task.index()],
                p50: latency.p50,
                p99: latency.p99,
            }
        };
        WorkerView {
            key: WorkerKey(key),
            id: w.id.clone(),
            state: w.state(),
            healthy: is_healthy(w),
            suspicion: w.suspicion(),
            breaker: w.breaker.state(),
            in_flight: w.in_flight(),
            credits: able().map(|task| w.credits(task.index(), now, &self.config)).max().unwrap_or(0),
            attempts: w.figures.sent,
            completed: w.figures.completed.iter().sum(),
            failed: w.figures.failed.iter().sum(),
            success_rate,
            score: 100.0 * success_rate * mean_pace,
            throughput: f64::from(w.figures.done.sum(now, Duration::from_secs(10))) / 10.0,
            latency: Rolling::merged(&w.figures.latency, now),
            rtt: w.rtt,
            service_times: able().filter_map(service_time).collect(),
            tasks: able().map(task_stats).collect(),
            last_seen: now.since(w.seen),
            uptime: now.since(w.joined),
        }
    }
}

fn is_healthy(w: &Worker) -> bool {
    w.state() == WorkerState::Ready && w.suspicion().is_none()
}

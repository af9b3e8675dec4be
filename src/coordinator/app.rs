//! What the routes stand on: the core, the event stream, and the views of both.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::api::Room;
use super::core::Core;
use super::events::{Events, now_ms};
use super::metrics::Refused;
use crate::config::CoordinatorConfig;
use crate::protocol::{
    Event, EventKind, Problem, QueueStats, Snapshot, Status, WorkerDetail, WorkerId, WorkerPerformance,
    WorkersPerformance,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) core: Arc<Core>,
    pub(crate) events: Arc<Events>,
    pub(crate) config: Arc<CoordinatorConfig>,
    /// Submissions that never became requests.
    pub(crate) refused: Refused,
    /// Room for bodies on their way in.
    pub(crate) room: Room,
    /// Ends every stream when the process does.
    pub(crate) closing: CancellationToken,
}

impl App {
    /// `GET /status`.
    pub(crate) fn status(&self) -> Status {
        let run_state = self.core.run_state();
        let durability = self.core.store.durability().to_owned();
        let state = self.core.lock();
        let now = self.core.now();
        let queue = self.counted(state.scheduler.queue_stats(now));
        Status {
            status: run_state,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.core.uptime().as_secs_f64(),
            total_workers: queue.total_workers,
            healthy_workers: queue.healthy_workers,
            queue_size: queue.queue_size,
            active_tasks: queue.active_tasks,
            throughput: state.scheduler.throughput(now),
            error_rate: state.scheduler.error_rate(now),
            latency: state.scheduler.latency(now),
            tasks: state.scheduler.task_status(now),
            durability,
            stats: queue.stats,
        }
    }

    /// `GET /queue/stats`.
    pub(crate) fn queue_stats(&self) -> QueueStats {
        let stored_results = self.core.store.len() as u64;
        let stats = self.core.lock().scheduler.queue_stats(self.core.now());
        QueueStats { stored_results, ..self.counted(stats) }
    }

    /// With those refused at the door, whom the scheduler never saw.
    fn counted(&self, mut queue: QueueStats) -> QueueStats {
        let unseen = self.refused.queue_full();
        queue.stats.total_requests += unseen;
        queue.stats.rejected_requests += unseen;
        queue
    }

    /// `GET /workers/performance`.
    pub(crate) fn performance(&self) -> WorkersPerformance {
        let mut views = self.core.lock().scheduler.workers(self.core.now());
        views.sort_by(|a, b| a.id.cmp(&b.id));
        let performance = |w: crate::scheduler::WorkerView| WorkerPerformance {
            worker_id: w.id,
            state: w.state,
            healthy: w.healthy,
            performance_score: w.score,
            success_rate: w.success_rate,
            total_requests: w.attempts,
            successful_requests: w.completed,
            failed_requests: w.failed,
            active_tasks: w.in_flight,
            average_latency: w.latency.mean,
            latency: w.latency,
            breaker: w.breaker,
            tasks: w.tasks,
        };
        WorkersPerformance { workers: views.into_iter().map(performance).collect() }
    }

    /// `GET /workers`.
    pub(crate) fn workers(&self) -> Vec<WorkerDetail> {
        let state = self.core.lock();
        let views = state.scheduler.workers(self.core.now());
        let mut workers: Vec<_> =
            views.into_iter().filter_map(|v| Some(detail(state.members.get(v.key)?, v))).collect();
        workers.sort_by(|a, b| a.worker_id.cmp(&b.worker_id));
        workers
    }

    /// `GET /workers/{id}`.
    pub(crate) fn worker(&self, id: &WorkerId) -> Result<WorkerDetail, Problem> {
        let state = self.core.lock();
        let found = state
            .members
            .key(id)
            .and_then(|key| Some(detail(state.members.get(key)?, state.scheduler.worker(self.core.now(), key)?)));
        found.ok_or_else(|| super::membership::unknown(id))
    }

    /// Everything at once.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { status: self.status(), queue: self.queue_stats(), workers: self.workers() }
    }

    /// A new reader's first event, with the number of the last one before it.
    pub(crate) fn first_snapshot(&self, last_seq: u64) -> Event {
        Event { seq: last_seq, at_ms: now_ms(), kind: EventKind::Snapshot(Box::new(self.snapshot())) }
    }

    /// Publishes a snapshot each second while anybody reads, for ever.
    pub(crate) async fn run_snapshots(self: Arc<Self>) {
        let mut every = tokio::time::interval(std::time::Duration::from_secs(1));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if self.events.is_read() {
                self.events.publish(|| EventKind::Snapshot(Box::new(self.snapshot())));
            }
        }
    }
}

fn detail(member: &super::membership::Member, view: crate::scheduler::WorkerView) -> WorkerDetail {
    let beat = member.beat.as_ref();
    let said = &member.registration;
    let reason = match (view.healthy, view.suspicion) {
        (_, Some(suspicion)) => suspicion.as_str().to_owned(),
        (true, None) => String::new(),
        (false, None) => view.state.to_string(),
    };
    WorkerDetail {
        worker_id: view.id,
        url: said.url.clone(),
        state: view.state,
        healthy: view.healthy,
        suspect: view.suspicion.is_some(),
        reason,
        breaker: view.breaker,
        in_flight: view.in_flight,
        credits: view.credits,
        queue_depth: beat.map_or(0, |b| b.queue_depth),
        completed: view.completed,
        failed: view.failed,
        success_rate: view.success_rate,
        score: view.score,
        throughput: view.throughput,
        latency: view.latency,
        rtt: view.rtt,
        service_times: view.service_times,
        tasks: view.tasks,
        mean_batch_size: beat.map_or(0.0, |b| b.mean_batch_size),
        capabilities: member.capabilities().to_vec(),
        capacity: said.capacity,
        last_seen: view.last_seen.as_secs_f64(),
        uptime: view.uptime.as_secs_f64(),
        pid: beat.map_or(said.pid, |b| b.pid),
        restarts: beat.map_or(0, |b| b.restarts),
        rss_bytes: beat.map_or(0, |b| b.rss_bytes),
        version: said.version.clone(),
        faults: member.faults().clone(),
        fault_injection: member.fault_injection(),
        managed: member.alive == crate::scheduler::Liveness::Heartbeat,
    }
}

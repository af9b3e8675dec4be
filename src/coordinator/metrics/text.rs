//! Writes the metrics out.

use std::sync::atomic::Ordering;

use super::{End, KINDS, Tally};
use crate::coordinator::app::App;
use crate::protocol::{BreakerState, Priority, QueueStats, TaskType, WorkerDetail, WorkerState};
use crate::scheduler::PerTask;
use crate::telemetry::prometheus::{Exposition, Histogram, Kind};

const STATES: [WorkerState; 7] = [
    WorkerState::Starting,
    WorkerState::Ready,
    WorkerState::Draining,
    WorkerState::Killing,
    WorkerState::Killed,
    WorkerState::Crashed,
    WorkerState::Lost,
];

impl App {
    /// `GET /metrics`.
    pub(crate) fn metrics_text(&self) -> String {
        let mut out = Exposition::default();
        let (queue, workers) = (self.queue_stats(), self.workers());
        self.core.lock().tally.write(&mut out);
        let help = "Submissions that never became requests, by why.";
        let mut family = out.family("aiq_refused_submissions_total", Kind::Counter, help);
        for (code, count) in self.refused.counts() {
            family.sample(&[("code", &code)], count);
        }
        let help = "Submissions that joined another or were answered from the store.";
        out.single("aiq_replayed_total", Kind::Counter, help, self.core.replayed.load(Ordering::Relaxed));
        write_queue(&mut out, &queue);
        let mut gauge = |name: &str, help, value: f64| out.single(name, Kind::Gauge, help, value);
        gauge("aiq_workers_healthy", "Workers that may get work.", queue.healthy_workers as f64);
        gauge("aiq_stored_results", "Outcomes kept.", queue.stored_results as f64);
        gauge("aiq_event_readers", "Readers of the event stream.", self.events.readers() as f64);
        gauge("aiq_uptime_seconds", "Since the start.", self.core.uptime().as_secs_f64());
        let mut family = out.family("aiq_workers", Kind::Gauge, "Workers by state.");
        for state in STATES {
            family.sample(&[("state", state.as_str())], workers.iter().filter(|w| w.state == state).count());
        }
        write_workers(&mut out, &workers);
        out.into_text()
    }
}

impl Tally {
    fn write(&self, out: &mut Exposition) {
        let mut family = out.family("aiq_requests_total", Kind::Counter, "Requests answered, by how they ended.");
        for task in TaskType::ALL {
            for priority in Priority::ALL {
                for (end, name) in End::ALL {
                    let labels = [("task", task.as_str()), ("priority", priority.as_str()), ("outcome", name)];
                    family.sample(&labels, self.requests[task.index()][priority as usize][end as usize]);
                }
            }
        }
        let mut family = out.family("aiq_attempts_total", Kind::Counter, "Requests sent to workers, by why.");
        for (kind, name) in KINDS {
            family.sample(&[("kind", name)], self.dispatches[kind as usize]);
        }
        let labels = TaskType::ALL.map(|task| [("task", task.as_str())]);
        let mut tasks = |name: &str, help, table: &PerTask<Histogram>| {
            out.histograms(name, help, labels.iter().map(<[_; 1]>::as_slice).zip(table));
        };
        tasks("aiq_request_latency_seconds", "From acceptance to the result.", &self.latency);
        tasks("aiq_queue_wait_seconds", "From acceptance to the last attempt.", &self.wait);
        tasks("aiq_inference_seconds", "Compute time of a request's batch.", &self.inference);
        tasks("aiq_batch_size", "Requests in a request's batch.", &self.batch);
    }
}

fn write_queue(out: &mut Exposition, queue: &QueueStats) {
    let mut family = out.family("aiq_queue_size", Kind::Gauge, "Requests waiting for a worker.");
    for task in &queue.queued_by_task {
        family.sample(&[("task", task.task.as_str())], task.count);
    }
    let mut family = out.family("aiq_queue_size_by_priority", Kind::Gauge, "Requests waiting for a worker.");
    let by = queue.queued_by_priority;
    for (priority, count) in Priority::ALL.into_iter().zip([by.high, by.normal, by.low]) {
        family.sample(&[("priority", priority.as_str())], count);
    }
    out.single("aiq_queue_capacity", Kind::Gauge, "Most requests that may wait.", queue.queue_capacity);
    out.single("aiq_queue_oldest_seconds", Kind::Gauge, "Age of the oldest waiting request.", queue.oldest_age);
    out.single("aiq_active_tasks", Kind::Gauge, "Requests that a worker has now.", queue.active_tasks);
}

fn write_workers(out: &mut Exposition, workers: &[WorkerDetail]) {
    let mut family = |name: &str, kind, help, value: &dyn Fn(&WorkerDetail) -> f64| {
        let mut family = out.family(name, kind, help);
        for w in workers {
            family.sample(&[("worker", w.worker_id.as_str())], value(w));
        }
    };
    let (counter, gauge) = (Kind::Counter, Kind::Gauge);
    family("aiq_worker_up", gauge, "Whether it may get work.", &|w| f64::from(u8::from(w.healthy)));
    family("aiq_worker_suspect", gauge, "Whether it is suspect.", &|w| f64::from(u8::from(w.suspect)));
    family("aiq_worker_breaker_open", gauge, "1 open, 0.5 half open, 0 closed.", &|w| match w.breaker {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 0.5,
        BreakerState::Open => 1.0,
    });
    family("aiq_worker_in_flight", gauge, "Attempts that it has now.", &|w| f64::from(w.in_flight));
    family("aiq_worker_credits", gauge, "Most attempts that it gets at once.", &|w| f64::from(w.credits));
    family("aiq_worker_queue_depth", gauge, "Requests in its batch queue.", &|w| f64::from(w.queue_depth));
    family("aiq_worker_completed_total", counter, "Attempts that it answered.", &|w| w.completed as f64);
    family("aiq_worker_failed_total", counter, "Attempts that failed on it.", &|w| w.failed as f64);
    family("aiq_worker_success_rate", gauge, "Share of recent attempts that succeeded.", &|w| w.success_rate);
    family("aiq_worker_rtt_seconds", gauge, "Smoothed network share of an attempt.", &|w| w.rtt);
    family("aiq_worker_restarts_total", counter, "Times its process was started again.", &|w| f64::from(w.restarts));
    family("aiq_worker_memory_bytes", gauge, "Resident memory of its process.", &|w| w.rss_bytes as f64);
}

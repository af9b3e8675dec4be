//! Writes the metrics out.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::histogram::{Bounds, Histogram, ITEMS, SECONDS};
use super::{End, KINDS, Tally};
use crate::coordinator::app::App;
use crate::protocol::{BreakerState, Priority, TaskType, WorkerDetail, WorkerState};
use crate::scheduler::PerTask;

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
        let mut out = String::with_capacity(32 << 10);
        let (queue, workers) = (self.queue_stats(), self.workers());
        self.core.lock().tally.write(&mut out);
        head(&mut out, "aiq_refused_submissions_total", "counter", "Submissions that never became requests, by why.");
        for (code, count) in self.refused.counts() {
            let _ = writeln!(out, "aiq_refused_submissions_total{{code=\"{code}\"}} {count}");
        }
        head(
            &mut out,
            "aiq_replayed_total",
            "counter",
            "Submissions that joined another or were answered from the store.",
        );
        let _ = writeln!(out, "aiq_replayed_total {}", self.core.replayed.load(Ordering::Relaxed));
        head(&mut out, "aiq_queue_size", "gauge", "Requests waiting for a worker.");
        for task in &queue.queued_by_task {
            let _ = writeln!(out, "aiq_queue_size{{task=\"{}\"}} {}", task.task, task.count);
        }
        head(&mut out, "aiq_queue_size_by_priority", "gauge", "Requests waiting for a worker.");
        let by = queue.queued_by_priority;
        for (priority, count) in Priority::ALL.into_iter().zip([by.high, by.normal, by.low]) {
            let _ = writeln!(out, "aiq_queue_size_by_priority{{priority=\"{priority}\"}} {count}");
        }
        gauge(&mut out, "aiq_queue_capacity", "Most requests that may wait.", queue.queue_capacity as f64);
        gauge(&mut out, "aiq_queue_oldest_seconds", "Age of the oldest waiting request.", queue.oldest_age);
        gauge(&mut out, "aiq_active_tasks", "Requests that a worker has now.", queue.active_tasks as f64);
        gauge(&mut out, "aiq_workers_healthy", "Workers that may get work.", queue.healthy_workers as f64);
        gauge(&mut out, "aiq_stored_results", "Outcomes kept.", queue.stored_results as f64);
        gauge(&mut out, "aiq_event_readers", "Readers of the event stream.", self.events.readers() as f64);
        gauge(&mut out, "aiq_uptime_seconds", "Since the start.", self.core.uptime().as_secs_f64());
        head(&mut out, "aiq_workers", "gauge", "Workers by state.");
        for state in STATES {
            let count = workers.iter().filter(|w| w.state == state).count();
            let _ = writeln!(out, "aiq_workers{{state=\"{state}\"}} {count}");
        }
        write_workers(&mut out, &workers);
        out
    }
}

impl Tally {
    fn write(&self, out: &mut String) {
        head(out, "aiq_requests_total", "counter", "Requests answered, by how they ended.");
        for task in TaskType::ALL {
            for priority in Priority::ALL {
                for (end, name) in End::ALL {
                    let count = self.requests[task.index()][priority as usize][end as usize];
                    let labels = format!("task=\"{task}\",priority=\"{priority}\",outcome=\"{name}\"");
                    let _ = writeln!(out, "aiq_requests_total{{{labels}}} {count}");
                }
            }
        }
        head(out, "aiq_attempts_total", "counter", "Requests sent to workers, by why.");
        for (kind, name) in KINDS {
            let _ = writeln!(out, "aiq_attempts_total{{kind=\"{name}\"}} {}", self.dispatches[kind as usize]);
        }
        let mut family = |name: &str, help, table: &PerTask<Histogram>, bounds: &Bounds| {
            head(out, name, "histogram", help);
            for task in TaskType::ALL {
                table[task.index()].write(out, name, &format!("task=\"{task}\""), bounds);
            }
        };
        family("aiq_request_latency_seconds", "From acceptance to the result.", &self.latency, SECONDS);
        family("aiq_queue_wait_seconds", "From acceptance to the last attempt.", &self.wait, SECONDS);
        family("aiq_inference_seconds", "Compute time of a request's batch.", &self.inference, SECONDS);
        family("aiq_batch_size", "Requests in a request's batch.", &self.batch, ITEMS);
    }
}

fn write_workers(out: &mut String, workers: &[WorkerDetail]) {
    let mut family = |name: &str, kind, help, value: &dyn Fn(&WorkerDetail) -> f64| {
        head(out, name, kind, help);
        for w in workers {
            let _ = writeln!(out, "{name}{{worker=\"{}\"}} {}", w.worker_id, value(w));
        }
    };
    family("aiq_worker_up", "gauge", "Whether it may get work.", &|w| f64::from(u8::from(w.healthy)));
    family("aiq_worker_suspect", "gauge", "Whether it is suspect.", &|w| f64::from(u8::from(w.suspect)));
    family("aiq_worker_breaker_open", "gauge", "1 open, 0.5 half open, 0 closed.", &|w| match w.breaker {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 0.5,
        BreakerState::Open => 1.0,
    });
    family("aiq_worker_in_flight", "gauge", "Attempts that it has now.", &|w| f64::from(w.in_flight));
    family("aiq_worker_credits", "gauge", "Most attempts that it gets at once.", &|w| f64::from(w.credits));
    family("aiq_worker_queue_depth", "gauge", "Requests in its batch queue.", &|w| f64::from(w.queue_depth));
    family("aiq_worker_completed_total", "counter", "Attempts that it answered.", &|w| w.completed as f64);
    family("aiq_worker_failed_total", "counter", "Attempts that failed on it.", &|w| w.failed as f64);
    family("aiq_worker_success_rate", "gauge", "Share of recent attempts that succeeded.", &|w| w.success_rate);
    family("aiq_worker_rtt_seconds", "gauge", "Smoothed network share of an attempt.", &|w| w.rtt);
    family("aiq_worker_restarts_total", "counter", "Times its process was started again.", &|w| f64::from(w.restarts));
    family("aiq_worker_memory_bytes", "gauge", "Resident memory of its process.", &|w| w.rss_bytes as f64);
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn gauge(out: &mut String, name: &str, help: &str, value: f64) {
    head(out, name, "gauge", help);
    let _ = writeln!(out, "{name} {value}");
}

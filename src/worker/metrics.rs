//! What a worker counts: outcomes of requests, batches, progress; and `/metrics` made of it.
//!
//! Every series is there from the start, at zero.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::protocol::{ProblemCode, TaskType};
use crate::telemetry::prometheus::{Exposition, Histogram, Kind};

/// How a request ended, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Answered.
    Success,
    /// The model failed.
    Failed,
    /// The input was refused.
    BadInput,
    /// The deadline passed.
    Deadline,
    /// A crash was injected.
    InjectedCrash,
    /// The client went away.
    Cancelled,
    /// Refused without being looked at: at capacity, starting or draining.
    Refused,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Success,
        Self::Failed,
        Self::BadInput,
        Self::Deadline,
        Self::InjectedCrash,
        Self::Cancelled,
        Self::Refused,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::BadInput => "bad_input",
            Self::Deadline => "deadline_exceeded",
            Self::InjectedCrash => "injected_crash",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
        }
    }

    /// The outcome that a problem stands for.
    pub(super) const fn of(code: ProblemCode) -> Self {
        match code {
            ProblemCode::DeadlineExceeded => Self::Deadline,
            ProblemCode::InjectedCrash => Self::InjectedCrash,
            ProblemCode::WorkerBusy | ProblemCode::Unavailable | ProblemCode::ModelLoading => Self::Refused,
            _ if code.status() >= 500 => Self::Failed,
            _ => Self::BadInput,
        }
    }
}

/// The numbers. Shared by the request handlers and the inference thread.
#[derive(Debug)]
pub(super) struct Meter {
    progress: AtomicU64,
    outcomes: [[AtomicU64; Outcome::ALL.len()]; TaskType::ALL.len()],
    refused: AtomicU64,
    batches: Mutex<Batches>,
}

#[derive(Debug)]
struct Batches {
    recent: VecDeque<usize>,
    tasks: [TaskBatches; TaskType::ALL.len()],
}

#[derive(Debug)]
struct TaskBatches {
    size: Histogram,
    seconds: Histogram,
    queued: Histogram,
}

/// What is true at the moment of a scrape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauges {
    /// Requests held.
    pub(super) in_flight: usize,
    /// Requests that wait for the model.
    pub(super) queue_depth: usize,
    /// Most that may be held.
    pub(super) capacity: usize,
    /// Resident memory, bytes.
    pub(super) rss_bytes: u64,
    /// Whether new requests are taken.
    pub(super) ready: bool,
}

impl Meter {
    /// Batches that `mean_batch_size` looks back on.
    const RECENT: usize = 64;

    pub(super) fn new() -> Self {
        let tasks = std::array::from_fn(|_| TaskBatches {
            size: Histogram::new(Histogram::SIZES),
            seconds: Histogram::new(Histogram::SECONDS),
            queued: Histogram::new(Histogram::SECONDS),
        });
        Self {
            progress: AtomicU64::new(0),
            outcomes: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            refused: AtomicU64::new(0),
            batches: Mutex::new(Batches { recent: VecDeque::with_capacity(Self::RECENT), tasks }),
        }
    }

    fn batches(&self) -> MutexGuard<'_, Batches> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch began or ended.
    pub(super) fn moved(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// How often work moved.
    pub(super) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// A request ended; without a task where it was refused before that was known.
    pub(super) fn ended(&self, task: Option<TaskType>, outcome: Outcome) {
        let counter = task.map_or(&self.refused, |t| &self.outcomes[t.index()][outcome as usize]);
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A batch was computed; its requests waited this long for the model.
    pub(super) fn batch(&self, task: TaskType, took: Duration, waited: impl ExactSizeIterator<Item = Duration>) {
        let size = waited.len();
        let mut batches = self.batches();
        if batches.recent.len() == Self::RECENT {
            batches.recent.pop_front();
        }
        batches.recent.push_back(size);
        let of_task = &mut batches.tasks[task.index()];
        of_task.size.observe(size as f64);
        of_task.seconds.observe(took.as_secs_f64());
        waited.for_each(|waited| of_task.queued.observe(waited.as_secs_f64()));
    }

    /// Mean size of the last batches; 0 before the first.
    pub(super) fn mean_batch_size(&self) -> f64 {
        let batches = self.batches();
        batches.recent.iter().sum::<usize>() as f64 / batches.recent.len().max(1) as f64
    }

    /// Requests that ended this way.
    pub(super) fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.iter().map(|task| task[outcome as usize].load(Ordering::Relaxed)).sum()
    }

    /// The text of `/metrics`.
    pub(super) fn exposition(&self, gauges: Gauges) -> String {
        let mut out = Exposition::default();
        let mut family = out.family("aiq_serving_requests_total", Kind::Counter, "Requests by task and outcome.");
        for task in TaskType::ALL {
            for outcome in Outcome::ALL {
                let value = self.outcomes[task.index()][outcome as usize].load(Ordering::Relaxed);
                let labels = [("task", task.as_str()), ("outcome", outcome.as_str())];
                family.sample(&labels, value);
            }
        }
        let refused = self.refused.load(Ordering::Relaxed);
        let help = "Requests refused before they were read: at capacity, starting or draining.";
        out.single("aiq_serving_refused_total", Kind::Counter, help, refused);
        let help = "Batches started plus batches ended.";
        out.single("aiq_serving_progress_total", Kind::Counter, help, self.progress());
        let help = "Requests held, waiting or running.";
        out.single("aiq_serving_in_flight", Kind::Gauge, help, gauges.in_flight);
        out.single("aiq_serving_queue_depth", Kind::Gauge, "Requests waiting for the model.", gauges.queue_depth);
        out.single("aiq_serving_capacity", Kind::Gauge, "Most requests held at once.", gauges.capacity);
        out.single("aiq_serving_ready", Kind::Gauge, "1 while new requests are taken.", u8::from(gauges.ready));
        out.single("process_resident_memory_bytes", Kind::Gauge, "Resident memory.", gauges.rss_bytes);
        let batches = self.batches();
        let labels = TaskType::ALL.map(|task| [("task", task.as_str())]);
        let each = |of: fn(&TaskBatches) -> &Histogram| {
            labels.iter().map(<[_; 1]>::as_slice).zip(batches.tasks.iter().map(of)).collect::<Vec<_>>()
        };
        out.histograms("aiq_serving_batch_size", "Requests in a batch.", each(|t| &t.size));
        out.histograms("aiq_serving_inference_seconds", "Time a batch is computed.", each(|t| &t.seconds));
        out.histograms("aiq_serving_queue_seconds", "Time a request waits for the model.", each(|t| &t.queued));
        out.into_text()
    }
}

/// Resident memory of this process, bytes; 0 where the system does not tell.
pub(super) fn rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_at_zero_and_counts() {
        let meter = Meter::new();
        let gauges = Gauges { in_flight: 0, queue_depth: 0, capacity: 8, rss_bytes: 1, ready: true };
        let series = "aiq_serving_requests_total{task=\"clip_text_to_image\",outcome=\"success\"}";
        assert!(meter.exposition(gauges).contains(&format!("{series} 0\n")));
        meter.ended(Some(TaskType::ClipTextToImage), Outcome::Success);
        meter.batch(TaskType::ClipTextToImage, Duration::from_millis(2), [Duration::ZERO; 3].into_iter());
        let text = meter.exposition(gauges);
        assert!(text.contains(&format!("{series} 1\n")));
        assert!(text.contains("aiq_serving_batch_size_bucket{task=\"clip_text_to_image\",le=\"4\"} 1\n"));
        assert!((meter.mean_batch_size() - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn memory_is_known_on_linux() {
        assert!(!cfg!(target_os = "linux") || rss_bytes() > 1 << 20);
    }
}

//! What the charts show: one sample for each of the coordinator's snapshots, for half an hour.
//!
//! A second without a snapshot has no sample, and so is a gap in the chart, never a guess.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::protocol::{LatencySummary, Snapshot, TaskType, WorkerDetail, WorkerId};

/// The figures of one snapshot that are charted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// When it was received.
    pub(crate) at: Duration,
    /// Waiting: high, normal, low.
    pub(crate) queue: [f32; 3],
    /// Waiting, all.
    pub(crate) queue_size: f32,
    /// Answers a second by task, in the order of [`TaskType::ALL`].
    pub(crate) throughput: [f32; TaskType::ALL.len()],
    /// Answers a second, all.
    pub(crate) total: f32,
    /// Median and 99th percentile of the latency, seconds; `None` before the first answer.
    pub(crate) latency: Option<[f32; 2]>,
}

impl Sample {
    fn of(at: Duration, snapshot: &Snapshot) -> Self {
        let queue = snapshot.queue.queued_by_priority;
        let mut throughput = [0.0; TaskType::ALL.len()];
        for task in &snapshot.status.tasks {
            throughput[task.task.index()] = task.throughput as f32;
        }
        Self {
            at,
            queue: [queue.high as f32, queue.normal as f32, queue.low as f32],
            queue_size: snapshot.queue.queue_size as f32,
            throughput,
            total: snapshot.status.throughput as f32,
            latency: measured(&snapshot.status.latency),
        }
    }
}

fn measured(latency: &LatencySummary) -> Option<[f32; 2]> {
    (latency.count > 0).then_some([latency.p50 as f32, latency.p99 as f32])
}

/// The history of a fleet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    samples: VecDeque<Sample>,
    workers: HashMap<WorkerId, VecDeque<Option<f32>>>,
}

impl Series {
    /// Half an hour at a snapshot each second.
    const MAX_SAMPLES: usize = 1800;
    /// A sparkline's worth.
    const MAX_WORKER_SAMPLES: usize = 120;
    /// Workers whose latency is remembered; beyond that the detail has no sparkline.
    const MAX_WORKERS: usize = 1024;
    /// How much time the charts can show.
    pub(crate) const WINDOWS: [Duration; 6] = [
        Duration::from_secs(30),
        Duration::from_mins(1),
        Duration::from_mins(2),
        Duration::from_mins(5),
        Duration::from_mins(15),
        Duration::from_mins(30),
    ];
    /// Two minutes.
    pub(crate) const DEFAULT_WINDOW: usize = 2;

    /// Remembers a snapshot's figures.
    pub(crate) fn push(&mut self, at: Duration, snapshot: &Snapshot) {
        push_bounded(&mut self.samples, Sample::of(at, snapshot), Self::MAX_SAMPLES);
        for worker in &snapshot.workers {
            if self.workers.len() >= Self::MAX_WORKERS && !self.workers.contains_key(&worker.worker_id) {
                continue;
            }
            let history = self.workers.entry(worker.worker_id.clone()).or_default();
            push_bounded(history, mean_of(worker), Self::MAX_WORKER_SAMPLES);
        }
        if self.workers.len() > snapshot.workers.len() {
            self.workers.retain(|id, _| snapshot.workers.iter().any(|w| w.worker_id == *id));
        }
    }

    /// The samples, oldest first.
    pub(crate) fn samples(&self) -> impl DoubleEndedIterator<Item = &Sample> {
        self.samples.iter()
    }

    /// The mean latency of a worker in the last snapshots, oldest first.
    pub(crate) fn worker(&self, id: &WorkerId) -> impl DoubleEndedIterator<Item = Option<f32>> + ExactSizeIterator {
        static NONE: VecDeque<Option<f32>> = VecDeque::new();
        self.workers.get(id).unwrap_or(&NONE).iter().copied()
    }
}

fn mean_of(worker: &WorkerDetail) -> Option<f32> {
    (worker.latency.count > 0).then_some(worker.latency.mean as f32)
}

fn push_bounded<T>(ring: &mut VecDeque<T>, item: T, most: usize) {
    if ring.len() >= most {
        ring.pop_front();
    }
    ring.push_back(item);
}

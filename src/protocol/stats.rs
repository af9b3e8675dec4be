//! What the coordinator says of itself: status, queue statistics, per-worker performance.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{BreakerState, TaskStats, WorkerId, WorkerState};

/// Where the coordinator is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Not ready yet.
    Starting,
    /// Taking requests.
    Ready,
    /// Finishing what it has, refusing what is new.
    Draining,
}

/// Percentiles of a latency, seconds; zeros where `count` is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LatencySummary {
    /// Samples.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// One number for each priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ByPriority {
    /// High.
    pub high: u64,
    /// Normal.
    pub normal: u64,
    /// Low.
    pub low: u64,
}

/// Counts since the coordinator started. A request is counted once, when it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// Requests accepted or refused after they were understood.
    pub total_requests: u64,
    /// Answered with a result.
    pub successful_requests: u64,
    /// Answered with an error after they were accepted.
    pub failed_requests: u64,
    /// Most requests that ever waited at once.
    pub queue_high_watermark: u64,
    /// Refused at the door: queue full, deadline unmeetable, no worker.
    #[serde(default)]
    pub rejected_requests: u64,
    /// Withdrawn by their client.
    #[serde(default)]
    pub cancelled_requests: u64,
    /// Attempts sent to workers.
    #[serde(default)]
    pub attempts: u64,
    /// Of those, repeats after a failure.
    #[serde(default)]
    pub retries: u64,
    /// Of those, second tries beside a slow first.
    #[serde(default)]
    pub hedges: u64,
}

/// `GET /queue/stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueStats {
    /// Requests waiting for a worker.
    pub queue_size: u64,
    /// Requests that a worker has now.
    pub active_tasks: u64,
    /// Workers known.
    pub total_workers: u64,
    /// Workers that may get work.
    pub healthy_workers: u64,
    /// Workers that hold at least one request.
    pub busy_workers: u64,
    /// Counts since the start.
    pub stats: Counters,
    /// Most that may wait.
    #[serde(default)]
    pub queue_capacity: u64,
    /// Waiting, by priority.
    #[serde(default)]
    pub queued_by_priority: ByPriority,
    /// Waiting, by task, in the order of `TaskType::ALL`.
    #[serde(default)]
    pub queued_by_task: Vec<TaskCount>,
    /// Seconds that the oldest waiting request has waited.
    #[serde(default)]
    pub oldest_age: f64,
    /// Time from acceptance to dispatch over the last minute, seconds.
    #[serde(default)]
    pub wait: LatencySummary,
    /// Results kept for async requests.
    #[serde(default)]
    pub stored_results: u64,
}

/// A number for one task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskCount {
    /// The task.
    pub task: super::TaskType,
    /// How many.
    pub count: u64,
}

/// `GET /status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Where the coordinator is in its life.
    pub status: RunState,
    /// Its version.
    pub version: String,
    /// Seconds since it started.
    pub uptime: f64,
    /// Workers known.
    pub total_workers: u64,
    /// Workers that may get work.
    pub healthy_workers: u64,
    /// Requests waiting.
    pub queue_size: u64,
    /// Requests that a worker has now.
    pub active_tasks: u64,
    /// Answers a second over the last 10 s.
    pub throughput: f64,
    /// Share of requests that failed over the last minute, 0 to 1.
    pub error_rate: f64,
    /// Latency of requests over the last minute, seconds.
    pub latency: LatencySummary,
    /// Each task: whether it can be served now, by how many workers, with or without a full-size model.
    pub tasks: Vec<TaskStatus>,
    /// How results survive: `memory` is lost with the process.
    pub durability: String,
    /// Counts since the start.
    pub stats: Counters,
}

/// Whether a task can be served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskStatus {
    /// The task.
    pub task: super::TaskType,
    /// Workers that can serve it now.
    pub workers: u32,
    /// Of those, with the full-size model.
    pub full_size: u32,
    /// Answers a second over the last 10 s.
    pub throughput: f64,
    /// Latency over the last minute, seconds.
    pub latency: LatencySummary,
}

/// `GET /workers/performance`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkersPerformance {
    /// Every known worker, by name.
    pub workers: Vec<WorkerPerformance>,
}

/// How one worker does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerPerformance {
    /// Its name.
    pub worker_id: WorkerId,
    /// Where its serving process is in its life.
    pub state: WorkerState,
    /// Whether it may get work.
    pub healthy: bool,
    /// 100 · success · min(1, fleet median service time / its own).
    pub performance_score: f64,
    /// Share of recent attempts that succeeded, 0 to 1.
    pub success_rate: f64,
    /// Attempts sent to it.
    pub total_requests: u64,
    /// Attempts that it answered.
    pub successful_requests: u64,
    /// Attempts that failed on it.
    pub failed_requests: u64,
    /// Requests that it holds now.
    pub active_tasks: u32,
    /// Mean attempt latency over the last minute, seconds.
    pub average_latency: f64,
    /// Attempt latency over the last minute, seconds.
    pub latency: LatencySummary,
    /// Its circuit breaker.
    pub breaker: BreakerState,
    /// Counts and latencies by task.
    pub tasks: Vec<TaskStats>,
}

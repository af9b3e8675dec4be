//! Workers on the wire: who they are, what they can do, how they are doing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::task::excerpt;
use super::{FaultSettings, ModelRef, Problem, ProblemCode, TaskType};

/// A worker's name: 1 to 64 of `A-Z a-z 0-9 . _ -`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", examples("worker-1"))]
pub struct WorkerId(std::sync::Arc<str>);

impl WorkerId {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// [`ProblemCode::InvalidField`] with what would be right.
    pub fn try_new(id: impl AsRef<str>) -> Result<Self, Problem> {
        let id = id.as_ref();
        let starts_well = id.starts_with(|c: char| c.is_ascii_alphanumeric());
        let clean = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if starts_well && clean && id.len() <= 64 {
            Ok(Self(id.into()))
        } else {
            Err(Problem::new(
                ProblemCode::InvalidField,
                format!(
                    "worker id \"{}\" is not usable; it must be 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit",
                    excerpt(id)
                ),
            ))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for WorkerId {
    type Err = Problem;

    fn from_str(s: &str) -> Result<Self, Problem> {
        Self::try_new(s)
    }
}

impl Serialize for WorkerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for WorkerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_new(String::deserialize(deserializer)?).map_err(|p| serde::de::Error::custom(p.detail))
    }
}

/// Where a worker's serving process is in its life, as its supervisor sees it, and in the last two
/// states as the coordinator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// The process is up, its models are loading.
    Starting,
    /// It serves.
    Ready,
    /// It finishes what it holds and takes nothing new.
    Draining,
    /// An operator's kill is on its way.
    Killing,
    /// Killed by an operator; `revive` starts it again.
    Killed,
    /// It died by itself; the supervisor starts it again after a growing pause.
    Crashed,
    /// Its lease ran out: nothing has been heard of it.
    Lost,
}

impl WorkerState {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Killing => "killing",
            Self::Killed => "killed",
            Self::Crashed => "crashed",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A model's state in a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ModelState {
    /// Being read and packed.
    Loading,
    /// A full-size model is on its way; a small one answers meanwhile.
    Downloading {
        /// Bytes that have arrived.
        done_bytes: u64,
        /// Bytes in all, where the hub says so.
        total_bytes: Option<u64>,
    },
    /// It answers.
    Ready,
    /// It can't be had; a small one answers in its place.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A task that a worker can do, and the model that does it now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Capability {
    /// The task.
    pub task: TaskType,
    /// The display name of the model that answers now.
    pub model_info: String,
    /// Its weights.
    pub model: ModelRef,
    /// Whether it stands in for a full-size model.
    pub degraded: bool,
    /// Whether the worker is meant for this task (it loads the full-size model).
    pub specialised: bool,
    /// What is known of the model that should answer.
    pub state: ModelState,
}

/// What one task takes on one worker, as the worker measures it: compute alone, no network, no wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceTime {
    /// The task.
    pub task: TaskType,
    /// Moving average of compute seconds for one request of a batch.
    pub seconds: f64,
    /// Cost model of a batch of n requests, seconds: `fixed + per_item · n`.
    pub fixed: f64,
    /// See `fixed`.
    pub per_item: f64,
    /// Most requests that it takes in one batch.
    #[serde(default = "ServiceTime::usual_batch")]
    pub max_batch: u32,
}

impl ServiceTime {
    /// What a worker takes in one batch that says nothing of it.
    pub const USUAL_BATCH: u32 = 32;

    fn usual_batch() -> u32 {
        Self::USUAL_BATCH
    }
}

/// Counts and latencies of one task on one worker, from its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskStats {
    /// The task.
    pub task: TaskType,
    /// Requests answered.
    pub completed: u64,
    /// Requests failed.
    pub failed: u64,
    /// Median seconds of an attempt, as the coordinator sees it.
    pub p50: f64,
    /// 99th percentile seconds of an attempt.
    pub p99: f64,
}

/// State of a worker's circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Work flows.
    #[default]
    Closed,
    /// It failed too often; it rests.
    Open,
    /// One request tries it out.
    HalfOpen,
}

/// One worker as the coordinator sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerDetail {
    /// Its name.
    pub worker_id: WorkerId,
    /// Where it is.
    pub url: String,
    /// Where its serving process is in its life.
    pub state: WorkerState,
    /// Ready, its lease alive, and not suspect.
    pub healthy: bool,
    /// Something is odd: no heartbeat for 3 s, no progress, or the active check failed. Gets no new work.
    pub suspect: bool,
    /// Why it is not healthy, or empty.
    #[serde(default)]
    pub reason: String,
    /// Its circuit breaker.
    pub breaker: BreakerState,
    /// Requests sent to it that have not come back.
    pub in_flight: u32,
    /// Most that are sent to it at once now (its credits).
    pub credits: u32,
    /// Requests waiting in its batch queue, as it last said.
    pub queue_depth: u32,
    /// Attempts that it answered.
    pub completed: u64,
    /// Attempts that failed on it.
    pub failed: u64,
    /// Share of recent attempts that succeeded (30 s half-life), 0 to 1.
    pub success_rate: f64,
    /// 100 · success · min(1, fleet median service time / its own).
    pub score: f64,
    /// Attempts a second over the last 10 s.
    pub throughput: f64,
    /// Attempt latency over the last minute, seconds.
    pub latency: super::LatencySummary,
    /// Smoothed network share of an attempt, seconds.
    pub rtt: f64,
    /// What each task takes on it, as it says.
    pub service_times: Vec<ServiceTime>,
    /// Per-task counts.
    pub tasks: Vec<TaskStats>,
    /// Mean size of its last batches.
    pub mean_batch_size: f64,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Requests that it accepts at once.
    pub capacity: u32,
    /// Seconds since its last heartbeat (or active check, for one that does not register itself).
    pub last_seen: f64,
    /// Seconds since it registered.
    pub uptime: f64,
    /// Its serving process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub pid: Option<u32>,
    /// How often that was started again.
    pub restarts: u32,
    /// Its resident memory, bytes.
    pub rss_bytes: u64,
    /// Its version of aiq.
    pub version: String,
    /// Faults in force.
    pub faults: FaultSettings,
    /// Whether faults may be set.
    pub fault_injection: bool,
    /// Whether it registered itself (and so can be killed, revived, drained).
    pub managed: bool,
}

/// `GET /workers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Workers {
    /// Every known worker, by name.
    pub workers: Vec<WorkerDetail>,
}

/// `GET /health` of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerHealth {
    /// `ok`, `starting` or `draining`.
    pub status: String,
    /// Its name.
    pub worker_id: WorkerId,
    /// Where it is in its life.
    pub state: WorkerState,
    /// Whether any of its tasks is answered by a fallback model.
    pub degraded: bool,
    /// What it can do, with which models.
    pub capabilities: Vec<Capability>,
    /// Requests that it accepts at once.
    pub capacity: u32,
    /// Requests that it holds.
    pub in_flight: u32,
    /// How many of those wait for the model.
    pub queue_depth: u32,
    /// Grows whenever work moves.
    pub progress: u64,
    /// Requests answered since its start.
    pub completed: u64,
    /// Requests failed since its start.
    pub failed: u64,
    /// Mean size of the last batches.
    pub mean_batch_size: f64,
    /// What each task takes.
    pub service_times: Vec<ServiceTime>,
    /// Faults in force.
    pub faults: FaultSettings,
    /// Whether faults may be set.
    pub fault_injection: bool,
    /// Seconds since the serving process started.
    pub uptime: f64,
    /// Its version of aiq.
    pub version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_ids_are_checked() {
        assert!(WorkerId::try_new("worker-1").is_ok());
        for bad in ["", "-x", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(WorkerId::try_new(bad).is_err(), "{bad}");
        }
    }
}

//! How a worker belongs to a coordinator: it registers (`POST /workers`), holds its control stream open
//! (`GET /workers/{id}/control`, server-sent [`ControlCommand`]s) and sends a [`Heartbeat`] each second.
//! The worker dials; the coordinator needs to reach only its `/infer` and `/health`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Capability, FaultSettings, RequestId, ServiceTime, WorkerId, WorkerState};

/// `POST /workers`: a worker introduces itself. Sent again after every reconnect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RegisterWorker {
    /// Its name; a worker that registers under a known name takes that place.
    pub worker_id: WorkerId,
    /// Where its `/infer` is, such as `http://127.0.0.1:8001`.
    pub url: String,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Requests that it accepts at once (batch queue and running).
    pub capacity: u32,
    /// Where its serving process is in its life.
    pub state: WorkerState,
    /// Its version of aiq.
    pub version: String,
    /// The serving process, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub pid: Option<u32>,
    /// Faults in force.
    #[serde(default)]
    pub faults: FaultSettings,
    /// Whether faults may be set from outside.
    #[serde(default)]
    pub fault_injection: bool,
}

/// The answer to a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegisterReply {
    /// The worker's name, as it was given.
    pub worker_id: WorkerId,
    /// Send a heartbeat this often, milliseconds.
    pub heartbeat_ms: u64,
    /// Without one for this long the worker counts as lost, milliseconds.
    pub lease_ms: u64,
}

/// `POST /workers/{id}/heartbeat`, once a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Heartbeat {
    /// Grows by one each time; a lower one is late and is ignored.
    pub seq: u64,
    /// Where the serving process is in its life.
    pub state: WorkerState,
    /// Milliseconds since the serving process last reported to its supervisor.
    pub report_age_ms: u64,
    /// Requests that it holds, queued or running (at most its capacity).
    pub in_flight: Vec<RequestId>,
    /// How many of those wait for the model.
    pub queue_depth: u32,
    /// Grows whenever work moves: a batch started or ended. Standing still with work in flight is a hang.
    pub progress: u64,
    /// What each task takes.
    pub service_times: Vec<ServiceTime>,
    /// Mean size of the last batches.
    pub mean_batch_size: f64,
    /// What it can do now; a model may have been swapped.
    pub capabilities: Vec<Capability>,
    /// The serving process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub pid: Option<u32>,
    /// How often the serving process was started again.
    pub restarts: u32,
    /// Resident memory of the serving process, bytes (0 where unknown).
    pub rss_bytes: u64,
    /// Faults in force.
    pub faults: FaultSettings,
    /// Whether faults may be set from outside.
    pub fault_injection: bool,
}

/// The answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatReply {
    /// False: the coordinator does not know this worker (it restarted); register again.
    pub registered: bool,
}

/// One command on a worker's control stream. The SSE event's data is this as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum ControlCommand {
    /// End the serving process with SIGKILL and leave it ended.
    Kill,
    /// Start it again.
    Revive,
    /// Finish what is held, take nothing new.
    Drain,
    /// Take work again.
    Resume,
    /// Inject these faults from now on.
    SetFaults {
        /// The settings, whole: what is left out is off.
        faults: FaultSettings,
    },
}

/// What an operator may do to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerAction {
    /// End its serving process with SIGKILL.
    Kill,
    /// Start it again.
    Revive,
    /// Finish what it holds, give it nothing new.
    Drain,
    /// Give it work again.
    Resume,
}

impl WorkerAction {
    /// The path segment.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Revive => "revive",
            Self::Drain => "drain",
            Self::Resume => "resume",
        }
    }
}

/// The answer to an operator's action; the worker's state follows within moments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerActionReply {
    /// The worker.
    pub worker_id: WorkerId,
    /// Its state now.
    pub state: WorkerState,
    /// Requests that were in flight on it and go elsewhere.
    pub rerouted: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_tagged() {
        let c = ControlCommand::SetFaults { faults: FaultSettings::default() };
        let v = serde_json::to_value(&c).unwrap();
        assert_eq!(v["command"], "set_faults");
        assert_eq!(serde_json::from_value::<ControlCommand>(v).unwrap(), c);
    }
}

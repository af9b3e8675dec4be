//! The shared model and protocol: every shape that crosses a socket between clients, coordinator,
//! workers, the monitor and the load tool.
//!
//! Owns the types, their JSON, their validation and the names of routes and headers. It does no
//! I/O, reads no clock of its own accord and imports nothing else of this crate. What a request
//! *means* to a model belongs to `inference`; where it goes belongs to `scheduler`.
//!
//! Shapes of the base contract (`/infer`, `/queue/stats`, …) may gain fields and never lose, rename
//! or retype one: people's scripts read them.

mod event;
mod faults;
pub(crate) mod json;
mod membership;
mod problem;
mod request_id;
mod result;
pub mod routes;
mod stats;
mod task;
mod v2;
pub mod work;
mod worker;

pub use event::{Event, EventKind, Snapshot};
pub use faults::{CrashScope, FaultSettings};
pub use membership::{
    ControlCommand, Heartbeat, HeartbeatReply, RegisterReply, RegisterWorker, WorkerAction, WorkerActionReply,
};
pub use problem::{Problem, ProblemCode};
pub use request_id::RequestId;
pub use result::{
    Accepted, AnswerTiming, Answered, Attempt, AttemptOutcome, InferResponse, ModelRef, ModelSource, Scores, TaskResult,
};
pub use stats::{
    ByPriority, Counters, LatencySummary, QueueStats, RunState, Status, TaskCount, TaskStatus, WorkerPerformance,
    WorkersPerformance,
};
pub use task::{InferRequest, Options, Priority, TaskType};
pub use v2::{Tensor, TensorInfo, V2Model, V2Request, V2Response, V2Server};
pub use worker::{
    BreakerState, Capability, ModelState, ServiceTime, TaskStats, WorkerDetail, WorkerHealth, WorkerId, WorkerState,
    Workers,
};

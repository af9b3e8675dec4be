//! Names of routes and headers, so that servers and clients can't drift apart.

use http::HeaderName;

/// `POST`: submit and wait for the result. Coordinator and worker.
pub const INFER: &str = "/infer";
/// `GET` with an upgrade: many requests to a worker over one connection, see [`super::work`]. Worker.
pub const INFER_STREAM: &str = "/infer/stream";
/// `POST`: submit; `202` with the place where the result will be.
pub const INFER_ASYNC: &str = "/infer/async";
/// `POST`: as [`INFER`], at high priority.
pub const PRIORITY_INFER: &str = "/priority/infer";
/// `GET` the result of an async request (`?wait=SECONDS` long-polls); `DELETE` cancels it.
pub const RESULT: &str = "/result/{request_id}";
/// `GET`: system summary.
pub const STATUS: &str = "/status";
/// `GET`: queue and worker statistics.
pub const QUEUE_STATS: &str = "/queue/stats";
/// `GET`: per-worker performance.
pub const WORKERS_PERFORMANCE: &str = "/workers/performance";
/// `GET`: the process is alive.
pub const LIVEZ: &str = "/livez";
/// `GET`: it accepts work; `503` while starting or draining.
pub const READYZ: &str = "/readyz";
/// `GET`: a worker's health.
pub const HEALTH: &str = "/health";
/// `GET`: Prometheus metrics.
pub const METRICS: &str = "/metrics";
/// `GET`: server-sent events for monitors.
pub const EVENTS: &str = "/events";
/// `GET`: OpenAPI 3.1 document.
pub const OPENAPI: &str = "/openapi.json";
/// `GET`: the same, readable.
pub const DOCS: &str = "/docs";
/// `GET` lists workers; `POST` registers one.
pub const WORKERS: &str = "/workers";
/// `GET`: one worker; `DELETE`: it leaves.
pub const WORKER: &str = "/workers/{worker_id}";
/// `GET`: server-sent commands from coordinator to worker.
pub const WORKER_CONTROL: &str = "/workers/{worker_id}/control";
/// `POST`: a worker's heartbeat.
pub const WORKER_HEARTBEAT: &str = "/workers/{worker_id}/heartbeat";
/// `POST`: `kill`, `revive`, `drain` or `resume`.
pub const WORKER_ACTION: &str = "/workers/{worker_id}/{action}";
/// `PUT`: the faults a worker injects.
pub const WORKER_FAULTS: &str = "/workers/{worker_id}/faults";

/// `GET`: the Open Inference Protocol's server metadata.
pub const V2: &str = "/v2";
/// `GET`: the same as [`LIVEZ`].
pub const V2_LIVE: &str = "/v2/health/live";
/// `GET`: the same as [`READYZ`].
pub const V2_READY: &str = "/v2/health/ready";
/// `GET`: what a model (a task type) takes and gives.
pub const V2_MODEL: &str = "/v2/models/{model}";
/// `GET`: whether a model can serve.
pub const V2_MODEL_READY: &str = "/v2/models/{model}/ready";
/// `POST`: submit a batch and wait for its results.
pub const V2_INFER: &str = "/v2/models/{model}/infer";

/// The caller's request id; echoed in every answer.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `high`, `normal` or `low`; the body's field wins.
pub const X_AIQ_PRIORITY: HeaderName = HeaderName::from_static("x-aiq-priority");
/// What is left of the request's time budget, in milliseconds.
pub const X_AIQ_DEADLINE_MS: HeaderName = HeaderName::from_static("x-aiq-deadline-ms");

/// The path of one result.
pub fn result(request_id: &super::RequestId) -> String {
    RESULT.replace("{request_id}", request_id.as_str())
}

/// The path of one of a worker's routes, for example [`WORKER_CONTROL`].
pub fn worker(route: &str, worker_id: &super::WorkerId) -> String {
    route.replace("{worker_id}", worker_id.as_str())
}

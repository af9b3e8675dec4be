//! `GET /openapi.json`: derived from the protocol's own types and the handlers that use them.

use std::sync::OnceLock;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use utoipa::{IntoResponses, OpenApi};

use super::reply::{json_bytes, problem};
use super::{events, result, stats, submit, v2, workers};
use crate::protocol::{Event, Problem, ProblemCode};

/// What a submission may be refused with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it is read by the derive alone")]
pub(super) enum Refusals {
    /// The body is not JSON.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Problem),
    /// No token, or one that does not allow this.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// The request id was used with another payload.
    #[response(status = 409, content_type = "application/problem+json")]
    IdConflict(Problem),
    /// The body, a text or a picture is over its limit.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not application/json.
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(Problem),
    /// A field is wrong, the task unknown, the data empty, or the image undecodable.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Problem),
    /// The queue is full, or the deadline can't be met; try again after Retry-After.
    #[response(status = 429, content_type = "application/problem+json")]
    Overloaded(Problem),
    /// Every attempt failed.
    #[response(status = 502, content_type = "application/problem+json")]
    AttemptsSpent(Problem),
    /// No worker can serve this task now; try again after Retry-After.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
    /// The deadline passed.
    #[response(status = 504, content_type = "application/problem+json")]
    DeadlineExceeded(Problem),
}

/// No worker of this name.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
#[expect(dead_code, reason = "it is read by the derive alone")]
pub(super) struct NoSuchWorker(Problem);

/// No task of this name.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
#[expect(dead_code, reason = "it is read by the derive alone")]
pub(super) struct NoSuchModel(Problem);

/// It has no control stream: it did not register itself, or is not connected now.
#[derive(IntoResponses)]
#[response(status = 409, content_type = "application/problem+json")]
#[expect(dead_code, reason = "it is read by the derive alone")]
pub(super) struct NotManaged(Problem);

#[derive(OpenApi)]
#[openapi(
    info(title = "aiq coordinator", description = "Submit inference requests to a fleet of workers, and operate it."),
    paths(
        submit::infer, submit::priority_infer, submit::infer_async, result::get, result::delete,
        stats::status, stats::queue_stats, stats::performance, events::events,
        workers::list, workers::get, workers::act, workers::set_faults, workers::register, workers::heartbeat,
        workers::control, workers::leave,
        stats::livez, stats::readyz, stats::metrics,
        v2::server, v2::live, v2::health_ready, v2::model, v2::model_ready, v2::infer,
    ),
    components(schemas(Event)),
    tags(
        (name = "inference", description = "Requests and their results."),
        (name = "fleet", description = "How it goes."),
        (name = "workers", description = "Who is in the fleet, and what is done to them."),
        (name = "operation", description = "Probes and metrics."),
        (name = "open inference protocol", description = "Version 2, for existing clients. A model is a task type."),
    )
)]
struct Api;

/// The document.
pub(super) fn api() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

/// The document as JSON, written once.
pub(super) async fn document() -> Response<Body> {
    static JSON: OnceLock<Option<Bytes>> = OnceLock::new();
    match JSON.get_or_init(|| api().to_json().ok().map(Bytes::from)) {
        Some(text) => json_bytes(StatusCode::OK, text.clone()),
        None => problem(&Problem::new(ProblemCode::Internal, "the document can't be written")),
    }
}

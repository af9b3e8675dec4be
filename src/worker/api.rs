//! The serving process's HTTP.
//!
//! | Route | |
//! | --- | --- |
//! | `POST /infer` | one request; scope `submit` or `worker` |
//! | `GET /infer/stream` | many requests over one connection, see [`crate::protocol::work`] |
//! | `GET /health` | [`crate::protocol::WorkerHealth`]; always 200 while the process answers |
//! | `GET /readyz` | 200 where new work is taken, else 503 |
//! | `GET /livez` | 200 |
//! | `GET /metrics` | Prometheus |
//!
//! Owns reading a request within its limits, and every answer's form. What a request means belongs
//! to `core`.

mod answer;
mod body;
mod listen;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};

use super::backend::Backend;
use super::core::Core;
use crate::config::Scope;
use crate::protocol::{InferRequest, Priority, Problem, ProblemCode, RequestId, WorkerState, routes};
use crate::telemetry::prometheus::Exposition;
use answer::{json, problem};
pub(super) use listen::{Server, bind};

/// The routes.
fn router<B: Backend>(core: Arc<Core<B>>, life: listen::Life) -> Router {
    Router::new()
        .route(routes::INFER, post(infer::<B>))
        .route(routes::INFER_STREAM, get(stream::open::<B>))
        .route(routes::HEALTH, get(async |State(core): State<Arc<Core<B>>>| json(&core.health())))
        .route(routes::READYZ, get(ready::<B>))
        .route(routes::LIVEZ, get(async || json(&serde_json::json!({"status": "ok"}))))
        .route(routes::METRICS, get(metrics::<B>))
        .fallback(async |uri: Uri| {
            problem(&Problem::new(ProblemCode::NotFound, format!("{} is not a route of a worker", uri.path())))
        })
        .method_not_allowed_fallback(async |request: Request| {
            let (method, path) = (request.method(), request.uri().path());
            problem(&Problem::new(ProblemCode::MethodNotAllowed, format!("{path} does not take {method}")))
        })
        .layer(Extension(life))
        .with_state(core)
}

async fn infer<B: Backend>(State(core): State<Arc<Core<B>>>, request: Request) -> Response {
    let asked = request.headers().get(routes::X_REQUEST_ID).cloned();
    let named = asked.as_ref().and_then(|id| RequestId::try_new(id.to_str().ok()?).ok());
    let (id, answer) = match receive(&core, request, named.clone()).await {
        Err(refusal) => (refusal.request_id.clone().or(named), problem(&refusal)),
        Ok(Received { request, id, budget }) => match core.infer(request, id.clone(), budget).await {
            Ok(response) => (Some(id), json(&response)),
            Err(failure) => {
                let failure = failure.for_request(Some(&id));
                (Some(id), problem(&failure))
            }
        },
    };
    answer::with_request_id(answer, id.as_ref())
}

/// A request that may be worked on.
struct Received {
    request: InferRequest,
    id: RequestId,
    budget: Duration,
}

/// Reads a request. What can be refused by its head is, before its body is read.
async fn receive<B: Backend>(core: &Core<B>, http: Request, named: Option<RequestId>) -> Result<Received, Problem> {
    authorise(core, http.headers())?;
    core.admits()?;
    let budget = remaining_budget(http.headers())?;
    let priority = priority(http.headers())?;
    let bytes = body::read(http).await?;
    let mut request = InferRequest::from_json(&bytes)?;
    request.priority = request.priority.or(priority);
    let id = request.request_id.clone().or(named).unwrap_or_else(RequestId::generate);
    let default = Duration::from_millis(request.timeout_ms.unwrap_or(InferRequest::DEFAULT_TIMEOUT_MS));
    let budget = budget.unwrap_or(default);
    if budget.is_zero() {
        let late = Problem::new(ProblemCode::DeadlineExceeded, "nothing is left of the request's time budget");
        return Err(late.for_request(Some(&id)));
    }
    Ok(Received { request, id, budget })
}

fn authorise<B: Backend>(core: &Core<B>, headers: &HeaderMap) -> Result<(), Problem> {
    let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let access = &core.config.access;
    if access.allows(sent, Scope::Submit) || access.allows(sent, Scope::Worker) {
        return Ok(());
    }
    let detail = if sent.is_some() {
        "this token may not submit requests; send one with the scope submit or worker"
    } else {
        "this worker needs an access token; send it as `Authorization: Bearer TOKEN`"
    };
    Err(Problem::new(ProblemCode::Unauthorized, detail))
}

/// What the caller says is left of the request's budget.
fn remaining_budget(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get(routes::X_AIQ_DEADLINE_MS) else { return Ok(None) };
    let ms = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
    let ms = ms.filter(|ms| *ms <= InferRequest::MAX_TIMEOUT_MS).ok_or_else(|| {
        let right = format!("{} must be 0 to {} milliseconds", routes::X_AIQ_DEADLINE_MS, InferRequest::MAX_TIMEOUT_MS);
        Problem::new(ProblemCode::InvalidField, right)
    })?;
    Ok(Some(Duration::from_millis(ms)))
}

/// How urgent the caller says it is, for a body that does not.
fn priority(headers: &HeaderMap) -> Result<Option<Priority>, Problem> {
    let value = headers.get(routes::X_AIQ_PRIORITY).map(|value| value.to_str().unwrap_or_default().trim().parse());
    value.transpose()
}

async fn ready<B: Backend>(State(core): State<Arc<Core<B>>>) -> Response {
    match core.state() {
        WorkerState::Ready => json(&serde_json::json!({"status": "ready"})),
        state => problem(&Problem::new(ProblemCode::Unavailable, format!("{} is {state}", core.config.id))),
    }
}

async fn metrics<B: Backend>(State(core): State<Arc<Core<B>>>) -> Response {
    ([(CONTENT_TYPE, Exposition::MEDIA_TYPE)], core.metrics()).into_response()
}

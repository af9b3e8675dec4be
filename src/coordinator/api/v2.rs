//! `/v2…`: the Open Inference Protocol, so that existing clients work unchanged. A model is a task type.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawPathParams, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use serde_json::json;

use super::body::{or_discard, read_submission};
use super::head::Head;
use super::reply::{Answer, json as json_reply};
use super::stats::ready;
use super::submit::{Recall, noted, submission};
use crate::coordinator::app::App;
use crate::protocol::{
    InferRequest, InferResponse, Problem, ProblemCode, RequestId, TaskType, V2Model, V2Request, V2Response, V2Server,
    routes,
};

/// What this server is.
#[utoipa::path(get, path = routes::V2, tag = "open inference protocol", responses((status = 200, body = V2Server)))]
pub(super) async fn server() -> Response<Body> {
    let server =
        V2Server { name: "aiq".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), extensions: Vec::new() };
    json_reply(StatusCode::OK, &server)
}

/// The process is alive.
#[utoipa::path(get, path = routes::V2_LIVE, tag = "open inference protocol", responses((status = 200, description = "It is.")))]
pub(super) async fn live() -> Response<Body> {
    json_reply(StatusCode::OK, &json!({"live": true}))
}

/// Requests are accepted.
#[utoipa::path(get, path = routes::V2_READY, tag = "open inference protocol",
    responses((status = 200, description = "They are."),
              (status = 503, description = "Starting or draining.", body = Problem, content_type = Problem::MEDIA_TYPE)))]
pub(super) async fn health_ready(State(app): State<Arc<App>>) -> Answer {
    ready(&app)?;
    Ok(json_reply(StatusCode::OK, &json!({"ready": true})))
}

/// What a model takes and gives.
#[utoipa::path(get, path = routes::V2_MODEL, tag = "open inference protocol",
    params(("model" = TaskType, Path, description = "A task type.")),
    responses((status = 200, body = V2Model), super::openapi::NoSuchModel))]
pub(super) async fn model(params: RawPathParams) -> Answer {
    Ok(json_reply(StatusCode::OK, &V2Model::of(task(&params)?)))
}

/// Whether a model can serve.
#[utoipa::path(get, path = routes::V2_MODEL_READY, tag = "open inference protocol",
    params(("model" = TaskType, Path, description = "A task type.")),
    responses((status = 200, description = "It can."), super::openapi::NoSuchModel,
              (status = 503, description = "No worker can serve it now.", body = Problem, content_type = Problem::MEDIA_TYPE)))]
pub(super) async fn model_ready(State(app): State<Arc<App>>, params: RawPathParams) -> Answer {
    let task = task(&params)?;
    ready(&app)?;
    if app.status().tasks.iter().any(|t| t.task == task && t.workers > 0) {
        return Ok(json_reply(StatusCode::OK, &json!({"name": task, "ready": true})));
    }
    Err(Problem::new(ProblemCode::NoWorker, format!("no worker can serve {task} now")).into())
}

/// Submit a batch and wait for its results. The items are scheduled each by itself.
#[utoipa::path(post, path = routes::V2_INFER, tag = "open inference protocol", request_body = V2Request,
    params(("model" = TaskType, Path, description = "A task type.")),
    responses((status = 200, body = V2Response), super::openapi::NoSuchModel, super::openapi::Refusals))]
pub(super) async fn infer(State(app): State<Arc<App>>, params: RawPathParams, request: Request<Body>) -> Answer {
    let task = task(&params)?;
    let (headers, request, items) = noted(&app, receive(&app, task, request).await)?;
    // All are in before the first is waited for; dropping the rest withdraws them.
    let head = Head::of(&headers);
    let waiting = items.iter().map(|item| submit(&app, &head, item)).collect::<Result<Vec<_>, _>>()?;
    let mut answers = Vec::with_capacity(waiting.len());
    for waiter in waiting {
        let outcome = Arc::unwrap_or_clone(waiter.await);
        let body = outcome?;
        answers.push(serde_json::from_slice::<InferResponse>(&body).map_err(|e| Problem::from_json_error(&e))?);
    }
    Ok(json_reply(StatusCode::OK, &V2Response::of(task, request.id, &answers)))
}

async fn receive(
    app: &App,
    task: TaskType,
    request: Request<Body>,
) -> Result<(HeaderMap, V2Request, Vec<InferRequest>), Problem> {
    let (Parts { headers, .. }, mut body) = request.into_parts();
    let read = async {
        app.core.door()?;
        read_submission(&app.room, &Head::of(&headers), &mut body).await
    };
    let json = or_discard(read.await, body)?;
    let request: V2Request = serde_json::from_slice(&json).map_err(|e| Problem::from_json_error(&e))?;
    let items = request.requests(task)?;
    Ok((headers, request, items))
}

fn submit(app: &App, head: &Head<'_>, item: &InferRequest) -> Result<crate::coordinator::core::Waiter, Problem> {
    let body = serde_json::to_vec(item).map_err(|e| Problem::from_json_error(&e))?;
    // The id of the whole is the client's; the items have ids of their own.
    app.core.submit(submission(head, body.into(), item, None::<&RequestId>, Recall::IfNamed)?)
}

fn task(params: &RawPathParams) -> Result<TaskType, Problem> {
    let name = params.iter().next().map_or("", |(_, value)| value);
    name.parse().map_err(|p: Problem| {
        let detail = p.detail.replacen("task_type", "model", 1);
        Problem::new(ProblemCode::NotFound, detail)
    })
}

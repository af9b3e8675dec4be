//! `/workers…`: what workers say of themselves, and what operators do to them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawPathParams, State};
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use futures_util::stream;

use super::body::read_json;
use super::events::{KEEP_ALIVE, KEEP_ALIVE_EVERY, data_frame, sse};
use super::reply::{Answer, json};
use crate::coordinator::app::App;
use crate::coordinator::membership::ControlStream;
use crate::protocol::{
    ControlCommand, FaultSettings, Heartbeat, HeartbeatReply, Problem, ProblemCode, RegisterReply, RegisterWorker,
    WorkerAction, WorkerActionReply, WorkerDetail, WorkerId, Workers, routes,
};

/// Every known worker, by name.
#[utoipa::path(get, path = routes::WORKERS, tag = "workers", responses((status = 200, body = Workers)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Response<Body> {
    json(StatusCode::OK, &Workers { workers: app.workers() })
}

/// One worker.
#[utoipa::path(get, path = routes::WORKER, tag = "workers",
    params(("worker_id" = WorkerId, Path, description = "The worker's name.")),
    responses((status = 200, body = WorkerDetail), super::openapi::NoSuchWorker))]
pub(super) async fn get(State(app): State<Arc<App>>, params: RawPathParams) -> Answer {
    let id = worker_id(&params)?;
    Ok(json(StatusCode::OK, &app.worker(&id)?))
}

/// A worker introduces itself; again after every reconnect.
#[utoipa::path(post, path = routes::WORKERS, tag = "workers", request_body = RegisterWorker,
    responses((status = 200, body = RegisterReply),
              (status = 422, description = "Something about it is not usable.", body = Problem, content_type = Problem::MEDIA_TYPE)))]
pub(super) async fn register(State(app): State<Arc<App>>, request: Request<Body>) -> Answer {
    let worker: RegisterWorker = read_json(request).await?;
    Ok(json(StatusCode::OK, &app.core.register(worker)?))
}

/// A worker leaves in good order.
#[utoipa::path(delete, path = routes::WORKER, tag = "workers",
    params(("worker_id" = WorkerId, Path, description = "The worker's name.")),
    responses((status = 204, description = "It is forgotten; what it held goes elsewhere."), super::openapi::NoSuchWorker))]
pub(super) async fn leave(State(app): State<Arc<App>>, params: RawPathParams) -> Answer {
    app.core.worker_left(&worker_id(&params)?)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// A worker's heartbeat.
#[utoipa::path(post, path = routes::WORKER_HEARTBEAT, tag = "workers", request_body = Heartbeat,
    params(("worker_id" = WorkerId, Path, description = "The worker's name.")),
    responses((status = 200, body = HeartbeatReply)))]
pub(super) async fn heartbeat(State(app): State<Arc<App>>, params: RawPathParams, request: Request<Body>) -> Answer {
    let id = worker_id(&params)?;
    let beat: Heartbeat = read_json(request).await?;
    Ok(json(StatusCode::OK, &HeartbeatReply { registered: app.core.heartbeat(&id, beat) }))
}

/// Commands from the coordinator to a worker, as server-sent events.
#[utoipa::path(get, path = routes::WORKER_CONTROL, tag = "workers",
    params(("worker_id" = WorkerId, Path, description = "The worker's name.")),
    responses((status = 200, description = "Server-sent events; each one's data is a ControlCommand as JSON.",
               body = ControlCommand, content_type = "text/event-stream"), super::openapi::NoSuchWorker))]
pub(super) async fn control(State(app): State<Arc<App>>, params: RawPathParams) -> Answer {
    let stream = app.core.control_stream(&worker_id(&params)?)?;
    // The first bytes at once: the worker knows that the stream stands.
    Ok(sse(Body::from_stream(stream::unfold((app, stream, true), next_command))))
}

async fn next_command(
    (app, mut control, first): (Arc<App>, ControlStream, bool),
) -> Option<(Result<Bytes, std::convert::Infallible>, (Arc<App>, ControlStream, bool))> {
    let frame = if first {
        KEEP_ALIVE
    } else {
        tokio::select! {
            command = control.next() => data_frame(None, &command?),
            () = tokio::time::sleep(KEEP_ALIVE_EVERY) => KEEP_ALIVE,
            () = app.closing.cancelled() => return None,
        }
    };
    Some((Ok(frame), (app, control, false)))
}

/// Kill, revive, drain or resume a worker.
#[utoipa::path(post, path = routes::WORKER_ACTION, tag = "workers",
    params(("worker_id" = WorkerId, Path, description = "The worker's name."),
           ("action" = WorkerAction, Path, description = "What to do.")),
    responses((status = 200, description = "It was told; its state follows within moments.", body = WorkerActionReply),
              super::openapi::NoSuchWorker, super::openapi::NotManaged))]
pub(super) async fn act(State(app): State<Arc<App>>, params: RawPathParams, request: Request<Body>) -> Answer {
    let id = worker_id(&params)?;
    let name = params.iter().nth(1).map_or("", |(_, value)| value);
    let all = [WorkerAction::Kill, WorkerAction::Revive, WorkerAction::Drain, WorkerAction::Resume];
    let Some(action) = all.into_iter().find(|a| a.as_str() == name) else {
        return Err(not_found(request.uri().path()).into());
    };
    Ok(json(StatusCode::OK, &app.core.act(&id, action)?))
}

/// Set the faults that a worker injects into its own work; what is left out is off.
#[utoipa::path(put, path = routes::WORKER_FAULTS, tag = "workers", request_body = FaultSettings,
    params(("worker_id" = WorkerId, Path, description = "The worker's name.")),
    responses((status = 200, body = WorkerDetail),
              (status = 403, description = "Fault injection is off on this worker.", body = Problem, content_type = Problem::MEDIA_TYPE),
              (status = 422, description = "A setting is out of range.", body = Problem, content_type = Problem::MEDIA_TYPE),
              super::openapi::NoSuchWorker, super::openapi::NotManaged))]
pub(super) async fn set_faults(State(app): State<Arc<App>>, params: RawPathParams, request: Request<Body>) -> Answer {
    let id = worker_id(&params)?;
    let faults: FaultSettings = read_json(request).await?;
    faults.validate()?;
    app.core.set_faults(&id, &faults)?;
    Ok(json(StatusCode::OK, &app.worker(&id)?))
}

fn worker_id(params: &RawPathParams) -> Result<WorkerId, Problem> {
    WorkerId::try_new(params.iter().next().map_or("", |(_, value)| value))
}

/// No such route.
pub(super) fn not_found(path: &str) -> Problem {
    let path: String = path.chars().take(128).collect();
    Problem::new(ProblemCode::NotFound, format!("there is nothing at {path}; /docs lists what there is"))
}

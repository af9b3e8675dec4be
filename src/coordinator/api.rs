//! The coordinator's HTTP side: routes, and what all of them have in common.
//!
//! | Route | |
//! | --- | --- |
//! | `POST /infer`, `/infer/async`, `/priority/infer` | [`submit`] |
//! | `GET`, `DELETE /result/{id}` | [`result`] |
//! | `GET /status`, `/queue/stats`, `/workers/performance`, `/livez`, `/readyz`, `/metrics` | [`stats`] |
//! | `GET /events` | [`events`] |
//! | `/workers…` | [`workers`] |
//! | `/v2…` | [`v2`] |
//! | `GET /openapi.json`, `/docs` | [`openapi`], [`docs`] |
//!
//! What a request means is the core's business; here it is read, checked, and answered.

mod body;
mod connection;
mod docs;
mod events;
mod guard;
mod head;
mod openapi;
mod reply;
mod repoll;
mod result;
mod seldom;
pub(super) mod server;
mod stats;
mod submit;
mod threads;
mod v2;
mod workers;

pub(super) use body::Room;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::HeaderValue;
use axum::http::{HeaderMap, Method, Request, Response};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post, put};
use bytes::Bytes;
use futures_util::{FutureExt, future};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tower::ServiceExt;

use super::app::App;
use crate::protocol::{Problem, RequestId, routes};

/// Every route. Each one names its methods, so that a wrong one is told what would do.
fn router(app: Arc<App>) -> Router {
    let table: Vec<(&str, &'static str, MethodRouter<Arc<App>>)> = vec![
        (routes::INFER, "POST", post(submit::infer)),
        (routes::INFER_ASYNC, "POST", post(submit::infer_async)),
        (routes::PRIORITY_INFER, "POST", post(submit::priority_infer)),
        (routes::RESULT, "GET, HEAD, DELETE", get(result::get).delete(result::delete)),
        (routes::STATUS, "GET, HEAD", get(stats::status)),
        (routes::QUEUE_STATS, "GET, HEAD", get(stats::queue_stats)),
        (routes::WORKERS_PERFORMANCE, "GET, HEAD", get(stats::performance)),
        (routes::LIVEZ, "GET, HEAD", get(stats::livez)),
        (routes::READYZ, "GET, HEAD", get(stats::readyz)),
        (routes::METRICS, "GET, HEAD", get(stats::metrics)),
        (routes::EVENTS, "GET, HEAD", get(events::events)),
        (routes::OPENAPI, "GET, HEAD", get(openapi::document)),
        (routes::DOCS, "GET, HEAD", get(docs::page)),
        (routes::WORKERS, "GET, HEAD, POST", get(workers::list).post(workers::register)),
        (routes::WORKER, "GET, HEAD, DELETE", get(workers::get).delete(workers::leave)),
        (routes::WORKER_CONTROL, "GET, HEAD", get(workers::control)),
        (routes::WORKER_HEARTBEAT, "POST", post(workers::heartbeat)),
        (routes::WORKER_FAULTS, "PUT", put(workers::set_faults)),
        (routes::WORKER_ACTION, "POST", post(workers::act)),
        (routes::V2, "GET, HEAD", get(v2::server)),
        (routes::V2_LIVE, "GET, HEAD", get(v2::live)),
        (routes::V2_READY, "GET, HEAD", get(v2::health_ready)),
        (routes::V2_MODEL, "GET, HEAD", get(v2::model)),
        (routes::V2_MODEL_READY, "GET, HEAD", get(v2::model_ready)),
        (routes::V2_INFER, "POST", post(v2::infer)),
    ];
    let mut router = Router::new();
    for (path, allowed, methods) in table {
        let refuse = move |request: Request<Body>| async move {
            reply::method_not_allowed(request.method().as_str(), request.uri().path(), allowed)
        };
        router = router.route(path, methods.fallback(refuse));
    }
    let nowhere =
        |request: Request<Body>| async move { reply::problem::<Body>(&workers::not_found(request.uri().path())) };
    router.fallback(nowhere).with_state(app)
}

/// A response's body: whole, or as the router has it.
type ResponseBody = Either<Full<Bytes>, Body>;

/// Answers one request: who may, what it is, and the caller's id echoed.
fn answer(app: &Arc<App>, router: &Router, request: Request<Incoming>) -> impl Future<Output = Response<ResponseBody>> {
    let echo = caller_id(request.headers());
    let allowed = guard::check(&app.config.access, request.method(), request.uri().path(), request.headers());
    let answered = match allowed {
        // The busiest route goes without the router: it would cost more than the rest of this function.
        Ok(()) if request.method() == Method::POST && request.uri().path() == routes::INFER => {
            future::Either::Left(submit::infer_unrouted(app, request).map(|response| response.map(Either::Left)))
        }
        // In a box, so that what is seldom needed takes no place beside what is needed most.
        allowed => future::Either::Right(answer_routed(allowed, router.clone(), request).boxed()),
    };
    answered.map(|mut response| {
        if let Some(id) = echo {
            response.headers_mut().insert(routes::X_REQUEST_ID, id);
        }
        response
    })
}

/// What is not the busiest route, and what is refused.
async fn answer_routed(
    allowed: Result<(), Problem>,
    router: Router,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    match allowed {
        Ok(()) => router.oneshot(request.map(Body::new)).await.into_response().map(Either::Right),
        Err(refused) => {
            body::discard(request.into_body());
            reply::problem(&refused).map(Either::Left)
        }
    }
}

/// The caller's own id, if it is one that may be echoed.
fn caller_id(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(routes::X_REQUEST_ID).filter(|id| id.len() <= RequestId::MAX_LEN).cloned()
}

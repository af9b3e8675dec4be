//! `GET /status`, `/queue/stats`, `/workers/performance`, `/livez`, `/readyz`, `/metrics`: how it goes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};

use super::reply::{Answer, json, text};
use crate::coordinator::app::App;
use crate::protocol::{Problem, ProblemCode, QueueStats, RunState, Status, WorkersPerformance, routes};
use crate::telemetry::prometheus::Exposition;

/// System summary.
#[utoipa::path(get, path = routes::STATUS, tag = "fleet", responses((status = 200, body = Status)))]
pub(super) async fn status(State(app): State<Arc<App>>) -> Response<Body> {
    json(StatusCode::OK, &app.status())
}

/// Queue and worker statistics.
#[utoipa::path(get, path = routes::QUEUE_STATS, tag = "fleet", responses((status = 200, body = QueueStats)))]
pub(super) async fn queue_stats(State(app): State<Arc<App>>) -> Response<Body> {
    json(StatusCode::OK, &app.queue_stats())
}

/// Per-worker performance.
#[utoipa::path(get, path = routes::WORKERS_PERFORMANCE, tag = "fleet", responses((status = 200, body = WorkersPerformance)))]
pub(super) async fn performance(State(app): State<Arc<App>>) -> Response<Body> {
    json(StatusCode::OK, &app.performance())
}

/// The process is alive.
#[utoipa::path(get, path = routes::LIVEZ, tag = "operation",
    responses((status = 200, description = "ok", body = String, content_type = "text/plain")))]
pub(super) async fn livez() -> Response<Body> {
    text("text/plain; charset=utf-8", "ok\n")
}

/// Requests are accepted; 503 while starting or draining.
#[utoipa::path(get, path = routes::READYZ, tag = "operation",
    responses((status = 200, description = "ok", body = String, content_type = "text/plain"),
              (status = 503, description = "Starting or draining.", body = Problem, content_type = Problem::MEDIA_TYPE)))]
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Answer {
    ready(&app)?;
    Ok(text("text/plain; charset=utf-8", "ok\n"))
}

/// Whether requests are accepted.
pub(super) fn ready(app: &App) -> Result<(), Problem> {
    match app.core.run_state() {
        RunState::Ready => Ok(()),
        RunState::Starting => Err(Problem::new(ProblemCode::Unavailable, "the coordinator is starting")),
        RunState::Draining => Err(Problem::new(ProblemCode::Unavailable, "the coordinator is shutting down")),
    }
}

/// Prometheus metrics (text format 0.0.4).
#[utoipa::path(get, path = routes::METRICS, tag = "operation",
    responses((status = 200, description = "Metrics.", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response<Body> {
    text(Exposition::MEDIA_TYPE, app.metrics_text())
}

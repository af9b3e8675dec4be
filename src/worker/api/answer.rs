//! Answers: JSON, and problems as RFC 9457 has them.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

use crate::protocol::{Problem, ProblemCode, RequestId, routes};

/// A value as JSON.
pub(super) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => respond(StatusCode::OK, "application/json", body),
        Err(e) => problem(&Problem::new(ProblemCode::Internal, format!("the answer can't be written: {e}"))),
    }
}

/// A problem, with the headers that go with it.
pub(super) fn problem(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = respond(status, Problem::MEDIA_TYPE, body);
    if let Some(seconds) = problem.retry_after {
        // The header has whole seconds; the body has them exactly.
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1.0).ceil() as u64));
    }
    if problem.code == ProblemCode::Unauthorized {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Echoes the request's id.
pub(super) fn with_request_id(mut response: Response, id: Option<&RequestId>) -> Response {
    if let Some(value) = id.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
        response.headers_mut().insert(routes::X_REQUEST_ID, value);
    }
    response
}

fn respond(status: StatusCode, media_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

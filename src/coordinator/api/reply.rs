//! Turns answers into HTTP: the one place where a [`Problem`] becomes a response.

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::Serialize;

use crate::protocol::{Problem, ProblemCode, RequestId, routes};

/// What a handler that can refuse returns.
pub(super) type Answer = Result<Response<Body>, Refusal>;

/// A refusal on its way to the client.
#[derive(Debug)]
pub(super) struct Refusal(Box<Problem>);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        problem(&self.0)
    }
}

/// The response of a problem: its body, its status, and the headers that go with it.
pub(crate) fn problem<B: From<Bytes>>(p: &Problem) -> Response<B> {
    let body = serde_json::to_vec(p).unwrap_or_default();
    let mut response = Response::new(Bytes::from(body).into());
    *response.status_mut() = StatusCode::from_u16(p.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(Problem::MEDIA_TYPE));
    if let Some(seconds) = p.retry_after {
        // Whole seconds, and never "at once": that would be an invitation to hammer.
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.clamp(1.0, 3600.0).ceil() as u64));
    }
    if p.code == ProblemCode::Unauthorized {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(id) = &p.request_id {
        insert_request_id(&mut response, id);
    }
    response
}

/// Names the request in the answer's header, unless the caller's own header stands there already.
pub(super) fn insert_request_id<B>(response: &mut Response<B>, id: &RequestId) {
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(routes::X_REQUEST_ID, value);
    }
}

/// A 405 with the methods that would do.
pub(super) fn method_not_allowed(method: &str, path: &str, allowed: &'static str) -> Response<Body> {
    let detail = format!("{path} does not take {method}; it takes {allowed}");
    let mut response = problem(&Problem::new(ProblemCode::MethodNotAllowed, detail));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// JSON with a status.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => json_bytes(status, body.into()),
        Err(e) => problem(&Problem::new(ProblemCode::Internal, format!("the answer can't be written as JSON: {e}"))),
    }
}

/// JSON that is written already.
pub(super) fn json_bytes<B: From<Bytes>>(status: StatusCode, body: Bytes) -> Response<B> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A text of some media type.
pub(super) fn text(media_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_carries_its_headers() {
        let id = RequestId::try_new("r-1").unwrap();
        let p = Problem::new(ProblemCode::QueueFull, "full").with_retry_after(0.2).for_request(Some(&id));
        let r: Response<Body> = problem(&p);
        assert_eq!(r.status(), 429);
        assert_eq!(r.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(r.headers()[RETRY_AFTER], "1");
        assert_eq!(r.headers()[routes::X_REQUEST_ID], "r-1");
        assert_eq!(problem::<Body>(&Problem::new(ProblemCode::Cancelled, "gone")).status().as_u16(), 499);
    }
}

//! `POST /infer`, `/infer/async`, `/priority/infer`: submissions.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{HeaderValue, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use bytes::Bytes;
use futures_util::TryFutureExt;
use http_body_util::Full;
use hyper::body::Incoming;

use super::body::{RequestBody, or_discard, read_submission};
use super::head::{Head, text};
use super::reply::{Answer, insert_request_id, json, json_bytes, problem};
use crate::coordinator::app::App;
use crate::coordinator::core::{Submission, fingerprint};
use crate::coordinator::store::Outcome;
use crate::protocol::{Accepted, InferRequest, InferResponse, Priority, Problem, ProblemCode, RequestId, routes};

/// Submit a request and wait for its result.
#[utoipa::path(post, path = routes::INFER, tag = "inference", request_body = InferRequest,
    responses((status = 200, description = "The result.", body = InferResponse), super::openapi::Refusals))]
pub(super) async fn infer(State(app): State<Arc<App>>, request: Request<Body>) -> Answer {
    Ok(wait(&app, request, None).await?)
}

/// The same as it comes from and goes to the server, without boxes around the bodies.
pub(super) fn infer_unrouted(app: &App, request: Request<Incoming>) -> impl Future<Output = Response<Full<Bytes>>> {
    wait(app, request, None).unwrap_or_else(|refused| problem(&refused))
}

/// As /infer, at high priority.
#[utoipa::path(post, path = routes::PRIORITY_INFER, tag = "inference", request_body = InferRequest,
    responses((status = 200, description = "The result.", body = InferResponse), super::openapi::Refusals))]
pub(super) async fn priority_infer(State(app): State<Arc<App>>, request: Request<Body>) -> Answer {
    Ok(wait(&app, request, Some(Priority::High)).await?)
}

/// Submit a request; its result is to be fetched from `result_url`.
#[utoipa::path(post, path = routes::INFER_ASYNC, tag = "inference", request_body = InferRequest,
    responses((status = 202, description = "Accepted; the result will be at result_url.", body = Accepted), super::openapi::Refusals))]
pub(super) async fn infer_async(State(app): State<Arc<App>>, request: Request<Body>) -> Answer {
    let (Parts { headers, .. }, body) = request.into_parts();
    let submission = noted(&app, receive(&app, &headers, body, None, Recall::Always).await)?;
    let id = submission.id.clone();
    let status = app.core.submit_detached(submission).await.inspect_err(|p| note_conflict(&app, p))?;
    let accepted = Accepted { result_url: routes::result(&id), request_id: id, status: status.to_owned() };
    let mut response = json(StatusCode::ACCEPTED, &accepted);
    if let Ok(location) = HeaderValue::from_str(&accepted.result_url) {
        response.headers_mut().insert(LOCATION, location);
    }
    insert_request_id(&mut response, &accepted.request_id);
    Ok(response)
}

fn wait<R: From<Bytes>>(
    app: &App,
    request: Request<impl RequestBody>,
    priority: Option<Priority>,
) -> impl Future<Output = Result<Response<R>, Problem>> {
    // Taken apart here: a whole request in each of the futures below would make them three times as large, and they
    // are moved for each request.
    let (Parts { headers, .. }, body) = request.into_parts();
    wait_for(app, headers, body, priority)
}

async fn wait_for<R: From<Bytes>>(
    app: &App,
    headers: HeaderMap,
    body: impl RequestBody,
    priority: Option<Priority>,
) -> Result<Response<R>, Problem> {
    let submission = noted(app, receive(app, &headers, body, priority, Recall::IfNamed).await)?;
    // They hold on to the buffer that they were read into.
    drop(headers);
    let id = submission.id.clone();
    let outcome = noted(app, app.core.submit(submission))?.await;
    if let Err(problem) = &*outcome {
        note_conflict(app, problem);
    }
    Ok(respond(&id, Arc::unwrap_or_clone(outcome)))
}

/// Counts what never became a request.
pub(super) fn noted<T>(app: &App, result: Result<T, Problem>) -> Result<T, Problem> {
    result.inspect_err(|p| app.refused.note(p.code))
}

/// What the scheduler refuses it has counted itself; a conflict it never saw.
fn note_conflict(app: &App, problem: &Problem) {
    if problem.code == ProblemCode::RequestIdConflict {
        app.refused.note(problem.code);
    }
}

/// The response of a request that has ended.
pub(super) fn respond<R: From<Bytes>>(id: &RequestId, outcome: Outcome) -> Response<R> {
    let mut response = match outcome {
        Ok(body) => json_bytes(StatusCode::OK, body),
        Err(refused) => problem(&refused),
    };
    insert_request_id(&mut response, id);
    response
}

/// Which requests may be asked for again by their id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recall {
    /// Those whose client chose the id: nobody else knows it before the answer is there.
    IfNamed,
    /// All.
    Always,
}

async fn receive(
    app: &App,
    headers: &HeaderMap,
    mut body: impl RequestBody,
    priority: Option<Priority>,
    recall: Recall,
) -> Result<Submission, Problem> {
    or_discard(read_and_check(app, headers, &mut body, priority, recall).await, body)
}

async fn read_and_check(
    app: &App,
    headers: &HeaderMap,
    body: &mut impl RequestBody,
    priority: Option<Priority>,
    recall: Recall,
) -> Result<Submission, Problem> {
    // An overloaded coordinator says so before it reads, let alone parses, what it can't take.
    app.core.door()?;
    let head = Head::of(headers);
    let body = read_submission(&app.room, &head, body).await?;
    let header_id = header_id(&head)?;
    let request = parse(&body).await.map_err(|p| p.for_request(header_id.as_ref()))?;
    let named = request.request_id.clone().or(header_id);
    submission(&head, body, &request, named.as_ref(), recall)
        .map(|s| Submission { priority: priority.unwrap_or(s.priority), ..s })
        .map_err(|p| p.for_request(named.as_ref()))
}

/// Parses a body; a large one, which takes milliseconds, on a thread where nobody else has to wait for it.
async fn parse(body: &Bytes) -> Result<InferRequest, Problem> {
    const LARGE_BYTES: usize = 128 << 10;
    if body.len() <= LARGE_BYTES {
        return InferRequest::from_json(body);
    }
    let body = body.clone();
    let parsed = tokio::task::spawn_blocking(move || InferRequest::from_json(&body)).await;
    parsed.unwrap_or_else(|e| Err(Problem::new(ProblemCode::Internal, format!("parsing the body failed: {e}"))))
}

/// What is submitted, with its headers taken into account. The body's own fields win.
pub(super) fn submission(
    head: &Head<'_>,
    body: Bytes,
    request: &InferRequest,
    named: Option<&RequestId>,
    recall: Recall,
) -> Result<Submission, Problem> {
    let from_header = head.priority.map(|value| text(value).parse()).transpose()?;
    let left = head.deadline.map(|value| deadline_header(text(value))).transpose()?;
    let asked = request.timeout_ms;
    Ok(Submission {
        fingerprint: (named.is_some() || recall == Recall::Always).then(|| fingerprint(request)),
        id: named.cloned().unwrap_or_else(RequestId::generate),
        task: request.task_type,
        priority: request.priority.or(from_header).unwrap_or_default(),
        budget: asked.into_iter().chain(left).min().map(Duration::from_millis),
        body,
    })
}

fn header_id(head: &Head<'_>) -> Result<Option<RequestId>, Problem> {
    let Some(value) = head.request_id else { return Ok(None) };
    RequestId::try_new(text(value)).map(Some).map_err(|mut p| {
        p.detail = p.detail.replacen("request_id", "the header X-Request-Id", 1);
        p
    })
}

fn deadline_header(value: &str) -> Result<u64, Problem> {
    let most = InferRequest::MAX_TIMEOUT_MS;
    let ms = value.trim().parse::<u64>().ok().filter(|ms| *ms <= most);
    match ms {
        Some(0) => Err(Problem::new(ProblemCode::DeadlineExceeded, "X-Aiq-Deadline-Ms is 0: no time is left")),
        Some(ms) => Ok(ms),
        None => Err(Problem::new(
            ProblemCode::InvalidField,
            format!("X-Aiq-Deadline-Ms must be the milliseconds that are left, 1 to {most}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::TaskType;

    fn submit(headers: &[(&'static str, &'static str)], request: &InferRequest) -> Result<Submission, Problem> {
        let headers =
            headers.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect::<HeaderMap>();
        let head = Head::of(&headers);
        let named = request.request_id.clone().or(header_id(&head)?);
        submission(&head, Bytes::new(), request, named.as_ref(), Recall::IfNamed)
    }

    #[test]
    fn headers_stand_in_for_fields_and_fields_win() {
        let plain = InferRequest::new(TaskType::TextClassification, "x");
        let headers = [("x-request-id", "h-1"), ("x-aiq-priority", "low"), ("x-aiq-deadline-ms", "250")];
        let s = submit(&headers, &plain).unwrap();
        assert_eq!((s.id.as_str(), s.priority, s.budget), ("h-1", Priority::Low, Some(Duration::from_millis(250))));
        let full = InferRequest {
            request_id: Some("b-1".parse().unwrap()),
            priority: Some(Priority::High),
            timeout_ms: Some(100),
            ..plain.clone()
        };
        let s = submit(&headers, &full).unwrap();
        assert_eq!((s.id.as_str(), s.priority, s.budget), ("b-1", Priority::High, Some(Duration::from_millis(100))));
        let s = submit(&[], &plain).unwrap();
        assert!(s.fingerprint.is_none() && s.budget.is_none() && s.priority == Priority::Normal);
    }

    #[test]
    fn wrong_headers_are_named() {
        let plain = || InferRequest::new(TaskType::TextClassification, "x");
        let detail = |name, value| submit(&[(name, value)], &plain()).unwrap_err().detail;
        assert!(detail("x-request-id", "a/b").contains("X-Request-Id"));
        assert!(detail("x-aiq-deadline-ms", "soon").contains("X-Aiq-Deadline-Ms"));
        assert!(detail("x-aiq-priority", "urgent").contains("urgent"));
        assert_eq!(submit(&[("x-aiq-deadline-ms", "0")], &plain()).unwrap_err().code, ProblemCode::DeadlineExceeded);
    }
}

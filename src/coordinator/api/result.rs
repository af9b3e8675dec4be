//! `GET` and `DELETE /result/{request_id}`: what became of a request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawPathParams, State};
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode, Uri};

use super::reply::{Answer, insert_request_id, json};
use super::submit::respond;
use crate::config::CoordinatorConfig;
use crate::coordinator::app::App;
use crate::coordinator::core::Found;
use crate::protocol::{Accepted, InferResponse, Problem, ProblemCode, RequestId, routes};

/// The result of a request; with `wait` the answer comes as soon as there is one.
#[utoipa::path(get, path = routes::RESULT, tag = "inference",
    params(("request_id" = RequestId, Path, description = "The request's id."),
           ("wait" = Option<f64>, Query, description = "Wait up to this many seconds (60 at most) for the result.")),
    responses(
        (status = 200, description = "The result.", body = InferResponse),
        (status = 202, description = "Not there yet; ask again after Retry-After.", body = Accepted),
        (status = 404, description = "No request under this id is known.", body = Problem, content_type = Problem::MEDIA_TYPE),
        (status = 410, description = "It was kept for its time and is gone.", body = Problem, content_type = Problem::MEDIA_TYPE),
        (status = "default", description = "The request failed; the status says how.", body = Problem, content_type = Problem::MEDIA_TYPE)))]
pub(super) async fn get(State(app): State<Arc<App>>, params: RawPathParams, uri: Uri) -> Answer {
    let id = request_id(&params)?;
    let wait = wait(&uri)?;
    match app.core.find(&id, wait).await? {
        Found::Finished(outcome) => Ok(respond(&id, Arc::unwrap_or_clone(outcome))),
        Found::Pending(status) => Ok(pending(id, status)),
        Found::Expired => Err(gone(&id).into()),
        Found::Unknown => Err(unknown(&id).into()),
    }
}

/// Cancel a request that has not ended; a worker that has it stops at once.
#[utoipa::path(delete, path = routes::RESULT, tag = "inference",
    params(("request_id" = RequestId, Path, description = "The request's id.")),
    responses(
        (status = 204, description = "Cancelled."),
        (status = 404, description = "No request under this id is known.", body = Problem, content_type = Problem::MEDIA_TYPE),
        (status = 409, description = "It has ended.", body = Problem, content_type = Problem::MEDIA_TYPE)))]
pub(super) async fn delete(State(app): State<Arc<App>>, params: RawPathParams) -> Answer {
    let id = request_id(&params)?;
    match app.core.cancel(&id).await? {
        Found::Pending(_) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            insert_request_id(&mut response, &id);
            Ok(response)
        }
        Found::Finished(_) => {
            let detail = format!("the request {id} has ended; there is nothing left to cancel");
            Err(Problem::new(ProblemCode::Conflict, detail).for_request(Some(&id)).into())
        }
        Found::Expired => Err(gone(&id).into()),
        Found::Unknown => Err(unknown(&id).into()),
    }
}

fn request_id(params: &RawPathParams) -> Result<RequestId, Problem> {
    RequestId::try_new(params.iter().next().map_or("", |(_, value)| value))
}

fn pending(id: RequestId, status: &str) -> Response<Body> {
    let accepted = Accepted { result_url: routes::result(&id), request_id: id, status: status.to_owned() };
    let mut response = json(StatusCode::ACCEPTED, &accepted);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    insert_request_id(&mut response, &accepted.request_id);
    response
}

fn unknown(id: &RequestId) -> Problem {
    Problem::new(ProblemCode::ResultUnknown, format!("no request {id} is known here")).for_request(Some(id))
}

fn gone(id: &RequestId) -> Problem {
    let detail = format!("the result of {id} was kept for its time and is gone");
    Problem::new(ProblemCode::ResultExpired, detail).for_request(Some(id))
}

fn wait(uri: &Uri) -> Result<Duration, Problem> {
    let mut pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = pairs.find(|(name, _)| *name == "wait") else { return Ok(Duration::ZERO) };
    match value.parse::<f64>().ok().and_then(|s| Duration::try_from_secs_f64(s).ok()) {
        Some(wait) => Ok(wait.min(CoordinatorConfig::MAX_RESULT_WAIT)),
        None => Err(Problem::new(ProblemCode::InvalidField, "wait must be a number of seconds, such as ?wait=2.5")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_seconds_and_bounded() {
        let of = |uri: &str| wait(&uri.parse().unwrap());
        assert_eq!(of("/result/x").unwrap(), Duration::ZERO);
        assert_eq!(of("/result/x?a=1&wait=0.5").unwrap(), Duration::from_millis(500));
        assert_eq!(of("/result/x?wait=1e9").unwrap(), CoordinatorConfig::MAX_RESULT_WAIT);
        for bad in ["soon", "-1", "nan", ""] {
            assert!(of(&format!("/result/x?wait={bad}")).is_err(), "{bad}");
        }
    }
}

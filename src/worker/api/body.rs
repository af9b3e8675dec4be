//! Reading a body within its limits.

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::config::WorkerConfig;
use crate::protocol::{Problem, ProblemCode};

/// The body of a JSON request.
///
/// # Errors
/// [`ProblemCode::UnsupportedMediaType`], [`ProblemCode::BodyTooLarge`] (by its length where that is
/// said, so that nothing of it is kept), [`ProblemCode::RequestTimeout`].
pub(super) async fn read(request: Request) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    check_media_type(&parts.headers)?;
    let said = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|length| length > WorkerConfig::MAX_BODY_BYTES as u64) {
        discard(body).await;
        return Err(too_large());
    }
    let body = Limited::new(body, WorkerConfig::MAX_BODY_BYTES);
    let read = tokio::time::timeout(WorkerConfig::BODY_TIMEOUT, body.collect()).await.map_err(|_| {
        let seconds = WorkerConfig::BODY_TIMEOUT.as_secs();
        Problem::new(ProblemCode::RequestTimeout, format!("the body did not arrive within {seconds} s"))
    })?;
    match read {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Err(e) => Err(Problem::new(ProblemCode::MalformedJson, format!("the body broke off: {e}"))),
    }
}

/// JSON, or nothing said: some clients say nothing.
fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = value.to_str().unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let right = "the body must be JSON, sent with `Content-Type: application/json`";
    Err(Problem::new(ProblemCode::UnsupportedMediaType, right))
}

/// Reads some of a body that is refused: a client that is cut off while it still sends often
/// reports that, and not the answer.
async fn discard(mut body: Body) {
    let mut left = WorkerConfig::DISCARDED_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // However far it gets: the refusal is sent in any case.
    let _ = tokio::time::timeout(WorkerConfig::DISCARD_TIMEOUT, reading).await;
}

fn too_large() -> Problem {
    let most = WorkerConfig::MAX_BODY_BYTES;
    Problem::new(ProblemCode::BodyTooLarge, format!("the body is over {most} bytes, the most that is accepted"))
}

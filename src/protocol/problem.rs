//! The one error shape: RFC 9457 problem details, with aiq's stable codes.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Attempt, RequestId};

/// Why a request was not answered; a stable word that programs may match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// 400: the body is not JSON.
    MalformedJson,
    /// 422: a field is missing, of the wrong type or out of range.
    InvalidField,
    /// 422: no such task type.
    UnknownTaskType,
    /// 422: there is nothing to work on.
    EmptyData,
    /// 422: the image can't be decoded.
    UndecodableImage,
    /// 413: the body, or a text in it, is over its limit.
    BodyTooLarge,
    /// 413: the picture has too many pixels.
    ImageTooLarge,
    /// 415: the body is not `application/json`.
    UnsupportedMediaType,
    /// 401: no token, or one that does not allow this.
    Unauthorized,
    /// 403: this server has that switched off.
    Forbidden,
    /// 404: no such route.
    NotFound,
    /// 405: the route has no such method.
    MethodNotAllowed,
    /// 404: no result under this id.
    ResultUnknown,
    /// 410: the result was kept for its time and is gone.
    ResultExpired,
    /// 404: no worker under this id.
    WorkerUnknown,
    /// 409: the id was used with another payload.
    RequestIdConflict,
    /// 409: the thing is in a state that does not allow this.
    Conflict,
    /// 408: the client did not send its request in time.
    RequestTimeout,
    /// 429: the queue is full.
    QueueFull,
    /// 429: it would not be done before its deadline.
    DeadlineUnmeetable,
    /// 429: the worker holds as much as it may; not a failure of the worker.
    WorkerBusy,
    /// 499: the client went away or cancelled.
    Cancelled,
    /// 500: a bug.
    Internal,
    /// 500: the model failed on this input.
    InferenceFailed,
    /// 502: every attempt failed.
    AttemptsSpent,
    /// 503: no worker can serve this task now.
    NoWorker,
    /// 503: the worker's model is still loading.
    ModelLoading,
    /// 503: starting or shutting down.
    Unavailable,
    /// 503: the worker injected a crash.
    InjectedCrash,
    /// 504: the deadline has passed.
    DeadlineExceeded,
}

impl ProblemCode {
    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::MalformedJson => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound | Self::ResultUnknown | Self::WorkerUnknown => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::RequestIdConflict | Self::Conflict => 409,
            Self::ResultExpired => 410,
            Self::BodyTooLarge | Self::ImageTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::InvalidField | Self::UnknownTaskType | Self::EmptyData | Self::UndecodableImage => 422,
            Self::QueueFull | Self::DeadlineUnmeetable | Self::WorkerBusy => 429,
            Self::Cancelled => 499,
            Self::Internal | Self::InferenceFailed => 500,
            Self::AttemptsSpent => 502,
            Self::NoWorker | Self::ModelLoading | Self::Unavailable | Self::InjectedCrash => 503,
            Self::DeadlineExceeded => 504,
        }
    }

    /// A short title, the same for every problem with this code.
    pub const fn title(self) -> &'static str {
        match self {
            Self::MalformedJson => "Malformed JSON",
            Self::InvalidField => "Invalid field",
            Self::UnknownTaskType => "Unknown task type",
            Self::EmptyData => "Empty data",
            Self::UndecodableImage => "Undecodable image",
            Self::BodyTooLarge => "Body too large",
            Self::ImageTooLarge => "Image too large",
            Self::UnsupportedMediaType => "Unsupported media type",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::ResultUnknown => "Unknown result",
            Self::ResultExpired => "Result expired",
            Self::WorkerUnknown => "Unknown worker",
            Self::RequestIdConflict => "Request id already used",
            Self::Conflict => "Conflict",
            Self::RequestTimeout => "Request timeout",
            Self::QueueFull => "Queue full",
            Self::DeadlineUnmeetable => "Deadline can't be met",
            Self::WorkerBusy => "Worker busy",
            Self::Cancelled => "Cancelled",
            Self::Internal => "Internal error",
            Self::InferenceFailed => "Inference failed",
            Self::AttemptsSpent => "All attempts failed",
            Self::NoWorker => "No worker available",
            Self::ModelLoading => "Model loading",
            Self::Unavailable => "Unavailable",
            Self::InjectedCrash => "Injected crash",
            Self::DeadlineExceeded => "Deadline exceeded",
        }
    }

    /// Whether the same request may succeed when it is sent again.
    pub const fn retryable(self) -> bool {
        matches!(self.status(), 408 | 429 | 500 | 502 | 503 | 504)
    }

    /// The code as it stands on the wire.
    pub fn as_str(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// An error body, `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, thiserror::Error)]
pub struct Problem {
    /// A URI that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every problem of this kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong this time, and what would be right.
    pub detail: String,
    /// A stable word for programs.
    pub code: ProblemCode,
    /// The request it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub request_id: Option<RequestId>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// What was tried, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub attempts: Vec<Attempt>,
    /// Seconds after which to try again; also the `Retry-After` header (rounded up).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub retry_after: Option<f64>,
}

impl Problem {
    /// The body's media type.
    pub const MEDIA_TYPE: &'static str = "application/problem+json";

    /// A problem with this code and explanation. What leads here stands apart from what every request runs through.
    #[cold]
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:aiq:problem:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            request_id: None,
            retryable: code.retryable(),
            attempts: Vec::new(),
            retry_after: None,
        }
    }

    /// What serde_json found wrong with a request body.
    pub fn from_json_error(error: &serde_json::Error) -> Self {
        match error.classify() {
            serde_json::error::Category::Data => Self::new(ProblemCode::InvalidField, error.to_string()),
            _ => Self::new(ProblemCode::MalformedJson, format!("the body is not valid JSON: {error}")),
        }
    }

    /// Names the request it is about, where that is known.
    #[must_use]
    pub fn for_request(mut self, request_id: Option<&RequestId>) -> Self {
        self.request_id = request_id.cloned().or(self.request_id);
        self
    }

    /// Adds what was tried.
    #[must_use]
    pub fn with_attempts(mut self, attempts: Vec<Attempt>) -> Self {
        self.attempts = attempts;
        self
    }

    /// Adds when to try again, in seconds.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: f64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.title, self.status, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_the_members_of_rfc_9457_and_ours() {
        let p = Problem::new(ProblemCode::QueueFull, "10000 requests wait").with_retry_after(1.5);
        let v = serde_json::to_value(&p).unwrap();
        assert_eq!(v["type"], "urn:aiq:problem:queue_full");
        assert_eq!(v["title"], "Queue full");
        assert_eq!(v["status"], 429);
        assert_eq!(v["code"], "queue_full");
        assert_eq!(v["retryable"], true);
        assert_eq!(serde_json::from_value::<Problem>(v).unwrap(), p);
    }

    #[test]
    fn bad_input_is_never_retryable() {
        for code in [ProblemCode::MalformedJson, ProblemCode::EmptyData, ProblemCode::ImageTooLarge] {
            assert!(!code.retryable());
        }
    }
}

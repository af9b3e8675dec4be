//! What an attempt brought: a worker's answer, its refusal, or no answer at all.

use bytes::Bytes;
use http::StatusCode;

use crate::protocol::{AttemptOutcome, InferResponse, Problem, ProblemCode};
use crate::scheduler::Timing;

/// What came of an attempt.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The worker answered.
    Answered(Box<InferResponse>),
    /// The worker refused, or said that it failed.
    Refused(Box<Problem>),
    /// Something came back that is not a worker's answer.
    Garbled(String),
    /// There is no connection, or it broke.
    Lost(String),
}

impl Reply {
    /// Reads a worker's answer.
    pub(super) fn read(status: StatusCode, body: &Bytes) -> Self {
        if status == StatusCode::OK {
            return match serde_json::from_slice(body) {
                Ok(response) => Self::Answered(Box::new(response)),
                Err(e) => Self::Garbled(format!("its answer is not one: {e}")),
            };
        }
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => Self::Refused(Box::new(problem)),
            Err(_) => Self::Garbled(format!("it answered {status} without problem details")),
        }
    }

    /// How the attempt ended.
    pub(crate) fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Answered(_) => AttemptOutcome::Success,
            Self::Garbled(_) => AttemptOutcome::Failed,
            Self::Lost(_) => AttemptOutcome::ConnectionLost,
            Self::Refused(problem) => match problem.code {
                ProblemCode::WorkerBusy | ProblemCode::QueueFull | ProblemCode::ModelLoading => AttemptOutcome::Busy,
                // A worker that drains hands back what it did not start.
                ProblemCode::Unavailable | ProblemCode::Cancelled => AttemptOutcome::Cancelled,
                ProblemCode::DeadlineExceeded => AttemptOutcome::Timeout,
                // Not a word about the input: another worker may have the right token, or none.
                ProblemCode::Unauthorized | ProblemCode::Forbidden => AttemptOutcome::Failed,
                // The input itself is wrong; no other worker would take it either.
                code if (400..500).contains(&code.status()) => AttemptOutcome::Rejected,
                _ => AttemptOutcome::Failed,
            },
        }
    }

    /// What the worker measured.
    pub(crate) fn timing(&self) -> Option<Timing> {
        let Self::Answered(response) = self else { return None };
        Some(Timing { queued: response.queue_time, computed: response.inference_time, batch_size: response.batch_size })
    }

    /// Why there is no result, for a person.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Answered(_) => "it answered",
            Self::Refused(problem) => &problem.detail,
            Self::Garbled(reason) | Self::Lost(reason) => reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: ProblemCode) -> AttemptOutcome {
        let body = serde_json::to_vec(&Problem::new(code, "x")).unwrap();
        Reply::read(StatusCode::from_u16(code.status()).unwrap(), &body.into()).outcome()
    }

    #[test]
    fn overload_is_no_failure_and_bad_input_is_nobodys_fault() {
        assert_eq!(outcome(ProblemCode::WorkerBusy), AttemptOutcome::Busy);
        assert_eq!(outcome(ProblemCode::ModelLoading), AttemptOutcome::Busy);
        assert_eq!(outcome(ProblemCode::Unavailable), AttemptOutcome::Cancelled);
        assert_eq!(outcome(ProblemCode::UndecodableImage), AttemptOutcome::Rejected);
        assert_eq!(outcome(ProblemCode::ImageTooLarge), AttemptOutcome::Rejected);
        assert_eq!(outcome(ProblemCode::InjectedCrash), AttemptOutcome::Failed);
        assert_eq!(outcome(ProblemCode::InferenceFailed), AttemptOutcome::Failed);
        assert_eq!(outcome(ProblemCode::Unauthorized), AttemptOutcome::Failed);
        assert_eq!(outcome(ProblemCode::DeadlineExceeded), AttemptOutcome::Timeout);
    }

    #[test]
    fn what_is_not_a_workers_answer_is_a_failure() {
        let garbled = |status, body: &'static str| Reply::read(status, &Bytes::from_static(body.as_bytes())).outcome();
        assert_eq!(garbled(StatusCode::OK, "<html>"), AttemptOutcome::Failed);
        assert_eq!(garbled(StatusCode::BAD_GATEWAY, "oops"), AttemptOutcome::Failed);
    }
}

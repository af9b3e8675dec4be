//! What an attempt brought: a worker's answer, its refusal, or no answer at all.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::protocol::work::FromWorker;
use crate::protocol::{AttemptOutcome, InferResponse, Problem, ProblemCode, TaskType, json};
use crate::scheduler::Timing;

/// What came of an attempt.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The worker answered.
    Answered(Computed),
    /// The worker refused, or said that it failed.
    Refused(Box<Problem>),
    /// Something came back that is not a worker's answer.
    Garbled(String),
    /// There is no connection, or it broke.
    Lost(String),
}

/// A worker's answer. The result stays as the worker wrote it.
#[derive(Debug)]
pub(crate) struct Computed {
    /// JSON of a [`crate::protocol::TaskResult`].
    pub(crate) result: Bytes,
    pub(crate) queue_time: f64,
    pub(crate) inference_time: f64,
    pub(crate) batch_size: u32,
}

/// What makes JSON a result; read without keeping any of it.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow, rename = "prediction")]
    _prediction: Cow<'a, str>,
    #[serde(rename = "confidence")]
    _confidence: f64,
    #[serde(borrow, rename = "worker_id")]
    _worker_id: Cow<'a, str>,
    task_type: TaskType,
    #[serde(borrow, rename = "model_info")]
    _model_info: Cow<'a, str>,
    #[serde(rename = "model")]
    _model: IgnoredAny,
}

impl Reply {
    /// Reads the response of an exchange.
    pub(super) fn read(status: StatusCode, body: &Bytes, task: TaskType) -> Self {
        if status == StatusCode::OK {
            let read = serde_json::from_slice::<InferResponse>(body);
            return match read.and_then(|r| serde_json::to_vec(&r.result).map(|result| (r, result))) {
                Ok((r, _)) if r.result.task_type != task => Self::other_task(r.result.task_type),
                Ok((r, result)) => Self::Answered(Computed {
                    result: result.into(),
                    queue_time: r.queue_time,
                    inference_time: r.inference_time,
                    batch_size: r.batch_size,
                }),
                Err(e) => Self::Garbled(format!("its answer is not one: {e}")),
            };
        }
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => Self::Refused(Box::new(problem)),
            Err(_) => Self::Garbled(format!("it answered {status} without problem details")),
        }
    }

    /// Reads a frame of a work stream.
    pub(super) fn from_frame(frame: FromWorker, task: TaskType) -> Self {
        match frame {
            FromWorker::Answer { queue_time, inference_time, batch_size, result, .. } => {
                match json::read::<Shape<'_>>(&result) {
                    Ok(shape) if shape.task_type != task => Self::other_task(shape.task_type),
                    Ok(_) => Self::Answered(Computed { result, queue_time, inference_time, batch_size }),
                    Err(e) => Self::Garbled(format!("its answer is not one: {e}")),
                }
            }
            FromWorker::Problem { problem, .. } => match serde_json::from_slice::<Problem>(&problem) {
                Ok(problem) => Self::Refused(Box::new(problem)),
                Err(e) => Self::Garbled(format!("it refused without problem details: {e}")),
            },
        }
    }

    fn other_task(answered: TaskType) -> Self {
        Self::Garbled(format!("it answered as if it had been asked for {answered}"))
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
        let Self::Answered(c) = self else { return None };
        Some(Timing { queued: c.queue_time, computed: c.inference_time, batch_size: c.batch_size })
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
        Reply::read(StatusCode::from_u16(code.status()).unwrap(), &body.into(), TaskType::TextClassification).outcome()
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
        let task = TaskType::TextClassification;
        let garbled =
            |status, body: &'static str| Reply::read(status, &Bytes::from_static(body.as_bytes()), task).outcome();
        assert_eq!(garbled(StatusCode::OK, "<html>"), AttemptOutcome::Failed);
        assert_eq!(garbled(StatusCode::BAD_GATEWAY, "oops"), AttemptOutcome::Failed);
    }
    #[test]
    fn a_frame_is_an_answer_only_with_a_result_of_the_task() {
        let read = |result: &'static str, task| {
            let result = Bytes::from_static(result.as_bytes());
            Reply::from_frame(
                FromWorker::Answer { number: 1, queue_time: 0.0, inference_time: 0.0, batch_size: 1, result },
                task,
            )
            .outcome()
        };
        let text = r#"{"prediction":"POSITIVE","confidence":1.0,"worker_id":"w","task_type":"text_classification",
            "model_info":"x","model":{"id":"x","source":"noop"}}"#;
        assert_eq!(read(text, TaskType::TextClassification), AttemptOutcome::Success);
        assert_eq!(read(text, TaskType::ImageClassification), AttemptOutcome::Failed);
        assert_eq!(read(r#"{"prediction":"POSITIVE"}"#, TaskType::TextClassification), AttemptOutcome::Failed);
        assert_eq!(read("{}{}", TaskType::TextClassification), AttemptOutcome::Failed);
    }
}

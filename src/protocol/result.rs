//! What comes back: the answer to a request, its scores, and the attempts it took.

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::json::{self, key};
use super::{RequestId, TaskType, WorkerId};

/// Where a model's weights came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelSource {
    /// The Hugging Face hub, or its cache on disk.
    Hub,
    /// A folder that the operator named.
    Folder,
    /// Compiled into the binary.
    Embedded,
    /// No model at all: answers at once, for measuring the path to it.
    Noop,
}

/// Which model answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct ModelRef {
    /// The repository or folder name, such as `distilbert-mini-sst2`.
    pub id: String,
    /// The commit or content hash, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Where it came from.
    pub source: ModelSource,
}

/// Labels with their scores, best first. A JSON object whose order is the ranking.
#[derive(Clone, Debug, Default, PartialEq, ToSchema)]
#[schema(value_type = std::collections::HashMap<String, f64>)]
pub struct Scores(pub Vec<(String, f64)>);

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (label, score) in &self.0 {
            map.serialize_entry(label, score)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Scores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Scores;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of labels and scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scores, A::Error> {
                let mut out = Vec::with_capacity(map.size_hint().unwrap_or(0).min(1024));
                while let Some(entry) = map.next_entry()? {
                    out.push(entry);
                }
                Ok(Scores(out))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// What the model said, and who ran it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskResult {
    /// The best label, text or image.
    pub prediction: String,
    /// How sure the model is: a probability, or the similarity itself for `clip_text_similarity`.
    pub confidence: f64,
    /// CLIP tasks: each candidate's cosine similarity, best first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub similarities: Option<Scores>,
    /// Who computed it.
    pub worker_id: WorkerId,
    /// What was asked.
    pub task_type: TaskType,
    /// The model's display name; ` (mini)` behind it for a small one.
    pub model_info: String,
    /// The top-k labels with their probabilities, best first.
    #[serde(default)]
    pub scores: Scores,
    /// Whether a fallback model answered in place of the full-size one.
    #[serde(default)]
    pub degraded: bool,
    /// Which weights, exactly.
    pub model: ModelRef,
}

impl TaskResult {
    /// Writes its JSON, as serde would.
    pub(crate) fn put_json(&self, out: &mut Vec<u8>) {
        json::put(out, "{\"prediction\":");
        json::put_text(out, &self.prediction);
        json::put(out, key!("confidence"));
        json::put_value(out, &self.confidence);
        if let Some(similarities) = &self.similarities {
            json::put(out, key!("similarities"));
            json::put_value(out, similarities);
        }
        json::put(out, key!("worker_id"));
        json::put_name(out, self.worker_id.as_str());
        json::put(out, key!("task_type"));
        json::put_name(out, self.task_type.as_str());
        json::put(out, key!("model_info"));
        json::put_text(out, &self.model_info);
        json::put(out, key!("scores"));
        json::put_value(out, &self.scores);
        json::put(out, key!("degraded"));
        json::put(out, if self.degraded { "true" } else { "false" });
        json::put(out, key!("model"));
        json::put_value(out, &self.model);
        json::put(out, "}");
    }
}

/// How one attempt at a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// It was answered.
    Success,
    /// The worker crashed, or said that it failed.
    Failed,
    /// No connection, or one that broke.
    ConnectionLost,
    /// The attempt's own time-out passed.
    Timeout,
    /// The worker had no room; not held against it.
    Busy,
    /// The input was refused; no other worker would take it either.
    Rejected,
    /// No longer needed: another attempt won, the client left, or the worker drained.
    Cancelled,
}

impl AttemptOutcome {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::ConnectionLost => "connection_lost",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One attempt at a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Who tried.
    pub worker: WorkerId,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// How long it took.
    pub seconds: f64,
}

/// The answer to a request. All times are in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InferResponse {
    /// The request's id, the client's or ours.
    pub request_id: RequestId,
    /// What the model said.
    pub result: TaskResult,
    /// Time since the coordinator accepted the request.
    pub latency: f64,
    /// Attempts beyond the first.
    pub retry_count: u32,
    /// Time before the (last) attempt began, plus the wait in the worker's batch queue.
    #[serde(default)]
    pub queue_time: f64,
    /// Time the model computed the batch that this request was in.
    #[serde(default)]
    pub inference_time: f64,
    /// How many requests that batch had.
    #[serde(default)]
    pub batch_size: u32,
    /// Every attempt, in order.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
}

/// An [`InferResponse`] whose result was written as JSON already, by the worker.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// See [`InferResponse`], as the others.
    pub request_id: &'a RequestId,
    /// JSON of a [`TaskResult`].
    pub result: &'a [u8],
    /// All that is not the result.
    pub timing: AnswerTiming<'a>,
}

/// What an [`InferResponse`] says beside its result.
#[derive(Clone, Copy, Debug)]
pub struct AnswerTiming<'a> {
    /// See [`InferResponse`], as the others.
    pub latency: f64,
    /// Attempts beyond the first.
    pub retry_count: u32,
    /// Seconds before the model began.
    pub queue_time: f64,
    /// Seconds that it computed.
    pub inference_time: f64,
    /// Requests in the batch.
    pub batch_size: u32,
    /// Every attempt, in order.
    pub attempts: &'a [Attempt],
}

impl Answered<'_> {
    /// The JSON of the [`InferResponse`].
    pub fn to_json(&self) -> Vec<u8> {
        let Self { request_id, result, timing } = self;
        let mut out = Vec::with_capacity(result.len() + 320);
        json::put(&mut out, "{\"request_id\":");
        json::put_text(&mut out, request_id.as_str());
        json::put(&mut out, key!("result"));
        out.extend_from_slice(result);
        json::put(&mut out, key!("latency"));
        json::put_value(&mut out, &timing.latency);
        json::put(&mut out, key!("retry_count"));
        json::put_value(&mut out, &timing.retry_count);
        json::put(&mut out, key!("queue_time"));
        json::put_value(&mut out, &timing.queue_time);
        json::put(&mut out, key!("inference_time"));
        json::put_value(&mut out, &timing.inference_time);
        json::put(&mut out, key!("batch_size"));
        json::put_value(&mut out, &timing.batch_size);
        json::put(&mut out, key!("attempts"));
        let mut before = "[";
        for Attempt { worker, outcome, seconds } in timing.attempts {
            json::put(&mut out, before);
            json::put(&mut out, "{\"worker\":");
            json::put_name(&mut out, worker.as_str());
            json::put(&mut out, key!("outcome"));
            json::put_name(&mut out, outcome.as_str());
            json::put(&mut out, key!("seconds"));
            json::put_value(&mut out, seconds);
            json::put(&mut out, "}");
            before = ",";
        }
        json::put(&mut out, if timing.attempts.is_empty() { "[]}" } else { "]}" });
        out
    }
}

/// The answer to an async submission, and of a result that is still pending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// The request's id.
    pub request_id: RequestId,
    /// `queued` or `running`.
    pub status: String,
    /// Where the result will be.
    pub result_url: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_written_in_parts_is_the_same() {
        let text = r#"{"prediction":"a","confidence":0.5,"worker_id":"w","task_type":"text_classification",
            "model_info":"m","scores":{},"degraded":false,"model":{"id":"m","source":"embedded"}}"#;
        let attempt = |outcome| Attempt { worker: "w".parse().unwrap(), outcome, seconds: 0.25 };
        let mut whole = InferResponse {
            request_id: r#"a"b"#.parse().unwrap(),
            result: serde_json::from_str(text).unwrap(),
            latency: 4.5e-7,
            retry_count: 1,
            queue_time: 0.125,
            inference_time: 0.25,
            batch_size: 3,
            attempts: Vec::new(),
        };
        let result = serde_json::to_vec(&whole.result).unwrap();
        let every = [
            AttemptOutcome::Success,
            AttemptOutcome::Failed,
            AttemptOutcome::ConnectionLost,
            AttemptOutcome::Timeout,
            AttemptOutcome::Busy,
            AttemptOutcome::Rejected,
            AttemptOutcome::Cancelled,
        ];
        for attempts in [&[][..], &every[..1], &every[..]] {
            whole.attempts = attempts.iter().copied().map(attempt).collect();
            let timing = AnswerTiming {
                latency: 4.5e-7,
                retry_count: 1,
                queue_time: 0.125,
                inference_time: 0.25,
                batch_size: 3,
                attempts: &whole.attempts,
            };
            let parts = Answered { request_id: &whole.request_id, result: &result, timing };
            assert_eq!(parts.to_json(), serde_json::to_vec(&whole).unwrap());
        }
    }

    #[test]
    fn a_result_is_written_as_serde_would() {
        let scores = Scores(vec![("a \"b\"".to_owned(), 0.75), ("c".to_owned(), 1e-9)]);
        let plain = TaskResult {
            prediction: "a \"b\"".to_owned(),
            confidence: 0.75,
            similarities: None,
            worker_id: "worker-1".parse().unwrap(),
            task_type: TaskType::ClipTextSimilarity,
            model_info: "x (mini)".to_owned(),
            scores: scores.clone(),
            degraded: true,
            model: ModelRef { id: "x".to_owned(), revision: None, source: ModelSource::Embedded },
        };
        let compared = TaskResult { similarities: Some(scores), degraded: false, ..plain.clone() };
        for result in [plain, compared] {
            let mut out = Vec::new();
            result.put_json(&mut out);
            assert_eq!(out, serde_json::to_vec(&result).unwrap());
        }
    }

    #[test]
    fn scores_keep_their_order() {
        let text = r#"{"zebra":0.7,"ant":0.2,"moth":0.1}"#;
        let scores: Scores = serde_json::from_str(text).unwrap();
        assert_eq!(scores.0[0].0, "zebra");
        assert_eq!(serde_json::to_string(&scores).unwrap(), text);
    }
}

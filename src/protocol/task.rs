//! What a client asks for: task types, priorities and the request itself.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Problem, ProblemCode, RequestId, json};

/// The kinds of work that aiq does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskType {
    /// `data` is a text; the answer is a sentiment label.
    TextClassification,
    /// `data` is an image; the answer is what it shows.
    ImageClassification,
    /// `data` is a text, compared with `options.candidates`.
    ClipTextSimilarity,
    /// `data` is a text, searched for among `options.images` or the built-in gallery.
    ClipTextToImage,
}

impl TaskType {
    /// Every task type, in the order in which they are listed to people.
    pub const ALL: [Self; 4] =
        [Self::TextClassification, Self::ImageClassification, Self::ClipTextSimilarity, Self::ClipTextToImage];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TextClassification => "text_classification",
            Self::ImageClassification => "image_classification",
            Self::ClipTextSimilarity => "clip_text_similarity",
            Self::ClipTextToImage => "clip_text_to_image",
        }
    }

    /// A dense index, for tables with one slot for each task.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for TaskType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for TaskType {
    type Err = Problem;

    fn from_str(s: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|t| t.as_str() == s).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            Problem::new(
                ProblemCode::UnknownTaskType,
                format!("unknown task_type \"{}\"; the known ones are {known}", excerpt(s)),
            )
        })
    }
}

/// How urgent a request is. High goes first; nothing waits for ever (see the scheduler's queue).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before everything else.
    High,
    /// The default.
    #[default]
    Normal,
    /// When nothing else waits, or after eight seconds.
    Low,
}

impl Priority {
    /// Every priority, most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = Problem;

    fn from_str(s: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|p| p.as_str() == s).ok_or_else(|| {
            Problem::new(
                ProblemCode::InvalidField,
                format!("priority is \"{}\"; it must be high, normal or low", excerpt(s)),
            )
        })
    }
}

/// What may be asked beside the data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Options {
    /// How many labels `result.scores` lists (default 5).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub top_k: Option<u32>,
    /// `clip_text_similarity`: the texts to compare with; a built-in list when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 64)]
    pub candidates: Option<Vec<String>>,
    /// `clip_text_to_image`: the images to search; the built-in gallery when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 64)]
    pub images: Option<Vec<String>>,
}

impl Options {
    /// Most candidates or images in one request.
    pub const MAX_ITEMS: usize = 64;
    /// `top_k` when it is not given.
    pub const DEFAULT_TOP_K: u32 = 5;
    /// Largest `top_k`.
    pub const MAX_TOP_K: u32 = 1000;

    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How many labels are wanted.
    pub fn top_k(&self) -> usize {
        self.top_k.unwrap_or(Self::DEFAULT_TOP_K) as usize
    }
}

/// A request for one inference.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(examples(json!({"request_id": "test-1", "task_type": "text_classification", "data": "I love this product!"})))]
pub struct InferRequest {
    /// Chosen by the client, or made by the coordinator and returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub request_id: Option<RequestId>,
    /// What to do.
    pub task_type: TaskType,
    /// The text; or the image as standard base64, a `data:` URI, `sample:NAME` or `dummy_image_data`.
    pub data: String,
    /// What to do it with.
    #[serde(skip_serializing_if = "Options::is_default")]
    #[schema(required = false)]
    pub options: Options,
    /// How urgent it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub priority: Option<Priority>,
    /// Total time budget in milliseconds (default 30 000).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, minimum = 1, maximum = 600_000)]
    pub timeout_ms: Option<u64>,
}

/// The same before its fields are checked: one struct whose every field serde can fill, so that
/// each thing wrong with it gets its own message.
#[derive(Deserialize)]
struct RawInferRequest<'a> {
    request_id: Option<RequestId>,
    #[serde(borrow)]
    task_type: Cow<'a, str>,
    data: String,
    #[serde(default)]
    options: Option<Options>,
    priority: Option<String>,
    timeout_ms: Option<u64>,
}

impl InferRequest {
    /// Time budget of a request that names none, in milliseconds.
    pub const DEFAULT_TIMEOUT_MS: u64 = 30_000;
    /// Longest time budget, in milliseconds.
    pub const MAX_TIMEOUT_MS: u64 = 600_000;
    /// Longest text (`data` of the text tasks, and each candidate), in bytes.
    pub const MAX_TEXT_BYTES: usize = 256 * 1024;

    /// A request with nothing but a task and its data.
    pub fn new(task_type: TaskType, data: impl Into<String>) -> Self {
        Self {
            request_id: None,
            task_type,
            data: data.into(),
            options: Options::default(),
            priority: None,
            timeout_ms: None,
        }
    }

    /// Reads a JSON body.
    ///
    /// # Errors
    /// [`ProblemCode::MalformedJson`] where it is not JSON; [`ProblemCode::InvalidField`] where a
    /// field is missing, of another type or out of range; [`ProblemCode::UnknownTaskType`];
    /// [`ProblemCode::EmptyData`]; [`ProblemCode::BodyTooLarge`] for a text over
    /// [`Self::MAX_TEXT_BYTES`].
    pub fn from_json(body: &[u8]) -> Result<Self, Problem> {
        let raw: RawInferRequest<'_> = json::read(body).map_err(|e| Problem::from_json_error(&e))?;
        let request = Self {
            task_type: raw.task_type.parse().map_err(|p: Problem| p.for_request(raw.request_id.as_ref()))?,
            request_id: raw.request_id,
            data: raw.data,
            options: raw.options.unwrap_or_default(),
            priority: raw.priority.as_deref().map(str::parse).transpose()?,
            timeout_ms: raw.timeout_ms,
        };
        request.validate().map_err(|p| p.for_request(request.request_id.as_ref()))?;
        Ok(request)
    }

    /// Checks everything that can be checked without a model.
    ///
    /// # Errors
    /// As [`Self::from_json`].
    pub fn validate(&self) -> Result<(), Problem> {
        let invalid = |detail: String| Err(Problem::new(ProblemCode::InvalidField, detail));
        if self.data.trim().is_empty() {
            let what = if self.task_type == TaskType::ImageClassification { "an image" } else { "a text" };
            return Err(Problem::new(
                ProblemCode::EmptyData,
                format!("data is empty; {} needs {what}", self.task_type),
            ));
        }
        if self.task_type != TaskType::ImageClassification {
            check_text("data", &self.data)?;
        }
        if let Some(ms) = self.timeout_ms
            && !(1..=Self::MAX_TIMEOUT_MS).contains(&ms)
        {
            return invalid(format!("timeout_ms is {ms}; it must be 1 to {}", Self::MAX_TIMEOUT_MS));
        }
        if let Some(k) = self.options.top_k
            && !(1..=Options::MAX_TOP_K).contains(&k)
        {
            return invalid(format!("options.top_k is {k}; it must be 1 to {}", Options::MAX_TOP_K));
        }
        for (name, list) in [("candidates", &self.options.candidates), ("images", &self.options.images)] {
            let Some(items) = list else { continue };
            if items.is_empty() || items.len() > Options::MAX_ITEMS {
                let (n, most) = (items.len(), Options::MAX_ITEMS);
                return invalid(format!("options.{name} has {n} items; it must have 1 to {most}"));
            }
            if let Some(i) = items.iter().position(|item| item.trim().is_empty()) {
                return Err(Problem::new(ProblemCode::EmptyData, format!("options.{name}[{i}] is empty")));
            }
        }
        for (i, candidate) in self.options.candidates.iter().flatten().enumerate() {
            check_text(&format!("options.candidates[{i}]"), candidate)?;
        }
        Ok(())
    }
}

fn check_text(field: &str, text: &str) -> Result<(), Problem> {
    if text.len() > InferRequest::MAX_TEXT_BYTES {
        return Err(Problem::new(
            ProblemCode::BodyTooLarge,
            format!("{field} is a text of {} bytes; at most {} are accepted", text.len(), InferRequest::MAX_TEXT_BYTES),
        ));
    }
    Ok(())
}

/// The start of somebody's input, short and printable enough to be quoted in a message.
pub(super) fn excerpt(s: &str) -> String {
    const MAX_CHARS: usize = 64;
    let mut out: String =
        s.chars().take(MAX_CHARS).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if s.chars().nth(MAX_CHARS).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &str) -> ProblemCode {
        InferRequest::from_json(body.as_bytes()).unwrap_err().code
    }

    #[test]
    fn the_base_request_is_read() {
        let r = InferRequest::from_json(
            br#"{"request_id": "test-1", "task_type": "text_classification", "data": "I love this product!"}"#,
        )
        .unwrap();
        assert_eq!(r.request_id.unwrap().as_str(), "test-1");
        assert_eq!(r.task_type, TaskType::TextClassification);
        assert_eq!(r.data, "I love this product!");
    }

    #[test]
    fn unknown_fields_are_ignored_and_nulls_are_absent() {
        let r = InferRequest::from_json(
            br#"{"task_type":"text_classification","data":"x","request_id":null,"options":null,"priority":null,"client":"v2"}"#,
        )
        .unwrap();
        assert_eq!(r, InferRequest::new(TaskType::TextClassification, "x"));
    }

    #[test]
    fn each_mistake_has_its_code() {
        assert_eq!(code("{"), ProblemCode::MalformedJson);
        assert_eq!(code(r#"{"task_type":"text_classification","data":3}"#), ProblemCode::InvalidField);
        assert_eq!(code(r#"{"task_type":"text_classification"}"#), ProblemCode::InvalidField);
        assert_eq!(code(r#"{"task_type":"speech","data":"x"}"#), ProblemCode::UnknownTaskType);
        assert_eq!(code(r#"{"task_type":"text_classification","data":"  "}"#), ProblemCode::EmptyData);
        assert_eq!(
            code(r#"{"task_type":"text_classification","data":"x","priority":"urgent"}"#),
            ProblemCode::InvalidField
        );
        assert_eq!(code(r#"{"task_type":"text_classification","data":"x","timeout_ms":0}"#), ProblemCode::InvalidField);
        assert_eq!(
            code(r#"{"request_id":"a/b","task_type":"text_classification","data":"x"}"#),
            ProblemCode::InvalidField
        );
        assert_eq!(
            code(r#"{"task_type":"clip_text_similarity","data":"x","options":{"candidates":[]}}"#),
            ProblemCode::InvalidField
        );
        let long = format!(r#"{{"task_type":"text_classification","data":"{}"}}"#, "word ".repeat(100_000));
        assert_eq!(code(&long), ProblemCode::BodyTooLarge);
    }

    #[test]
    fn an_unknown_task_type_lists_the_known_ones() {
        let p = "speech".parse::<TaskType>().unwrap_err();
        for t in TaskType::ALL {
            assert!(p.detail.contains(t.as_str()), "{}", p.detail);
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut r = InferRequest::new(TaskType::ClipTextSimilarity, "a cat");
        r.request_id = Some(RequestId::generate());
        r.options.candidates = Some(vec!["a dog".into()]);
        r.priority = Some(Priority::Low);
        r.timeout_ms = Some(500);
        assert_eq!(InferRequest::from_json(&serde_json::to_vec(&r).unwrap()).unwrap(), r);
    }
}

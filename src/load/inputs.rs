//! What is asked: sentences, pictures, candidate lists and searches that ship with aiq, each as a
//! request body that lacks nothing but its id.
//!
//! Bodies are made once, through the protocol's own types; a request is then two copies of bytes.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use super::settings::Settings;
use crate::protocol::{InferRequest, InferResponse, Options, RequestId, TaskType};

/// A sentence a line: `+`, `-` or `?` (positive, negative, not plain), a space, the text.
const SENTENCES: &str = include_str!("../../assets/load/sentences.txt");
/// Blocks of a query, the plain answer and other candidates.
const CANDIDATES: &str = include_str!("../../assets/load/candidates.json");
/// Queries for a picture by its sample name.
const SEARCHES: &str = include_str!("../../assets/load/searches.json");
/// The sample pictures, with their labels.
const SAMPLES: &str = include_str!("../../assets/samples/index.json");

/// What a right answer would be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expected {
    /// Not plain: any answer will do.
    Anything,
    /// This prediction.
    Prediction(String),
    /// One of these among the best five, the usual measure where labels are close to each other.
    TopFive(Vec<String>),
}

/// One input.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// The body before the id and after it.
    head: Bytes,
    tail: Bytes,
    pub(super) expected: Expected,
    /// For `--plan`.
    pub(super) label: String,
}

/// Every input of every task.
#[derive(Clone, Debug)]
pub(super) struct Inputs {
    tasks: [Vec<Input>; 4],
}

/// An asset that does not read; a test keeps this from being seen.
#[derive(Debug, thiserror::Error)]
#[error("the built-in inputs are damaged: {0}")]
pub(crate) struct InputError(String);

#[derive(Deserialize)]
struct Sample {
    name: String,
    labels: Vec<String>,
}

#[derive(Deserialize)]
struct CandidateList {
    query: String,
    /// Empty where no candidate is plainly the nearest.
    #[serde(default)]
    answer: String,
    candidates: Vec<String>,
}

#[derive(Deserialize)]
struct Search {
    query: String,
    sample: String,
}

impl Inputs {
    /// Stands for the id while a body is made.
    const PLACEHOLDER: &str = "PUT-THE-ID-HERE";

    pub(super) fn try_new(settings: &Settings) -> Result<Self, InputError> {
        let bad = |e: serde_json::Error| InputError(e.to_string());
        let samples: Vec<Sample> = serde_json::from_str(SAMPLES).map_err(bad)?;
        let lists: Vec<CandidateList> = serde_json::from_str(CANDIDATES).map_err(bad)?;
        let searches: Vec<Search> = serde_json::from_str(SEARCHES).map_err(bad)?;
        let mut inputs = Self { tasks: [const { Vec::new() }; 4] };
        for line in SENTENCES.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')) {
            let (mark, text) = line.split_once(' ').ok_or_else(|| InputError(format!("sentence \"{line}\"")))?;
            let expected = match mark {
                "+" => Expected::Prediction("POSITIVE".to_owned()),
                "-" => Expected::Prediction("NEGATIVE".to_owned()),
                _ => Expected::Anything,
            };
            inputs.add(settings, InferRequest::new(TaskType::TextClassification, text), expected)?;
        }
        for sample in samples {
            let request = InferRequest::new(TaskType::ImageClassification, format!("sample:{}", sample.name));
            inputs.add(settings, request, Expected::TopFive(sample.labels))?;
        }
        for list in lists {
            let expected =
                if list.answer.is_empty() { Expected::Anything } else { Expected::Prediction(list.answer.clone()) };
            let candidates = Some(list.candidates);
            let request = InferRequest {
                options: Options { candidates, ..Options::default() },
                ..InferRequest::new(TaskType::ClipTextSimilarity, list.query)
            };
            inputs.add(settings, request, expected)?;
        }
        for search in searches {
            let request = InferRequest::new(TaskType::ClipTextToImage, search.query);
            inputs.add(settings, request, Expected::TopFive(vec![search.sample]))?;
        }
        Ok(inputs)
    }

    /// How many there are of each task.
    pub(super) fn counts(&self) -> [usize; 4] {
        [0, 1, 2, 3].map(|i| self.tasks[i].len())
    }

    /// One of them; `None` where there is no such number.
    pub(super) fn get(&self, task: TaskType, input: u32) -> Option<&Input> {
        self.tasks[task.index()].get(input as usize)
    }

    fn add(&mut self, settings: &Settings, request: InferRequest, expected: Expected) -> Result<(), InputError> {
        let label = request.data.clone();
        let task = request.task_type;
        let request = InferRequest {
            request_id: RequestId::try_new(Self::PLACEHOLDER).ok(),
            priority: settings.priority,
            timeout_ms: u64::try_from(settings.timeout.as_millis()).ok(),
            ..request
        };
        request.validate().map_err(|p| InputError(format!("\"{label}\": {}", p.detail)))?;
        let body = serde_json::to_string(&request).map_err(|e| InputError(e.to_string()))?;
        let (head, tail) = body
            .split_once(Self::PLACEHOLDER)
            .ok_or_else(|| InputError(format!("\"{label}\" has a body without an id")))?;
        let (head, tail) = (Bytes::from(head.to_owned()), Bytes::from(tail.to_owned()));
        self.tasks[task.index()].push(Input { head, tail, expected, label });
        Ok(())
    }
}

impl Input {
    /// The request body with this id, which needs no escapes.
    pub(super) fn body(&self, id: &str) -> Bytes {
        let mut body = BytesMut::with_capacity(self.head.len() + id.len() + self.tail.len());
        body.extend_from_slice(&self.head);
        body.extend_from_slice(id.as_bytes());
        body.extend_from_slice(&self.tail);
        body.freeze()
    }
}

impl Expected {
    /// Whether this answer is right.
    pub(super) fn allows(&self, answer: &InferResponse) -> bool {
        match self {
            Self::Anything => true,
            Self::Prediction(label) => answer.result.prediction.eq_ignore_ascii_case(label),
            Self::TopFive(labels) => {
                let best = answer.result.scores.0.iter().take(5).map(|(label, _)| label);
                std::iter::once(&answer.result.prediction).chain(best).any(|label| labels.contains(label))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn inputs(flags: &[&str]) -> Inputs {
        let args = ["aiq", "load"].iter().chain(flags);
        let Command::Load(args) = Cli::parse_from(args).command else { unreachable!() };
        Inputs::try_new(&Settings::try_new(&args).unwrap()).unwrap()
    }

    #[test]
    fn bodies_are_whole_requests() {
        let inputs = inputs(&["--priority", "high", "--timeout", "3s"]);
        for task in TaskType::ALL {
            for i in 0..inputs.counts()[task.index()] as u32 {
                let body = inputs.get(task, i).unwrap().body("ld-1-2");
                let request = InferRequest::from_json(&body).unwrap();
                assert_eq!(request.request_id.unwrap().as_str(), "ld-1-2");
                assert_eq!((request.task_type, request.timeout_ms), (task, Some(3000)));
            }
        }
        assert!(inputs.get(TaskType::TextClassification, u32::MAX).is_none());
    }

    #[test]
    fn there_are_hundreds_of_varied_sentences() {
        let inputs = inputs(&[]);
        let texts = &inputs.tasks[TaskType::TextClassification.index()];
        let plain = |label: &str| texts.iter().filter(|i| i.expected == Expected::Prediction(label.into())).count();
        assert!(texts.len() >= 270, "{}", texts.len());
        assert!(plain("POSITIVE") >= 80 && plain("NEGATIVE") >= 80);
        let mut distinct: Vec<_> = texts.iter().map(|i| &i.label).collect();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), texts.len(), "a sentence stands twice");
        let lengths: Vec<_> = texts.iter().map(|i| i.label.split_whitespace().count()).collect();
        assert!(lengths.iter().any(|n| *n <= 3) && lengths.iter().any(|n| *n >= 80));
    }

    #[test]
    fn expected_answers_are_among_the_possible_ones() {
        let lists: Vec<CandidateList> = serde_json::from_str(CANDIDATES).unwrap();
        assert!(lists.len() >= 40);
        for list in lists {
            assert!(list.answer.is_empty() || list.candidates.contains(&list.answer), "{}", list.query);
        }
        let samples: Vec<Sample> = serde_json::from_str(SAMPLES).unwrap();
        let searches: Vec<Search> = serde_json::from_str(SEARCHES).unwrap();
        assert!(searches.len() >= 40);
        for search in searches {
            assert!(samples.iter().any(|s| s.name == search.sample), "{}", search.sample);
        }
    }
}

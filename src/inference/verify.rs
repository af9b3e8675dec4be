//! Whether a model answers as its golden file says, through nothing but what a request goes through too.
//!
//! Golden files are PyTorch's answers (`assets/models/training/golden.py`). A model without one is asked one thing for each
//! of its tasks, and must answer.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::model::{Answer, Context, Model, Prepared};
use super::registry::Family;
use super::request::Request;
use super::source::{Files, LoadError};
use crate::protocol::{Options, TaskType};

/// How far a probability or cosine may be from the golden one.
const TOLERANCE: f64 = 1e-3;

/// Why a model is not sound.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Its golden file can't be read.
    #[error(transparent)]
    Golden(#[from] LoadError),
    /// It gives no answer.
    #[error("{task} of \"{data}\": {reason}")]
    NoAnswer {
        /// What was asked.
        task: TaskType,
        /// About what.
        data: String,
        /// What it said.
        reason: String,
    },
    /// It gives another answer.
    #[error("{task} of \"{data}\": it answers {found}, its golden file says {expected}")]
    Different {
        /// What was asked.
        task: TaskType,
        /// About what.
        data: String,
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
}

/// What was found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// So many answers are as the golden file says.
    Golden(usize),
    /// There is no golden file; it answers.
    Answers,
}

/// What is read of the golden files, all kinds of them.
#[derive(Deserialize)]
struct Golden {
    #[serde(default)]
    cases: Vec<Case>,
    /// Sample picture → its label.
    #[serde(default)]
    top1: serde_json::Map<String, Value>,
    /// Caption → the sample picture it finds.
    #[serde(default)]
    first_picture: serde_json::Map<String, Value>,
    #[serde(default)]
    text_text_cosine: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    text: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    probs: Vec<f64>,
}

/// Compares a model with its golden file.
pub fn verify(
    family: &Family,
    files: &Files,
    model: &Arc<dyn Model>,
    context: &mut Context,
) -> Result<Verified, VerifyError> {
    let mut examiner = Examiner { model, context, asked: 0 };
    if files.optional("golden.json").map_err(LoadError::from)?.is_none() {
        for &task in family.tasks {
            let data = if task == TaskType::ImageClassification { "dummy_image_data" } else { "a photo of a cat" };
            examiner.ask(task, data, &Options::default())?;
        }
        return Ok(Verified::Answers);
    }
    let golden: Golden = files.config("golden.json")?;
    for case in &golden.cases {
        if let Some(label) = &case.label {
            examiner.classifies(&case.text, label, &case.probs)?;
        }
    }
    for (sample, label) in &golden.top1 {
        examiner.finds(TaskType::ImageClassification, &format!("sample:{sample}"), label)?;
    }
    for (caption, sample) in &golden.first_picture {
        examiner.finds(TaskType::ClipTextToImage, caption, sample)?;
    }
    let texts: Vec<&str> = golden.cases.iter().map(|case| case.text.as_str()).collect();
    for (text, cosines) in texts.iter().zip(&golden.text_text_cosine) {
        examiner.compares(text, &texts, cosines)?;
    }
    Ok(Verified::Golden(examiner.asked))
}

/// Asks a model and counts.
struct Examiner<'a> {
    model: &'a Arc<dyn Model>,
    context: &'a mut Context,
    asked: usize,
}

impl Examiner<'_> {
    fn ask(&mut self, task: TaskType, data: &str, options: &Options) -> Result<Answer, VerifyError> {
        self.asked += 1;
        let failed = |reason: String| VerifyError::NoAnswer { task, data: data.to_owned(), reason };
        let input = self.model.prepare(&Request { task, data, options }).map_err(|error| failed(error.to_string()))?;
        let prepared = Prepared { model: Arc::clone(self.model), task, input, top_k: options.top_k() };
        let answer = self.model.run(&[&prepared], self.context).pop();
        answer.ok_or_else(|| failed("nothing".to_owned()))?.map_err(|error| failed(error.to_string()))
    }

    fn finds(&mut self, task: TaskType, data: &str, expected: &Value) -> Result<(), VerifyError> {
        let answer = self.ask(task, data, &Options::default())?;
        let expected = expected.as_str().unwrap_or_default();
        same(task, data, &answer.prediction, expected, answer.prediction == expected)
    }

    fn classifies(&mut self, text: &str, label: &str, probabilities: &[f64]) -> Result<(), VerifyError> {
        let task = TaskType::TextClassification;
        let answer = self.ask(task, text, &Options::default())?;
        let expected = probabilities.iter().copied().fold(0.0, f64::max);
        let close = answer.prediction == label && (answer.confidence - expected).abs() < TOLERANCE;
        let found = format!("{} ({:.4})", answer.prediction, answer.confidence);
        same(task, text, &found, &format!("{label} ({expected:.4})"), close)
    }

    fn compares(&mut self, text: &str, candidates: &[&str], cosines: &[f64]) -> Result<(), VerifyError> {
        let task = TaskType::ClipTextSimilarity;
        let list = candidates.iter().map(|&candidate| candidate.to_owned()).collect();
        let answer = self.ask(task, text, &Options { candidates: Some(list), ..Options::default() })?;
        let found = answer.similarities.unwrap_or_default().0;
        for (candidate, expected) in candidates.iter().zip(cosines) {
            let cosine = found.iter().find(|(name, _)| name == candidate).map_or(f64::NAN, |(_, cosine)| *cosine);
            let told = |cosine: f64| format!("{cosine:.4} for \"{candidate}\"");
            same(task, text, &told(cosine), &told(*expected), (cosine - expected).abs() < TOLERANCE)?;
        }
        Ok(())
    }
}

fn same(task: TaskType, data: &str, found: &str, expected: &str, equal: bool) -> Result<(), VerifyError> {
    if equal {
        return Ok(());
    }
    Err(VerifyError::Different { task, data: data.to_owned(), found: found.to_owned(), expected: expected.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::registry::FAMILIES;
    use crate::inference::source::Loader;

    #[test]
    fn the_small_models_are_as_their_golden_files_say() {
        let loader = Loader::default();
        let mut context = Context::new(1);
        for family in &FAMILIES {
            let model = family.load_small(&loader).unwrap();
            let verified = verify(family, &family.small_files(), &model, &mut context).unwrap();
            assert!(matches!(verified, Verified::Golden(5..)), "{}: {verified:?}", family.name);
        }
    }

    #[test]
    fn another_answer_is_told_with_both() {
        let loader = Loader::default();
        let family = Family::named("distilbert").unwrap();
        let model = family.load_small(&loader).unwrap();
        let mut context = Context::new(1);
        let mut examiner = Examiner { model: &model, context: &mut context, asked: 0 };
        let error = examiner.classifies("not bad at all", "NEGATIVE", &[0.9, 0.1]).unwrap_err().to_string();
        assert!(error.contains("POSITIVE") && error.contains("NEGATIVE (0.9000)"), "{error}");
    }
}

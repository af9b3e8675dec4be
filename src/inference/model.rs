//! What a model is to the rest of aiq: it prepares an input, and turns a batch of prepared inputs into answers.
//!
//! Preparing (tokens, pixels) and running are separate steps, because the first belongs on the threads of requests and the
//! second on the one inference thread. Which model serves which task is the registry's business.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::image::Pixels;
use super::kernels::{Compute, Quantised};
use super::mobilenet_v2;
use super::operations::Workspace;
use super::request::{InputError, Request};
use super::search::{Search, Similarity};
use super::tokenizer::Tokens;
use crate::protocol::{ModelRef, ModelSource, Scores, TaskResult, TaskType, WorkerId};

/// A network with everything around it that one or more tasks need.
pub trait Model: Send + Sync {
    /// Who it is.
    fn card(&self) -> &Card;

    /// Turns a request into the network's input; runs on the caller's thread.
    fn prepare(&self, request: &Request<'_>) -> Result<Input, InputError>;

    /// Answers a batch of its own prepared inputs, one answer for each, in their order.
    fn run(&self, batch: &[&Prepared], context: &mut Context) -> Vec<Result<Answer, InferenceError>>;

    /// Does ahead of time what would make the first request slow.
    fn warm_up(&self, _context: &mut Context) {}
}

/// How a model is called in answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The display name, ` (mini)` behind it for a stand-in.
    pub model_info: String,
    /// Its weights.
    pub reference: ModelRef,
    /// It stands in for a full-size model.
    pub degraded: bool,
}

impl Card {
    /// The card of a model that is, or stands in for, `name`.
    pub fn new(name: &str, reference: &ModelRef, degraded: bool) -> Self {
        let model_info = if degraded { format!("{name} (mini)") } else { name.to_owned() };
        Self { model_info, reference: reference.clone(), degraded }
    }
}

/// The input of a network, ready to run.
#[derive(Clone, Debug)]
pub enum Input {
    /// A tokenised text.
    Text(Tokens),
    /// A picture of the network's size.
    Picture(Pixels),
    /// A text and the texts to compare it with.
    Similarity(Similarity),
    /// A text and the pictures to search.
    Search(Search),
    /// Nothing, for measuring what is around a model.
    Nothing,
}

/// An input, and the model that it was prepared for: a model that is replaced meanwhile still answers it.
#[derive(Clone)]
pub struct Prepared {
    pub(super) model: Arc<dyn Model>,
    pub(super) task: TaskType,
    pub(super) input: Input,
    pub(super) top_k: usize,
}

/// What an input will cost, for forming batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Tokens of text that a network has to go through.
    pub tokens: usize,
    /// Pictures that a network has to go through.
    pub pictures: usize,
}

impl Prepared {
    /// The task it belongs to; only inputs of one task are run together.
    pub fn task(&self) -> TaskType {
        self.task
    }

    /// What it will cost.
    pub fn cost(&self) -> Cost {
        match &self.input {
            Input::Text(tokens) => Cost { tokens: tokens.ids.len(), pictures: 0 },
            Input::Picture(_) => Cost { tokens: 0, pictures: 1 },
            Input::Similarity(similarity) => similarity.cost(),
            Input::Search(search) => search.cost(),
            Input::Nothing => Cost::default(),
        }
    }

    /// The text was longer than the model takes, and its end was cut off.
    pub fn truncated(&self) -> bool {
        match &self.input {
            Input::Text(tokens) => tokens.truncated,
            Input::Similarity(similarity) => similarity.query.truncated,
            Input::Search(search) => search.query.truncated,
            Input::Picture(_) | Input::Nothing => false,
        }
    }

    pub(super) fn tokens(&self) -> &[u32] {
        if let Input::Text(tokens) = &self.input { &tokens.ids } else { &[] }
    }

    pub(super) fn picture(&self) -> Option<&Pixels> {
        if let Input::Picture(pixels) = &self.input { Some(pixels) } else { None }
    }

    pub(super) fn top_k(&self) -> usize {
        self.top_k
    }
}

/// What a model says about one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The best label, text or picture.
    pub prediction: String,
    /// Its probability, or its cosine similarity for text against text.
    pub confidence: f64,
    /// Cosine similarities of all candidates, best first, where there are candidates.
    pub similarities: Option<Scores>,
    /// The best labels with their probabilities, best first.
    pub scores: Scores,
}

impl Answer {
    /// The answer of a classifier, from all classes best first.
    pub(super) fn classes(mut ranked: Vec<(String, f64)>, top_k: usize) -> Self {
        let (prediction, confidence) = ranked.first().cloned().unwrap_or_default();
        ranked.truncate(top_k.max(1));
        Self { prediction, confidence, similarities: None, scores: Scores(ranked) }
    }
}

/// An answer, and who gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// What the model says.
    pub answer: Answer,
    /// Who it is.
    pub card: Card,
}

impl Output {
    /// The result as it goes over the wire.
    pub fn into_result(self, worker_id: WorkerId, task_type: TaskType) -> TaskResult {
        let Self { answer, card } = self;
        TaskResult {
            prediction: answer.prediction,
            confidence: answer.confidence,
            similarities: answer.similarities,
            worker_id,
            task_type,
            model_info: card.model_info,
            scores: answer.scores,
            degraded: card.degraded,
            model: card.reference,
        }
    }
}

/// Why a model gave no answer to a valid input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InferenceError {
    /// The network computed something that is not a number.
    #[error("the network's output is not finite; its weights may be damaged")]
    NotFinite,
    /// The model broke; a bug.
    #[error("the model failed: {0}")]
    Broken(String),
    /// Inputs of another task or model were mixed into a batch; a bug.
    #[error("a prepared input does not belong to this model")]
    Foreign,
}

impl From<candle_core::Error> for InferenceError {
    /// What candle could not do: no memory left on the device, or a driver that failed.
    fn from(error: candle_core::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// The same error for each of a batch.
pub(super) fn all_failed(batch: &[&Prepared], error: &InferenceError) -> Vec<Result<Answer, InferenceError>> {
    batch.iter().map(|_| Err(error.clone())).collect()
}

/// What a model computes with: threads, and buffers that are kept between batches.
pub struct Context {
    /// Threads and instructions.
    pub compute: Compute,
    pub(super) buffers: Buffers,
}

impl Context {
    /// Buffers above this many numbers (64 MiB) are given back after a batch.
    const KEPT: usize = 16 * 1024 * 1024;

    /// Threads for all models of a worker.
    pub fn new(threads: usize) -> Self {
        Self { compute: Compute::new(threads), buffers: Buffers::default() }
    }

    /// What an encoder's operations compute with.
    pub(super) fn workspace(&self) -> Workspace<'_> {
        let Buffers { quantised, outputs, .. } = &self.buffers;
        Workspace { compute: &self.compute, quantised, outputs }
    }

    /// Forgets all buffers, which a model that broke may have left in any state.
    pub(super) fn reset(&mut self) {
        self.buffers = Buffers::default();
    }

    /// Gives back what an unusually large batch took.
    pub(super) fn trim(&mut self) {
        let Buffers { quantised, outputs, convolution } = &mut self.buffers;
        let outputs = outputs.get_mut().iter().map(Vec::capacity).sum::<usize>();
        let convolution = convolution.get_mut().iter().map(mobilenet_v2::Buffers::capacity).sum::<usize>();
        if quantised.get_mut().capacity() + outputs + convolution > Self::KEPT {
            self.buffers = Buffers::default();
        }
    }
}

/// Buffers of the networks.
#[derive(Default)]
pub(super) struct Buffers {
    /// The input of a layer as integers, where it computes with such.
    quantised: RefCell<Quantised>,
    /// Outputs of an encoder's operations that are not needed any more.
    outputs: RefCell<Vec<Vec<f32>>>,
    /// One for each thread that ever had a picture of its own.
    pub(super) convolution: RefCell<Vec<mobilenet_v2::Buffers>>,
}

/// Cuts a list into runs whose weights sum up to at most `most` each (one item where that alone is heavier).
pub(super) fn chunks<T>(items: &[T], most: usize, weight: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut runs = Vec::new();
    let (mut start, mut sum) = (0, 0);
    for (index, item) in items.iter().enumerate() {
        let weight = weight(item);
        if index > start && sum + weight > most {
            runs.push(&items[start..index]);
            (start, sum) = (index, 0);
        }
        sum += weight;
    }
    if start < items.len() {
        runs.push(&items[start..]);
    }
    runs
}

/// Probabilities of logits; fails where they are not numbers.
pub(super) fn softmax(logits: &[f32]) -> Result<Vec<f64>, InferenceError> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !logits.iter().all(|logit| logit.is_finite()) {
        return Err(InferenceError::NotFinite);
    }
    let mut probabilities: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - top).exp()).collect();
    let total: f64 = probabilities.iter().sum();
    for p in &mut probabilities {
        *p /= total;
    }
    Ok(probabilities)
}

/// Labels with their scores, best first; equal scores keep their order.
pub(super) fn rank(labels: &[String], scores: &[f64]) -> Vec<(String, f64)> {
    let mut order: Vec<usize> = (0..labels.len().min(scores.len())).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.into_iter().map(|index| (labels[index].clone(), scores[index])).collect()
}

/// Answers each batch after a fixed time without computing anything: for measuring what is around a model.
pub(super) struct Noop {
    card: Card,
    time: Duration,
}

impl Noop {
    /// A thread that sleeps is woken some 60 µs late; so long before the end it stays awake, so that a batch takes
    /// what it is said to take.
    const AWAKE: Duration = Duration::from_micros(100);

    pub(super) fn new(time: Duration) -> Self {
        let reference = ModelRef { id: "noop".to_owned(), revision: None, source: ModelSource::Noop };
        Self { card: Card { model_info: "no model".to_owned(), reference, degraded: true }, time }
    }
}

impl Model for Noop {
    fn card(&self) -> &Card {
        &self.card
    }

    fn prepare(&self, _request: &Request<'_>) -> Result<Input, InputError> {
        Ok(Input::Nothing)
    }

    fn run(&self, batch: &[&Prepared], _context: &mut Context) -> Vec<Result<Answer, InferenceError>> {
        let started = Instant::now();
        let asleep = self.time.saturating_sub(Self::AWAKE);
        if !asleep.is_zero() {
            std::thread::sleep(asleep);
        }
        while started.elapsed() < self.time {
            std::hint::spin_loop();
        }
        batch.iter().map(|_| Ok(Answer::classes(vec![("NOOP".to_owned(), 0.0)], 1))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_respect_their_weight() {
        let items = [3, 3, 3, 10, 1, 1];
        let runs = chunks(&items, 6, |&weight| weight);
        assert_eq!(runs, [&[3, 3][..], &[3], &[10], &[1, 1]]);
        assert!(chunks(&[] as &[usize], 6, |&weight| weight).is_empty());
    }

    #[test]
    fn softmax_is_stable_and_refuses_nonsense() {
        let p = softmax(&[1000.0, 1000.0, -1000.0]).unwrap();
        assert!((p[0] - 0.5).abs() < 1e-9 && (p[1] - 0.5).abs() < 1e-9 && p[2] < 1e-9);
        assert_eq!(softmax(&[f32::NAN, 0.0]), Err(InferenceError::NotFinite));
        assert_eq!(softmax(&[f32::INFINITY, 0.0]), Err(InferenceError::NotFinite));
    }

    #[test]
    fn rank_is_stable() {
        let labels = ["a", "b", "c"].map(str::to_owned);
        let ranked = rank(&labels, &[0.2, 0.6, 0.2]);
        assert_eq!(ranked.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>(), ["b", "a", "c"]);
    }
}

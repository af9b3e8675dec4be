//! What the batcher computes with, seen from the worker: prepare an input, run a batch, say what you
//! can do. The models themselves are `inference`'s; this is the seam between the two, and where a
//! test puts a model that does as it is told.

use crate::config::WorkerConfig;
use crate::protocol::{
    Capability, InferRequest, ModelRef, ModelSource, ModelState, Problem, Scores, TaskResult, TaskType, WorkerId,
};

/// Computes answers.
pub(super) trait Backend: Send + Sync + 'static {
    /// An input that is ready to be run.
    type Prepared: Send + 'static;

    /// How long preparing this request takes.
    fn effort(&self, request: &InferRequest) -> Effort;

    /// Turns a request into an input: tokens, pixels. Not on the inference thread.
    ///
    /// # Errors
    /// What is wrong with the input.
    fn prepare(&self, request: &InferRequest) -> Result<Self::Prepared, Problem>;

    /// What an input costs, in units that are the same for all inputs of a task; at least 1.
    fn units(&self, prepared: &Self::Prepared) -> usize;

    /// Answers a batch of inputs of one task: one answer, or what went wrong, for each, in their
    /// order. Called from the inference thread alone.
    fn run(&self, task: TaskType, batch: &[&Self::Prepared]) -> Vec<Result<TaskResult, String>>;

    /// What can be done now, with which models.
    fn capabilities(&self) -> Vec<Capability>;
}

/// How long preparing a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// Less than handing it to another thread would.
    Trivial,
    /// Long enough to be in the way of others.
    #[expect(dead_code, reason = "no model is wired in yet")]
    Considerable,
}

/// No model: answers at once, for measuring the path to it. Every answer says so.
#[derive(Debug)]
pub(super) struct Noop {
    worker_id: WorkerId,
    model: ModelRef,
    speciality: Vec<TaskType>,
}

impl Noop {
    const MODEL_INFO: &str = "no model";

    pub(super) fn new(config: &WorkerConfig) -> Self {
        Self {
            worker_id: config.id.clone(),
            model: ModelRef { id: "noop".to_owned(), revision: None, source: ModelSource::Noop },
            speciality: config.speciality.clone(),
        }
    }
}

impl Backend for Noop {
    type Prepared = ();

    fn effort(&self, _request: &InferRequest) -> Effort {
        Effort::Trivial
    }

    fn prepare(&self, _request: &InferRequest) -> Result<(), Problem> {
        Ok(())
    }

    fn units(&self, (): &()) -> usize {
        1
    }

    fn run(&self, task: TaskType, batch: &[&()]) -> Vec<Result<TaskResult, String>> {
        let answer = || TaskResult {
            prediction: "NOOP".to_owned(),
            confidence: 0.0,
            similarities: None,
            worker_id: self.worker_id.clone(),
            task_type: task,
            model_info: Self::MODEL_INFO.to_owned(),
            scores: Scores::default(),
            degraded: true,
            model: self.model.clone(),
        };
        batch.iter().map(|()| Ok(answer())).collect()
    }

    fn capabilities(&self) -> Vec<Capability> {
        let capability = |task| Capability {
            task,
            model_info: Self::MODEL_INFO.to_owned(),
            model: self.model.clone(),
            degraded: true,
            specialised: self.speciality.contains(&task),
            state: ModelState::Ready,
        };
        TaskType::ALL.map(capability).to_vec()
    }
}

//! What the batcher computes with, seen from the worker: prepare an input, run a batch, say what you
//! can do. The models themselves are `inference`'s; this is the seam between the two, and where a
//! test puts a model that does as it is told.

use std::sync::Arc;

use crate::cli;
use crate::config::{ModelsFrom, WorkerConfig};
use crate::inference::{Engine, EngineConfig, Place, Precision, Prepared, Source, Wanted};
use crate::protocol::{Capability, InferRequest, Problem, TaskResult, TaskType, WorkerId};

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

    /// What an input costs, in units that are the same for all inputs of a task.
    fn units(&self, prepared: &Self::Prepared) -> usize;

    /// Answers a batch of inputs of one task: one answer, or what went wrong, for each, in their
    /// order. Called from the inference thread alone.
    fn run(&self, task: TaskType, batch: &[Self::Prepared]) -> Vec<Result<TaskResult, String>>;

    /// What can be done now, with which models.
    fn capabilities(&self) -> Vec<Capability>;

    /// Batches to be run before there is work: an ordinary input alone for each task, what matters most first,
    /// and then several together, so that it is known what a batch saves.
    fn warm_ups(&self) -> Vec<(TaskType, Vec<Self::Prepared>)> {
        Vec::new()
    }
}

/// How long preparing a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// Little more than handing it to another thread would.
    Trivial,
    /// Long enough to be in the way of others.
    Considerable,
}

/// The models of `inference`.
pub(super) struct Models {
    engine: Arc<Engine>,
    worker_id: WorkerId,
}

impl Models {
    /// Texts up to this many bytes become tokens in some ten microseconds.
    const SHORT_TEXT: usize = 512;
    /// Inputs in the second warm-up: enough to tell a batch's fixed part from what each input adds.
    const WARM_BATCH: usize = 4;
    /// A picture costs CLIP about as much as this many tokens.
    const TOKENS_PER_PICTURE: usize = 64;

    /// Loads what serves from the start.
    ///
    /// # Errors
    /// What can't be loaded, or what this build can't do.
    pub(super) fn load(config: &WorkerConfig) -> anyhow::Result<Self> {
        let source = match &config.models {
            ModelsFrom::Auto => Source::Auto,
            ModelsFrom::Hub => Source::Hub,
            ModelsFrom::Embedded => Source::Embedded,
            ModelsFrom::Noop(time) => Source::Noop(*time),
            ModelsFrom::Folder(folder) => Source::Folder(folder.clone()),
        };
        let precision = match config.precision {
            cli::Precision::Fp32 => Precision::Fp32,
            cli::Precision::Int8 => Precision::Int8,
        };
        let wanted = match config.device {
            cli::Device::Auto => Wanted::Auto,
            cli::Device::Cpu => Wanted::Cpu,
            cli::Device::Cuda => Wanted::Cuda,
            cli::Device::Metal => Wanted::Metal,
        };
        let place = Place::choose(wanted, precision)?;
        tracing::info!(%place, threads = config.threads, "models compute");
        let speciality = config.speciality.clone();
        let engine = EngineConfig { source, speciality, threads: config.threads, place };
        Ok(Self { engine: Engine::start(&engine)?, worker_id: config.id.clone() })
    }
}

impl Backend for Models {
    type Prepared = Prepared;

    fn effort(&self, request: &InferRequest) -> Effort {
        let pictures = request.task_type == TaskType::ImageClassification || request.options.images.is_some();
        let candidates: usize = request.options.candidates.iter().flatten().map(String::len).sum();
        if pictures || request.data.len() + candidates > Self::SHORT_TEXT {
            Effort::Considerable
        } else {
            Effort::Trivial
        }
    }

    fn prepare(&self, request: &InferRequest) -> Result<Prepared, Problem> {
        Ok(self.engine.prepare(request.task_type, &request.data, &request.options)?)
    }

    fn units(&self, prepared: &Prepared) -> usize {
        let cost = prepared.cost();
        if prepared.task() == TaskType::ImageClassification {
            cost.pictures
        } else {
            cost.tokens + cost.pictures * Self::TOKENS_PER_PICTURE
        }
    }

    fn run(&self, task: TaskType, batch: &[Prepared]) -> Vec<Result<TaskResult, String>> {
        let outputs = self.engine.run(batch);
        let result = |output: crate::inference::Output| output.into_result(self.worker_id.clone(), task);
        outputs.into_iter().map(|output| output.map(result).map_err(|error| error.to_string())).collect()
    }

    fn capabilities(&self) -> Vec<Capability> {
        self.engine.capabilities()
    }

    fn warm_ups(&self) -> Vec<(TaskType, Vec<Prepared>)> {
        let ordinary = |task: TaskType, count: usize| {
            let data =
                if task == TaskType::ImageClassification { "dummy_image_data" } else { "an ordinary short text" };
            let inputs: Result<Vec<_>, _> = (0..count).map(|_| self.prepare(&InferRequest::new(task, data))).collect();
            Some((task, inputs.ok()?))
        };
        let mut tasks = self.capabilities();
        tasks.sort_by_key(|capability| !capability.specialised);
        let of_size = |count| tasks.iter().filter_map(move |capability| ordinary(capability.task, count));
        of_size(1).chain(of_size(Self::WARM_BATCH)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::WorkerArgs;

    fn load(args: WorkerArgs) -> anyhow::Result<Models> {
        Models::load(&WorkerConfig::load(args).unwrap())
    }

    #[test]
    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    fn what_this_build_can_not_do_is_said() {
        for (device, name) in [(cli::Device::Cuda, "--device cuda"), (cli::Device::Metal, "--device metal")] {
            let args = WorkerArgs { device: Some(device), ..WorkerArgs::default() };
            let refusal = load(args).err().unwrap().to_string();
            assert!(refusal.starts_with(name) && refusal.contains("--features"), "{refusal}");
        }
    }

    #[test]
    fn both_precisions_answer_alike_and_not_the_same() {
        let [fp32, int8] = [cli::Precision::Fp32, cli::Precision::Int8].map(|precision| {
            let embedded = WorkerArgs { models: Some("embedded".into()), ..WorkerArgs::default() };
            load(WorkerArgs { precision: Some(precision), ..embedded }).unwrap()
        });
        for task in TaskType::ALL {
            let data = if task == TaskType::ImageClassification { "sample:cat" } else { "a lovely picture of a cat" };
            let [expected, found] = [&fp32, &int8].map(|models| {
                let prepared = models.prepare(&InferRequest::new(task, data)).unwrap();
                models.run(task, &[prepared]).remove(0).unwrap()
            });
            assert_eq!(expected.prediction, found.prediction, "{task}");
            let difference = (expected.confidence - found.confidence).abs();
            assert!(difference < 0.05, "{task}: {difference}");
            // Convolutions stay in fp32.
            assert_eq!(difference > 0.0, task != TaskType::ImageClassification, "{task}: {difference}");
        }
    }

    #[test]
    fn pictures_and_long_texts_go_to_the_pool() {
        let models = load(WorkerArgs { models: Some("noop".into()), ..WorkerArgs::default() }).unwrap();
        let effort = |task, data: &str| models.effort(&InferRequest::new(task, data));
        assert_eq!(effort(TaskType::TextClassification, "short"), Effort::Trivial);
        assert_eq!(effort(TaskType::TextClassification, &"long ".repeat(200)), Effort::Considerable);
        assert_eq!(effort(TaskType::ImageClassification, "sample:cat"), Effort::Considerable);
    }

    #[test]
    fn the_no_op_model_answers_and_says_what_it_is() {
        let models = load(WorkerArgs { models: Some("noop".into()), ..WorkerArgs::default() }).unwrap();
        let request = InferRequest::new(TaskType::TextClassification, "x");
        let prepared = models.prepare(&request).unwrap();
        let result = models.run(request.task_type, &[prepared]).remove(0).unwrap();
        assert_eq!((result.model_info.as_str(), result.worker_id.as_str()), ("no model", "worker-1"));
    }
}

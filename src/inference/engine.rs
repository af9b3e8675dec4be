//! The models of one worker: which one serves each task now, and which one is on its way.
//!
//! A small model serves from the start; where the full-size one is wanted it is fetched and loaded in the background and
//! then swapped in. Whatever can go wrong there is told in the task's state and leaves the small model serving. Batching,
//! deadlines and counting belong to the worker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use super::model::{Context, InferenceError, Model, Noop, Output, Prepared};
use super::place::Place;
use super::registry::{FAMILIES, Family};
use super::request::{InputError, Request};
use super::source::{FolderError, Hub, HubConfig, LoadError, Loader, find_models};
use super::upgrade::Upgrade;
use crate::protocol::{Capability, ModelState, Options, TaskType};

/// Where models come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The hub's cache, or the hub if it can be reached, in the background; the small models until then, or for good.
    Auto,
    /// The hub, however long it takes; the small models until then.
    Hub,
    /// The small models in the binary.
    Embedded,
    /// A folder with models in the hub's layout; the small models for what is not in it.
    Folder(PathBuf),
    /// No models: every batch is answered after so long, for measuring what is around them.
    Noop(Duration),
}

/// What an engine is made of.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where models come from.
    pub source: Source,
    /// Tasks for which the full-size model is wanted.
    pub speciality: Vec<TaskType>,
    /// Threads that compute, the caller of [`Engine::run`] among them.
    pub threads: usize,
    /// Where models compute.
    pub place: Place,
}

/// Why an engine can't start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The folder that was named holds no models.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A model in that folder, or in the binary, can't be loaded.
    #[error("can't load the model {model}: {source}")]
    Load {
        /// Which model.
        model: String,
        /// What is wrong with it.
        source: LoadError,
    },
    /// The system refused a thread.
    #[error("can't start the thread that loads models: {0}")]
    Thread(std::io::Error),
}

/// The models of one worker.
pub struct Engine {
    pub(super) slots: Vec<Slot>,
    context: Mutex<Context>,
}

/// A family of networks and the one that serves.
pub(super) struct Slot {
    pub(super) family: &'static Family,
    pub(super) specialised: bool,
    model: RwLock<Arc<dyn Model>>,
    state: Mutex<ModelState>,
}

impl Engine {
    /// Loads what serves from the start, and starts fetching what is wanted beyond that, from the hub of the environment.
    pub fn start(config: &EngineConfig) -> Result<Arc<Self>, EngineError> {
        Self::start_with_hub(config, HubConfig::from_env())
    }

    /// As [`Engine::start`], from this hub.
    pub fn start_with_hub(config: &EngineConfig, hub: HubConfig) -> Result<Arc<Self>, EngineError> {
        let loader = Loader::new(config.place.clone());
        let mut models: [Option<Arc<dyn Model>>; FAMILIES.len()] = [const { None }; FAMILIES.len()];
        match &config.source {
            Source::Folder(root) => load_folder(root, &loader, &mut models)?,
            Source::Noop(time) => models.fill_with(|| Some(Arc::new(Noop::new(*time)))),
            Source::Auto | Source::Hub | Source::Embedded => {}
        }
        let mut slots = Vec::with_capacity(FAMILIES.len());
        for (family, model) in FAMILIES.iter().zip(models) {
            let model = match model {
                Some(model) => model,
                None => family.load_small(&loader).map_err(|source| EngineError::Load {
                    model: family.small_files().reference().id.clone(),
                    source,
                })?,
            };
            slots.push(Slot {
                family,
                specialised: family.tasks.iter().any(|task| config.speciality.contains(task)),
                model: RwLock::new(model),
                state: Mutex::new(ModelState::Ready),
            });
        }
        let engine = Arc::new(Self { slots, context: Mutex::new(Context::new(config.threads)) });
        Upgrade::start(&engine, loader, &config.source, Hub::new(hub)).map_err(EngineError::Thread)?;
        Ok(engine)
    }

    /// What can be done now, by which models, for health reports and registrations.
    pub fn capabilities(&self) -> Vec<Capability> {
        let mut capabilities: Vec<Capability> = self
            .slots
            .iter()
            .flat_map(|slot| {
                let card = slot.model().card().clone();
                let state = lock(&slot.state).clone();
                slot.family.tasks.iter().map(move |&task| Capability {
                    task,
                    model_info: card.model_info.clone(),
                    model: card.reference.clone(),
                    degraded: card.degraded,
                    specialised: slot.specialised,
                    state: state.clone(),
                })
            })
            .collect();
        capabilities.sort_by_key(|capability| capability.task);
        capabilities
    }

    /// Turns what a client sent into a model's input: tokens, pixels. Takes milliseconds for a picture; call it on a
    /// thread that may be blocked, and never on the one that runs models.
    pub fn prepare(&self, task: TaskType, data: &str, options: &Options) -> Result<Prepared, InputError> {
        let model = self.model(task);
        let input = model.prepare(&Request { task, data, options })?;
        Ok(Prepared { model, task, input, top_k: options.top_k() })
    }

    /// Answers a batch, one output for each input in their order. Blocks while it computes, on all threads of the
    /// engine; concurrent calls take turns. Inputs of different tasks may be mixed but gain nothing by it.
    pub fn run(&self, batch: &[Prepared]) -> Vec<Result<Output, InferenceError>> {
        let mut outputs: Vec<Option<Result<Output, InferenceError>>> = batch.iter().map(|_| None).collect();
        let mut context = lock(&self.context);
        for first in 0..batch.len() {
            if outputs[first].is_some() {
                continue;
            }
            // A model that was swapped out while inputs for it waited still answers them.
            let model = &batch[first].model;
            let members: Vec<usize> =
                (first..batch.len()).filter(|&index| Arc::ptr_eq(&batch[index].model, model)).collect();
            let inputs: Vec<&Prepared> = members.iter().map(|&index| &batch[index]).collect();
            let answers = guarded(model.as_ref(), &inputs, &mut context);
            for (index, answer) in members.into_iter().zip(answers) {
                outputs[index] = Some(answer.map(|answer| Output { answer, card: model.card().clone() }));
            }
        }
        context.trim();
        let missing = || Err(InferenceError::Broken("no answer came".to_owned()));
        outputs.into_iter().map(|output| output.unwrap_or_else(missing)).collect()
    }

    fn model(&self, task: TaskType) -> Arc<dyn Model> {
        // Every task has a family, as a test of the registry holds.
        let slot = self.slots.iter().find(|slot| slot.family.tasks.contains(&task)).unwrap_or(&self.slots[0]);
        slot.model()
    }
}

impl Slot {
    pub(super) fn model(&self) -> Arc<dyn Model> {
        Arc::clone(&self.model.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves with another model from now on; what was prepared for the old one is still answered by it.
    pub(super) fn swap(&self, model: Arc<dyn Model>) {
        *self.model.write().unwrap_or_else(PoisonError::into_inner) = model;
    }

    pub(super) fn set_state(&self, state: ModelState) {
        *lock(&self.state) = state;
    }
}

/// Loads all models below a folder; of two for the same tasks the full-size one is taken.
fn load_folder(
    root: &std::path::Path,
    loader: &Loader,
    models: &mut [Option<Arc<dyn Model>>; FAMILIES.len()],
) -> Result<(), EngineError> {
    for folder in find_models(root)? {
        let failed = |source| EngineError::Load { model: folder.display().to_string(), source };
        let (family, model) = Family::load_folder(&folder, loader).map_err(failed)?;
        let index = FAMILIES.iter().position(|known| std::ptr::eq(known, family)).unwrap_or_default();
        if models[index].as_ref().is_none_or(|known| known.card().degraded && !model.card().degraded) {
            models[index] = Some(model);
        }
    }
    Ok(())
}

/// Runs a model so that a bug in it costs this batch and not the process.
fn guarded(
    model: &dyn Model,
    inputs: &[&Prepared],
    context: &mut Context,
) -> Vec<Result<super::model::Answer, InferenceError>> {
    let run = catch_unwind(AssertUnwindSafe(|| model.run(inputs, context)));
    run.unwrap_or_else(|panic| {
        context.reset();
        let what = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let error = InferenceError::Broken(what.unwrap_or("it panicked").to_owned());
        inputs.iter().map(|_| Err(error.clone())).collect()
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Which networks there are, which tasks they serve and where their weights are. A new model is one line here and one
//! file beside this one: see `docs/adding-a-model.md`.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::model::Model;
use super::source::{self, EmbeddedModel, Files, LoadError, Loader};
use super::{clip, distilbert, mobilenet_v2};
use crate::protocol::TaskType;

type Loaded = Result<Arc<dyn Model>, LoadError>;

/// A kind of network: the tasks it serves, and its full-size and its small model.
pub struct Family {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it serves.
    pub tasks: &'static [TaskType],
    /// The full-size model.
    pub full: HubModel,
    /// The small model in the binary.
    pub(super) small: &'static EmbeddedModel,
    /// Whether a `config.json` is of this kind.
    recognises: fn(&Value) -> bool,
    load: fn(&Files, &Loader) -> Loaded,
    load_small: fn(&Loader) -> Loaded,
}

/// A model on the hub.
pub struct HubModel {
    /// Its repository.
    pub repository: &'static str,
    /// Where its safetensors may be, in the order in which they are tried.
    pub revisions: &'static [&'static str],
    /// Files without which it can't be loaded; the weights come last.
    pub files: &'static [&'static str],
    /// Files that are taken where there are such.
    pub optional_files: &'static [&'static str],
    /// About how large its weights are, in bytes: for people, before they are here.
    pub bytes: u64,
}

/// Every family, in the order in which they are listed.
pub static FAMILIES: [Family; 3] = [
    Family {
        name: "distilbert",
        tasks: &[TaskType::TextClassification],
        full: HubModel {
            repository: "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
            revisions: &["main"],
            files: &["config.json", "vocab.txt", source::WEIGHTS],
            optional_files: &["tokenizer_config.json", "tokenizer.json"],
            bytes: 267_832_558,
        },
        small: &source::DISTILBERT,
        recognises: |config| config["model_type"] == "distilbert",
        load: |files, loader| Ok(Arc::new(distilbert::load(files, loader.place())?)),
        load_small: |loader| Ok(Arc::new(distilbert::load(&Files::embedded(&source::DISTILBERT), loader.place())?)),
    },
    Family {
        name: "mobilenet",
        tasks: &[TaskType::ImageClassification],
        full: HubModel {
            repository: "timm/mobilenetv2_100.ra_in1k",
            revisions: &["main"],
            files: &["config.json", source::WEIGHTS],
            optional_files: &[],
            bytes: 14_212_972,
        },
        small: &source::MOBILENET_V2,
        recognises: |config| config["architecture"] == "mobilenetv2_100",
        load: |files, loader| Ok(Arc::new(mobilenet_v2::load(files, loader.place())?)),
        load_small: |loader| Ok(loader.embedded_pictures()?),
    },
    Family {
        name: "clip",
        tasks: &[TaskType::ClipTextSimilarity, TaskType::ClipTextToImage],
        full: HubModel {
            repository: "openai/clip-vit-base-patch32",
            // For a long time the safetensors were only on a pull request.
            revisions: &["main", "refs/pr/15"],
            files: &["config.json", "preprocessor_config.json", "tokenizer.json", source::WEIGHTS],
            optional_files: &[],
            bytes: 605_157_884,
        },
        small: &source::CLIP,
        recognises: |config| config["model_type"] == "clip",
        load: |files, loader| Ok(Arc::new(clip::load(files, loader)?)),
        load_small: |loader| Ok(Arc::new(clip::load(&Files::embedded(&source::CLIP), loader)?)),
    },
];

impl Family {
    /// The family that serves a task.
    pub fn of(task: TaskType) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.tasks.contains(&task))
    }

    /// The family of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.name == name)
    }

    /// The family whose networks have a configuration such as these files'.
    pub fn recognise(files: &Files) -> Result<&'static Self, LoadError> {
        let config: Value = files.config("config.json")?;
        FAMILIES.iter().find(|family| (family.recognises)(&config)).ok_or_else(|| LoadError::Unknown {
            model: files.reference().id.clone(),
            known: FAMILIES.each_ref().map(|family| family.name).join(", "),
        })
    }

    /// Loads a model of this family.
    pub fn load(&self, files: &Files, loader: &Loader) -> Loaded {
        (self.load)(files, loader)
    }

    /// Loads the small model in the binary.
    pub fn load_small(&self, loader: &Loader) -> Loaded {
        let model = (self.load_small)(loader);
        self.small.release();
        model
    }

    /// The files of the small model in the binary.
    pub fn small_files(&self) -> Files {
        Files::embedded(self.small)
    }

    /// Loads the model of a folder, whichever family it is of.
    pub fn load_folder(folder: &Path, loader: &Loader) -> Result<(&'static Self, Arc<dyn Model>), LoadError> {
        let files = Files::folder(folder);
        let family = Self::recognise(&files)?;
        Ok((family, family.load(&files, loader)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_exactly_one_family() {
        for task in TaskType::ALL {
            assert_eq!(FAMILIES.iter().filter(|family| family.tasks.contains(&task)).count(), 1, "{task}");
        }
    }

    #[test]
    fn the_small_models_are_recognised_as_what_they_are() {
        for family in &FAMILIES {
            assert_eq!(Family::recognise(&family.small_files()).unwrap().name, family.name);
        }
    }
}

//! Where a model's files come from: the binary, a folder, or the hub (`hub`). All have Hugging Face's layout.

mod embedded;
mod folder;
mod hub;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;

pub(super) use self::embedded::{CLIP, DISTILBERT, EmbeddedModel, MOBILENET_V2};
pub use self::folder::{FolderError, find_models};
pub use self::hub::{Hub, HubConfig, HubError, Transferred};
use super::image::Preprocess;
use super::mobilenet_v2::{self, MobileNetV2};
use super::place::Place;
use super::tokenizer::TokenizerError;
use super::weights::{Weights, WeightsError};
use crate::protocol::{ModelRef, ModelSource};

/// Name of the weights in every layout.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// Largest configuration or tokenizer file that is read.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Why a file of a model can't be had.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// It is not there.
    #[error("{model} has no {file}")]
    Missing {
        /// Which model.
        model: String,
        /// Which file.
        file: String,
    },
    /// It can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is larger than such a file can sensibly be.
    #[error("{path} has {bytes} bytes; at most {MAX_FILE} are read")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

/// Why a model can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file can't be had.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The weights are not what the network needs.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The tokenizer can't be made.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A configuration file is not understood.
    #[error("{file}: {reason}")]
    Config {
        /// Which file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No family of networks takes this configuration.
    #[error("{model} is none of the networks that are known ({known})")]
    Unknown {
        /// Which model.
        model: String,
        /// What there is.
        known: String,
    },
}

impl LoadError {
    pub(super) fn config(reason: impl Into<String>) -> Self {
        Self::Config { file: "config.json".to_owned(), reason: reason.into() }
    }
}

/// The files of one model.
#[derive(Clone, Debug)]
pub struct Files {
    origin: Origin,
    reference: ModelRef,
}

#[derive(Clone, Debug)]
enum Origin {
    Embedded(&'static EmbeddedModel),
    Folder(PathBuf),
}

impl Files {
    /// A model in the binary.
    pub(super) fn embedded(model: &'static EmbeddedModel) -> Self {
        let reference = ModelRef {
            id: model.id.to_owned(),
            revision: Some(env!("CARGO_PKG_VERSION").to_owned()),
            source: ModelSource::Embedded,
        };
        Self { origin: Origin::Embedded(model), reference }
    }

    /// A folder that the operator named; the model is called after it.
    pub fn folder(path: &Path) -> Self {
        let id =
            path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        let reference = ModelRef { id, revision: None, source: ModelSource::Folder };
        Self { origin: Origin::Folder(path.to_owned()), reference }
    }

    /// A snapshot in the hub's cache.
    pub(super) fn snapshot(path: &Path, id: &str, revision: &str) -> Self {
        let revision = Some(revision.to_owned());
        let reference = ModelRef { id: id.to_owned(), revision, source: ModelSource::Hub };
        Self { origin: Origin::Folder(path.to_owned()), reference }
    }

    /// How the model is referred to in answers.
    pub fn reference(&self) -> &ModelRef {
        &self.reference
    }

    /// The folder they are in, where they are in one.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Embedded(_) => None,
            Origin::Folder(folder) => Some(folder),
        }
    }

    /// A file's bytes, `None` where there is no such file.
    pub fn optional(&self, name: &str) -> Result<Option<Cow<'static, [u8]>>, FilesError> {
        match &self.origin {
            Origin::Embedded(model) => Ok(model.file(name).map(Cow::Borrowed)),
            Origin::Folder(folder) => read_bounded(&folder.join(name)).map(|bytes| bytes.map(Cow::Owned)),
        }
    }

    /// A file's bytes; it must be there.
    pub fn required(&self, name: &str) -> Result<Cow<'static, [u8]>, FilesError> {
        let missing = || FilesError::Missing { model: self.reference.id.clone(), file: name.to_owned() };
        self.optional(name)?.ok_or_else(missing)
    }

    /// A JSON file.
    pub fn config<T: DeserializeOwned>(&self, name: &str) -> Result<T, LoadError> {
        serde_json::from_slice(&self.required(name)?).map_err(|error| LoadError::Config {
            file: format!("{}/{name}", self.reference.id),
            reason: error.to_string(),
        })
    }

    /// The weights.
    pub fn weights(&self) -> Result<Weights, LoadError> {
        match &self.origin {
            Origin::Embedded(model) => {
                let missing = || FilesError::Missing { model: model.id.to_owned(), file: WEIGHTS.to_owned() };
                Ok(Weights::embedded(model.file(WEIGHTS).ok_or_else(missing)?, model.id)?)
            }
            Origin::Folder(folder) => Ok(Weights::open(&folder.join(WEIGHTS))?),
        }
    }
}

/// Reads a whole file of sensible size; `None` where there is none.
fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>, FilesError> {
    let failed = |source| FilesError::Read { path: path.to_owned(), source };
    let bytes = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if bytes > MAX_FILE {
        return Err(FilesError::TooLarge { path: path.to_owned(), bytes });
    }
    std::fs::read(path).map(Some).map_err(failed)
}

/// Loads models, and shares what one needs of another.
#[derive(Default)]
pub struct Loader {
    place: Place,
    embedded_pictures: OnceLock<Arc<MobileNetV2>>,
}

impl Loader {
    /// A loader of models that compute there.
    pub fn new(place: Place) -> Self {
        Self { place, embedded_pictures: OnceLock::new() }
    }

    /// Where its models compute.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The picture classifier in the binary: loaded once, for its own task and for the picture side of the small CLIP.
    pub(super) fn embedded_pictures(&self) -> Result<Arc<MobileNetV2>, LoadError> {
        if let Some(model) = self.embedded_pictures.get() {
            return Ok(Arc::clone(model));
        }
        let model = Arc::new(mobilenet_v2::load(&Files::embedded(&MOBILENET_V2), &self.place)?);
        Ok(Arc::clone(self.embedded_pictures.get_or_init(|| model)))
    }

    /// The network under a CLIP without a vision transformer: the folder beside it, else the one in the binary.
    pub(super) fn backbone(&self, files: &Files) -> Result<(Arc<mobilenet_v2::Network>, Preprocess), LoadError> {
        if let Origin::Folder(folder) = &files.origin {
            let beside = folder.with_file_name(MOBILENET_V2.id);
            if beside.join(WEIGHTS).is_file() {
                return Ok(mobilenet_v2::load(&Files::folder(&beside), &self.place)?.backbone());
            }
        }
        Ok(self.embedded_pictures()?.backbone())
    }
}

//! The networks alone, numbers in and numbers out, for measuring: without queues, pictures, or answers in words.

use std::path::Path;

use candle_core::Tensor;

use super::clip::{Config as ClipConfig, TextTower, VisionTransformer};
use super::model::{Context, InferenceError};
use super::place::Place;
use super::source::{Files, LoadError};
use super::tokenizer::Tokenizer;
use super::{distilbert, mobilenet_v2};

/// A network of a folder in Hugging Face's layout.
pub struct Bare(Network);

enum Network {
    DistilBert(Box<distilbert::Network>),
    MobileNet(Box<mobilenet_v2::Network>),
    ClipText(Box<TextTower>),
    ClipPicture(Box<VisionTransformer>),
}

impl Bare {
    /// What can be loaded.
    pub const NAMES: [&str; 4] = ["distilbert", "mobilenet", "clip-text", "clip-image"];

    /// Loads one of [`Bare::NAMES`].
    pub fn load(name: &str, folder: &Path, place: &Place) -> Result<Self, LoadError> {
        let files = Files::folder(folder);
        let weights = files.weights()?;
        let network = match name {
            "distilbert" => {
                let config = files.config("config.json")?;
                Network::DistilBert(Box::new(distilbert::Network::load(&weights, &config, place)?))
            }
            "mobilenet" => Network::MobileNet(Box::new(mobilenet_v2::Network::load(&weights, place)?)),
            "clip-text" => {
                let ClipConfig { text, projection_dim, .. } = files.config("config.json")?;
                Network::ClipText(Box::new(TextTower::load(&weights, &text, projection_dim, place)?))
            }
            "clip-image" => {
                let ClipConfig { vision, projection_dim, .. } = files.config("config.json")?;
                Network::ClipPicture(Box::new(VisionTransformer::load(&weights, &vision, projection_dim, place)?))
            }
            _ => return Err(LoadError::config(format!("network \"{name}\"; {} are known", Self::NAMES.join(", ")))),
        };
        Ok(Self(network))
    }

    /// The tokenizer of a folder with texts of at most `longest` tokens.
    pub fn tokenizer(folder: &Path, longest: usize) -> Result<Tokenizer, LoadError> {
        Ok(Tokenizer::load(&Files::folder(folder), longest, usize::MAX)?)
    }

    /// Logits, or projections that are not normalised: one row for each sequence of token ids; none from a network for
    /// pictures.
    ///
    /// # Errors
    /// Where a device fails.
    pub fn texts(&self, context: &mut Context, sequences: &[&[u32]]) -> Result<Vec<f32>, InferenceError> {
        match &self.0 {
            Network::DistilBert(network) => network.forward(context, sequences),
            Network::ClipText(network) => network.forward(context, sequences),
            Network::MobileNet(_) | Network::ClipPicture(_) => Ok(Vec::new()),
        }
    }

    /// Logits, or projections that are not normalised: one row for each picture of `pictures × side × side × 3` normalised
    /// numbers; none from a network for texts.
    ///
    /// # Errors
    /// Where a device fails.
    pub fn pictures(&self, context: &mut Context, pictures: &Tensor) -> Result<Vec<f32>, InferenceError> {
        match &self.0 {
            Network::ClipPicture(network) => network.forward(context, pictures),
            Network::MobileNet(network) => {
                let pooled = network.pooled(context, pictures)?;
                Ok(network.classify(&context.compute, &pooled))
            }
            Network::DistilBert(_) | Network::ClipText(_) => Ok(Vec::new()),
        }
    }
}

//! MobileNetV2 (Sandler et al. 2018) in timm's `mobilenetv2_100` layout, for `image_classification`.
//!
//! Symmetric padding and batch norms of epsilon 1e-5, as timm has them (Google's checkpoints pad otherwise and are not
//! read). Here is the classifier around the network: its configuration, preprocessing and labels. `clip` uses the same
//! network's pooled features for its small picture tower.

mod block;
mod checkpoint;
mod convolutions;
mod network;
mod trunk;

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

pub(super) use self::network::Network;
pub(super) use self::trunk::Buffers;
use super::image::{CropRounding, Pixels, Preprocess, normalised};
use super::labels::imagenet_labels;
use super::model::{Answer, Card, Context, InferenceError, Input, Model, Prepared, all_failed, rank, softmax};
use super::place::Place;
use super::request::{InputError, Request};
use super::source::{Files, LoadError};

/// Input side of the full-size network: anything smaller is a stand-in.
const FULL_SIDE: usize = 224;

/// Pictures in one pass: it bounds the numbers of those that wait, and threads have enough to do with so many.
const MAX_PICTURES: usize = 8;

/// What is read of timm's `config.json`.
#[derive(Deserialize)]
pub(super) struct Config {
    architecture: String,
    #[serde(default)]
    label_names: Vec<String>,
    #[serde(default)]
    label_descriptions: HashMap<String, String>,
    pretrained_cfg: PretrainedConfig,
}

#[derive(Deserialize)]
struct PretrainedConfig {
    input_size: [usize; 3],
    #[serde(default)]
    interpolation: String,
    #[serde(default = "whole")]
    crop_pct: f64,
    mean: [f32; 3],
    std: [f32; 3],
}

fn whole() -> f64 {
    1.0
}

impl Config {
    /// How a picture becomes the network's input.
    pub(super) fn preprocess(&self) -> Result<Preprocess, LoadError> {
        let PretrainedConfig { input_size: [channels, height, width], interpolation, crop_pct, mean, std } =
            &self.pretrained_cfg;
        if self.architecture != "mobilenetv2_100" || *channels != 3 || height != width {
            let reason = format!(
                "{} with input {channels}×{height}×{width}; mobilenetv2_100 over square RGB pictures is known",
                self.architecture
            );
            return Err(LoadError::config(reason));
        }
        if interpolation != "bicubic" {
            return Err(LoadError::config(format!("interpolation \"{interpolation}\"; bicubic is known")));
        }
        let preprocess = Preprocess {
            // As timm: the crop is `crop_pct` of what the picture is scaled to.
            scale_to: (*height as f64 / crop_pct).floor() as usize,
            side: *height,
            rounding: CropRounding::HalfEven,
            mean: *mean,
            std: *std,
        };
        preprocess.checked().map_err(LoadError::config)
    }
}

/// A picture classifier: preprocessing, network and the names of its classes.
pub(super) struct MobileNetV2 {
    card: Card,
    preprocess: Preprocess,
    network: Arc<Network>,
    labels: Vec<String>,
}

/// Loads a model from its files.
pub(super) fn load(files: &Files, place: &Place) -> Result<MobileNetV2, LoadError> {
    let config: Config = files.config("config.json")?;
    let preprocess = config.preprocess()?;
    let network = Arc::new(Network::load(&files.weights()?, place)?);
    let labels = labels(config.label_names, &config.label_descriptions, network.labels())?;
    let degraded = preprocess.side < FULL_SIDE;
    Ok(MobileNetV2 { card: Card::new("MobileNetV2", files.reference(), degraded), preprocess, network, labels })
}

/// Names of the classes; timm's config on the hub has none for ImageNet-1k, whose names are in the binary.
fn labels(names: Vec<String>, descriptions: &HashMap<String, String>, count: usize) -> Result<Vec<String>, LoadError> {
    if names.len() == count {
        // timm writes WordNet ids where it has descriptions for them.
        return Ok(names.into_iter().map(|name| descriptions.get(&name).cloned().unwrap_or(name)).collect());
    }
    if !names.is_empty() {
        return Err(LoadError::config(format!("{} label names for {count} classes", names.len())));
    }
    let imagenet = imagenet_labels();
    if imagenet.len() == count {
        return Ok(imagenet.into_iter().map(str::to_owned).collect());
    }
    Ok((0..count).map(|id| format!("LABEL_{id}")).collect())
}

impl MobileNetV2 {
    /// The network and how it wants its pictures, for who builds on its features.
    pub(super) fn backbone(&self) -> (Arc<Network>, Preprocess) {
        (Arc::clone(&self.network), self.preprocess.clone())
    }
}

/// Pooled features of pictures that went through [`Preprocess`], one row each.
pub(super) fn pooled_features(
    network: &Network,
    pictures: &[&Pixels],
    context: &mut Context,
) -> Result<Vec<f32>, InferenceError> {
    let mut rows = Vec::with_capacity(pictures.len() * network.features());
    for pictures in pictures.chunks(MAX_PICTURES) {
        rows.extend(network.pooled(context, &normalised(&context.compute, pictures)?)?);
    }
    Ok(rows)
}

impl Model for MobileNetV2 {
    fn card(&self) -> &Card {
        &self.card
    }

    fn prepare(&self, request: &Request<'_>) -> Result<Input, InputError> {
        Ok(Input::Picture(request.picture("data", request.data, &self.preprocess)?))
    }

    fn run(&self, batch: &[&Prepared], context: &mut Context) -> Vec<Result<Answer, InferenceError>> {
        let pictures: Vec<&Pixels> = batch.iter().filter_map(|prepared| prepared.picture()).collect();
        let pooled = match pooled_features(&self.network, &pictures, context) {
            Ok(pooled) => pooled,
            Err(error) => return all_failed(batch, &error),
        };
        let logits = self.network.classify(&context.compute, &pooled);
        logits
            .chunks_exact(self.labels.len())
            .zip(batch)
            .map(|(logits, prepared)| {
                let probabilities = softmax(logits)?;
                Ok(Answer::classes(rank(&self.labels, &probabilities), prepared.top_k()))
            })
            .collect()
    }
}

//! CLIP's `config.json` and `preprocessor_config.json`. What is left out there has the defaults of transformers.

use serde::Deserialize;

use crate::inference::image::{CropRounding, Preprocess};
use crate::inference::kernels::Activation;
use crate::inference::source::{Files, LoadError};

/// What is read of `config.json`.
#[derive(Deserialize)]
pub(in crate::inference) struct Config {
    #[serde(rename = "text_config")]
    pub(in crate::inference) text: TextConfig,
    #[serde(rename = "vision_config")]
    pub(in crate::inference) vision: VisionConfig,
    #[serde(default = "projection_dim")]
    pub(in crate::inference) projection_dim: usize,
}

fn projection_dim() -> usize {
    512
}

/// The text tower.
#[derive(Clone, Deserialize)]
#[serde(default)]
pub(in crate::inference) struct TextConfig {
    pub(in crate::inference) hidden_size: usize,
    pub(in crate::inference) intermediate_size: usize,
    pub(in crate::inference) num_hidden_layers: usize,
    pub(in crate::inference) num_attention_heads: usize,
    pub(in crate::inference) max_position_embeddings: usize,
    pub(in crate::inference) layer_norm_eps: f32,
    pub(in crate::inference) hidden_act: String,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            hidden_size: 512,
            intermediate_size: 2_048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            layer_norm_eps: 1e-5,
            hidden_act: "quick_gelu".to_owned(),
        }
    }
}

/// The transformer for pictures.
#[derive(Clone, Deserialize)]
#[serde(default)]
pub(in crate::inference) struct VisionConfig {
    pub(in crate::inference) hidden_size: usize,
    pub(in crate::inference) intermediate_size: usize,
    pub(in crate::inference) num_hidden_layers: usize,
    pub(in crate::inference) num_attention_heads: usize,
    pub(in crate::inference) image_size: usize,
    pub(in crate::inference) patch_size: usize,
    pub(in crate::inference) layer_norm_eps: f32,
    pub(in crate::inference) hidden_act: String,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3_072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 32,
            layer_norm_eps: 1e-5,
            hidden_act: "quick_gelu".to_owned(),
        }
    }
}

/// The activation that a configuration names.
pub(super) fn activation(name: &str) -> Result<Activation, LoadError> {
    match name {
        "quick_gelu" => Ok(Activation::QuickGelu),
        "gelu" => Ok(Activation::Gelu),
        other => Err(LoadError::config(format!("hidden_act \"{other}\"; quick_gelu and gelu are known"))),
    }
}

/// What is read of `preprocessor_config.json`.
#[derive(Deserialize)]
#[serde(default)]
struct PreprocessorConfig {
    size: Length,
    crop_size: Length,
    image_mean: [f32; 3],
    image_std: [f32; 3],
}

/// Older files have a number here, newer ones an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Length {
    Number(usize),
    Shortest { shortest_edge: usize },
    Rectangle { height: usize, width: usize },
}

impl Length {
    fn pixels(&self) -> usize {
        match self {
            Self::Number(length) | Self::Shortest { shortest_edge: length } => *length,
            Self::Rectangle { height, width } => *height.min(width),
        }
    }
}

impl Default for PreprocessorConfig {
    fn default() -> Self {
        Self {
            size: Length::Number(224),
            crop_size: Length::Number(224),
            image_mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            image_std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }
}

/// How pictures become the transformer's input of `side` pixels.
pub(super) fn preprocess(files: &Files, side: usize) -> Result<Preprocess, LoadError> {
    let config: PreprocessorConfig = if files.optional("preprocessor_config.json")?.is_some() {
        files.config("preprocessor_config.json")?
    } else {
        PreprocessorConfig::default()
    };
    if config.crop_size.pixels() != side || config.size.pixels() < side {
        let (crop, size) = (config.crop_size.pixels(), config.size.pixels());
        let reason = format!("pictures are scaled to {size} and cropped to {crop}, the network takes {side}");
        return Err(LoadError::config(reason));
    }
    let preprocess = Preprocess {
        scale_to: config.size.pixels(),
        side,
        rounding: CropRounding::Floor,
        mean: config.image_mean,
        std: config.image_std,
    };
    preprocess.checked().map_err(|reason| LoadError::Config { file: "preprocessor_config.json".to_owned(), reason })
}

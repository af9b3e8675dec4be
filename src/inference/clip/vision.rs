//! CLIP's picture side: the vision transformer (Dosovitskiy et al. 2021), or a map over MobileNetV2's features.

use std::sync::Arc;

use candle_core::Tensor;

use super::config::{Config, VisionConfig, activation, preprocess};
use super::text::LAYER_NAMES;
use crate::inference::encoder::{self, Encoder, EncoderSpec, NormOrder, attention, layer_norm};
use crate::inference::image::{MAX_INPUT_SIDE, Pixels, Preprocess, normalised};
use crate::inference::kernels::{Activation, Epilogue, LayerNorm, Linear, Mask};
use crate::inference::mobilenet_v2;
use crate::inference::model::{Context, InferenceError};
use crate::inference::operations;
use crate::inference::place::Place;
use crate::inference::source::{Files, LoadError, Loader};
use crate::inference::weights::{Weights, WeightsError};

/// Pictures in one pass: it bounds the buffers, and a larger product is not faster.
const MAX_PICTURES: usize = 8;
/// Present where there is a vision transformer.
const CLASS_EMBEDDING: &str = "vision_model.embeddings.class_embedding";

/// Pictures into the joint space.
pub(super) enum PictureTower {
    /// The vision transformer with its preprocessing.
    Transformer(Box<VisionTransformer>, Preprocess),
    /// A linear map over pooled convolutional features.
    Convolutional { backbone: Arc<mobilenet_v2::Network>, preprocess: Preprocess, projection: Linear },
}

impl PictureTower {
    pub(super) fn load(weights: &Weights, config: &Config, files: &Files, loader: &Loader) -> Result<Self, LoadError> {
        if weights.has(CLASS_EMBEDDING) {
            let tower = VisionTransformer::load(weights, &config.vision, config.projection_dim, loader.place())?;
            return Ok(Self::Transformer(Box::new(tower), preprocess(files, config.vision.image_size)?));
        }
        let (backbone, preprocess) = loader.backbone(files)?;
        let projection = encoder::projection(weights, "visual_projection", config.projection_dim, backbone.features())?;
        Ok(Self::Convolutional { backbone, preprocess, projection })
    }

    pub(super) fn preprocess(&self) -> &Preprocess {
        match self {
            Self::Transformer(_, preprocess) | Self::Convolutional { preprocess, .. } => preprocess,
        }
    }

    /// Projections (not normalised), one row for each picture.
    pub(super) fn forward(&self, context: &mut Context, pictures: &[&Pixels]) -> Result<Vec<f32>, InferenceError> {
        match self {
            Self::Transformer(tower, _) => {
                let mut rows = Vec::new();
                for pictures in pictures.chunks(MAX_PICTURES) {
                    rows.extend(tower.forward(context, &normalised(&context.compute, pictures)?)?);
                }
                Ok(rows)
            }
            Self::Convolutional { backbone, projection, .. } => {
                let pooled = mobilenet_v2::pooled_features(backbone, pictures, context)?;
                let mut rows = vec![0f32; pictures.len() * projection.outputs()];
                projection.forward(&context.compute, &pooled, &mut rows, Epilogue::default());
                Ok(rows)
            }
        }
    }
}

/// The vision transformer with its projection into the joint space.
pub(in crate::inference) struct VisionTransformer {
    /// Class embedding plus the first position.
    class: Tensor,
    /// Positions of the patches.
    positions: Tensor,
    patches: operations::Linear,
    pre_norm: operations::LayerNorm,
    encoder: Encoder,
    post_norm: LayerNorm,
    projection: Linear,
    width: usize,
    side: usize,
    patch: usize,
}

impl VisionTransformer {
    pub(in crate::inference) fn load(
        weights: &Weights,
        config: &VisionConfig,
        projection: usize,
        place: &Place,
    ) -> Result<Self, LoadError> {
        let VisionConfig {
            hidden_size: width, num_attention_heads: heads, image_size: side, patch_size: patch, ..
        } = *config;
        if !(1..=MAX_INPUT_SIDE).contains(&side) || patch == 0 || !side.is_multiple_of(patch) {
            let reason = format!(
                "patches of {patch} pixels for pictures of {side}: they must divide them, and a side of 1 to \
                 {MAX_INPUT_SIDE} can be had"
            );
            return Err(LoadError::config(reason));
        }
        let count = (side / patch) * (side / patch);
        let mut positions = weights.shaped("vision_model.embeddings.position_embedding.weight", &[count + 1, width])?;
        let mut class = weights.shaped(CLASS_EMBEDDING, &[width])?;
        class.iter_mut().zip(&positions).for_each(|(x, position)| *x += position);
        let refused = |source| WeightsError::Device { name: "vision_model.embeddings".to_owned(), source };
        let class = Tensor::from_vec(class, (1, 1, width), place.device()).map_err(refused)?;
        let positions =
            Tensor::from_vec(positions.split_off(width), (count, width), place.device()).map_err(refused)?;
        // From [out][channel][y][x] to [out][y][x][channel], the order of a patch in a picture of pixels.
        let kernel = "vision_model.embeddings.patch_embedding.weight";
        weights.expect_shape(kernel, &[width, 3, patch, patch])?;
        let table = weights.table(kernel)?;
        let mut filter = vec![0f32; 3 * patch * patch];
        let inputs = filter.len();
        let row = |output: usize, into: &mut [f32]| {
            table.read(output, &mut filter);
            for (pixel, channels) in into.chunks_exact_mut(3).enumerate() {
                for (channel, weight) in channels.iter_mut().enumerate() {
                    *weight = filter[channel * patch * patch + pixel];
                }
            }
        };
        let patches = operations::Linear::from_rows(place, [width, inputs], row).map_err(refused)?;
        let epsilon = config.layer_norm_eps;
        let spec = EncoderSpec {
            layers: config.num_hidden_layers,
            width,
            hidden: config.intermediate_size,
            attention: attention(width, heads, Mask::Full)?,
            activation: activation(&config.hidden_act)?,
            order: NormOrder::Pre,
            epsilon,
            names: LAYER_NAMES,
            place: place.clone(),
        };
        Ok(Self {
            class,
            positions,
            patches,
            // The checkpoint spells it so.
            pre_norm: encoder::norm(weights, "vision_model.pre_layrnorm", width, epsilon, place)?,
            encoder: Encoder::load(weights, "vision_model.encoder.layers", &spec)?,
            post_norm: layer_norm(weights, "vision_model.post_layernorm", width, epsilon)?,
            projection: encoder::projection(weights, "visual_projection", projection, width)?,
            width,
            side,
            patch,
        })
    }

    /// Projections (not normalised), one row for each picture of `pictures × side × side × 3` normalised numbers.
    pub(in crate::inference) fn forward(
        &self,
        context: &mut Context,
        pictures: &Tensor,
    ) -> Result<Vec<f32>, InferenceError> {
        let Self { width, side, patch, .. } = *self;
        let (pictures_count, across) = (pictures.dim(0)?, side / patch);
        let count = across * across;
        // A row for each patch: its lines of pixels one after the other.
        let rows = pictures.reshape((pictures_count, across, patch, across, patch * 3))?.transpose(2, 3)?;
        let rows = rows.contiguous()?.reshape((pictures_count * count, patch * patch * 3))?;
        let rows = rows.to_device(self.class.device())?;
        let workspace = context.workspace();
        let embedded = self.patches.forward(&workspace, &rows, Activation::None, None)?;
        let patches = embedded.reshape((pictures_count, count, width))?.broadcast_add(&self.positions)?;
        let classes = self.class.broadcast_as((pictures_count, 1, width))?;
        let states = Tensor::cat(&[&classes, &patches], 1)?.reshape((pictures_count * (count + 1), width))?;
        let ranges: Vec<_> = (0..pictures_count).map(|index| index * (count + 1)..(index + 1) * (count + 1)).collect();
        let states = self.encoder.forward(&workspace, self.pre_norm.forward(&workspace, &states)?, &ranges)?;
        let mut classes = operations::rows(&states, ranges.iter().map(|range| range.start))?;
        let compute = &context.compute;
        self.post_norm.forward(compute, &mut classes);
        let mut rows = vec![0f32; pictures_count * self.projection.outputs()];
        self.projection.forward(compute, &classes, &mut rows, Epilogue::default());
        Ok(rows)
    }
}

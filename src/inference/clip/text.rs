//! CLIP's text tower: a causal transformer, read out where the text ends.

use super::config::{TextConfig, activation};
use crate::inference::encoder::{self, Encoder, EncoderSpec, LayerNames, NormOrder, attention, layer_norm};
use crate::inference::kernels::{Epilogue, LayerNorm, Linear, Mask};
use crate::inference::model::{Context, InferenceError, chunks};
use crate::inference::operations::{self, Embedding};
use crate::inference::place::Place;
use crate::inference::source::LoadError;
use crate::inference::weights::Weights;

/// Most tokens in one pass: it bounds the buffers, and a larger product is not faster.
const MAX_TOKENS: usize = 2_048;

/// Names of a layer's tensors in both towers.
pub(super) const LAYER_NAMES: LayerNames = LayerNames {
    qkv: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    output: "self_attn.out_proj",
    attention_norm: "layer_norm1",
    feed_forward: ["mlp.fc1", "mlp.fc2"],
    feed_forward_norm: "layer_norm2",
};

/// Position of the end of text: the first of the highest token id, as the original implementation has it.
pub(super) fn end_of_text(ids: &[u32]) -> usize {
    let highest = ids.iter().copied().max().unwrap_or_default();
    ids.iter().position(|&id| id == highest).unwrap_or_default()
}

/// The text tower with its projection into the joint space.
pub(in crate::inference) struct TextTower {
    embedding: Embedding,
    encoder: Encoder,
    final_norm: LayerNorm,
    projection: Linear,
}

impl TextTower {
    pub(in crate::inference) fn load(
        weights: &Weights,
        config: &TextConfig,
        projection: usize,
        place: &Place,
    ) -> Result<Self, LoadError> {
        let width = config.hidden_size;
        let tables =
            ["text_model.embeddings.token_embedding.weight", "text_model.embeddings.position_embedding.weight"];
        let spec = EncoderSpec {
            layers: config.num_hidden_layers,
            width,
            hidden: config.intermediate_size,
            attention: attention(width, config.num_attention_heads, Mask::Causal)?,
            activation: activation(&config.hidden_act)?,
            order: NormOrder::Pre,
            epsilon: config.layer_norm_eps,
            names: LAYER_NAMES,
            place: place.clone(),
        };
        Ok(Self {
            embedding: Embedding::load(weights, tables, [config.max_position_embeddings, width], place)?,
            encoder: Encoder::load(weights, "text_model.encoder.layers", &spec)?,
            final_norm: layer_norm(weights, "text_model.final_layer_norm", width, config.layer_norm_eps)?,
            projection: encoder::projection(weights, "text_projection", projection, width)?,
        })
    }

    /// Rows of the embedding table.
    pub(super) fn vocabulary(&self) -> usize {
        self.embedding.vocabulary()
    }

    /// Width of the joint space.
    pub(super) fn projection(&self) -> usize {
        self.projection.outputs()
    }

    /// Projections (not normalised), one row for each sequence of token ids.
    pub(in crate::inference) fn forward(
        &self,
        context: &mut Context,
        sequences: &[&[u32]],
    ) -> Result<Vec<f32>, InferenceError> {
        let mut rows = Vec::with_capacity(sequences.len() * self.projection());
        for sequences in chunks(sequences, MAX_TOKENS, |sequence| sequence.len()) {
            let (states, ranges) = self.embedding.forward(sequences)?;
            let states = self.encoder.forward(&context.workspace(), states, &ranges)?;
            let ends = ranges.iter().zip(sequences).map(|(range, ids)| range.start + end_of_text(ids));
            let mut ends = operations::rows(&states, ends)?;
            let compute = &context.compute;
            self.final_norm.forward(compute, &mut ends);
            let from = rows.len();
            rows.resize(from + sequences.len() * self.projection(), 0.0);
            self.projection.forward(compute, &ends, &mut rows[from..], Epilogue::default());
        }
        Ok(rows)
    }
}

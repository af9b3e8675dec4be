//! The transformer encoder that DistilBERT and both towers of CLIP are made of, on a ragged batch.
//!
//! It owns the layers and their loading; embeddings before it and heads behind it belong to each network. Hidden states
//! are `tokens × width`, all sequences one after the other without padding.

use std::ops::Range;

use super::kernels::{Activation, Attention, Compute, Epilogue, LayerNorm, Linear};
use super::weights::{Weights, WeightsError};

/// Where the layer norms are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NormOrder {
    /// Before attention and feed-forward (CLIP).
    Pre,
    /// After each residual (BERT).
    Post,
}

/// Shape of an encoder and the names of its tensors.
pub(super) struct EncoderSpec {
    /// Number of layers.
    pub(super) layers: usize,
    /// Width of the hidden states.
    pub(super) width: usize,
    /// Width between the two feed-forward layers.
    pub(super) hidden: usize,
    /// Heads, their width and mask.
    pub(super) attention: Attention,
    /// Feed-forward activation.
    pub(super) activation: Activation,
    /// Where the layer norms are.
    pub(super) order: NormOrder,
    /// Added to the variance in layer norms.
    pub(super) epsilon: f32,
    /// Names of a layer's tensors behind its prefix.
    pub(super) names: LayerNames,
}

/// Names of the parts of a layer, relative to its prefix; `.weight` and `.bias` follow.
pub(super) struct LayerNames {
    /// Query, key and value projections.
    pub(super) qkv: [&'static str; 3],
    /// Projection of the attention's output.
    pub(super) output: &'static str,
    /// Norm of attention (before or after it, by [`NormOrder`]).
    pub(super) attention_norm: &'static str,
    /// Feed-forward layers.
    pub(super) feed_forward: [&'static str; 2],
    /// Norm of the feed-forward part.
    pub(super) feed_forward_norm: &'static str,
}

/// A stack of layers.
pub(super) struct Encoder {
    layers: Vec<Layer>,
    width: usize,
    hidden: usize,
    attention: Attention,
    activation: Activation,
    order: NormOrder,
}

struct Layer {
    qkv: Linear,
    output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    feed_forward_norm: LayerNorm,
}

/// Buffers of a forward pass, kept between batches so that they are neither allocated nor zeroed again.
#[derive(Default)]
pub(super) struct EncoderBuffers {
    /// `tokens × width`: the hidden states, set by the caller, replaced by [`Encoder::forward`].
    pub(super) states: Vec<f32>,
    other: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    hidden: Vec<f32>,
}

impl EncoderBuffers {
    /// Numbers held.
    pub(super) fn capacity(&self) -> usize {
        [&self.states, &self.other, &self.qkv, &self.attended, &self.hidden].map(Vec::capacity).iter().sum()
    }
}

impl Encoder {
    /// Loads the layers `prefix.0`, `prefix.1`, … .
    pub(super) fn load(weights: &Weights, prefix: &str, spec: &EncoderSpec) -> Result<Self, WeightsError> {
        let layers = (0..spec.layers)
            .map(|index| Layer::load(weights, &format!("{prefix}.{index}"), spec))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            layers,
            width: spec.width,
            hidden: spec.hidden,
            attention: spec.attention,
            activation: spec.activation,
            order: spec.order,
        })
    }

    /// Runs all layers over `buffers.states`; `sequences` are the token ranges.
    pub(super) fn forward(&self, compute: &Compute, buffers: &mut EncoderBuffers, sequences: &[Range<usize>]) {
        let tokens = buffers.states.len() / self.width;
        buffers.other.resize(tokens * self.width, 0.0);
        buffers.attended.resize(tokens * self.width, 0.0);
        buffers.qkv.resize(tokens * 3 * self.width, 0.0);
        buffers.hidden.resize(tokens * self.hidden, 0.0);
        for layer in &self.layers {
            match self.order {
                NormOrder::Pre => self.pre(compute, layer, buffers, sequences),
                NormOrder::Post => self.post(compute, layer, buffers, sequences),
            }
        }
    }

    fn post(&self, compute: &Compute, layer: &Layer, buffers: &mut EncoderBuffers, sequences: &[Range<usize>]) {
        let EncoderBuffers { states, other, qkv, attended, hidden } = buffers;
        layer.qkv.forward(compute, states, qkv, Epilogue::default());
        self.attention.forward(compute, qkv, attended, sequences);
        layer.output.forward(compute, attended, other, Epilogue::residual(states));
        layer.attention_norm.forward(compute, other);
        layer.up.forward(compute, other, hidden, Epilogue::activation(self.activation));
        layer.down.forward(compute, hidden, states, Epilogue::residual(other));
        layer.feed_forward_norm.forward(compute, states);
    }

    fn pre(&self, compute: &Compute, layer: &Layer, buffers: &mut EncoderBuffers, sequences: &[Range<usize>]) {
        let EncoderBuffers { states, other, qkv, attended, hidden } = buffers;
        layer.attention_norm.forward_into(compute, states, other);
        layer.qkv.forward(compute, other, qkv, Epilogue::default());
        self.attention.forward(compute, qkv, attended, sequences);
        layer.output.forward(compute, attended, other, Epilogue::residual(states));
        layer.feed_forward_norm.forward_into(compute, other, states);
        layer.up.forward(compute, states, hidden, Epilogue::activation(self.activation));
        layer.down.forward(compute, hidden, states, Epilogue::residual(other));
    }
}

impl Layer {
    fn load(weights: &Weights, prefix: &str, spec: &EncoderSpec) -> Result<Self, WeightsError> {
        let EncoderSpec { width, hidden, names, epsilon, .. } = spec;
        let [up, down] = names.feed_forward;
        let name = |part: &str| format!("{prefix}.{part}");
        Ok(Self {
            qkv: linear(weights, &names.qkv.map(name), *width, *width)?,
            output: linear(weights, &[name(names.output)], *width, *width)?,
            attention_norm: layer_norm(weights, &name(names.attention_norm), *width, *epsilon)?,
            up: linear(weights, &[name(up)], *hidden, *width)?,
            down: linear(weights, &[name(down)], *width, *hidden)?,
            feed_forward_norm: layer_norm(weights, &name(names.feed_forward_norm), *width, *epsilon)?,
        })
    }
}

/// Packs one or more linear layers over the same input as one, of `outputs` each; without bias where there is none.
pub(super) fn linear(
    weights: &Weights,
    names: &[String],
    outputs: usize,
    inputs: usize,
) -> Result<Linear, WeightsError> {
    let mut tables = Vec::with_capacity(names.len());
    let mut biases = Vec::new();
    for name in names {
        let weight = format!("{name}.weight");
        weights.expect_shape(&weight, &[outputs, inputs])?;
        tables.push(weights.table(&weight)?);
        let bias = format!("{name}.bias");
        if weights.has(&bias) {
            biases.extend(weights.shaped(&bias, &[outputs])?);
        }
    }
    if !biases.is_empty() && biases.len() != names.len() * outputs {
        let path = format!("{} or one fused with it", names[0]);
        return Err(WeightsError::Missing { name: "bias".to_owned(), path });
    }
    Ok(Linear::pack(names.len() * outputs, inputs, &biases, |row, into| {
        tables[row / outputs].read(row % outputs, into);
    }))
}

/// Loads a layer norm.
pub(super) fn layer_norm(weights: &Weights, name: &str, width: usize, epsilon: f32) -> Result<LayerNorm, WeightsError> {
    Ok(LayerNorm {
        weight: weights.shaped(&format!("{name}.weight"), &[width])?,
        bias: weights.shaped(&format!("{name}.bias"), &[width])?,
        epsilon,
    })
}

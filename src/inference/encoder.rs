//! The transformer encoder that DistilBERT and both towers of CLIP are made of, on a ragged batch.
//!
//! It owns the layers and their loading; embeddings before it and heads behind it belong to each network. Hidden states
//! are `tokens × width`, all sequences one after the other without padding.

use std::ops::Range;

use super::dense::{Dense, Precision};
use super::graph::GraphEncoder;
use super::kernels::{Activation, Attention, Compute, Epilogue, LayerNorm, Linear, Mask, Quantised};
use super::model::InferenceError;
use super::place::Place;
use super::source::LoadError;
use super::weights::{Table, Weights, WeightsError};

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
    /// Where it computes.
    pub(super) place: Place,
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

/// A stack of layers, wherever it computes.
pub(super) enum Encoder {
    /// With our kernels.
    Kernels(KernelEncoder),
    /// With candle's operations.
    Graph(GraphEncoder),
}

/// A stack of layers of our kernels.
pub(super) struct KernelEncoder {
    layers: Vec<Layer>,
    width: usize,
    hidden: usize,
    attention: Attention,
    activation: Activation,
    order: NormOrder,
}

struct Layer {
    qkv: Dense,
    output: Dense,
    attention_norm: LayerNorm,
    up: Dense,
    down: Dense,
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
    /// The input of a layer as integers, where it computes with such.
    pub(super) quantised: Quantised,
}

impl EncoderBuffers {
    /// Numbers held.
    pub(super) fn capacity(&self) -> usize {
        let numbers = [&self.states, &self.other, &self.qkv, &self.attended, &self.hidden];
        numbers.map(Vec::capacity).iter().sum::<usize>() + self.quantised.capacity()
    }
}

impl Encoder {
    /// Loads the layers `prefix.0`, `prefix.1`, … .
    pub(super) fn load(weights: &Weights, prefix: &str, spec: &EncoderSpec) -> Result<Self, WeightsError> {
        match &spec.place {
            Place::Cpu(precision) => KernelEncoder::load(weights, prefix, spec, *precision).map(Self::Kernels),
            Place::Candle(device) => GraphEncoder::load(weights, prefix, spec, device).map(Self::Graph),
        }
    }

    /// Runs all layers over `buffers.states`; `sequences` are the token ranges.
    ///
    /// # Errors
    /// Where a device fails; our kernels never do.
    pub(super) fn forward(
        &self,
        compute: &Compute,
        buffers: &mut EncoderBuffers,
        sequences: &[Range<usize>],
    ) -> Result<(), InferenceError> {
        match self {
            Self::Kernels(encoder) => {
                encoder.forward(compute, buffers, sequences);
                Ok(())
            }
            Self::Graph(encoder) => encoder.forward(&mut buffers.states, sequences),
        }
    }
}

impl KernelEncoder {
    fn load(weights: &Weights, prefix: &str, spec: &EncoderSpec, precision: Precision) -> Result<Self, WeightsError> {
        let layers = (0..spec.layers)
            .map(|index| Layer::load(weights, &format!("{prefix}.{index}"), spec, precision))
            .collect::<Result<_, _>>()?;
        let EncoderSpec { width, hidden, attention, activation, order, .. } = *spec;
        Ok(Self { layers, width, hidden, attention, activation, order })
    }

    fn forward(&self, compute: &Compute, buffers: &mut EncoderBuffers, sequences: &[Range<usize>]) {
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
        let EncoderBuffers { states, other, qkv, attended, hidden, quantised } = buffers;
        layer.qkv.forward(compute, states, qkv, Epilogue::default(), quantised);
        self.attention.forward(compute, qkv, attended, sequences);
        layer.output.forward(compute, attended, other, Epilogue::residual(states), quantised);
        layer.attention_norm.forward(compute, other);
        layer.up.forward(compute, other, hidden, Epilogue::activation(self.activation), quantised);
        layer.down.forward(compute, hidden, states, Epilogue::residual(other), quantised);
        layer.feed_forward_norm.forward(compute, states);
    }

    fn pre(&self, compute: &Compute, layer: &Layer, buffers: &mut EncoderBuffers, sequences: &[Range<usize>]) {
        let EncoderBuffers { states, other, qkv, attended, hidden, quantised } = buffers;
        layer.attention_norm.forward_into(compute, states, other);
        layer.qkv.forward(compute, other, qkv, Epilogue::default(), quantised);
        self.attention.forward(compute, qkv, attended, sequences);
        layer.output.forward(compute, attended, other, Epilogue::residual(states), quantised);
        layer.feed_forward_norm.forward_into(compute, other, states);
        layer.up.forward(compute, states, hidden, Epilogue::activation(self.activation), quantised);
        layer.down.forward(compute, hidden, states, Epilogue::residual(other), quantised);
    }
}

impl Layer {
    fn load(weights: &Weights, prefix: &str, spec: &EncoderSpec, precision: Precision) -> Result<Self, WeightsError> {
        let EncoderSpec { width, hidden, names, epsilon, .. } = spec;
        let [up, down] = names.feed_forward;
        let name = |part: &str| format!("{prefix}.{part}");
        Ok(Self {
            qkv: dense(weights, &names.qkv.map(name), [*width, *width], precision)?,
            output: dense(weights, &[name(names.output)], [*width, *width], precision)?,
            attention_norm: layer_norm(weights, &name(names.attention_norm), *width, *epsilon)?,
            up: dense(weights, &[name(up)], [*hidden, *width], precision)?,
            down: dense(weights, &[name(down)], [*width, *hidden], precision)?,
            feed_forward_norm: layer_norm(weights, &name(names.feed_forward_norm), *width, *epsilon)?,
        })
    }
}

/// Attention of so many heads over hidden states of that width.
pub(super) fn attention(width: usize, heads: usize, mask: Mask) -> Result<Attention, LoadError> {
    if heads == 0 || width == 0 || !width.is_multiple_of(16) || !(width / 16).is_multiple_of(heads) {
        let reason = format!("{heads} heads for a width of {width}: a head must be a multiple of 16 wide");
        return Err(LoadError::config(reason));
    }
    Ok(Attention { heads, head_width: width / heads, mask })
}

/// Packs a linear layer in fp32.
pub(super) fn linear(weights: &Weights, name: &str, outputs: usize, inputs: usize) -> Result<Linear, WeightsError> {
    let bias = weights.shaped(&format!("{name}.bias"), &[outputs])?;
    pack(weights, name, [outputs, inputs], &bias)
}

/// As [`linear`], of a layer that has no bias.
pub(super) fn projection(weights: &Weights, name: &str, outputs: usize, inputs: usize) -> Result<Linear, WeightsError> {
    pack(weights, name, [outputs, inputs], &[])
}

/// As [`linear`], of as many outputs (at least one) as there are in the file.
pub(super) fn classifier(weights: &Weights, name: &str, inputs: usize) -> Result<Linear, WeightsError> {
    // One at least, so that none is said to be wrong.
    let outputs = weights.shape(&format!("{name}.weight"))?.first().copied().unwrap_or_default().max(1);
    linear(weights, name, outputs, inputs)
}

fn pack(weights: &Weights, name: &str, [outputs, inputs]: [usize; 2], bias: &[f32]) -> Result<Linear, WeightsError> {
    let table = matrix(weights, name, [outputs, inputs])?;
    Ok(Linear::pack(outputs, inputs, bias, |row, into| table.read(row, into)))
}

/// Packs one or more linear layers over the same input as one, of `outputs` each.
fn dense(
    weights: &Weights,
    names: &[String],
    [outputs, inputs]: [usize; 2],
    precision: Precision,
) -> Result<Dense, WeightsError> {
    let parts = names.iter().map(|name| matrix(weights, name, [outputs, inputs])).collect::<Result<Vec<_>, _>>()?;
    let biases = names.iter().map(|name| weights.shaped(&format!("{name}.bias"), &[outputs]));
    let bias = biases.collect::<Result<Vec<_>, _>>()?.concat();
    Ok(Dense::pack(precision, names.len() * outputs, inputs, &bias, |row, into| {
        parts[row / outputs].read(row % outputs, into);
    }))
}

/// The weights of a linear layer as they are in the file.
fn matrix(weights: &Weights, name: &str, shape: [usize; 2]) -> Result<Table, WeightsError> {
    let name = format!("{name}.weight");
    weights.expect_shape(&name, &shape)?;
    weights.table(&name)
}

/// Loads a layer norm.
pub(super) fn layer_norm(weights: &Weights, name: &str, width: usize, epsilon: f32) -> Result<LayerNorm, WeightsError> {
    Ok(LayerNorm {
        weight: weights.shaped(&format!("{name}.weight"), &[width])?,
        bias: weights.shaped(&format!("{name}.bias"), &[width])?,
        epsilon,
    })
}

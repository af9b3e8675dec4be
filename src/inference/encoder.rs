//! The transformer encoder that DistilBERT and both towers of CLIP are made of, on a ragged batch.
//!
//! It owns the layers and their loading; embeddings before it and heads behind it belong to each network. Hidden states
//! are `tokens × width`, all sequences one after the other without padding.

use std::ops::Range;

use candle_core::{Device, Result as CandleResult, Tensor};

use super::dense::{Dense, Precision};
use super::kernels::{Activation, Attention, LayerNorm, Linear, Mask};
use super::operations::{self, Ragged, Workspace};
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

/// A stack of layers.
pub(super) struct Encoder {
    place: Place,
    layers: Vec<Layer>,
    attention: Attention,
    activation: Activation,
    order: NormOrder,
}

struct Layer {
    qkv: operations::Linear,
    output: operations::Linear,
    attention_norm: operations::LayerNorm,
    up: operations::Linear,
    down: operations::Linear,
    feed_forward_norm: operations::LayerNorm,
}

impl Encoder {
    /// Loads the layers `prefix.0`, `prefix.1`, … .
    pub(super) fn load(weights: &Weights, prefix: &str, spec: &EncoderSpec) -> Result<Self, WeightsError> {
        let layers = (0..spec.layers)
            .map(|index| Layer::load(weights, &format!("{prefix}.{index}"), spec))
            .collect::<Result<_, _>>()?;
        let EncoderSpec { attention, activation, order, .. } = *spec;
        Ok(Self { place: spec.place.clone(), layers, attention, activation, order })
    }

    /// Runs hidden states through all layers; `sequences` are the token ranges.
    ///
    /// # Errors
    /// Where a device fails; our kernels never do.
    pub(super) fn forward(
        &self,
        workspace: &Workspace<'_>,
        mut states: Tensor,
        sequences: &[Range<usize>],
    ) -> CandleResult<Tensor> {
        let batch = match &self.place {
            Place::Cpu(_) => Ragged::new(self.attention, sequences),
            Place::Candle(device) => Ragged::padded(self.attention, sequences, device)?,
        };
        for layer in &self.layers {
            let next = match self.order {
                NormOrder::Pre => self.pre(workspace, layer, &states, &batch)?,
                NormOrder::Post => self.post(workspace, layer, &states, &batch)?,
            };
            workspace.recycle(std::mem::replace(&mut states, next))?;
        }
        Ok(states)
    }

    fn post(&self, workspace: &Workspace<'_>, layer: &Layer, x: &Tensor, batch: &Ragged<'_>) -> CandleResult<Tensor> {
        let attended = layer.attend(workspace, x, x, batch)?;
        let x = layer.attention_norm.forward(workspace, &attended)?;
        workspace.recycle(attended)?;
        let fed = layer.feed_forward(workspace, &x, &x, self.activation)?;
        workspace.recycle(x)?;
        let x = layer.feed_forward_norm.forward(workspace, &fed)?;
        workspace.recycle(fed)?;
        Ok(x)
    }

    fn pre(&self, workspace: &Workspace<'_>, layer: &Layer, x: &Tensor, batch: &Ragged<'_>) -> CandleResult<Tensor> {
        let normalised = layer.attention_norm.forward(workspace, x)?;
        let x = layer.attend(workspace, &normalised, x, batch)?;
        workspace.recycle(normalised)?;
        let normalised = layer.feed_forward_norm.forward(workspace, &x)?;
        let fed = layer.feed_forward(workspace, &normalised, &x, self.activation)?;
        workspace.recycle(normalised)?;
        workspace.recycle(x)?;
        Ok(fed)
    }
}

impl Layer {
    fn load(weights: &Weights, prefix: &str, spec: &EncoderSpec) -> Result<Self, WeightsError> {
        let EncoderSpec { width, hidden, names, epsilon, place, .. } = spec;
        let [up, down] = names.feed_forward;
        let name = |part: &str| format!("{prefix}.{part}");
        let dense = |names: &[String], shape: [usize; 2]| match place {
            Place::Cpu(precision) => dense(weights, names, shape, *precision).map(operations::Linear::Kernel),
            Place::Candle(device) => stacked(weights, names, shape, device).map(operations::Linear::Candle),
        };
        let norm = |part: &str| norm(weights, &name(part), *width, *epsilon, place);
        Ok(Self {
            qkv: dense(&names.qkv.map(name), [*width, *width])?,
            output: dense(&[name(names.output)], [*width, *width])?,
            attention_norm: norm(names.attention_norm)?,
            up: dense(&[name(up)], [*hidden, *width])?,
            down: dense(&[name(down)], [*width, *hidden])?,
            feed_forward_norm: norm(names.feed_forward_norm)?,
        })
    }

    fn attend(
        &self,
        workspace: &Workspace<'_>,
        x: &Tensor,
        residual: &Tensor,
        batch: &Ragged<'_>,
    ) -> CandleResult<Tensor> {
        let qkv = self.qkv.forward(workspace, x, Activation::None, None)?;
        let attended = batch.attend(workspace, &qkv)?;
        workspace.recycle(qkv)?;
        let output = self.output.forward(workspace, &attended, Activation::None, Some(residual))?;
        workspace.recycle(attended)?;
        Ok(output)
    }

    fn feed_forward(
        &self,
        workspace: &Workspace<'_>,
        x: &Tensor,
        residual: &Tensor,
        activation: Activation,
    ) -> CandleResult<Tensor> {
        let up = self.up.forward(workspace, x, activation, None)?;
        let down = self.down.forward(workspace, &up, Activation::None, Some(residual))?;
        workspace.recycle(up)?;
        Ok(down)
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

/// One or more linear layers over the same input as one on a device of candle's, of `outputs` each.
fn stacked(
    weights: &Weights,
    names: &[String],
    shape: [usize; 2],
    device: &Device,
) -> Result<candle_nn::Linear, WeightsError> {
    let stacked = |kind: &str, shape: &[usize]| {
        let parts = names.iter().map(|name| {
            let name = format!("{name}.{kind}");
            weights.expect_shape(&name, shape)?;
            weights.tensor(&name, device)
        });
        let parts = parts.collect::<Result<Vec<_>, WeightsError>>()?;
        Tensor::cat(&parts, 0).map_err(|source| WeightsError::Device { name: format!("{}.{kind}", names[0]), source })
    };
    Ok(candle_nn::Linear::new(stacked("weight", &shape)?, Some(stacked("bias", &shape[..1])?)))
}

/// The weights of a linear layer as they are in the file.
fn matrix(weights: &Weights, name: &str, shape: [usize; 2]) -> Result<Table, WeightsError> {
    let name = format!("{name}.weight");
    weights.expect_shape(&name, &shape)?;
    weights.table(&name)
}

/// Loads a layer norm to where it computes.
pub(super) fn norm(
    weights: &Weights,
    name: &str,
    width: usize,
    epsilon: f32,
    place: &Place,
) -> Result<operations::LayerNorm, WeightsError> {
    let device = match place {
        Place::Cpu(_) => return layer_norm(weights, name, width, epsilon).map(operations::LayerNorm::Kernel),
        Place::Candle(device) => device,
    };
    let tensor = |kind: &str| {
        let name = format!("{name}.{kind}");
        weights.expect_shape(&name, &[width])?;
        weights.tensor(&name, device)
    };
    let norm = candle_nn::LayerNorm::new(tensor("weight")?, tensor("bias")?, f64::from(epsilon));
    Ok(operations::LayerNorm::Candle(norm))
}

/// Loads a layer norm of our kernels.
pub(super) fn layer_norm(weights: &Weights, name: &str, width: usize, epsilon: f32) -> Result<LayerNorm, WeightsError> {
    Ok(LayerNorm {
        weight: weights.shaped(&format!("{name}.weight"), &[width])?,
        bias: weights.shaped(&format!("{name}.bias"), &[width])?,
        epsilon,
    })
}

//! The transformer encoder. Ragged batches are padded to their longest sequence, which attention is kept from seeing.

use std::ops::Range;

use candle_core::{D, Device, Module as _, Result, Tensor};
use candle_nn::{LayerNorm, Linear, ops};

use super::broken;
use crate::inference::encoder::{EncoderSpec, NormOrder};
use crate::inference::kernels::{Activation, Attention, Mask};
use crate::inference::model::InferenceError;
use crate::inference::weights::{Weights, WeightsError};

/// A stack of layers on a device.
pub(in crate::inference) struct GraphEncoder {
    device: Device,
    layers: Vec<Layer>,
    width: usize,
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

impl GraphEncoder {
    /// Loads the layers `prefix.0`, `prefix.1`, … onto a device.
    pub(in crate::inference) fn load(
        weights: &Weights,
        prefix: &str,
        spec: &EncoderSpec,
        device: &Device,
    ) -> std::result::Result<Self, WeightsError> {
        let layers = (0..spec.layers)
            .map(|index| Layer::load(weights, &format!("{prefix}.{index}"), spec, device))
            .collect::<std::result::Result<_, _>>()?;
        let EncoderSpec { width, attention, activation, order, .. } = *spec;
        Ok(Self { device: device.clone(), layers, width, attention, activation, order })
    }

    /// Runs all layers over the hidden states; `sequences` are the token ranges.
    pub(in crate::inference) fn forward(
        &self,
        states: &mut [f32],
        sequences: &[Range<usize>],
    ) -> std::result::Result<(), InferenceError> {
        self.run(states, sequences).map_err(|error| broken(&error))
    }

    fn run(&self, states: &mut [f32], sequences: &[Range<usize>]) -> Result<()> {
        let (batch, width) = (sequences.len(), self.width);
        let longest = sequences.iter().map(Range::len).max().unwrap_or_default();
        if longest == 0 {
            return Ok(());
        }
        let mut padded = vec![0f32; batch * longest * width];
        for (row, sequence) in padded.chunks_exact_mut(longest * width).zip(sequences) {
            row[..sequence.len() * width].copy_from_slice(&states[sequence.start * width..sequence.end * width]);
        }
        let mask = self.mask(sequences, longest)?;
        let mut x = Tensor::from_vec(padded, (batch, longest, width), &self.device)?;
        for layer in &self.layers {
            x = match self.order {
                NormOrder::Pre => self.pre(layer, &x, mask.as_ref())?,
                NormOrder::Post => self.post(layer, &x, mask.as_ref())?,
            };
        }
        let padded = x.flatten_all()?.to_vec1::<f32>()?;
        for (row, sequence) in padded.chunks_exact(longest * width).zip(sequences) {
            states[sequence.start * width..sequence.end * width].copy_from_slice(&row[..sequence.len() * width]);
        }
        Ok(())
    }

    /// What is added to the scores of queries and keys so that padding, and what comes later, is not seen.
    fn mask(&self, sequences: &[Range<usize>], longest: usize) -> Result<Option<Tensor>> {
        let unless = |seen: bool| if seen { 0f32 } else { f32::NEG_INFINITY };
        match self.attention.mask {
            // What is behind a sequence is later than all of it.
            Mask::Causal => {
                let scores: Vec<f32> =
                    (0..longest).flat_map(|query| (0..longest).map(move |key| unless(key <= query))).collect();
                Tensor::from_vec(scores, (1, 1, longest, longest), &self.device).map(Some)
            }
            Mask::Full if sequences.iter().all(|sequence| sequence.len() == longest) => Ok(None),
            Mask::Full => {
                let scores: Vec<f32> = sequences
                    .iter()
                    .flat_map(|sequence| (0..longest).map(|key| unless(key < sequence.len())))
                    .collect();
                Tensor::from_vec(scores, (sequences.len(), 1, 1, longest), &self.device).map(Some)
            }
        }
    }

    fn post(&self, layer: &Layer, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let x = layer.attention_norm.forward(&(x + self.attend(layer, x, mask)?)?)?;
        layer.feed_forward_norm.forward(&(&x + self.feed_forward(layer, &x)?)?)
    }

    fn pre(&self, layer: &Layer, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let x = (x + self.attend(layer, &layer.attention_norm.forward(x)?, mask)?)?;
        &x + self.feed_forward(layer, &layer.feed_forward_norm.forward(&x)?)?
    }

    fn feed_forward(&self, layer: &Layer, x: &Tensor) -> Result<Tensor> {
        let up = layer.up.forward(x)?;
        let up = match self.activation {
            Activation::None => up,
            Activation::Relu => up.relu()?,
            Activation::Relu6 => up.clamp(0f32, 6f32)?,
            Activation::Gelu => up.gelu_erf()?,
            Activation::QuickGelu => (&up * ops::sigmoid(&(&up * 1.702)?)?)?,
        };
        layer.down.forward(&up)
    }

    fn attend(&self, layer: &Layer, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let Attention { heads, head_width, .. } = self.attention;
        // batch × tokens × (query, key, value) × heads × head width, each part to batch × heads × tokens × head width.
        let qkv = layer.qkv.forward(x)?.reshape((batch, tokens, 3, heads, head_width))?;
        let part = |index: usize| qkv.narrow(2, index, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        let (query, key, value) = (part(0)?, part(1)?, part(2)?);
        let mut scores = (query.matmul(&key.t()?)? / (head_width as f64).sqrt())?;
        if let Some(mask) = mask {
            scores = scores.broadcast_add(mask)?;
        }
        let mixed = ops::softmax(&scores, D::Minus1)?.matmul(&value)?;
        layer.output.forward(&mixed.transpose(1, 2)?.reshape((batch, tokens, width))?)
    }
}

impl Layer {
    fn load(
        weights: &Weights,
        prefix: &str,
        spec: &EncoderSpec,
        device: &Device,
    ) -> std::result::Result<Self, WeightsError> {
        let EncoderSpec { width, hidden, names, epsilon, .. } = spec;
        let [up, down] = names.feed_forward.map(|part| format!("{prefix}.{part}"));
        let linear = |names: &[String], shape: [usize; 2]| linear(weights, names, shape, device);
        let norm = |part: &str| {
            let tensor = |kind: &str| {
                let name = format!("{prefix}.{part}.{kind}");
                weights.expect_shape(&name, &[*width])?;
                weights.tensor(&name, device)
            };
            Ok(LayerNorm::new(tensor("weight")?, tensor("bias")?, f64::from(*epsilon)))
        };
        Ok(Self {
            qkv: linear(&names.qkv.map(|part| format!("{prefix}.{part}")), [*width, *width])?,
            output: linear(&[format!("{prefix}.{}", names.output)], [*width, *width])?,
            attention_norm: norm(names.attention_norm)?,
            up: linear(&[up], [*hidden, *width])?,
            down: linear(&[down], [*width, *hidden])?,
            feed_forward_norm: norm(names.feed_forward_norm)?,
        })
    }
}

/// One or more linear layers over the same input as one.
fn linear(
    weights: &Weights,
    names: &[String],
    shape: [usize; 2],
    device: &Device,
) -> std::result::Result<Linear, WeightsError> {
    let stacked = |kind: &str, shape: &[usize]| {
        let parts = names.iter().map(|name| {
            let name = format!("{name}.{kind}");
            weights.expect_shape(&name, shape)?;
            weights.tensor(&name, device)
        });
        let parts = parts.collect::<std::result::Result<Vec<_>, WeightsError>>()?;
        Tensor::cat(&parts, 0).map_err(|source| WeightsError::Device { name: format!("{}.{kind}", names[0]), source })
    };
    Ok(Linear::new(stacked("weight", &shape)?, Some(stacked("bias", &shape[..1])?)))
}

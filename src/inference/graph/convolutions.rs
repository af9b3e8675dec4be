//! MobileNetV2's convolutions, their batch norms folded into them by whoever loads them.

use candle_core::{Device, Result, Tensor};

use super::broken;
use crate::inference::mobilenet_v2::{Convolution, Features, InvertedResidual};
use crate::inference::model::InferenceError;

/// The convolutions on a device.
pub(in crate::inference) struct Convolutions {
    device: Device,
    stem: Placed,
    blocks: Vec<(Vec<Placed>, bool)>,
    head: Placed,
    width: usize,
}

struct Placed {
    filters: Tensor,
    /// `1 × outputs × 1 × 1`.
    bias: Tensor,
    padding: usize,
    stride: usize,
    groups: usize,
    relu6: bool,
}

impl Convolutions {
    /// Takes convolutions to a device.
    pub(in crate::inference) fn place(features: Features, device: &Device) -> Result<Self> {
        let Features { stem, blocks, head } = features;
        let width = head.outputs();
        let place = |convolution| Placed::new(convolution, device);
        let block = |InvertedResidual { expand, depthwise, project, residual }| {
            let convolutions = expand.into_iter().chain([depthwise, project]);
            Ok((convolutions.map(place).collect::<Result<_>>()?, residual))
        };
        Ok(Self {
            stem: place(stem)?,
            blocks: blocks.into_iter().map(block).collect::<Result<_>>()?,
            head: place(head)?,
            width,
            device: device.clone(),
        })
    }

    /// Width of the pooled features.
    pub(in crate::inference) fn width(&self) -> usize {
        self.width
    }

    /// Pooled features, one row for each picture of `side × side × 3` normalised numbers.
    pub(in crate::inference) fn pooled(&self, pictures: &[Vec<f32>]) -> std::result::Result<Vec<f32>, InferenceError> {
        self.run(pictures).map_err(|error| broken(&error))
    }

    fn run(&self, pictures: &[Vec<f32>]) -> Result<Vec<f32>> {
        let Some(first) = pictures.first() else { return Ok(Vec::new()) };
        let side = (first.len() / 3).isqrt();
        let x = Tensor::from_vec(pictures.concat(), (pictures.len(), side, side, 3), &self.device)?;
        let mut x = self.stem.forward(&x.permute((0, 3, 1, 2))?.contiguous()?)?;
        for (convolutions, residual) in &self.blocks {
            let y = convolutions.iter().try_fold(x.clone(), |x, convolution| convolution.forward(&x))?;
            x = if *residual { (y + x)? } else { y };
        }
        self.head.forward(&x)?.mean((2, 3))?.flatten_all()?.to_vec1()
    }
}

impl Placed {
    fn new(convolution: Convolution, device: &Device) -> Result<Self> {
        let Convolution { filters, shape, bias, stride, groups, relu6 } = convolution;
        let outputs = bias.len();
        Ok(Self {
            filters: Tensor::from_vec(filters, &shape[..], device)?,
            bias: Tensor::from_vec(bias, (1, outputs, 1, 1), device)?,
            padding: shape[3] / 2,
            stride,
            groups,
            relu6,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.conv2d(&self.filters, self.padding, self.stride, 1, self.groups)?.broadcast_add(&self.bias)?;
        if self.relu6 { y.clamp(0f32, 6f32) } else { Ok(y) }
    }
}

//! The convolutions as candle's own operations, for devices whose kernels are candle's.

use candle_core::{Device, Result, Tensor};

use super::checkpoint::{Convolution, Features, InvertedResidual};

/// The convolutions on a device.
pub(super) struct Convolutions {
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
    pub(super) fn place(features: Features, device: &Device) -> Result<Self> {
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
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Pooled features, one row for each of `pictures × side × side × 3` normalised numbers.
    pub(super) fn pooled(&self, pictures: &Tensor) -> Result<Tensor> {
        let x = pictures.to_device(&self.device)?.permute((0, 3, 1, 2))?.contiguous()?;
        let mut x = self.stem.forward(&x)?;
        for (convolutions, residual) in &self.blocks {
            let y = convolutions.iter().try_fold(x.clone(), |x, convolution| convolution.forward(&x))?;
            x = if *residual { (y + x)? } else { y };
        }
        self.head.forward(&x)?.mean((2, 3))
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

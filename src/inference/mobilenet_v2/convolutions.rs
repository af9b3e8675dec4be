//! The convolutions as candle's own operations, for devices whose kernels are candle's.
//!
//! Pictures are `pictures × height × width × channels`: a convolution of 1×1 is a product then, and one of each channel a
//! sum of shifted pictures. candle's own grouped convolution is one convolution a channel, thousands of them.

use candle_core::{D, Device, Result, Tensor, bail};

use super::checkpoint::{Convolution, Features, InvertedResidual};

/// The convolutions on a device.
pub(super) struct Convolutions {
    device: Device,
    stem: Placed,
    blocks: Vec<(Vec<Placed>, bool)>,
    head: Placed,
    width: usize,
}

/// A convolution on a device.
struct Placed {
    filters: Filters,
    bias: Tensor,
    /// Where outputs are cut off above; zero is where they are below.
    six: Option<Tensor>,
}

enum Filters {
    /// 1×1: `inputs × outputs`.
    Pointwise(Tensor),
    /// A filter for each channel: `height × width × channels`.
    Depthwise { filters: Tensor, stride: usize },
    /// All channels by all channels: `outputs × inputs × height × width`.
    Full { filters: Tensor, stride: usize },
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
        let mut x = self.stem.forward(&pictures.to_device(&self.device)?)?;
        for (convolutions, residual) in &self.blocks {
            let y = convolutions.iter().try_fold(x.clone(), |x, convolution| convolution.forward(&x))?;
            x = if *residual { (y + x)? } else { y };
        }
        self.head.forward(&x)?.mean((1, 2))
    }
}

impl Placed {
    fn new(convolution: Convolution, device: &Device) -> Result<Self> {
        let Convolution { filters, shape, bias, stride, groups, relu6 } = convolution;
        let filters = Tensor::from_vec(filters, &shape[..], device)?;
        let filters = match shape {
            [_, _, 1, 1] => Filters::Pointwise(filters.flatten_from(1)?.t()?.contiguous()?),
            [outputs, 1, ..] if outputs == groups => {
                Filters::Depthwise { filters: filters.squeeze(1)?.permute((1, 2, 0))?.contiguous()?, stride }
            }
            _ => Filters::Full { filters, stride },
        };
        let six = relu6.then(|| Tensor::new(&[6f32], device)).transpose()?;
        let outputs = bias.len();
        Ok(Self { filters, bias: Tensor::from_vec(bias, outputs, device)?, six })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.filters {
            Filters::Pointwise(filters) => {
                let (pictures, height, width, inputs) = x.dims4()?;
                let pixels = x.reshape((pictures * height * width, inputs))?;
                pixels.matmul(filters)?.reshape((pictures, height, width, ()))?
            }
            Filters::Depthwise { filters, stride } => depthwise(x, filters, *stride)?,
            Filters::Full { filters, stride } => {
                let x = x.permute((0, 3, 1, 2))?.contiguous()?;
                let y = x.conv2d(filters, filters.dim(D::Minus1)? / 2, *stride, 1, 1)?;
                y.permute((0, 2, 3, 1))?.contiguous()?
            }
        };
        let y = y.broadcast_add(&self.bias)?;
        match &self.six {
            Some(six) => y.relu()?.broadcast_minimum(six),
            None => Ok(y),
        }
    }
}

/// Convolves each channel with its own filter, padded so that a stride of 1 keeps the size of the picture.
fn depthwise(x: &Tensor, filters: &Tensor, stride: usize) -> Result<Tensor> {
    let (pictures, height, width, channels) = x.dims4()?;
    let side = filters.dim(0)?;
    let padding = side / 2;
    let outputs = |size: usize| (size + 2 * padding - side) / stride + 1;
    // Pictures are padded to whole strides and then seen as strides × places within a stride, so that every `stride`th
    // pixel, from any one on, is a range.
    let strides = |size: usize| outputs(size) + (side - 1) / stride;
    let behind = |size: usize| (strides(size) * stride).saturating_sub(size + padding);
    let x = x.pad_with_zeros(1, padding, behind(height))?.pad_with_zeros(2, padding, behind(width))?;
    let x = x.narrow(1, 0, strides(height) * stride)?.narrow(2, 0, strides(width) * stride)?;
    let x = x.reshape((pictures, strides(height), stride, strides(width), stride * channels))?;
    let products = (0..side * side).map(|place| {
        let (row, column) = (place / side, place % side);
        let shifted = x.narrow(1, row / stride, outputs(height))?.narrow(2, row % stride, 1)?.squeeze(2)?;
        let shifted = shifted.narrow(2, column / stride, outputs(width))?;
        let shifted = shifted.narrow(3, column % stride * channels, channels)?;
        shifted.broadcast_mul(&filters.get(row)?.get(column)?)
    });
    products.reduce(|sum, product| sum? + product?).unwrap_or_else(|| bail!("a filter of no weights"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifted_sums_are_a_grouped_convolution() {
        let device = &Device::Cpu;
        for (height, width, channels, side, stride) in [
            (7, 5, 3, 3, 1),
            (8, 8, 4, 3, 2),
            (7, 9, 2, 3, 2),
            (1, 1, 5, 3, 1),
            (1, 2, 1, 3, 2),
            (9, 6, 2, 5, 3),
            (4, 4, 3, 1, 2),
        ] {
            let x = Tensor::randn(0f32, 1., (2, height, width, channels), device).unwrap();
            let filters = Tensor::randn(0f32, 1., (channels, 1, side, side), device).unwrap();
            let theirs = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
            let theirs = theirs.conv2d(&filters, side / 2, stride, 1, channels).unwrap().permute((0, 2, 3, 1)).unwrap();
            let filters = filters.squeeze(1).unwrap().permute((1, 2, 0)).unwrap();
            let ours = depthwise(&x, &filters, stride).unwrap();
            assert_eq!(ours.dims(), theirs.dims(), "{height}×{width}, filter {side}, stride {stride}");
            let off = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(off < 1e-5, "{height}×{width}, filter {side}, stride {stride}: off by {off}");
        }
    }
}

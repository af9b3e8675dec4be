//! The convolutions as candle's own operations, for devices whose kernels are candle's.
//!
//! A convolution of 1×1 is a product. One of each channel by itself is another, of the neighbours of each pixel by the
//! channel's weights: candle's grouped convolution is one convolution a channel, thousands of them.

use candle_core::{D, DType, Device, Result, Tensor};

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
    /// 1×1: `outputs × inputs`.
    Pointwise(Tensor),
    /// Each channel by itself.
    Depthwise(Depthwise),
    /// All channels by all channels: `outputs × inputs × height × width`.
    Full { filters: Tensor, stride: usize },
}

struct Depthwise {
    /// `channels × 1 × places`, of which a filter has `side · side`.
    weights: Tensor,
    /// A filter for each place that gives what is there: `places × 1 × side × side`.
    neighbours: Tensor,
    side: usize,
    stride: usize,
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
        let pictures = pictures.to_device(&self.device)?.permute((0, 3, 1, 2))?.contiguous()?;
        let mut x = self.stem.forward(&pictures)?;
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
        let filters = Tensor::from_vec(filters, &shape[..], device)?;
        let filters = match shape {
            [_, _, 1, 1] => Filters::Pointwise(filters.flatten_from(1)?),
            [outputs, 1, ..] if outputs == groups => Filters::Depthwise(Depthwise::new(&filters, stride)?),
            _ => Filters::Full { filters, stride },
        };
        let six = relu6.then(|| Tensor::new(&[6f32], device)).transpose()?;
        let outputs = bias.len();
        Ok(Self { filters, bias: Tensor::from_vec(bias, (1, outputs, 1, 1), device)?, six })
    }

    /// Of `pictures × channels × height × width`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.filters {
            Filters::Pointwise(filters) => {
                let (pictures, _, height, width) = x.dims4()?;
                filters.broadcast_left(pictures)?.matmul(&x.flatten_from(2)?)?.reshape((pictures, (), height, width))?
            }
            Filters::Depthwise(filters) => filters.forward(x)?,
            Filters::Full { filters, stride } => x.conv2d(filters, filters.dim(D::Minus1)? / 2, *stride, 1, 1)?,
        };
        let y = y.broadcast_add(&self.bias)?;
        match &self.six {
            Some(six) => y.relu()?.broadcast_minimum(six),
            None => Ok(y),
        }
    }
}

impl Depthwise {
    /// Takes filters of `channels × 1 × side × side`.
    fn new(filters: &Tensor, stride: usize) -> Result<Self> {
        let (channels, _, side, _) = filters.dims4()?;
        let places = side * side;
        let neighbours = Tensor::eye(places, DType::F32, filters.device())?.reshape((places, 1, side, side))?;
        Ok(Self { weights: filters.reshape((channels, 1, places))?, neighbours, side, stride })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (pictures, channels, height, width) = x.dims4()?;
        // Each channel as a picture of its own.
        let x = x.reshape((pictures * channels, 1, height, width))?;
        let neighbours = x.conv2d(&self.neighbours, self.side / 2, self.stride, 1, 1)?;
        let (_, places, height, width) = neighbours.dims4()?;
        let weights = self.weights.broadcast_left(pictures)?.reshape((pictures * channels, 1, places))?;
        weights.matmul(&neighbours.flatten_from(2)?)?.reshape((pictures, channels, height, width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depthwise_is_a_grouped_convolution() {
        let device = &Device::Cpu;
        for (height, width, channels, side, stride) in
            [(7, 5, 3, 3, 1), (8, 8, 4, 3, 2), (7, 9, 2, 3, 2), (1, 1, 5, 3, 1), (1, 2, 1, 3, 2), (9, 6, 2, 5, 3)]
        {
            let x = Tensor::randn(0f32, 1., (2, channels, height, width), device).unwrap();
            let filters = Tensor::randn(0f32, 1., (channels, 1, side, side), device).unwrap();
            let theirs = x.conv2d(&filters, side / 2, stride, 1, channels).unwrap();
            let ours = Depthwise::new(&filters, stride).unwrap().forward(&x).unwrap();
            assert_eq!(ours.dims(), theirs.dims(), "{height}×{width}, filter {side}, stride {stride}");
            let off = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(off < 1e-5, "{height}×{width}, filter {side}, stride {stride}: off by {off}");
        }
    }
}

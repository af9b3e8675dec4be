//! The convolutions of a file in timm's layout, batch norms multiplied in: what the network is made of, wherever it computes.

use crate::inference::weights::{Weights, WeightsError};

/// Epsilon of timm's batch norms.
const EPSILON: f32 = 1e-5;
/// Stride of the first block of each stage, and how many blocks it has (table 2 of the paper).
const STAGES: [[usize; 2]; 7] = [[1, 1], [2, 2], [2, 3], [2, 4], [1, 3], [2, 3], [1, 1]];

/// A convolution with its batch norm multiplied in, padded so that a stride of 1 keeps the size of the picture.
pub(in crate::inference) struct Convolution {
    /// `outputs × inputs a group × height × width`.
    pub(in crate::inference) filters: Vec<f32>,
    /// The same.
    pub(in crate::inference) shape: [usize; 4],
    /// One number for each output.
    pub(in crate::inference) bias: Vec<f32>,
    /// Pixels from one output to the next.
    pub(in crate::inference) stride: usize,
    /// Convolutions side by side: as many as outputs, where each channel has its own filter.
    pub(in crate::inference) groups: usize,
    /// Whether the output is cut to 0..6.
    pub(in crate::inference) relu6: bool,
}

/// A block: expansion (but in the first stage), depthwise convolution, projection.
pub(in crate::inference) struct InvertedResidual {
    pub(in crate::inference) expand: Option<Convolution>,
    pub(in crate::inference) depthwise: Convolution,
    pub(in crate::inference) project: Convolution,
    /// Whether the input is added to the output.
    pub(in crate::inference) residual: bool,
}

/// All but the classifier.
pub(in crate::inference) struct Features {
    pub(in crate::inference) stem: Convolution,
    pub(in crate::inference) blocks: Vec<InvertedResidual>,
    pub(in crate::inference) head: Convolution,
}

impl Features {
    /// Reads them, and checks that each takes what the one before it gives.
    pub(super) fn load(weights: &Weights) -> Result<Self, WeightsError> {
        let stem = Convolution { stride: 2, ..Convolution::load(weights, "conv_stem", "bn1", [3, 3])? };
        let mut channels = stem.outputs();
        let mut blocks = Vec::new();
        for (stage, [stage_stride, count]) in STAGES.into_iter().enumerate() {
            for index in 0..count {
                let prefix = format!("blocks.{stage}.{index}");
                let stride = if index == 0 { stage_stride } else { 1 };
                // The first stage has no expansion.
                let block = InvertedResidual::load(weights, &prefix, channels, stride, stage > 0)?;
                channels = block.project.outputs();
                blocks.push(block);
            }
        }
        Ok(Self { stem, blocks, head: Convolution::load(weights, "conv_head", "bn2", [channels, 1])? })
    }
}

impl InvertedResidual {
    fn load(
        weights: &Weights,
        prefix: &str,
        inputs: usize,
        stride: usize,
        expands: bool,
    ) -> Result<Self, WeightsError> {
        let name = |part: &str| format!("{prefix}.{part}");
        let load = |part, norm, shape| Convolution::load(weights, &name(part), &name(norm), shape);
        // Norms are counted from the first convolution that there is.
        let (expand, norms, last) = if expands {
            (Some(load("conv_pw", "bn1", [inputs, 1])?), ["bn2", "bn3"], "conv_pwl")
        } else {
            (None, ["bn1", "bn2"], "conv_pw")
        };
        let wide = expand.as_ref().map_or(inputs, Convolution::outputs);
        let depthwise = load("conv_dw", norms[0], [1, 3])?;
        weights.expect_shape(&name("conv_dw.weight"), &[wide, 1, 3, 3])?;
        let project = Convolution { relu6: false, ..load(last, norms[1], [wide, 1])? };
        let residual = stride == 1 && inputs == project.outputs();
        Ok(Self { expand, depthwise: Convolution { stride, groups: wide, ..depthwise }, project, residual })
    }
}

impl Convolution {
    /// Reads one of `side × side` pixels over `inputs` channels (of a group), with ReLU6 and a stride of 1.
    fn load(weights: &Weights, name: &str, norm: &str, [inputs, side]: [usize; 2]) -> Result<Self, WeightsError> {
        let name = format!("{name}.weight");
        // One at least, so that none is said to be wrong.
        let outputs = weights.shape(&name)?.first().copied().unwrap_or_default().max(1);
        let shape = [outputs, inputs, side, side];
        let mut filters = weights.shaped(&name, &shape)?;
        let part = |part: &str| weights.shaped(&format!("{norm}.{part}"), &[outputs]);
        let (scale, shift) = (part("weight")?, part("bias")?);
        let (mean, variance) = (part("running_mean")?, part("running_var")?);
        let mut bias = Vec::with_capacity(outputs);
        for (output, filter) in filters.chunks_exact_mut(inputs * side * side).enumerate() {
            let factor = scale[output] / (variance[output] + EPSILON).sqrt();
            for weight in filter {
                *weight *= factor;
            }
            bias.push(shift[output] - mean[output] * factor);
        }
        Ok(Self { filters, shape, bias, stride: 1, groups: 1, relu6: true })
    }

    /// Channels that come out.
    pub(in crate::inference) fn outputs(&self) -> usize {
        self.bias.len()
    }
}

//! MobileNetV2 (timm's names) as candle has its parts: grouped convolutions and batch norms as they come. Ours differs, on
//! every device; the transformers are the same operations with and without our kernels.

use std::path::Path;

use candle_core::{DType, Device, ModuleT as _, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear, Module as _, VarBuilder};

/// Stride of the first block of each stage, its number of blocks, channels, and how much wider its blocks are inside
/// (table 2 of the paper).
const STAGES: [[usize; 4]; 7] =
    [[1, 1, 16, 1], [2, 2, 24, 6], [2, 3, 32, 6], [2, 4, 64, 6], [1, 3, 96, 6], [2, 3, 160, 6], [1, 1, 320, 6]];
/// Width of the features.
const FEATURES: usize = 1_280;

/// The network.
pub(crate) struct MobileNetV2 {
    stem: Unit,
    blocks: Vec<(Vec<Unit>, bool)>,
    head: Unit,
    classifier: Linear,
}

/// A convolution with its batch norm.
struct Unit {
    convolution: Conv2d,
    norm: candle_nn::BatchNorm,
    relu6: bool,
}

impl MobileNetV2 {
    /// Loads `model.safetensors` of a folder.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu)?;
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let stem = Unit::load(&weights, ["conv_stem", "bn1"], [3, 32, 3], 2, 1, true)?;
        let mut inputs = 32;
        let mut blocks = Vec::new();
        for (stage, [stride, count, outputs, wider]) in STAGES.into_iter().enumerate() {
            for index in 0..count {
                let stride = if index == 0 { stride } else { 1 };
                let weights = weights.pp(format!("blocks.{stage}.{index}"));
                let wide = inputs * wider;
                let mut units = Vec::new();
                let (depthwise, project) = if wider == 1 {
                    (["conv_dw", "bn1"], ["conv_pw", "bn2"])
                } else {
                    units.push(Unit::load(&weights, ["conv_pw", "bn1"], [inputs, wide, 1], 1, 1, true)?);
                    (["conv_dw", "bn2"], ["conv_pwl", "bn3"])
                };
                units.push(Unit::load(&weights, depthwise, [wide, wide, 3], stride, wide, true)?);
                units.push(Unit::load(&weights, project, [wide, outputs, 1], 1, 1, false)?);
                blocks.push((units, stride == 1 && inputs == outputs));
                inputs = outputs;
            }
        }
        let head = Unit::load(&weights, ["conv_head", "bn2"], [inputs, FEATURES, 1], 1, 1, true)?;
        let labels = weights.get_unchecked("classifier.bias")?.elem_count();
        Ok(Self { stem, blocks, head, classifier: candle_nn::linear(FEATURES, labels, weights.pp("classifier"))? })
    }

    /// Logits of `pictures × side × side × 3` normalised numbers.
    pub(crate) fn forward(&self, pictures: &Tensor) -> Result<Vec<f32>> {
        let mut x = self.stem.forward(&pictures.permute((0, 3, 1, 2))?.contiguous()?)?;
        for (units, residual) in &self.blocks {
            let y = units.iter().try_fold(x.clone(), |x, unit| unit.forward(&x))?;
            x = if *residual { (y + x)? } else { y };
        }
        let features = self.head.forward(&x)?.mean((2, 3))?;
        self.classifier.forward(&features)?.flatten_all()?.to_vec1()
    }
}

impl Unit {
    fn load(
        weights: &VarBuilder<'_>,
        [convolution, norm]: [&str; 2],
        [inputs, outputs, side]: [usize; 3],
        stride: usize,
        groups: usize,
        relu6: bool,
    ) -> Result<Self> {
        let config = Conv2dConfig { padding: side / 2, stride, groups, ..Conv2dConfig::default() };
        Ok(Self {
            convolution: candle_nn::conv2d_no_bias(inputs, outputs, side, config, weights.pp(convolution))?,
            norm: candle_nn::batch_norm(outputs, 1e-5, weights.pp(norm))?,
            relu6,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.norm.forward_t(&self.convolution.forward(x)?, false)?;
        if self.relu6 { y.clamp(0f32, 6f32) } else { Ok(y) }
    }
}

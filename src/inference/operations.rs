//! What an encoder is made of, as operations on candle's tensors: our kernels on the CPU, candle's own on its other devices.
//!
//! Hidden states are `tokens × width`, all sequences of a batch one after the other without padding; only attention looks at
//! where a sequence begins and ends. On a CPU device candle's own operations compute the same numbers as our kernels, slower:
//! which is how what runs on GPUs is tested without one.

mod attention;

use std::cell::RefCell;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, InplaceOp1, Layout, Module as _, Result, Shape, Tensor, bail};
use candle_nn::ops::sigmoid;

pub(super) use self::attention::Ragged;
use super::dense::Dense;
use super::kernels::{self, Activation, Compute, Epilogue, Quantised};

/// What our kernels compute with.
pub(super) struct Means<'a> {
    pub(super) compute: &'a Compute,
    /// Room for the input of a layer as integers.
    pub(super) quantised: &'a RefCell<Quantised>,
    /// Memory of outputs that are not needed any more, for the next ones.
    pub(super) outputs: &'a RefCell<Vec<Vec<f32>>>,
}

impl Means<'_> {
    /// Most outputs that are kept: more than an encoder's layer has at once.
    const KEPT: usize = 8;

    /// Room for an output of so many numbers, whatever they are: zeroing it for each layer again would take a twentieth of
    /// the time.
    fn output(&self, count: usize) -> Vec<f32> {
        let mut kept = self.outputs.borrow_mut();
        let fitting = kept.iter().enumerate().filter(|(_, output)| output.capacity() >= count);
        let place = fitting.min_by_key(|(_, output)| output.capacity()).map(|(place, _)| place);
        let mut output = place.map(|place| kept.swap_remove(place)).unwrap_or_default();
        output.resize(count, 0.0);
        output
    }

    /// Takes back the memory of an output of which nobody else has a copy.
    pub(super) fn recycle(&self, output: Tensor) -> Result<()> {
        if output.device().is_cpu() { output.inplace_op1(&Recycled(self.outputs)) } else { Ok(()) }
    }
}

/// Leaves a tensor without its numbers.
struct Recycled<'a>(&'a RefCell<Vec<Vec<f32>>>);

impl InplaceOp1 for Recycled<'_> {
    fn name(&self) -> &'static str {
        "recycle"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        if let CpuStorage::F32(output) = storage {
            let mut kept = self.0.borrow_mut();
            if kept.len() < Means::KEPT {
                kept.push(std::mem::take(output));
            }
        }
        Ok(())
    }
}

/// A linear layer.
pub(super) enum Linear {
    Kernel(Dense),
    Candle(candle_nn::Linear),
}

impl Linear {
    /// `activation(x · Wᵀ + bias) + residual` of `tokens × inputs`.
    pub(super) fn forward(
        &self,
        means: &Means<'_>,
        x: &Tensor,
        activation: Activation,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        match self {
            Self::Kernel(layer) => {
                let product = Product { layer, means, activation };
                match residual {
                    Some(residual) => x.apply_op2_no_bwd(residual, &product),
                    None => x.apply_op1_no_bwd(&product),
                }
            }
            Self::Candle(layer) => {
                let y = layer.forward(x)?;
                let y = match activation {
                    Activation::None => y,
                    Activation::Relu => y.relu()?,
                    Activation::Relu6 => y.clamp(0f32, 6f32)?,
                    Activation::Gelu => y.gelu_erf()?,
                    Activation::QuickGelu => (&y * sigmoid(&(&y * 1.702)?)?)?,
                };
                match residual {
                    Some(residual) => y + residual,
                    None => Ok(y),
                }
            }
        }
    }
}

/// A linear layer with what follows it, by our kernels.
struct Product<'a> {
    layer: &'a Dense,
    means: &'a Means<'a>,
    activation: Activation,
}

impl Product<'_> {
    fn output(&self, x: &[f32], residual: Option<&[f32]>) -> (CpuStorage, Shape) {
        let rows = x.len() / self.layer.inputs();
        let mut y = self.means.output(rows * self.layer.outputs());
        let epilogue = Epilogue { activation: Some(self.activation), residual };
        self.layer.forward(self.means.compute, x, &mut y, epilogue, &mut self.means.quantised.borrow_mut());
        (CpuStorage::F32(y), (rows, self.layer.outputs()).into())
    }
}

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "packed linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.output(numbers(x, layout)?, None))
    }
}

impl CustomOp2 for Product<'_> {
    fn name(&self) -> &'static str {
        "packed linear with a residual"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l1: &Layout, residual: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.output(numbers(x, l1)?, Some(numbers(residual, l2)?)))
    }
}

/// A layer norm.
pub(super) enum LayerNorm {
    Kernel(kernels::LayerNorm),
    Candle(candle_nn::LayerNorm),
}

impl LayerNorm {
    /// Each row of `tokens × width` normalised.
    pub(super) fn forward(&self, means: &Means<'_>, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Kernel(norm) => x.apply_op1_no_bwd(&Normalised { norm, means }),
            Self::Candle(norm) => norm.forward(x),
        }
    }
}

/// A layer norm by our kernel.
struct Normalised<'a> {
    norm: &'a kernels::LayerNorm,
    means: &'a Means<'a>,
}

impl CustomOp1 for Normalised<'_> {
    fn name(&self) -> &'static str {
        "layer norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(x, layout)?;
        let mut y = self.means.output(x.len());
        self.norm.forward_into(self.means.compute, x, &mut y);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }
}

/// The numbers of a tensor, which must lie one after the other.
pub(super) fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice()?[from..to]),
        None => bail!("a kernel was given a tensor whose numbers do not lie one after the other"),
    }
}

/// Some rows of a tensor of rows, one after the other, taken from wherever they are.
pub(super) fn rows(x: &Tensor, indices: impl Iterator<Item = usize>) -> Result<Vec<f32>> {
    let indices: Vec<u32> = indices.map(|index| index as u32).collect();
    let count = indices.len();
    x.index_select(&Tensor::from_vec(indices, count, x.device())?, 0)?.flatten_all()?.to_vec1()
}

//! What an encoder is made of, as operations on candle's tensors: our kernels on the CPU, candle's own on its other devices.
//!
//! Hidden states are `tokens × width`, all sequences of a batch one after the other without padding; only attention looks at
//! where a sequence begins and ends. On a CPU device candle's own operations compute the same numbers as our kernels, slower:
//! which is how what runs on GPUs is tested without one.

mod attention;
mod embedding;

use std::cell::RefCell;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, InplaceOp1, Layout, Module as _, Result, Shape, Tensor, bail};
use candle_nn::ops::sigmoid;

pub(super) use self::attention::Ragged;
pub(super) use self::embedding::Embedding;
use super::dense::Dense;
use super::kernels::{self, Activation, Compute, Epilogue, Quantised};
use super::place::Place;

/// What our kernels compute with.
pub(super) struct Workspace<'a> {
    pub(super) compute: &'a Compute,
    /// Room for the input of a layer as integers.
    pub(super) quantised: &'a RefCell<Quantised>,
    /// Memory of outputs that are not needed any more, for the next ones.
    pub(super) outputs: &'a RefCell<Vec<Vec<f32>>>,
}

impl Workspace<'_> {
    /// Most outputs that are kept: more than an encoder's layer has at once.
    const KEPT: usize = 8;

    /// Room for an output of so many numbers, whatever they are.
    fn output(&self, count: usize) -> Vec<f32> {
        let mut kept = self.outputs.borrow_mut();
        let fitting = kept.iter().enumerate().filter(|(_, output)| output.capacity() >= count);
        let Some((place, _)) = fitting.min_by_key(|(_, output)| output.capacity()) else { return vec![0.0; count] };
        let mut output = kept.swap_remove(place);
        output.resize(count, 0.0);
        output
    }

    /// Takes back the memory of an output of which nobody else has a copy.
    #[expect(clippy::needless_pass_by_value, reason = "nobody may use it afterwards")]
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
            kept.push(std::mem::take(output));
            // The small ones go: they would be of no use to large batches, and large ones are to small ones.
            if kept.len() > Workspace::KEPT
                && let Some((smallest, _)) = kept.iter().enumerate().min_by_key(|(_, output)| output.capacity())
            {
                kept.swap_remove(smallest);
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
    /// A layer of `outputs × inputs` without biases, whose weights `row(output, into)` writes.
    pub(super) fn from_rows(
        place: &Place,
        [outputs, inputs]: [usize; 2],
        mut row: impl FnMut(usize, &mut [f32]),
    ) -> Result<Self> {
        Ok(match place {
            Place::Cpu(precision) => Self::Kernel(Dense::pack(*precision, outputs, inputs, &[], row)),
            Place::Candle(device) => {
                let mut weights = vec![0f32; outputs * inputs];
                weights.chunks_exact_mut(inputs).enumerate().for_each(|(output, into)| row(output, into));
                Self::Candle(candle_nn::Linear::new(Tensor::from_vec(weights, (outputs, inputs), device)?, None))
            }
        })
    }

    /// `activation(x · Wᵀ + bias) + residual` of `tokens × inputs`.
    pub(super) fn forward(
        &self,
        workspace: &Workspace<'_>,
        x: &Tensor,
        activation: Activation,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        match self {
            Self::Kernel(layer) => {
                let product = Product { layer, workspace, activation };
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
    workspace: &'a Workspace<'a>,
    activation: Activation,
}

impl Product<'_> {
    fn output(&self, x: &[f32], residual: Option<&[f32]>) -> (CpuStorage, Shape) {
        let rows = x.len() / self.layer.inputs();
        let mut y = self.workspace.output(rows * self.layer.outputs());
        let epilogue = Epilogue { activation: Some(self.activation), residual };
        self.layer.forward(self.workspace.compute, x, &mut y, epilogue, &mut self.workspace.quantised.borrow_mut());
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
    pub(super) fn forward(&self, workspace: &Workspace<'_>, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Kernel(norm) => x.apply_op1_no_bwd(&Normalised { norm, workspace }),
            Self::Candle(norm) => norm.forward(x),
        }
    }
}

/// A layer norm by our kernel.
struct Normalised<'a> {
    norm: &'a kernels::LayerNorm,
    workspace: &'a Workspace<'a>,
}

impl CustomOp1 for Normalised<'_> {
    fn name(&self) -> &'static str {
        "layer norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(x, layout)?;
        let mut y = self.workspace.output(x.len());
        self.norm.forward_into(self.workspace.compute, x, &mut y);
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn outputs_are_used_again_and_large_ones_kept() {
        let (compute, quantised, outputs) = (Compute::new(1), RefCell::default(), RefCell::default());
        let workspace = Workspace { compute: &compute, quantised: &quantised, outputs: &outputs };
        let recycled = |count: usize| {
            workspace.recycle(Tensor::from_vec(workspace.output(count), count, &Device::Cpu).unwrap()).unwrap();
        };
        (1..=20).rev().for_each(recycled);
        assert_eq!(outputs.borrow().len(), 1, "each one fits where the one before it was");
        let together: Vec<Vec<f32>> = (1..=20).map(|count| workspace.output(100 * count)).collect();
        for output in together {
            let count = output.len();
            workspace.recycle(Tensor::from_vec(output, count, &Device::Cpu).unwrap()).unwrap();
        }
        let mut kept: Vec<usize> = outputs.borrow().iter().map(Vec::capacity).collect();
        kept.sort_unstable();
        assert_eq!(kept, [1300, 1400, 1500, 1600, 1700, 1800, 1900, 2000]);
        assert_eq!(workspace.output(1250).capacity(), 1300);
        assert_eq!(outputs.borrow().len(), Workspace::KEPT - 1);
    }

    #[test]
    fn a_kernel_refuses_what_does_not_lie_one_after_the_other() {
        let (compute, quantised, outputs) = (Compute::new(1), RefCell::default(), RefCell::default());
        let workspace = Workspace { compute: &compute, quantised: &quantised, outputs: &outputs };
        let norm = kernels::LayerNorm { weight: vec![1.0; 4], bias: vec![0.0; 4], epsilon: 1e-5 };
        let x = Tensor::from_vec((0..16u8).map(f32::from).collect(), (4, 4), &Device::Cpu).unwrap();
        let norm = LayerNorm::Kernel(norm);
        assert_eq!(norm.forward(&workspace, &x.narrow(0, 1, 2).unwrap()).unwrap().dims(), [2, 4]);
        assert!(norm.forward(&workspace, &x.t().unwrap()).unwrap_err().to_string().contains("one after the other"));
    }
}

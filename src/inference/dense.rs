//! A linear layer in whichever precision a worker computes: the large ones, in which nearly all of the time goes.
//!
//! Embeddings, norms, attention, heads and projections into the joint space stay in fp32, and so do convolutions.

use super::kernels::{Compute, Epilogue, Linear, LinearInt8, Quantised};

/// What the large layers compute with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    Fp32,
    /// 8-bit weights, one scale for each output; inputs cut into steps token by token.
    Int8,
}

impl Precision {
    /// Name for logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Int8 => "int8",
        }
    }
}

/// A packed linear layer.
pub(super) enum Dense {
    Fp32(Linear),
    Int8(LinearInt8),
}

impl Dense {
    /// Packs a layer whose row `o` is written by `row(o, into)`; one that is too wide for 8 bits stays in fp32.
    pub(super) fn pack(
        precision: Precision,
        outputs: usize,
        inputs: usize,
        bias: &[f32],
        row: impl FnMut(usize, &mut [f32]),
    ) -> Self {
        if precision == Precision::Int8 && inputs <= LinearInt8::MAX_INPUTS {
            Self::Int8(LinearInt8::pack(outputs, inputs, bias, row))
        } else {
            Self::Fp32(Linear::pack(outputs, inputs, bias, row))
        }
    }

    /// Numbers in a row of the input.
    pub(super) fn inputs(&self) -> usize {
        match self {
            Self::Fp32(layer) => layer.inputs(),
            Self::Int8(layer) => layer.inputs(),
        }
    }

    /// Numbers in a row of the output.
    pub(super) fn outputs(&self) -> usize {
        match self {
            Self::Fp32(layer) => layer.outputs(),
            Self::Int8(layer) => layer.outputs(),
        }
    }

    /// Computes `y` from `x`; `quantised` is room for the input as integers.
    pub(super) fn forward(
        &self,
        compute: &Compute,
        x: &[f32],
        y: &mut [f32],
        epilogue: Epilogue<'_>,
        quantised: &mut Quantised,
    ) {
        match self {
            Self::Fp32(layer) => layer.forward(compute, x, y, epilogue),
            Self::Int8(layer) => layer.forward(compute, x, y, epilogue, quantised),
        }
    }
}

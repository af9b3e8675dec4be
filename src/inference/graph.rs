//! The large parts of the networks as candle's own operations, for devices whose kernels are candle's: GPUs.
//!
//! They stand behind the same seams as our kernels (`encoder`: hidden states in and out; `mobilenet_v2`: pictures to
//! pooled features), so that embeddings, heads, labels and everything above are the same code on every device. On a CPU
//! they compute the same numbers as our kernels, slower: which is how they are tested without a GPU.

mod convolutions;
mod encoder;

pub(super) use self::convolutions::Convolutions;
pub(super) use self::encoder::GraphEncoder;
use super::model::InferenceError;

/// What candle could not do: no memory left on the device, or a driver that failed.
fn broken(error: &candle_core::Error) -> InferenceError {
    InferenceError::Broken(error.to_string())
}

//! The small models against PyTorch's answers (`golden.json`), the engine as a worker uses it, and models that are not
//! what they say.

mod checkpoint;
mod engine;
mod full_size;
mod golden;
mod malformed;

use candle_core::Device;

use super::{Place, Precision, Wanted};

/// Everywhere a network may compute: with our kernels, with candle's operations on its CPU device, and on the GPU that this
/// build is for.
fn places() -> Vec<Place> {
    let gpu = match (cfg!(feature = "cuda"), cfg!(feature = "metal")) {
        (true, _) => Some(Wanted::Cuda),
        (_, true) => Some(Wanted::Metal),
        _ => None,
    };
    let gpu = gpu.map(|gpu| Place::choose(gpu, Precision::Fp32).unwrap());
    [Place::default(), Place::Candle(Device::Cpu)].into_iter().chain(gpu).collect()
}

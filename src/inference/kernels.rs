//! The arithmetic of the networks on CPUs: packed linear layers (in fp32 and with 8-bit weights), attention, layer norm,
//! depthwise convolution.
//!
//! Stock candle re-packs weights at every product and convolves channel by channel; these kernels pack once, fuse what
//! follows a product into its store, and run a ragged batch without padding. Each has a plain Rust version that is always
//! right and is what the vector versions (chosen at run time by what the processor has) are tested against. This is the
//! only part of the crate with `unsafe` code; it knows nothing of models, files or tensors of candle.

#![expect(unsafe_code, reason = "vector instructions and buffers shared by threads; each block says why it is sound")]

mod activation;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod cache;
mod depthwise;
mod int8;
mod linear;
mod norm;
mod pages;
mod pool;
mod shared;
mod threads;
mod tile;

#[cfg(test)]
mod tests;

pub use activation::Activation;
pub use attention::{Attention, Mask};
pub use depthwise::Depthwise;
pub use int8::{LinearInt8, Quantised};
pub use linear::{Epilogue, Linear};
pub use norm::LayerNorm;
pub use pages::release_pages;
pub use pool::Pool;
pub use threads::{wake_at_once, wake_in_turn, wake_on_time};

/// Which instructions the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Whatever the compiler made of plain Rust.
    Plain,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F beside AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX-512 VNNI beside all of these: products of bytes.
    #[cfg(target_arch = "x86_64")]
    Vnni,
    /// AMX beside all of these: products of bytes, a tile at a time.
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl Isa {
    /// The best that this processor has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            if !is_x86_feature_detected!("avx512f") {
                return Self::Avx2;
            }
            if !is_x86_feature_detected!("avx512vnni") {
                return Self::Avx512;
            }
            return if int8::amx_available() { Self::Amx } else { Self::Vnni };
        }
        Self::Plain
    }

    /// Every one that this processor can run, the plain one first.
    pub fn available() -> Vec<Self> {
        // From the plainest to the best: each has all that those before it have.
        let all = [
            Self::Plain,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512,
            #[cfg(target_arch = "x86_64")]
            Self::Vnni,
            #[cfg(target_arch = "x86_64")]
            Self::Amx,
        ];
        let best = all.iter().position(|isa| *isa == Self::detect()).unwrap_or_default();
        all[..=best].to_vec()
    }

    #[cfg(target_arch = "x86_64")]
    fn has_avx2(self) -> bool {
        self != Self::Plain
    }

    #[cfg(target_arch = "x86_64")]
    fn has_avx512(self) -> bool {
        matches!(self, Self::Avx512 | Self::Vnni | Self::Amx)
    }

    /// Name for logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Amx => "amx",
        }
    }
}

/// What a kernel runs on: the worker's threads and the instructions to use.
pub struct Compute {
    /// The worker's threads.
    pub pool: Pool,
    /// The instructions to use.
    pub isa: Isa,
}

impl Compute {
    /// A pool of `threads` (at least one) and the best instructions there are.
    pub fn new(threads: usize) -> Self {
        Self { pool: Pool::new(threads.max(1)), isa: Isa::detect() }
    }
}

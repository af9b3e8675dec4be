//! Where networks compute: on the CPU with our kernels, or on a GPU with candle's own operations (see `operations`).
//!
//! A build without the features `cuda` and `metal` has CPUs only, and is the same as if there were no such features.

use candle_core::Device;

use super::dense::Precision;
use super::kernels::Isa;

/// Where the large parts of a network compute; the small ones around them always do on the CPU.
#[derive(Clone, Debug)]
pub enum Place {
    /// On the CPU, with our kernels.
    Cpu(Precision),
    /// On a device of candle's, in fp32.
    Candle(Device),
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A GPU where this build and this machine have one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
    /// The GPU of a Mac.
    Metal,
}

/// Why it can't be had.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// This build has no code for it.
    #[error(
        "--device {device}: this aiq was built without it; build it with `cargo build --release --features {device}` \
         (which needs {needs}), or leave --device out"
    )]
    NotBuilt {
        /// Which device.
        device: &'static str,
        /// What the build needs.
        needs: &'static str,
    },
    /// The machine has none that works.
    #[error("--device {device}: none was found that works ({reason}); leave --device out, or give cpu or auto")]
    Absent {
        /// Which device.
        device: &'static str,
        /// What candle said.
        reason: String,
    },
    /// Our 8-bit kernels are for CPUs.
    #[error("--precision int8 is computed on CPUs only; give --device cpu, or leave --precision out")]
    Int8,
}

impl Place {
    /// What fits to what was asked for.
    ///
    /// # Errors
    /// Where the device that was named can't be had, or can't compute in that precision.
    pub fn choose(wanted: Wanted, precision: Precision) -> Result<Self, PlaceError> {
        let open = match wanted {
            Wanted::Cpu => return Ok(Self::Cpu(precision)),
            Wanted::Auto => {
                let gpu = || cuda().or_else(|_| metal()).ok();
                let gpu = if precision == Precision::Fp32 { gpu() } else { None };
                return Ok(gpu.map_or(Self::Cpu(precision), Self::Candle));
            }
            Wanted::Cuda => cuda,
            Wanted::Metal => metal,
        };
        let device = open()?;
        if precision == Precision::Int8 { Err(PlaceError::Int8) } else { Ok(Self::Candle(device)) }
    }

    /// Where tensors are.
    pub(super) fn device(&self) -> &Device {
        match self {
            Self::Cpu(_) => &Device::Cpu,
            Self::Candle(device) => device,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu(precision) => write!(f, "the CPU ({}, {})", Isa::detect().name(), precision.name()),
            Self::Candle(device) => write!(f, "{:?} (candle)", device.location()),
        }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::Cpu(Precision::default())
    }
}

impl From<Precision> for Place {
    fn from(precision: Precision) -> Self {
        Self::Cpu(precision)
    }
}

fn cuda() -> Result<Device, PlaceError> {
    let device = "cuda";
    if !cfg!(feature = "cuda") {
        return Err(PlaceError::NotBuilt { device, needs: "NVIDIA's CUDA toolkit" });
    }
    Device::new_cuda(0).map_err(|error| absent(device, &error))
}

fn metal() -> Result<Device, PlaceError> {
    let device = "metal";
    if !cfg!(feature = "metal") {
        return Err(PlaceError::NotBuilt { device, needs: "a Mac" });
    }
    Device::new_metal(0).map_err(|error| absent(device, &error))
}

/// Without the backtrace that candle brings where one was asked for.
fn absent(device: &'static str, error: &candle_core::Error) -> PlaceError {
    PlaceError::Absent { device, reason: error.to_string().lines().next().unwrap_or_default().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    fn a_build_without_gpus_says_how_to_get_one_with() {
        for (wanted, name) in [(Wanted::Cuda, "cuda"), (Wanted::Metal, "metal")] {
            let refused = Place::choose(wanted, Precision::Fp32).unwrap_err().to_string();
            assert!(refused.contains(&format!("--features {name}")), "{refused}");
        }
        assert!(matches!(Place::choose(Wanted::Auto, Precision::Fp32).unwrap(), Place::Cpu(Precision::Fp32)));
    }

    #[test]
    fn an_absent_device_is_told_of_in_one_line() {
        let error = candle_core::Error::Msg("no driver".to_owned()).bt();
        let told = absent("cuda", &error).to_string();
        assert!(told.contains("(no driver); leave --device out"), "{told}");
    }

    #[test]
    fn int8_stays_on_the_cpu() {
        for wanted in [Wanted::Auto, Wanted::Cpu] {
            assert!(matches!(Place::choose(wanted, Precision::Int8).unwrap(), Place::Cpu(Precision::Int8)));
        }
    }
}

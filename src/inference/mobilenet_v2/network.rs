//! The network, wherever it computes: all but its last layer as one operation of our kernels or as candle's own ones.

use candle_core::Tensor;

use super::checkpoint::Features;
use super::convolutions::Convolutions;
use super::trunk::{KernelTrunk, Pooled};
use crate::inference::encoder;
use crate::inference::kernels::{Compute, Epilogue, Linear};
use crate::inference::model::{Context, InferenceError};
use crate::inference::place::Place;
use crate::inference::weights::{Weights, WeightsError};

/// The network without its preprocessing.
pub(in crate::inference) struct Network {
    trunk: Trunk,
    classifier: Linear,
}

/// All but the classifier.
enum Trunk {
    /// With our kernels.
    Kernels(KernelTrunk),
    /// With candle's operations.
    Candle(Convolutions),
}

impl Network {
    pub(in crate::inference) fn load(weights: &Weights, place: &Place) -> Result<Self, WeightsError> {
        let features = Features::load(weights)?;
        let classifier = encoder::classifier(weights, "classifier", features.head.outputs())?;
        let trunk = match place {
            Place::Cpu(_) => Trunk::Kernels(KernelTrunk::pack(features)),
            Place::Candle(device) => Trunk::Candle(
                Convolutions::place(features, device)
                    .map_err(|source| WeightsError::Device { name: "the convolutions".to_owned(), source })?,
            ),
        };
        Ok(Self { trunk, classifier })
    }

    /// Width of the pooled features.
    pub(in crate::inference) fn features(&self) -> usize {
        match &self.trunk {
            Trunk::Kernels(trunk) => trunk.features(),
            Trunk::Candle(trunk) => trunk.width(),
        }
    }

    /// Number of classes.
    pub(in crate::inference) fn labels(&self) -> usize {
        self.classifier.outputs()
    }

    /// Pooled features of `pictures × side × side × 3` normalised numbers, one row each.
    ///
    /// # Errors
    /// Where a device fails; our kernels never do.
    pub(in crate::inference) fn pooled(
        &self,
        context: &mut Context,
        pictures: &Tensor,
    ) -> Result<Vec<f32>, InferenceError> {
        let pooled = match &self.trunk {
            Trunk::Kernels(trunk) => {
                let Context { compute, buffers } = context;
                pictures.apply_op1_no_bwd(&Pooled { trunk, compute, rooms: &buffers.convolution })?
            }
            Trunk::Candle(trunk) => trunk.pooled(pictures)?,
        };
        Ok(pooled.flatten_all()?.to_vec1()?)
    }

    /// Logits of pooled features (any number of rows).
    pub(in crate::inference) fn classify(&self, compute: &Compute, pooled: &[f32]) -> Vec<f32> {
        let mut logits = vec![0f32; pooled.len() / self.features() * self.labels()];
        self.classifier.forward(compute, pooled, &mut logits, Epilogue::default());
        logits
    }
}

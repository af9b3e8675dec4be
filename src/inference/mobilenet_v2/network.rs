//! The network, wherever it computes: all but its last layer with our kernels or as candle's operations.

use super::checkpoint::Features;
use super::trunk::{Buffers, KernelTrunk};
use crate::inference::encoder;
use crate::inference::graph::Convolutions;
use crate::inference::kernels::{Compute, Epilogue, Linear};
use crate::inference::model::InferenceError;
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
    Graph(Convolutions),
}

impl Network {
    pub(in crate::inference) fn load(weights: &Weights, place: &Place) -> Result<Self, WeightsError> {
        let features = Features::load(weights)?;
        let classifier = encoder::classifier(weights, "classifier", features.head.outputs())?;
        let trunk = match place {
            Place::Cpu(_) => Trunk::Kernels(KernelTrunk::pack(features)),
            Place::Candle(device) => Trunk::Graph(
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
            Trunk::Graph(trunk) => trunk.width(),
        }
    }

    /// Number of classes.
    pub(in crate::inference) fn labels(&self) -> usize {
        self.classifier.outputs()
    }

    /// Pooled features of `count` square pictures, one row each; `fill(index, into)` writes the `side × side × 3` normalised
    /// numbers of one.
    ///
    /// # Errors
    /// Where a device fails; our kernels never do.
    pub(in crate::inference) fn pooled(
        &self,
        compute: &Compute,
        rooms: &mut Vec<Buffers>,
        count: usize,
        fill: &(dyn Fn(usize, &mut Vec<f32>) + Sync),
    ) -> Result<Vec<f32>, InferenceError> {
        match &self.trunk {
            Trunk::Kernels(trunk) => Ok(trunk.pooled(compute, rooms, count, fill)),
            Trunk::Graph(trunk) => {
                let mut pictures = vec![Vec::new(); count];
                pictures.iter_mut().enumerate().for_each(|(index, into)| fill(index, into));
                trunk.pooled(&pictures)
            }
        }
    }

    /// Logits of pooled features (any number of rows).
    pub(in crate::inference) fn classify(&self, compute: &Compute, pooled: &[f32]) -> Vec<f32> {
        let mut logits = vec![0f32; pooled.len() / self.features() * self.labels()];
        self.classifier.forward(compute, pooled, &mut logits, Epilogue::default());
        logits
    }
}

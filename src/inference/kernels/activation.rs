//! Activation functions, one number at a time: the plain versions that the vector ones are tested against.

/// What is applied to a layer's output before its residual is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The identity.
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)` (MobileNet).
    Relu6,
    /// `x/2 · (1 + erf(x/√2))`, the exact form (DistilBERT), not the tanh approximation.
    Gelu,
    /// `x · sigmoid(1.702 x)` (CLIP).
    QuickGelu,
}

impl Activation {
    /// Applies the function to one number.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::None => x,
            Self::Relu => x.max(0.0),
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::Gelu => {
                let half = 0.5 * x;
                half * erf(x * std::f32::consts::FRAC_1_SQRT_2) + half
            }
            Self::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        }
    }
}

/// Coefficients of the odd numerator of [`erf`], highest power first.
pub(super) const ERF_NUMERATOR: [f32; 7] =
    [-2.726_142_4e-10, 2.770_681_4e-8, -2.101_024e-6, -5.692_506_5e-5, -7.349_906_3e-4, -2.954_6e-3, -1.609_603_3e-2];
/// Coefficients of the denominator of [`erf`], highest power first.
pub(super) const ERF_DENOMINATOR: [f32; 5] =
    [-1.456_607_2e-5, -2.133_740_5e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];

/// From here on the error function is one in `f32`.
pub(super) const ERF_ONE_FROM: f32 = 3.92;

/// The error function to about 2e-7: the rational approximation on [-4, 4] that Eigen and XLA use for `f32`.
pub(super) fn erf(x: f32) -> f32 {
    if x.abs() >= ERF_ONE_FROM {
        return x.signum();
    }
    let square = x * x;
    let horner = |coefficients: &[f32]| coefficients.iter().fold(0.0, |sum, c| sum * square + c);
    x * horner(&ERF_NUMERATOR) / horner(&ERF_DENOMINATOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_matches_known_values() {
        // Abramowitz and Stegun, table 7.1.
        for (x, expected) in [
            (0.0, 0.0),
            (0.1, 0.112_462_916),
            (0.5, 0.520_499_9),
            (1.0, 0.842_700_8),
            (1.5, 0.966_105_15),
            (2.0, 0.995_322_3),
            (3.0, 0.999_977_9),
            (10.0, 1.0),
        ] {
            assert!((erf(x) - expected).abs() < 5e-7, "erf({x}) = {}", erf(x));
            assert!((erf(-x) + expected).abs() < 5e-7, "erf(-{x}) = {}", erf(-x));
        }
    }

    #[test]
    fn activations_at_the_ends() {
        for activation in [Activation::Relu, Activation::Gelu, Activation::QuickGelu] {
            assert!(activation.apply(-100.0).abs() < 1e-6, "{activation:?}");
            assert!((activation.apply(100.0) - 100.0).abs() < 1e-4, "{activation:?}");
            assert!(activation.apply(0.0).abs() < 1e-9, "{activation:?}");
        }
        assert!((Activation::Relu6.apply(7.0) - 6.0).abs() < 1e-9);
        assert!((Activation::None.apply(-7.0) + 7.0).abs() < 1e-9);
    }
}

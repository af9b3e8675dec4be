//! Layer normalisation of each row (Ba, Kiros and Hinton 2016), in place or from one buffer into another.

use super::Compute;
use super::shared::SharedMut;

/// Below this many numbers a second thread costs more than it brings.
const PARALLEL_FROM: usize = 30_000;

/// Scale, shift and epsilon of a layer normalisation over rows of `weight.len()` numbers.
pub struct LayerNorm {
    /// Scale of each column.
    pub weight: Vec<f32>,
    /// Shift of each column.
    pub bias: Vec<f32>,
    /// Added to the variance.
    pub epsilon: f32,
}

impl LayerNorm {
    /// Normalises each row of `x` in place.
    ///
    /// # Panics
    /// When `x` is not a whole number of rows (a bug in the caller, never a matter of input).
    pub fn forward(&self, compute: &Compute, x: &mut [f32]) {
        self.rows(compute, None, x);
    }

    /// As [`LayerNorm::forward`], from `x` into `y`.
    ///
    /// # Panics
    /// When the lengths of `x` and `y` differ or are not a whole number of rows.
    pub fn forward_into(&self, compute: &Compute, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len(), "layer norm into as many rows");
        self.rows(compute, Some(x), y);
    }

    /// Normalises each row of `x`, or of `y` itself, into `y`.
    fn rows(&self, compute: &Compute, x: Option<&[f32]>, y: &mut [f32]) {
        let width = self.weight.len();
        assert_eq!(y.len() % width, 0, "layer norm over rows of {width}");
        let rows = y.len() / width;
        let parts = if y.len() < PARALLEL_FROM { 1 } else { compute.pool.threads() };
        let shared = SharedMut::new(y);
        compute.pool.run_ranges(rows, parts, &|range| {
            for index in range {
                // SAFETY: `run_ranges` hands out each row once, and rows do not overlap.
                let row = unsafe { shared.slice_mut(index * width, width) };
                if let Some(x) = x {
                    row.copy_from_slice(&x[index * width..][..width]);
                }
                self.row(compute, row);
            }
        });
    }

    fn row(&self, compute: &Compute, row: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if compute.isa.has_avx2() {
            // SAFETY: the processor has AVX2 and FMA, as `Isa` found out.
            unsafe { super::avx2::layer_norm(row, &self.weight, &self.bias, self.epsilon) };
            return;
        }
        let _ = compute;
        self.plain_row(row);
    }

    pub(super) fn plain_row(&self, row: &mut [f32]) {
        let width = row.len() as f32;
        let mean = row.iter().sum::<f32>() / width;
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / width;
        let scale = 1.0 / (variance + self.epsilon).sqrt();
        for ((x, weight), bias) in row.iter_mut().zip(&self.weight).zip(&self.bias) {
            *x = (*x - mean) * scale * weight + bias;
        }
    }
}

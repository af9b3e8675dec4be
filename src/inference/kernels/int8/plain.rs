//! The portable version: what the vector ones are tested against.

use super::{Kernel, Steps, Tile};
use crate::inference::kernels::tile::PANEL;

/// One number after the other.
pub(super) struct Plain;

impl Kernel for Plain {
    const ROWS: usize = 4;
    const PANELS: usize = 1;

    unsafe fn quantise(row: &[f32], levels: f32, into: &mut [u8]) -> Steps {
        let steps = steps(row, levels);
        let per_unit = steps.per_unit();
        for (into, x) in into.iter_mut().zip(row) {
            *into = ((x - steps.offset) * per_unit).round_ties_even() as u8;
        }
        steps
    }

    unsafe fn tile(rows: usize, tile: &Tile) {
        for row in 0..rows {
            // SAFETY: `row < rows`, and the caller promises these extents.
            unsafe { tile_row(row, tile) };
        }
    }
}

/// The steps of a row.
pub(super) fn steps(row: &[f32], levels: f32) -> Steps {
    let (mut least, mut greatest, mut odd) = (f32::INFINITY, f32::NEG_INFINITY, 0f32);
    for &x in row {
        least = least.min(x);
        greatest = greatest.max(x);
        // Nothing, or not a number where x is not finite: least and greatest alone would hide that.
        odd += x * 0.0;
    }
    Steps::between(least + odd, greatest, levels)
}

/// # Safety
/// As for [`Kernel::tile`], with `row` below its `rows`.
unsafe fn tile_row(row: usize, tile: &Tile) {
    let mut sums = [0i32; PANEL];
    // SAFETY: all reads and writes are inside the extents the caller promises: `row` below the rows, four numbers for each
    // of the quads, whole panels of what belongs to columns, `columns` of C and of the residual.
    unsafe {
        for quad in 0..tile.quads {
            let a = std::slice::from_raw_parts(tile.a.add(row * tile.a_stride + 4 * quad), 4);
            let line = &*tile.b.add(quad);
            for (sum, weights) in sums.iter_mut().zip(&line.0) {
                *sum += a.iter().zip(weights).map(|(&a, &w)| i32::from(a) * i32::from(w)).sum::<i32>();
            }
        }
        let Steps { scale, offset } = *tile.steps.add(row);
        for (column, &sum) in sums.iter().enumerate().take(tile.columns) {
            let shift = offset * *tile.sums.add(column) + *tile.bias.add(column);
            let mut value = tile.activation.apply(sum as f32 * (scale * *tile.scales.add(column)) + shift);
            if !tile.residual.is_null() {
                value += *tile.residual.add(row * tile.c_stride + column);
            }
            *tile.c.add(row * tile.c_stride + column) = value;
        }
    }
}

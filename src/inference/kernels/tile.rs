//! The one inner loop that matrix products are made of: a few rows of A times one or two 16-column panels of B.
//!
//! Here is what a tile is and its plain version; `avx2` and `avx512` hold the vector ones.

use std::ops::Range;

use super::activation::Activation;

/// Columns of a panel: one AVX-512 register, two AVX2 registers.
pub(super) const PANEL: usize = 16;

/// A tile: `C = finish(start + A · B)` for `rows` rows and `columns` columns, over `depth` products each.
///
/// Strides are in numbers. The pointers must be valid as [`TileKernel::tile`] says.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Length of the inner products.
    pub(super) depth: usize,
    /// `rows × depth`, row stride `a_stride`.
    pub(super) a: *const f32,
    pub(super) a_stride: usize,
    /// `depth × 16` for each panel: step `b_stride` from one depth to the next, `b_panel` from one panel to the next.
    pub(super) b: *const f32,
    pub(super) b_stride: usize,
    pub(super) b_panel: usize,
    /// `rows × columns`, row stride `c_stride`.
    pub(super) c: *mut f32,
    pub(super) c_stride: usize,
    /// Columns written, at most 16 for each panel.
    pub(super) columns: usize,
    /// Sums start at zero (plus `bias`) instead of at what C holds.
    pub(super) first: bool,
    /// Sums are complete: scale, activation and residual are applied.
    pub(super) last: bool,
    /// One number a column (padded to whole panels), or null.
    pub(super) bias: *const f32,
    pub(super) scale: f32,
    pub(super) activation: Activation,
    /// `rows × columns` added last, or null.
    pub(super) residual: *const f32,
    pub(super) residual_stride: usize,
    /// What is needed soon, to be brought into the second-level cache meanwhile, and how many bytes of it in each step
    /// of the depth: see `cache`. Anything that is near where there is nothing.
    pub(super) ahead: *const f32,
    pub(super) ahead_step: usize,
}

/// An implementation of the tile for one instruction set.
pub(super) trait TileKernel {
    /// Most rows in a tile.
    const ROWS: usize;
    /// Most panels in a tile.
    const PANELS: usize;
    /// Depth at which a product is cut so that the panels of B stay in the first cache levels.
    const DEPTH: usize;

    /// Computes one tile of `rows` (1 to `ROWS`) by `columns` (in 1 to `PANELS` panels).
    ///
    /// # Safety
    /// The processor has the instruction set. `a`, `b`, `bias` and `residual` (where not null) can be read and `c` be
    /// written over the extents in [`Tile`], `b` and `bias` over whole panels; nobody else accesses that part of `c`.
    unsafe fn tile(rows: usize, tile: &Tile);
}

/// Rows cut evenly into tiles of at most `most`, each as its first row and its height: 16 rows are 6, 5 and 5 and not 6, 6
/// and 4.
pub(super) fn tiles(rows: Range<usize>, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.len().div_ceil(most);
    let (height, higher) = (rows.len() / count.max(1), rows.len() % count.max(1));
    (0..count).map(move |index| (rows.start + index * height + index.min(higher), height + usize::from(index < higher)))
}

/// Portable code; the compiler vectorises it for whatever the target has.
pub(super) struct Plain;

impl TileKernel for Plain {
    const ROWS: usize = 4;
    const PANELS: usize = 1;
    const DEPTH: usize = 512;

    unsafe fn tile(rows: usize, tile: &Tile) {
        for row in 0..rows {
            // SAFETY: `row < rows`, and the caller promises these extents.
            unsafe { plain_row(row, tile) };
        }
    }
}

/// # Safety
/// As for [`TileKernel::tile`], with `row` below its `rows`.
unsafe fn plain_row(row: usize, tile: &Tile) {
    let mut sums = [0f32; PANEL];
    let columns = tile.columns.min(PANEL);
    // SAFETY: all reads and writes are inside the extents the caller promises: `row` below the rows, `k` below the depth,
    // whole panels of B and bias, `columns` of C and of the residual.
    unsafe {
        for k in 0..tile.depth {
            let a = *tile.a.add(row * tile.a_stride + k);
            let b = std::slice::from_raw_parts(tile.b.add(k * tile.b_stride), PANEL);
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
        for (column, &sum) in sums.iter().enumerate().take(columns) {
            let c = tile.c.add(row * tile.c_stride + column);
            let mut value = sum;
            if !tile.first {
                value += *c;
            } else if !tile.bias.is_null() {
                value += *tile.bias.add(column);
            }
            if tile.last {
                value = tile.activation.apply(value * tile.scale);
                if !tile.residual.is_null() {
                    value += *tile.residual.add(row * tile.residual_stride + column);
                }
            }
            *c = value;
        }
    }
}

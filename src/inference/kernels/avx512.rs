//! The tile for processors with AVX-512 (x86-64-v4).

#![allow(clippy::wildcard_imports, reason = "intrinsics are named so that they can't be confused with anything")]

use std::arch::x86_64::*;

use super::activation::{Activation, ERF_DENOMINATOR, ERF_NUMERATOR, ERF_ONE_FROM};
use super::depthwise::Row;
use super::tile::{PANEL, Tile, TileKernel};

/// Tiles of up to 12 × 32: 24 sums, two registers of B and one of A, of the 32 there are.
pub(super) struct Avx512;

impl TileKernel for Avx512 {
    const ROWS: usize = 12;
    const PANELS: usize = 2;
    const DEPTH: usize = 768;

    unsafe fn tile(rows: usize, tile: &Tile) {
        macro_rules! by_rows {
            ($($rows:literal)*) => {
                match rows {
                    $($rows => if tile.columns > PANEL { rows_of::<$rows, 2>(tile) } else { rows_of::<$rows, 1>(tile) },)*
                    _ => debug_assert!(false, "a tile of {rows} rows"),
                }
            };
        }
        // SAFETY: the caller's promises are those of `rows_of`; a second panel exists where there are more than 16 columns.
        unsafe { by_rows!(1 2 3 4 5 6 7 8 9 10 11 12) }
    }
}

/// # Safety
/// As for [`TileKernel::tile`].
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn rows_of<const ROWS: usize, const PANELS: usize>(tile: &Tile) {
    // SAFETY: rows below `ROWS`, depth below `depth`, whole panels of B and bias, and masked columns of C and of the
    // residual: the extents the caller promises. The prefetches read nothing.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); PANELS]; ROWS];
        let mut b = tile.b;
        let mut ahead = tile.ahead;
        for k in 0..tile.depth {
            let mut panels = [_mm512_setzero_ps(); PANELS];
            for (panel, line) in panels.iter_mut().enumerate() {
                let pointer = b.wrapping_add(panel * tile.b_panel);
                *line = _mm512_loadu_ps(pointer);
                _mm_prefetch::<_MM_HINT_T0>(pointer.wrapping_add(16 * PANEL).cast());
            }
            _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
            ahead = ahead.wrapping_byte_add(tile.ahead_step);
            for (row, sum) in sums.iter_mut().enumerate() {
                let a = _mm512_set1_ps(*tile.a.add(row * tile.a_stride + k));
                for (sum, line) in sum.iter_mut().zip(panels) {
                    *sum = _mm512_fmadd_ps(a, line, *sum);
                }
            }
            b = b.wrapping_add(tile.b_stride);
        }
        // Into memory before they are gone through in a loop: whatever is indexed there is kept in memory from the start,
        // and the sums must not be.
        let mut finished = [[_mm512_setzero_ps(); PANELS]; ROWS];
        for (finished, sum) in finished.iter_mut().zip(&sums) {
            for (finished, sum) in finished.iter_mut().zip(sum) {
                _mm512_storeu_ps(std::ptr::from_mut(finished).cast(), *sum);
            }
        }
        finish(&finished, tile);
    }
}

/// Bias, scale, activation and residual, and into C with them.
///
/// # Safety
/// As for [`TileKernel::tile`].
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline(never)]
unsafe fn finish<const PANELS: usize>(sums: &[[__m512; PANELS]], tile: &Tile) {
    // SAFETY: as above.
    unsafe {
        for panel in 0..PANELS {
            let columns = tile.columns.saturating_sub(PANEL * panel).min(PANEL);
            let mask: __mmask16 = if columns == PANEL { !0 } else { (1 << columns) - 1 };
            let bias = if tile.first && !tile.bias.is_null() {
                _mm512_loadu_ps(tile.bias.add(PANEL * panel))
            } else {
                _mm512_setzero_ps()
            };
            for (row, sum) in sums.iter().enumerate() {
                let c = tile.c.add(row * tile.c_stride + PANEL * panel);
                let mut value = _mm512_add_ps(sum[panel], bias);
                if !tile.first {
                    value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, c));
                }
                if tile.last {
                    value = activate(_mm512_mul_ps(value, _mm512_set1_ps(tile.scale)), tile.activation);
                    if !tile.residual.is_null() {
                        let residual = tile.residual.add(row * tile.residual_stride + PANEL * panel);
                        value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, residual));
                    }
                }
                _mm512_mask_storeu_ps(c, mask, value);
            }
        }
    }
}

/// `eˣ` to about 1e-7 relative (Cephes `expf`), clamped to the range of normal numbers.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
fn exp(x: __m512) -> __m512 {
    let x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-87.3)), _mm512_set1_ps(88.3));
    let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT }>(_mm512_mul_ps(
        x,
        _mm512_set1_ps(std::f32::consts::LOG2_E),
    ));
    // ln 2 in two parts, so that the remainder is exact.
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693_359_4), x);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.121_944_4e-4), r);
    let mut p = _mm512_set1_ps(1.987_569_1e-4);
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
    }
    let y = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0));
    _mm512_scalef_ps(y, n)
}

#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
fn erf(x: __m512) -> __m512 {
    let far = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(_mm512_abs_ps(x), _mm512_set1_ps(ERF_ONE_FROM));
    let square = _mm512_mul_ps(x, x);
    let mut numerator = _mm512_set1_ps(ERF_NUMERATOR[0]);
    for c in &ERF_NUMERATOR[1..] {
        numerator = _mm512_fmadd_ps(numerator, square, _mm512_set1_ps(*c));
    }
    let mut denominator = _mm512_set1_ps(ERF_DENOMINATOR[0]);
    for c in &ERF_DENOMINATOR[1..] {
        denominator = _mm512_fmadd_ps(denominator, square, _mm512_set1_ps(*c));
    }
    let near = _mm512_div_ps(_mm512_mul_ps(numerator, x), denominator);
    // One with the sign of x.
    let sign = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(i32::MIN));
    let one = _mm512_castsi512_ps(_mm512_or_si512(sign, _mm512_castps_si512(_mm512_set1_ps(1.0))));
    _mm512_mask_mov_ps(near, far, one)
}

#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
pub(super) fn activate(x: __m512, activation: Activation) -> __m512 {
    match activation {
        Activation::None => x,
        Activation::Relu => _mm512_max_ps(x, _mm512_setzero_ps()),
        Activation::Relu6 => _mm512_min_ps(_mm512_max_ps(x, _mm512_setzero_ps()), _mm512_set1_ps(6.0)),
        Activation::Gelu => {
            let half = _mm512_mul_ps(x, _mm512_set1_ps(0.5));
            let erf = erf(_mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::FRAC_1_SQRT_2)));
            _mm512_fmadd_ps(half, erf, half)
        }
        Activation::QuickGelu => {
            let e = exp(_mm512_mul_ps(x, _mm512_set1_ps(-1.702)));
            _mm512_div_ps(x, _mm512_add_ps(e, _mm512_set1_ps(1.0)))
        }
    }
}

/// Pixels of a depthwise convolution that are computed together, so that each of the input is read once for all of them.
const PIXELS: usize = 4;

/// One output row of a depthwise 3×3 convolution, channels in steps of 16; see `depthwise` for the layout.
///
/// # Panics
/// When a slice has another length than [`Row`] says, `channels` is not a multiple of 16 or the stride is not 1 or 2.
#[target_feature(enable = "avx512f,avx2,fma")]
pub(super) fn depthwise_row(row: &Row<'_>, output: &mut [f32]) {
    match row.stride {
        1 => strided::<1, { PIXELS + 2 }>(row, output),
        2 => strided::<2, { 2 * PIXELS + 1 }>(row, output),
        stride => unreachable!("a depthwise convolution of stride {stride}"),
    }
}

/// `COLUMNS` of the input go into [`PIXELS`] of the output.
#[target_feature(enable = "avx512f,avx2,fma")]
fn strided<const STRIDE: usize, const COLUMNS: usize>(row: &Row<'_>, output: &mut [f32]) {
    let zero = _mm512_setzero_ps();
    let Row { channels, width, out_width, pad, .. } = *row;
    assert!(channels.is_multiple_of(16) && output.len() == out_width * channels);
    assert!(row.weights.len() == 9 * channels && row.bias.len() == channels);
    assert!(row.inputs.iter().flatten().all(|input| input.len() == width * channels));
    let Some(inside) = row.inputs.iter().flatten().next().copied() else { return };
    for channel in (0..channels).step_by(16) {
        // SAFETY: the weights have nine times `channels` numbers, the bias `channels`, and `channel + 16 <= channels`.
        let (mut weights, bias) = unsafe {
            let mut weights = [zero; 9];
            for (tap, weight) in weights.iter_mut().enumerate() {
                *weight = _mm512_loadu_ps(row.weights.as_ptr().add(tap * channels + channel));
            }
            (weights, _mm512_loadu_ps(row.bias.as_ptr().add(channel)))
        };
        // A row outside the picture gets zero weights and some valid pointer.
        let mut inputs = [inside; 3];
        for (y, input) in row.inputs.iter().enumerate() {
            match input {
                Some(input) => inputs[y] = input,
                None => weights[3 * y..3 * y + 3].fill(zero),
            }
        }
        let finish = |sum: __m512| _mm512_min_ps(_mm512_max_ps(sum, zero), _mm512_set1_ps(6.0));
        let mut x = 0;
        while x < out_width {
            let left = (x * STRIDE) as isize - pad as isize;
            // SAFETY: each tap reads 16 numbers of a pixel in a row of width × channels, which the condition says of all
            // of them or is asked of each; the stores are to pixels below `out_width` of the output row.
            unsafe {
                let to = output.as_mut_ptr().add(x * channels + channel);
                if left >= 0 && left as usize + COLUMNS <= width && x + PIXELS <= out_width {
                    let mut sums = [bias; PIXELS];
                    for (y, input) in inputs.iter().enumerate() {
                        let from = input.as_ptr().add(left as usize * channels + channel);
                        let mut columns = [zero; COLUMNS];
                        for (index, column) in columns.iter_mut().enumerate() {
                            *column = _mm512_loadu_ps(from.add(index * channels));
                        }
                        for (pixel, sum) in sums.iter_mut().enumerate() {
                            for tap in 0..3 {
                                *sum = _mm512_fmadd_ps(weights[3 * y + tap], columns[pixel * STRIDE + tap], *sum);
                            }
                        }
                    }
                    for (pixel, sum) in sums.into_iter().enumerate() {
                        _mm512_storeu_ps(to.add(pixel * channels), finish(sum));
                    }
                    x += PIXELS;
                } else {
                    let mut sum = bias;
                    for (y, input) in inputs.iter().enumerate() {
                        for tap in 0..3 {
                            let column = left + tap as isize;
                            if (0..width as isize).contains(&column) {
                                let pixel = _mm512_loadu_ps(input.as_ptr().add(column as usize * channels + channel));
                                sum = _mm512_fmadd_ps(weights[3 * y + tap], pixel, sum);
                            }
                        }
                    }
                    _mm512_storeu_ps(to, finish(sum));
                    x += 1;
                }
            }
        }
    }
}

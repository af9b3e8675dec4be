//! The tile for processors with AVX-512 (x86-64-v4).

#![allow(clippy::wildcard_imports, reason = "intrinsics are named so that they can't be confused with anything")]

use std::arch::x86_64::*;

use super::activation::{Activation, ERF_DENOMINATOR, ERF_NUMERATOR, ERF_ONE_FROM};
use super::tile::{PANEL, Tile, TileKernel};

/// Tiles of up to 12 × 32: 24 sums, two registers of B and one of A, of the 32 there are.
pub(super) struct Avx512;

impl TileKernel for Avx512 {
    const ROWS: usize = 12;
    const PANELS: usize = 2;
    const DEPTH: usize = 384;

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
        for k in 0..tile.depth {
            let mut panels = [_mm512_setzero_ps(); PANELS];
            for (panel, line) in panels.iter_mut().enumerate() {
                let pointer = b.wrapping_add(panel * tile.b_panel);
                *line = _mm512_loadu_ps(pointer);
                _mm_prefetch::<_MM_HINT_T0>(pointer.wrapping_add(16 * PANEL).cast());
            }
            for (row, sum) in sums.iter_mut().enumerate() {
                let a = _mm512_set1_ps(*tile.a.add(row * tile.a_stride + k));
                for (sum, line) in sum.iter_mut().zip(panels) {
                    *sum = _mm512_fmadd_ps(a, line, *sum);
                }
            }
            b = b.wrapping_add(tile.b_stride);
        }
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
fn activate(x: __m512, activation: Activation) -> __m512 {
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

//! Products of bytes with AVX-512 VNNI: four of them for each of 16 outputs in one instruction, added up in 32 bits.

#![allow(clippy::wildcard_imports, reason = "intrinsics are named so that they can't be confused with anything")]

use std::arch::x86_64::*;

use super::{Kernel, QUAD, Steps, Tile};
use crate::inference::kernels::avx512::activate;
use crate::inference::kernels::tile::PANEL;

/// Tiles of up to 12 × 32: 24 sums, two registers of B and one of A, of the 32 there are.
pub(super) struct Vnni;

impl Kernel for Vnni {
    const ROWS: usize = 12;
    const PANELS: usize = 2;

    unsafe fn quantise(row: &[f32], levels: f32, into: &mut [u8]) -> Steps {
        // SAFETY: the caller promises AVX-512 F.
        unsafe { quantise(row, levels, into) }
    }

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

#[target_feature(enable = "avx512f,avx2,fma")]
fn quantise(row: &[f32], levels: f32, into: &mut [u8]) -> Steps {
    assert!(into.len() >= row.len(), "{} integers for {}", into.len(), row.len());
    let mut least = _mm512_set1_ps(f32::INFINITY);
    let mut greatest = _mm512_set1_ps(f32::NEG_INFINITY);
    let mut odd = _mm512_setzero_ps();
    let mask = |start: usize| -> __mmask16 {
        let left = row.len() - start;
        if left >= 16 { !0 } else { (1 << left) - 1 }
    };
    for start in (0..row.len()).step_by(16) {
        let mask = mask(start);
        // SAFETY: the mask leaves out what lies behind the row.
        let x = unsafe { _mm512_maskz_loadu_ps(mask, row.as_ptr().add(start)) };
        least = _mm512_mask_min_ps(least, mask, least, x);
        greatest = _mm512_mask_max_ps(greatest, mask, greatest, x);
        // Nothing, or not a number where x is not finite: least and greatest alone would hide that.
        odd = _mm512_fmadd_ps(x, _mm512_setzero_ps(), odd);
    }
    let least = _mm512_reduce_min_ps(least) + _mm512_reduce_add_ps(odd);
    let steps = Steps::between(least, _mm512_reduce_max_ps(greatest), levels);
    let (offsets, factors) = (_mm512_set1_ps(steps.offset), _mm512_set1_ps(steps.per_unit()));
    for start in (0..row.len()).step_by(16) {
        let mask = mask(start);
        // SAFETY: the mask leaves out what lies behind the row, in `row` and in `into`, which is as long.
        unsafe {
            let x = _mm512_maskz_loadu_ps(mask, row.as_ptr().add(start));
            let q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_sub_ps(x, offsets), factors));
            _mm512_mask_cvtusepi32_storeu_epi8(into.as_mut_ptr().add(start).cast(), mask, q);
        }
    }
    steps
}

/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx512f,avx512vnni,avx2,fma")]
unsafe fn rows_of<const ROWS: usize, const PANELS: usize>(tile: &Tile) {
    // SAFETY: rows below `ROWS`, quads below `quads`, whole lines of B, whole panels of what belongs to columns, and
    // masked columns of C and of the residual: the extents the caller promises. The prefetches read nothing.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); PANELS]; ROWS];
        let mut ahead = tile.ahead;
        for quad in 0..tile.quads {
            let mut panels = [_mm512_setzero_si512(); PANELS];
            for (panel, line) in panels.iter_mut().enumerate() {
                let pointer = tile.b.wrapping_add(panel * tile.b_panel + quad);
                *line = _mm512_load_si512(pointer.cast());
                _mm_prefetch::<_MM_HINT_T0>(pointer.wrapping_add(16).cast());
            }
            _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
            ahead = ahead.wrapping_byte_add(tile.ahead_step);
            for (row, sum) in sums.iter_mut().enumerate() {
                let a = tile.a.add(row * tile.a_stride + QUAD * quad).cast::<i32>().read_unaligned();
                for (sum, line) in sum.iter_mut().zip(panels) {
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_set1_epi32(a), line);
                }
            }
        }
        // Into memory before they are gone through in a loop: see the tile in fp32.
        let mut finished = [[_mm512_setzero_si512(); PANELS]; ROWS];
        for (finished, sum) in finished.iter_mut().zip(&sums) {
            for (finished, sum) in finished.iter_mut().zip(sum) {
                _mm512_storeu_si512(finished, *sum);
            }
        }
        finish(&finished, tile);
    }
}

/// Scales, bias, activation and residual, and into C with them.
///
/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline(never)]
pub(super) unsafe fn finish<const PANELS: usize>(sums: &[[__m512i; PANELS]], tile: &Tile) {
    // SAFETY: as above.
    unsafe {
        for panel in 0..PANELS {
            let columns = tile.columns.saturating_sub(PANEL * panel).min(PANEL);
            let mask: __mmask16 = if columns == PANEL { !0 } else { (1 << columns) - 1 };
            let scales = _mm512_loadu_ps(tile.scales.add(PANEL * panel));
            let weights = _mm512_loadu_ps(tile.sums.add(PANEL * panel));
            let bias = _mm512_loadu_ps(tile.bias.add(PANEL * panel));
            for (row, sum) in sums.iter().enumerate() {
                let Steps { scale, offset } = *tile.steps.add(row);
                let shift = _mm512_fmadd_ps(_mm512_set1_ps(offset), weights, bias);
                let scale = _mm512_mul_ps(_mm512_set1_ps(scale), scales);
                let mut value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[panel]), scale, shift);
                value = activate(value, tile.activation);
                let at = row * tile.c_stride + PANEL * panel;
                if !tile.residual.is_null() {
                    value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, tile.residual.add(at)));
                }
                _mm512_mask_storeu_ps(tile.c.add(at), mask, value);
            }
        }
    }
}

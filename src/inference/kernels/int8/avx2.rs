//! Products of bytes with AVX2.

#![allow(clippy::wildcard_imports, reason = "intrinsics are named so that they can't be confused with anything")]

use std::arch::x86_64::*;

use super::{Kernel, QUAD, Steps, Tile};
use crate::inference::kernels::avx2::{activate, columns_mask};

/// Two bytes of the input times two weights are added up in 16 bits, which the weights leave room for, and two of those
/// sums in 32. Tiles of up to 6 × 16: twelve sums, two registers of weights, one of the input and one in between.
pub(super) struct Avx2;

impl Kernel for Avx2 {
    const ROWS: usize = 6;
    const PANELS: usize = 1;

    unsafe fn quantise(row: &[f32], levels: f32, into: &mut [u8]) -> Steps {
        // SAFETY: the caller promises AVX2 and FMA.
        unsafe { quantise(row, levels, into) }
    }

    unsafe fn tile(rows: usize, tile: &Tile) {
        // SAFETY: the caller's promises are those of `rows_of`.
        unsafe {
            match rows {
                1 => rows_of::<1>(tile),
                2 => rows_of::<2>(tile),
                3 => rows_of::<3>(tile),
                4 => rows_of::<4>(tile),
                5 => rows_of::<5>(tile),
                _ => rows_of::<6>(tile),
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn quantise(row: &[f32], levels: f32, into: &mut [u8]) -> Steps {
    let whole = row.len() / 8 * 8;
    assert!(into.len() >= row.len(), "{} integers for {}", into.len(), row.len());
    let mut least = _mm256_set1_ps(f32::INFINITY);
    let mut greatest = _mm256_set1_ps(f32::NEG_INFINITY);
    let mut odd = _mm256_setzero_ps();
    // SAFETY: each load is of 8 numbers from an index at most `whole - 8`, inside the row.
    unsafe {
        for i in (0..whole).step_by(8) {
            let x = _mm256_loadu_ps(row.as_ptr().add(i));
            least = _mm256_min_ps(least, x);
            greatest = _mm256_max_ps(greatest, x);
            odd = _mm256_fmadd_ps(x, _mm256_setzero_ps(), odd);
        }
    }
    let lanes = |x: __m256| -> [f32; 8] {
        let mut lanes = [0f32; 8];
        // SAFETY: it stores 8 numbers into 8.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), x) };
        lanes
    };
    let rest = &row[whole..];
    let odd = lanes(odd).into_iter().sum::<f32>() + rest.iter().map(|x| x * 0.0).sum::<f32>();
    let least = lanes(least).into_iter().chain(rest.iter().copied()).fold(f32::INFINITY, f32::min);
    let greatest = lanes(greatest).into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, f32::max);
    let steps = Steps::between(least + odd, greatest, levels);
    let per_unit = steps.per_unit();
    let (offsets, factors) = (_mm256_set1_ps(steps.offset), _mm256_set1_ps(per_unit));
    // SAFETY: loads as above; each store is of 8 numbers from the same index, and `into` is as long as the row.
    unsafe {
        for i in (0..whole).step_by(8) {
            let x = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(row.as_ptr().add(i)), offsets), factors);
            let q = _mm256_cvtps_epi32(x);
            let q = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256::<1>(q));
            _mm_storel_epi64(into.as_mut_ptr().add(i).cast(), _mm_packus_epi16(q, q));
        }
    }
    for (into, x) in into[whole..].iter_mut().zip(rest) {
        *into = ((x - steps.offset) * per_unit).round_ties_even() as u8;
    }
    steps
}

/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx2,fma")]
unsafe fn rows_of<const ROWS: usize>(tile: &Tile) {
    // SAFETY: rows below `ROWS`, quads below `quads`, whole lines of B, whole panels of what belongs to columns, and
    // masked columns of C and of the residual: the extents the caller promises. The prefetches read nothing.
    unsafe {
        // Rows of C are far apart: nothing else brings them near before they are wanted.
        for row in 0..ROWS {
            _mm_prefetch::<_MM_HINT_T0>(tile.c.wrapping_add(row * tile.c_stride).cast());
        }
        let ones = _mm256_set1_epi16(1);
        let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
        let mut ahead = tile.ahead;
        for quad in 0..tile.quads {
            let line = tile.b.add(quad).cast::<__m256i>();
            _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
            ahead = ahead.wrapping_byte_add(tile.ahead_step);
            let (left, right) = (_mm256_loadu_si256(line), _mm256_loadu_si256(line.add(1)));
            for (row, sum) in sums.iter_mut().enumerate() {
                let a = tile.a.add(row * tile.a_stride + QUAD * quad).cast::<i32>().read_unaligned();
                let a = _mm256_set1_epi32(a);
                sum[0] = _mm256_add_epi32(sum[0], _mm256_madd_epi16(_mm256_maddubs_epi16(a, left), ones));
                sum[1] = _mm256_add_epi32(sum[1], _mm256_madd_epi16(_mm256_maddubs_epi16(a, right), ones));
            }
        }
        let mut finished = [[_mm256_setzero_si256(); 2]; ROWS];
        for (finished, sum) in finished.iter_mut().zip(&sums) {
            for (finished, sum) in finished.iter_mut().zip(sum) {
                _mm256_storeu_si256(finished, *sum);
            }
        }
        finish(&finished, tile);
    }
}

/// Scales, bias, activation and residual, and into C with them.
///
/// # Safety
/// As for [`Kernel::tile`].
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn finish(sums: &[[__m256i; 2]], tile: &Tile) {
    // SAFETY: as above.
    unsafe {
        for half in 0..2 {
            let columns = tile.columns.saturating_sub(8 * half).min(8);
            if columns == 0 {
                break;
            }
            let mask = columns_mask(columns);
            let scales = _mm256_loadu_ps(tile.scales.add(8 * half));
            let weights = _mm256_loadu_ps(tile.sums.add(8 * half));
            let bias = _mm256_loadu_ps(tile.bias.add(8 * half));
            for (row, sum) in sums.iter().enumerate() {
                let Steps { scale, offset } = *tile.steps.add(row);
                let shift = _mm256_fmadd_ps(_mm256_set1_ps(offset), weights, bias);
                let scale = _mm256_mul_ps(_mm256_set1_ps(scale), scales);
                let mut value = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[half]), scale, shift);
                value = activate(value, tile.activation);
                let at = row * tile.c_stride + 8 * half;
                if !tile.residual.is_null() {
                    value = _mm256_add_ps(value, _mm256_maskload_ps(tile.residual.add(at), mask));
                }
                let c = tile.c.add(at);
                if columns == 8 { _mm256_storeu_ps(c, value) } else { _mm256_maskstore_ps(c, mask, value) }
            }
        }
    }
}

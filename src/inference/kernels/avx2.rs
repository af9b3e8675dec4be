//! Kernels for processors with AVX2 and FMA (x86-64-v3).

#![allow(clippy::wildcard_imports, reason = "intrinsics are named so that they can't be confused with anything")]

use std::arch::x86_64::*;

use super::activation::{Activation, ERF_DENOMINATOR, ERF_NUMERATOR, ERF_ONE_FROM};
use super::depthwise::Row;
use super::tile::{PANEL, Tile, TileKernel};

/// Tiles of up to 6 × 16: twelve sums, two registers of B and one of A fill the sixteen there are.
pub(super) struct Avx2;

impl TileKernel for Avx2 {
    const ROWS: usize = 6;
    const PANELS: usize = 1;
    const DEPTH: usize = 512;

    unsafe fn tile(rows: usize, tile: &Tile) {
        // SAFETY: the caller's promises are those of `tile` below.
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

/// # Safety
/// As for [`TileKernel::tile`].
#[target_feature(enable = "avx2,fma")]
unsafe fn rows_of<const ROWS: usize>(tile: &Tile) {
    // SAFETY: rows below `ROWS`, depth below `depth`, whole panels of B and bias, and masked columns of C and of the
    // residual: the extents the caller promises. The prefetch reads nothing.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        let mut b = tile.b;
        for k in 0..tile.depth {
            let b0 = _mm256_loadu_ps(b);
            let b1 = _mm256_loadu_ps(b.add(8));
            _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(256).cast());
            for (row, sum) in sums.iter_mut().enumerate() {
                let a = _mm256_broadcast_ss(&*tile.a.add(row * tile.a_stride + k));
                sum[0] = _mm256_fmadd_ps(a, b0, sum[0]);
                sum[1] = _mm256_fmadd_ps(a, b1, sum[1]);
            }
            b = b.wrapping_add(tile.b_stride);
        }
        for half in 0..2 {
            let columns = tile.columns.saturating_sub(8 * half).min(8);
            if columns == 0 {
                break;
            }
            let mask = columns_mask(columns);
            let bias = if tile.first && !tile.bias.is_null() {
                _mm256_loadu_ps(tile.bias.add(8 * half))
            } else {
                _mm256_setzero_ps()
            };
            for (row, sum) in sums.iter().enumerate() {
                let c = tile.c.add(row * tile.c_stride + 8 * half);
                let mut value = _mm256_add_ps(sum[half], bias);
                if !tile.first {
                    value = _mm256_add_ps(value, _mm256_maskload_ps(c, mask));
                }
                if tile.last {
                    value = activate(_mm256_mul_ps(value, _mm256_set1_ps(tile.scale)), tile.activation);
                    if !tile.residual.is_null() {
                        let residual = tile.residual.add(row * tile.residual_stride + 8 * half);
                        value = _mm256_add_ps(value, _mm256_maskload_ps(residual, mask));
                    }
                }
                if columns == 8 { _mm256_storeu_ps(c, value) } else { _mm256_maskstore_ps(c, mask, value) }
            }
        }
    }
}

/// Lanes 0 to `columns` (at most 8) set.
#[target_feature(enable = "avx2,fma")]
pub(super) fn columns_mask(columns: usize) -> __m256i {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(columns as i32), lanes)
}

/// `eˣ` to about 1e-7 relative (Cephes `expf`), clamped to the range of normal numbers.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn exp(x: __m256) -> __m256 {
    let x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(-87.3)), _mm256_set1_ps(88.3));
    let scaled = _mm256_mul_ps(x, _mm256_set1_ps(std::f32::consts::LOG2_E));
    let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(scaled);
    // ln 2 in two parts, so that the remainder is exact.
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693_359_4), x);
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.121_944_4e-4), r);
    let mut p = _mm256_set1_ps(1.987_569_1e-4);
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(c));
    }
    let y = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0));
    let power = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)));
    _mm256_mul_ps(y, _mm256_castsi256_ps(power))
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn erf(x: __m256) -> __m256 {
    let sign = _mm256_and_ps(x, _mm256_set1_ps(-0.0));
    let far = _mm256_cmp_ps::<_CMP_GE_OQ>(_mm256_xor_ps(x, sign), _mm256_set1_ps(ERF_ONE_FROM));
    let square = _mm256_mul_ps(x, x);
    let mut numerator = _mm256_set1_ps(ERF_NUMERATOR[0]);
    for c in &ERF_NUMERATOR[1..] {
        numerator = _mm256_fmadd_ps(numerator, square, _mm256_set1_ps(*c));
    }
    let mut denominator = _mm256_set1_ps(ERF_DENOMINATOR[0]);
    for c in &ERF_DENOMINATOR[1..] {
        denominator = _mm256_fmadd_ps(denominator, square, _mm256_set1_ps(*c));
    }
    let near = _mm256_div_ps(_mm256_mul_ps(numerator, x), denominator);
    _mm256_blendv_ps(near, _mm256_or_ps(sign, _mm256_set1_ps(1.0)), far)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn activate(x: __m256, activation: Activation) -> __m256 {
    match activation {
        Activation::None => x,
        Activation::Relu => _mm256_max_ps(x, _mm256_setzero_ps()),
        Activation::Relu6 => _mm256_min_ps(_mm256_max_ps(x, _mm256_setzero_ps()), _mm256_set1_ps(6.0)),
        Activation::Gelu => {
            let half = _mm256_mul_ps(x, _mm256_set1_ps(0.5));
            let erf = erf(_mm256_mul_ps(x, _mm256_set1_ps(std::f32::consts::FRAC_1_SQRT_2)));
            _mm256_fmadd_ps(half, erf, half)
        }
        Activation::QuickGelu => {
            let e = exp(_mm256_mul_ps(x, _mm256_set1_ps(-1.702)));
            _mm256_div_ps(x, _mm256_add_ps(e, _mm256_set1_ps(1.0)))
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn sum(x: __m256) -> f32 {
    let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let x = _mm_hadd_ps(x, x);
    _mm_cvtss_f32(_mm_hadd_ps(x, x))
}

/// Layer normalisation of one row in place.
///
/// # Panics
/// When `weight` or `bias` is shorter than the row.
#[target_feature(enable = "avx2,fma")]
pub(super) fn layer_norm(row: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    let width = row.len();
    let (weight, bias) = (&weight[..width], &bias[..width]);
    let whole = width / 8 * 8;
    // SAFETY: every load and store is of 8 numbers from an index at most `whole - 8`, inside slices of `width`.
    unsafe {
        let mut total = _mm256_setzero_ps();
        for i in (0..whole).step_by(8) {
            total = _mm256_add_ps(total, _mm256_loadu_ps(row.as_ptr().add(i)));
        }
        let mean = (sum(total) + row[whole..].iter().sum::<f32>()) / width as f32;
        let means = _mm256_set1_ps(mean);
        let mut squares = _mm256_setzero_ps();
        for i in (0..whole).step_by(8) {
            let d = _mm256_sub_ps(_mm256_loadu_ps(row.as_ptr().add(i)), means);
            squares = _mm256_fmadd_ps(d, d, squares);
        }
        let tail: f32 = row[whole..].iter().map(|x| (x - mean) * (x - mean)).sum();
        let scale = 1.0 / ((sum(squares) + tail) / width as f32 + epsilon).sqrt();
        let scales = _mm256_set1_ps(scale);
        for i in (0..whole).step_by(8) {
            let x = row.as_mut_ptr().add(i);
            let d = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x), means), scales);
            let (w, b) = (_mm256_loadu_ps(weight.as_ptr().add(i)), _mm256_loadu_ps(bias.as_ptr().add(i)));
            _mm256_storeu_ps(x, _mm256_fmadd_ps(d, w, b));
        }
        for i in whole..width {
            row[i] = (row[i] - mean) * scale * weight[i] + bias[i];
        }
    }
}

/// Softmax of one row in place.
#[target_feature(enable = "avx2,fma")]
pub(super) fn softmax(row: &mut [f32]) {
    let whole = row.len() / 8 * 8;
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let tops = _mm256_set1_ps(top);
    // SAFETY: every load and store is of 8 numbers from an index at most `whole - 8`, inside the row.
    unsafe {
        let mut total = _mm256_setzero_ps();
        for i in (0..whole).step_by(8) {
            let x = row.as_mut_ptr().add(i);
            let e = exp(_mm256_sub_ps(_mm256_loadu_ps(x), tops));
            total = _mm256_add_ps(total, e);
            _mm256_storeu_ps(x, e);
        }
        let mut total = sum(total);
        for x in &mut row[whole..] {
            *x = (*x - top).exp();
            total += *x;
        }
        let scale = 1.0 / total;
        let scales = _mm256_set1_ps(scale);
        for i in (0..whole).step_by(8) {
            let x = row.as_mut_ptr().add(i);
            _mm256_storeu_ps(x, _mm256_mul_ps(_mm256_loadu_ps(x), scales));
        }
        row[whole..].iter_mut().for_each(|x| *x *= scale);
    }
}

/// One output row of a depthwise 3×3 convolution, channels in steps of 8; see `depthwise` for the layout.
///
/// # Panics
/// When a slice has another length than [`Row`] says or `channels` is not a multiple of 8.
#[target_feature(enable = "avx2,fma")]
pub(super) fn depthwise_row(row: &Row<'_>, output: &mut [f32]) {
    let zero = _mm256_setzero_ps();
    let six = _mm256_set1_ps(6.0);
    let channels = row.channels;
    assert!(channels.is_multiple_of(8) && output.len() == row.out_width * channels);
    assert!(row.weights.len() == 9 * channels && row.bias.len() == channels);
    assert!(row.inputs.iter().flatten().all(|input| input.len() == row.width * channels));
    for channel in (0..channels).step_by(8) {
        // SAFETY: the weights have nine times `channels` numbers, the bias `channels`, and `channel + 8 <= channels`.
        let (mut weights, bias) = unsafe {
            let mut weights = [zero; 9];
            for (tap, weight) in weights.iter_mut().enumerate() {
                *weight = _mm256_loadu_ps(row.weights.as_ptr().add(tap * channels + channel));
            }
            (weights, _mm256_loadu_ps(row.bias.as_ptr().add(channel)))
        };
        // A row outside the picture gets zero weights and some valid pointer.
        let Some(inside) = row.inputs.iter().flatten().next().copied() else { return };
        let mut inputs = [inside; 3];
        for (y, input) in row.inputs.iter().enumerate() {
            match input {
                Some(input) => inputs[y] = input,
                None => weights[3 * y..3 * y + 3].fill(zero),
            }
        }
        for x in 0..row.out_width {
            let left = (x * row.stride) as isize - row.pad as isize;
            let mut sums = [bias, zero, zero];
            // SAFETY: each tap reads 8 numbers of pixel `column`, `0 <= column < width`, in a row of width × channels;
            // the store is to pixel `x < out_width` of the output row.
            unsafe {
                if left >= 0 && left + 2 < row.width as isize {
                    let offset = left as usize * channels + channel;
                    for tap in 0..3 {
                        for y in 0..3 {
                            let pixel = _mm256_loadu_ps(inputs[y].as_ptr().add(offset + tap * channels));
                            sums[y] = _mm256_fmadd_ps(weights[3 * y + tap], pixel, sums[y]);
                        }
                    }
                } else {
                    for tap in 0..3 {
                        let column = left + tap as isize;
                        if (0..row.width as isize).contains(&column) {
                            for y in 0..3 {
                                let offset = column as usize * channels + channel;
                                let pixel = _mm256_loadu_ps(inputs[y].as_ptr().add(offset));
                                sums[y] = _mm256_fmadd_ps(weights[3 * y + tap], pixel, sums[y]);
                            }
                        }
                    }
                }
                let sum = _mm256_add_ps(sums[0], _mm256_add_ps(sums[1], sums[2]));
                let value = _mm256_min_ps(_mm256_max_ps(sum, zero), six);
                _mm256_storeu_ps(output.as_mut_ptr().add(x * channels + channel), value);
            }
        }
    }
}

const _: () = assert!(PANEL == 16, "the tile is written for two registers of eight");

//! Kernels for processors with AVX2 and FMA (x86-64-v3).

#![allow(clippy::wildcard_imports, reason = "intrinsics are named so that they can't be confused with anything")]

use std::arch::x86_64::*;

use super::activation::{Activation, ERF_DENOMINATOR, ERF_NUMERATOR, ERF_ONE_FROM};
use super::cache::LINE_BYTES;
use super::depthwise::Row;
use super::tile::{PANEL, Tile, TileKernel};

/// Tiles of up to 6 × 16: twelve sums, two registers of B and one of A fill the sixteen there are.
pub(super) struct Avx2;

impl TileKernel for Avx2 {
    const ROWS: usize = 6;
    const PANELS: usize = 1;
    // A panel of B is then larger than the first-level cache, which costs less than to go over C once more.
    const DEPTH: usize = 768;

    unsafe fn tile(rows: usize, tile: &Tile) {
        macro_rules! by_rows {
            ($($rows:literal)*) => {
                match rows {
                    $($rows if tile.b_stride != PANEL => rows_of::<$rows, false, 0>(tile),
                    $rows if tile.ahead_step * STEPS <= LINE_BYTES => rows_of::<$rows, true, 1>(tile),
                    $rows => rows_of::<$rows, true, STEPS>(tile),)*
                    _ => debug_assert!(false, "a tile of {rows} rows"),
                }
            };
        }
        // SAFETY: the caller's promises are those of `rows_of`.
        unsafe { by_rows!(1 2 3 4 5 6) }
    }
}

/// Steps of the depth in a turn of the loop. Where another thread shares the core, each instruction beside the products
/// takes away from them.
const STEPS: usize = 4;

/// `PACKED` where one step of B follows the other; `AHEAD` lines are brought near in each turn (a condition within the
/// loop would cost registers).
///
/// # Safety
/// As for [`TileKernel::tile`].
#[target_feature(enable = "avx2,fma")]
unsafe fn rows_of<const ROWS: usize, const PACKED: bool, const AHEAD: usize>(tile: &Tile) {
    let b_stride = if PACKED { PANEL } else { tile.b_stride };
    // SAFETY: rows below `ROWS`, depth below `depth`, whole panels of B and bias, and masked columns of C and of the
    // residual: the extents the caller promises. The prefetches read nothing.
    unsafe {
        // Rows of C are far apart: nothing else brings them near before they are wanted.
        for row in 0..ROWS {
            _mm_prefetch::<_MM_HINT_T0>(tile.c.wrapping_add(row * tile.c_stride).cast());
        }
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        let (mut a, mut b, mut ahead) = (tile.a, tile.b, tile.ahead);
        for _ in 0..tile.depth / STEPS {
            for k in 0..STEPS {
                step(&mut sums, a.wrapping_add(k), tile.a_stride, b.wrapping_add(k * b_stride));
            }
            for k in 0..AHEAD {
                _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_byte_add(k * tile.ahead_step).cast());
            }
            a = a.wrapping_add(STEPS);
            b = b.wrapping_add(STEPS * b_stride);
            ahead = ahead.wrapping_byte_add(STEPS * tile.ahead_step);
        }
        for k in 0..tile.depth % STEPS {
            step(&mut sums, a.wrapping_add(k), tile.a_stride, b.wrapping_add(k * b_stride));
        }
        // Into memory before they are gone through in a loop: see the tile of AVX-512.
        let mut finished = [[_mm256_setzero_ps(); 2]; ROWS];
        for (finished, sum) in finished.iter_mut().zip(&sums) {
            for (finished, sum) in finished.iter_mut().zip(sum) {
                _mm256_storeu_ps(std::ptr::from_mut(finished).cast(), *sum);
            }
        }
        finish(&finished, tile);
    }
}

/// Bias, scale, activation and residual, and into C with them.
///
/// # Safety
/// As for [`TileKernel::tile`].
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn finish(sums: &[[__m256; 2]], tile: &Tile) {
    // SAFETY: as above.
    unsafe {
        let bias = if tile.first && !tile.bias.is_null() {
            [_mm256_loadu_ps(tile.bias), _mm256_loadu_ps(tile.bias.add(8))]
        } else {
            [_mm256_setzero_ps(); 2]
        };
        let scale = _mm256_set1_ps(tile.scale);
        let masks = [columns_mask(tile.columns.min(8)), columns_mask(tile.columns.saturating_sub(8))];
        // A loop for each activation, so that none has to find out which.
        macro_rules! rows {
            ($activation:expr) => {
                for (row, sums) in sums.iter().enumerate() {
                    let c = tile.c.wrapping_add(row * tile.c_stride);
                    let mut values = [_mm256_add_ps(sums[0], bias[0]), _mm256_add_ps(sums[1], bias[1])];
                    if !tile.first {
                        values = add(values, c, masks);
                    }
                    if tile.last {
                        values = values.map(|value| activate(_mm256_mul_ps(value, scale), $activation));
                        if !tile.residual.is_null() {
                            values = add(values, tile.residual.wrapping_add(row * tile.residual_stride), masks);
                        }
                    }
                    if tile.columns >= PANEL {
                        _mm256_storeu_ps(c, values[0]);
                        _mm256_storeu_ps(c.add(8), values[1]);
                    } else {
                        _mm256_maskstore_ps(c, masks[0], values[0]);
                        _mm256_maskstore_ps(c.wrapping_add(8), masks[1], values[1]);
                    }
                }
            };
        }
        match tile.activation {
            Activation::None => rows!(Activation::None),
            Activation::Relu => rows!(Activation::Relu),
            Activation::Relu6 => rows!(Activation::Relu6),
            Activation::Gelu => rows!(Activation::Gelu),
            Activation::QuickGelu => rows!(Activation::QuickGelu),
        }
    }
}

/// Adds the numbers from `from` on, as far as the masks go.
///
/// # Safety
/// They can be read.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn add(values: [__m256; 2], from: *const f32, masks: [__m256i; 2]) -> [__m256; 2] {
    // SAFETY: as above.
    unsafe {
        [
            _mm256_add_ps(values[0], _mm256_maskload_ps(from, masks[0])),
            _mm256_add_ps(values[1], _mm256_maskload_ps(from.wrapping_add(8), masks[1])),
        ]
    }
}

/// One step of the depth: a number of each row of A times 16 of B.
///
/// # Safety
/// Sixteen numbers can be read at `b`, and one at `a` and at each `a_stride` behind it, for every row.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn step<const ROWS: usize>(sums: &mut [[__m256; 2]; ROWS], a: *const f32, a_stride: usize, b: *const f32) {
    // SAFETY: as above.
    unsafe {
        let (left, right) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
        for (row, sum) in sums.iter_mut().enumerate() {
            let a = _mm256_broadcast_ss(&*a.add(row * a_stride));
            sum[0] = _mm256_fmadd_ps(a, left, sum[0]);
            sum[1] = _mm256_fmadd_ps(a, right, sum[1]);
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

/// Pixels of a depthwise convolution that are computed together, so that each of the input is read once for all of them.
const PIXELS: usize = 4;

/// One output row of a depthwise 3×3 convolution, channels in steps of 8; see `depthwise` for the layout.
///
/// # Panics
/// When a slice has another length than [`Row`] says, `channels` is not a multiple of 8 or the stride is not 1 or 2.
#[target_feature(enable = "avx2,fma")]
pub(super) fn depthwise_row(row: &Row<'_>, output: &mut [f32]) {
    match row.stride {
        1 => strided::<1, { PIXELS + 2 }>(row, output),
        2 => strided::<2, { 2 * PIXELS + 1 }>(row, output),
        stride => unreachable!("a depthwise convolution of stride {stride}"),
    }
}

/// `COLUMNS` of the input go into [`PIXELS`] of the output. All channels of some pixels before the next ones: half a cache
/// line of each pixel of a row would have to be read twice.
#[target_feature(enable = "avx2,fma")]
fn strided<const STRIDE: usize, const COLUMNS: usize>(row: &Row<'_>, output: &mut [f32]) {
    let (zero, six) = (_mm256_setzero_ps(), _mm256_set1_ps(6.0));
    let Row { channels, width, out_width, pad, .. } = *row;
    assert!(channels.is_multiple_of(8) && output.len() == out_width * channels);
    assert!(row.weights.len() == 9 * channels && row.bias.len() == channels);
    assert!(row.inputs.iter().flatten().all(|input| input.len() == width * channels));
    let finish = |sum: __m256| _mm256_min_ps(_mm256_max_ps(sum, zero), six);
    // The rows within the picture, each with the place of its weights.
    let mut inside = [(0, row.weights); 3];
    let mut count = 0;
    for (y, input) in row.inputs.iter().enumerate() {
        if let Some(input) = input {
            inside[count] = (3 * y * channels, *input);
            count += 1;
        }
    }
    let mut x = 0;
    while x < out_width {
        let left = (x * STRIDE) as isize - pad as isize;
        let together = left >= 0 && left as usize + COLUMNS <= width && x + PIXELS <= out_width;
        for channel in (0..channels).step_by(8) {
            // SAFETY: the weights have nine times `channels` numbers, the bias `channels`, and `channel + 8 <= channels`.
            // Each tap reads 8 numbers of a pixel in a row of width × channels, which `together` says of all of them or is
            // asked of each; the stores are to pixels below `out_width` of the output row.
            unsafe {
                let weight = |place: usize| _mm256_loadu_ps(row.weights.as_ptr().add(place + channel));
                let bias = _mm256_loadu_ps(row.bias.as_ptr().add(channel));
                let to = output.as_mut_ptr().add(x * channels + channel);
                if together {
                    let mut sums = [bias; PIXELS];
                    for (place, input) in &inside[..count] {
                        let weights = [weight(*place), weight(place + channels), weight(place + 2 * channels)];
                        let from = input.as_ptr().add(left as usize * channels + channel);
                        let mut columns = [zero; COLUMNS];
                        for (index, column) in columns.iter_mut().enumerate() {
                            *column = _mm256_loadu_ps(from.add(index * channels));
                        }
                        for (pixel, sum) in sums.iter_mut().enumerate() {
                            for (tap, weight) in weights.iter().enumerate() {
                                *sum = _mm256_fmadd_ps(*weight, columns[pixel * STRIDE + tap], *sum);
                            }
                        }
                    }
                    for (pixel, sum) in sums.into_iter().enumerate() {
                        _mm256_storeu_ps(to.add(pixel * channels), finish(sum));
                    }
                } else {
                    let mut sum = bias;
                    for (place, input) in &inside[..count] {
                        for tap in 0..3 {
                            let column = left + tap as isize;
                            if (0..width as isize).contains(&column) {
                                let pixel = _mm256_loadu_ps(input.as_ptr().add(column as usize * channels + channel));
                                sum = _mm256_fmadd_ps(weight(place + tap * channels), pixel, sum);
                            }
                        }
                    }
                    _mm256_storeu_ps(to, finish(sum));
                }
            }
        }
        x += if together { PIXELS } else { 1 };
    }
}

const _: () = assert!(PANEL == 16, "the tile is written for two registers of eight");

//! A linear layer with 8-bit weights: `y = activation(x · Wᵀ + bias) + residual`, its product in integers.
//!
//! Each output has a scale of its own for its weights, and each row of the input is cut into 255 equal steps between its
//! least and its greatest number when it comes in (dynamic quantisation, one scale for each token). With
//! `x ≈ offset + scale · q`, a sum is `scale · Σ q·w + offset · Σ w`; the second sum is known when the weights are packed.
//!
//! Nothing saturates: sums are of 32 bits and can't overflow. Without VNNI, processors have no such sums of bytes but add
//! up two products in 16 bits. Therefore a weight and its neighbour are together at most 127: that costs less than to
//! have a bit less of all weights, or of the input, and every processor comes to the same sums.
//!
//! The weights lie in panels of 16 outputs, `[outputs/16][inputs/4][16][4]`, which serves all of them.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod plain;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
pub(super) use self::amx::available as amx_available;
use self::plain::Plain;
use super::activation::Activation;
use super::cache::{Ahead, second_level};
use super::linear::{Epilogue, PARALLEL_FROM};
use super::pages::on_huge_pages;
use super::shared::SharedMut;
use super::tile::{PANEL, tiles};
use super::{Compute, Isa};

/// Inputs in one 32-bit lane of a panel.
const QUAD: usize = 4;
/// Greatest weight, and greatest sum of the magnitudes of two neighbours before they are rounded: 255 × 128 are less than
/// 2¹⁵.
const WEIGHT: i64 = 127;
/// Steps of an input row, where the layer is not so wide that the sums could overflow.
const LEVELS: i64 = 255;

/// One line of a panel: the weights of 16 outputs for four inputs.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([[i8; QUAD]; PANEL]);

/// A linear layer of `inputs` → `outputs` with 8-bit weights.
pub struct LinearInt8 {
    lines: Vec<Line>,
    columns: Columns,
    inputs: usize,
    outputs: usize,
}

/// What belongs to each output, padded with zeros to whole panels.
struct Columns {
    /// What a weight is multiplied with.
    scales: Vec<f32>,
    /// The scaled sum of its weights.
    sums: Vec<f32>,
    bias: Vec<f32>,
}

/// Rows of an input as integers; kept between calls so that it is neither allocated nor zeroed again.
#[derive(Default)]
pub struct Quantised {
    values: Vec<u8>,
    steps: Vec<Steps>,
}

impl Quantised {
    /// About how many numbers of 32 bits it holds.
    pub fn capacity(&self) -> usize {
        self.values.capacity() / 4 + 2 * self.steps.capacity()
    }
}

/// How a row was cut into steps: `x ≈ offset + scale · q`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Steps {
    scale: f32,
    offset: f32,
}

impl Steps {
    /// The steps of a row with these ends; what is not finite makes everything that comes of it not a number.
    fn between(least: f32, greatest: f32, levels: f32) -> Self {
        let scale = (greatest - least) / levels;
        if scale.is_finite() { Self { scale, offset: least } } else { Self { scale: f32::NAN, offset: f32::NAN } }
    }

    /// Steps for each unit of the input.
    fn per_unit(self) -> f32 {
        per_unit(self.scale)
    }
}

/// A tile: some rows of integers times one or two panels of 16 outputs.
struct Tile {
    /// Quads of inputs.
    quads: usize,
    /// `rows × 4·quads`, row stride `a_stride`.
    a: *const u8,
    a_stride: usize,
    /// The first panel; the next one is `b_panel` lines behind it.
    b: *const Line,
    b_panel: usize,
    /// One for each row.
    steps: *const Steps,
    /// One number a column, whole panels.
    scales: *const f32,
    sums: *const f32,
    bias: *const f32,
    /// `rows × columns`, row stride `c_stride`; as is `residual`, where that is not null.
    c: *mut f32,
    residual: *const f32,
    c_stride: usize,
    /// Columns written, at most 16 for each panel.
    columns: usize,
    activation: Activation,
    /// What is needed soon, to be brought into the second-level cache meanwhile, and how many bytes of it with each quad.
    ahead: *const Line,
    ahead_step: usize,
}

/// An implementation for one instruction set.
trait Kernel {
    /// Most rows in a tile.
    const ROWS: usize;
    /// Most panels in a tile.
    const PANELS: usize;
    /// Rows of the input that are read together, from the first one of a tile on, whether they exist or not.
    const ROWS_READ: usize = 1;

    /// Cuts a row into `levels` steps. `into` may be longer than the row.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn quantise(row: &[f32], levels: f32, into: &mut [u8]) -> Steps;

    /// Prepares the calling thread for tiles.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn begin() {}

    /// Ends what [`Kernel::begin`] began.
    ///
    /// # Safety
    /// As there.
    unsafe fn end() {}

    /// Computes one tile of `rows` (1 to `ROWS`).
    ///
    /// # Safety
    /// The processor has the instruction set, and this thread is between [`Kernel::begin`] and [`Kernel::end`]. All
    /// pointers can be read, and `c` be written, over the extents in [`Tile`], what belongs to columns over whole panels,
    /// `a` over multiples of [`Kernel::ROWS_READ`] rows; nobody else accesses that part of `c`.
    unsafe fn tile(rows: usize, tile: &Tile);
}

/// The inverse of a scale; of none, or one that is too small for that, nothing: all steps are then zero.
fn per_unit(scale: f32) -> f32 {
    if scale >= f32::MIN_POSITIVE { 1.0 / scale } else { 0.0 }
}

/// The greatest sum of the magnitudes of two neighbours, or what is not a number where one is not finite: weights that are
/// damaged spoil their output, as they would in fp32. The bits of magnitudes are in the same order as the magnitudes, and
/// NaN and infinity above all.
fn greatest(weights: &[f32]) -> f32 {
    let pairs = weights.chunks(2).map(|pair| pair.iter().map(|weight| weight.abs()).sum::<f32>());
    let greatest = pairs.map(|sum| sum.to_bits().cast_signed()).max().unwrap_or_default();
    let greatest = f32::from_bits(greatest.cast_unsigned());
    if greatest.is_finite() { greatest } else { f32::NAN }
}

/// The nearest whole number, for what is far below 2²²: adding so much leaves no room for a fraction. Unlike
/// `f32::round` it needs no call on any processor.
fn nearest(x: f32) -> i8 {
    const ROOM: f32 = 12_582_912.0;
    ((x + ROOM) - ROOM) as i8
}

/// Most steps with which a sum over so many inputs stays within 32 bits.
fn levels(inputs: usize) -> f32 {
    LEVELS.min(i64::from(i32::MAX) / (WEIGHT * inputs as i64)) as f32
}

impl LinearInt8 {
    /// Widest input: with more, fewer than 64 steps would be left to it.
    pub const MAX_INPUTS: usize = 262_144;

    /// Packs a layer whose row `o` (the `inputs` weights of output `o`) is written by `row(o, into)`.
    ///
    /// # Panics
    /// When `bias` is neither empty nor `outputs` long, a size is zero, or there are more than
    /// [`LinearInt8::MAX_INPUTS`].
    pub fn pack(outputs: usize, inputs: usize, bias: &[f32], mut row: impl FnMut(usize, &mut [f32])) -> Self {
        assert!(outputs > 0 && inputs > 0 && inputs <= Self::MAX_INPUTS, "a linear layer of {inputs} → {outputs}");
        assert!(bias.is_empty() || bias.len() == outputs, "{} biases for {outputs} outputs", bias.len());
        let panels = outputs.div_ceil(PANEL);
        let quads = inputs.div_ceil(QUAD);
        let mut lines = on_huge_pages(Line([[0; QUAD]; PANEL]), panels * quads);
        let zeros = || vec![0f32; panels * PANEL];
        let mut columns = Columns { scales: zeros(), sums: zeros(), bias: zeros() };
        columns.bias[..bias.len()].copy_from_slice(bias);
        let mut weights = vec![0f32; inputs];
        // Padded with zeros to whole quads.
        let mut rounded = vec![0i8; quads * QUAD];
        for output in 0..outputs {
            row(output, &mut weights);
            let scale = greatest(&weights) / WEIGHT as f32;
            let per_unit = per_unit(scale);
            for (into, &weight) in rounded.iter_mut().zip(&weights) {
                *into = nearest(weight * per_unit);
            }
            let panel = &mut lines[output / PANEL * quads..][..quads];
            for (line, quad) in panel.iter_mut().zip(rounded.as_chunks().0) {
                line.0[output % PANEL] = *quad;
            }
            let sum: i32 = rounded.iter().map(|&weight| i32::from(weight)).sum();
            columns.scales[output] = scale;
            columns.sums[output] = scale * sum as f32;
        }
        Self { lines, columns, inputs, outputs }
    }

    /// Packs a row-major `outputs × inputs` matrix.
    ///
    /// # Panics
    /// As [`LinearInt8::pack`], and when `weights` has another length.
    pub fn from_rows(weights: &[f32], outputs: usize, bias: &[f32]) -> Self {
        let inputs = weights.len() / outputs;
        assert_eq!(weights.len(), inputs * outputs, "{} weights for {outputs} outputs", weights.len());
        Self::pack(outputs, inputs, bias, |row, into| into.copy_from_slice(&weights[row * inputs..][..inputs]))
    }

    /// Numbers in a row of the input.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers in a row of the output.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Computes `rows × outputs` numbers of `y` from `rows × inputs` of `x`. A row with a number that is not finite
    /// gives a row of what is not a number.
    ///
    /// # Panics
    /// When the lengths don't fit each other (a bug in the caller, never a matter of input).
    pub fn forward(
        &self,
        compute: &Compute,
        x: &[f32],
        y: &mut [f32],
        epilogue: Epilogue<'_>,
        quantised: &mut Quantised,
    ) {
        let rows = x.len() / self.inputs;
        assert_eq!(x.len(), rows * self.inputs, "input of a layer of {} → {}", self.inputs, self.outputs);
        assert_eq!(y.len(), rows * self.outputs, "output of a layer of {} → {}", self.inputs, self.outputs);
        if let Some(residual) = epilogue.residual {
            assert_eq!(residual.len(), y.len(), "residual of a layer of {} → {}", self.inputs, self.outputs);
        }
        match compute.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => self.run::<amx::Amx>(compute, x, y, epilogue, quantised),
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni => self.run::<vnni::Vnni>(compute, x, y, epilogue, quantised),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::Avx512 => self.run::<avx2::Avx2>(compute, x, y, epilogue, quantised),
            Isa::Plain => self.run::<Plain>(compute, x, y, epilogue, quantised),
        }
    }

    fn run<K: Kernel>(
        &self,
        compute: &Compute,
        x: &[f32],
        y: &mut [f32],
        epilogue: Epilogue<'_>,
        quantised: &mut Quantised,
    ) {
        let rows = x.len() / self.inputs;
        // A whole cache line more than the row, so that rows don't fall into the same sets of the cache.
        let stride = self.inputs.next_multiple_of(64) + 64;
        let Quantised { values, steps } = quantised;
        // With room for rows that are read and not used.
        let room = (rows + K::ROWS_READ) * stride;
        if values.len() < room {
            values.resize(room, 0);
        }
        steps.resize(rows, Steps::default());
        let threads = compute.pool.threads();
        let one = threads == 1 || rows * self.inputs * self.outputs < PARALLEL_FROM;
        let levels = levels(self.inputs);
        {
            let (values, steps) = (SharedMut::new(values), SharedMut::new(steps));
            compute.pool.run_ranges(rows, if one { 1 } else { threads }, &|range| {
                for row in range {
                    // SAFETY: `run_ranges` hands out each row once, and rows do not overlap.
                    let (values, steps) = unsafe { (values.slice_mut(row * stride, stride), steps.slice_mut(row, 1)) };
                    // SAFETY: `forward` chose `K` by what the processor has.
                    steps[0] = unsafe { K::quantise(&x[row * self.inputs..][..self.inputs], levels, values) };
                }
            });
        }
        let product = Product {
            layer: self,
            values,
            stride,
            steps,
            y: SharedMut::new(y),
            activation: epilogue.activation.unwrap_or(Activation::None),
            residual: epilogue.residual,
        };
        let groups = self.outputs.div_ceil(PANEL * K::PANELS);
        if one {
            product.block::<K>(0..rows, 0..groups);
        } else if groups >= threads * 4 || rows < threads * 2 {
            compute.pool.run_ranges(groups, threads * 2, &|groups| product.block::<K>(0..rows, groups));
        } else {
            let bands = rows.div_ceil(K::ROWS);
            compute.pool.run_ranges(bands, threads * 2, &|bands| {
                product.block::<K>(bands.start * K::ROWS..(bands.end * K::ROWS).min(rows), 0..groups);
            });
        }
    }
}

/// The product of one call of [`LinearInt8::forward`], its lengths checked and its input quantised.
struct Product<'a> {
    layer: &'a LinearInt8,
    values: &'a [u8],
    stride: usize,
    steps: &'a [Steps],
    y: SharedMut<'a, f32>,
    activation: Activation,
    residual: Option<&'a [f32]>,
}

impl Product<'_> {
    /// Computes the given rows and groups of panels.
    fn block<K: Kernel>(&self, rows: Range<usize>, groups: Range<usize>) {
        let LinearInt8 { lines, columns: Columns { scales, sums, bias }, inputs, outputs } = self.layer;
        let quads = inputs.div_ceil(QUAD);
        // Half of the cache for the input: the rest is for weights, the next ones among them.
        let most_rows = (second_level() / 2 / self.stride / K::ROWS).max(1) * K::ROWS;
        // SAFETY: `forward` chose `K` by what the processor has.
        unsafe { K::begin() };
        let mut top = rows.start;
        while top < rows.end {
            let left = rows.end - top;
            // A last sliver of rows goes with the block before it.
            let bottom = if left <= most_rows + most_rows / 4 { rows.end } else { top + most_rows };
            for group in groups.clone() {
                let column = group * K::PANELS * PANEL;
                let next = lines.get((group + 1) * K::PANELS * quads..).unwrap_or_default();
                let mut ahead = Ahead::new(next, [K::PANELS, quads, quads], (bottom - top).div_ceil(K::ROWS));
                for (row, height) in tiles(top..bottom, K::ROWS) {
                    let (ahead, ahead_step) = ahead.part();
                    let tile = Tile {
                        quads,
                        a: self.values[row * self.stride..].as_ptr(),
                        a_stride: self.stride,
                        b: lines[group * K::PANELS * quads..].as_ptr(),
                        b_panel: quads,
                        steps: self.steps[row..].as_ptr(),
                        scales: scales[column..].as_ptr(),
                        sums: sums[column..].as_ptr(),
                        bias: bias[column..].as_ptr(),
                        c: self.y.pointer(row * outputs + column),
                        residual: self.residual.map_or(std::ptr::null(), |x| x[row * outputs + column..].as_ptr()),
                        c_stride: *outputs,
                        columns: (outputs - column).min(K::PANELS * PANEL),
                        activation: self.activation,
                        ahead,
                        ahead_step,
                    };
                    // SAFETY: `forward` chose `K` by what the processor has and checked that y and residual hold all
                    // rows; the integers were made for all rows, with `stride >= 4 * quads` and room for `ROWS_READ` more. `row + height <= rows`,
                    // `column + columns <= outputs`; lines and what belongs to columns are padded to whole panels. Each
                    // task has its own rows or its own columns of y.
                    unsafe { K::tile(height, &tile) };
                }
            }
            top = bottom;
        }
        // SAFETY: as above.
        unsafe { K::end() };
    }
}

#[cfg(test)]
mod tests;

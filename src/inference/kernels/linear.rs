//! A linear layer with its weights packed once: `y = activation(x · Wᵀ + bias) + residual`.
//!
//! The weights lie in panels of 16 outputs, `[outputs/16][inputs][16]`, so that the inner loop reads them in order; bias,
//! activation and residual are applied when a tile is stored (Goto and van de Geijn 2008 for the blocking). A 1×1
//! convolution over pictures in NHWC is the same thing with a row for each pixel.

use super::activation::Activation;
use super::cache::{Ahead, second_level};
use super::pages::on_huge_pages;
use super::shared::SharedMut;
use super::tile::{PANEL, Plain, Tile, TileKernel, tiles};
use super::{Compute, Isa};

/// Below this many multiplications a second thread costs more than it brings.
pub(super) const PARALLEL_FROM: usize = 40_000;

/// One line of a panel: the weights of 16 outputs for one input.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; PANEL]);

/// A linear layer of `inputs` → `outputs`.
pub struct Linear {
    lines: Vec<Line>,
    /// Padded with zeros to whole panels.
    bias: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

/// What a layer does after its product.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Applied to `x · Wᵀ + bias`; the identity when `None`.
    pub activation: Option<Activation>,
    /// Added last; as many numbers as the output.
    pub residual: Option<&'a [f32]>,
}

impl<'a> Epilogue<'a> {
    /// An activation and no residual.
    pub fn activation(activation: Activation) -> Self {
        Self { activation: Some(activation), residual: None }
    }

    /// A residual and no activation.
    pub fn residual(residual: &'a [f32]) -> Self {
        Self { activation: None, residual: Some(residual) }
    }
}

impl Linear {
    /// Packs a layer whose row `o` (the `inputs` weights of output `o`) is written by `row(o, into)`.
    ///
    /// # Panics
    /// When `bias` is neither empty nor `outputs` long, or a size is zero.
    pub fn pack(outputs: usize, inputs: usize, bias: &[f32], mut row: impl FnMut(usize, &mut [f32])) -> Self {
        assert!(outputs > 0 && inputs > 0, "a linear layer of {inputs} → {outputs}");
        assert!(bias.is_empty() || bias.len() == outputs, "{} biases for {outputs} outputs", bias.len());
        let panels = outputs.div_ceil(PANEL);
        let mut lines = on_huge_pages(Line([0.0; PANEL]), panels * inputs);
        let mut weights = vec![0f32; inputs];
        for output in 0..outputs {
            row(output, &mut weights);
            let panel = &mut lines[output / PANEL * inputs..][..inputs];
            for (line, &weight) in panel.iter_mut().zip(&weights) {
                line.0[output % PANEL] = weight;
            }
        }
        let mut padded = vec![0f32; panels * PANEL];
        padded[..bias.len()].copy_from_slice(bias);
        Self { lines, bias: padded, inputs, outputs }
    }

    /// Packs a row-major `outputs × inputs` matrix.
    ///
    /// # Panics
    /// As [`Linear::pack`], and when `weights` has another length.
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

    /// Computes `rows × outputs` numbers of `y` from `rows × inputs` of `x`.
    ///
    /// # Panics
    /// When the lengths don't fit each other (a bug in the caller, never a matter of input).
    pub fn forward(&self, compute: &Compute, x: &[f32], y: &mut [f32], epilogue: Epilogue<'_>) {
        let rows = x.len() / self.inputs;
        assert_eq!(x.len(), rows * self.inputs, "input of a layer of {} → {}", self.inputs, self.outputs);
        assert_eq!(y.len(), rows * self.outputs, "output of a layer of {} → {}", self.inputs, self.outputs);
        if let Some(residual) = epilogue.residual {
            assert_eq!(residual.len(), y.len(), "residual of a layer of {} → {}", self.inputs, self.outputs);
        }
        let product = Product {
            layer: self,
            x,
            rows,
            y: SharedMut::new(y),
            activation: epilogue.activation.unwrap_or(Activation::None),
            residual: epilogue.residual,
        };
        match compute.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Vnni | Isa::Amx => product.run::<super::avx512::Avx512>(compute),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => product.run::<super::avx2::Avx2>(compute),
            Isa::Plain => product.run::<Plain>(compute),
        }
    }
}

/// One call of [`Linear::forward`], its lengths checked.
struct Product<'a> {
    layer: &'a Linear,
    x: &'a [f32],
    rows: usize,
    y: SharedMut<'a, f32>,
    activation: Activation,
    residual: Option<&'a [f32]>,
}

impl Product<'_> {
    /// Splits the output over the threads: by columns where there are enough, so that each thread reads its own weights,
    /// else by rows.
    fn run<K: TileKernel>(&self, compute: &Compute) {
        let threads = compute.pool.threads();
        let groups = self.layer.outputs.div_ceil(PANEL * K::PANELS);
        if threads == 1 || self.rows * self.layer.inputs * self.layer.outputs < PARALLEL_FROM {
            self.block::<K>(0..self.rows, 0..groups);
        } else if groups >= threads * 4 || self.rows < threads * 2 {
            compute.pool.run_ranges(groups, threads * 2, &|groups| self.block::<K>(0..self.rows, groups));
        } else {
            let bands = self.rows.div_ceil(K::ROWS);
            compute.pool.run_ranges(bands, threads * 2, &|bands| {
                self.block::<K>(bands.start * K::ROWS..(bands.end * K::ROWS).min(self.rows), 0..groups);
            });
        }
    }

    /// Computes the given rows and groups of panels.
    fn block<K: TileKernel>(&self, rows: std::ops::Range<usize>, groups: std::ops::Range<usize>) {
        let Linear { inputs, outputs, .. } = *self.layer;
        let depth = inputs.div_ceil(inputs.div_ceil(K::DEPTH));
        // Half of the cache for the input: the rest is for weights, the next ones among them.
        let block = second_level() / 2 / size_of::<f32>();
        let most_rows = (block / depth / K::ROWS).clamp(4, 64) * K::ROWS;
        // Rows that are a multiple of 4 KiB apart fall into the same lines of the first-level cache and push each other
        // out. Where there are many, each block is laid out with another distance first.
        let spread = inputs.is_multiple_of(1024) && rows.len() > 2 * K::ROWS;
        let spread_stride = depth + 16;
        let mut copy = vec![0f32; if spread { (most_rows + most_rows / 4) * spread_stride } else { 0 }];
        let mut top = rows.start;
        while top < rows.end {
            let left = rows.end - top;
            // A last sliver of rows goes with the block before it.
            let bottom = if left <= most_rows + most_rows / 4 { rows.end } else { top + most_rows };
            for start in (0..inputs).step_by(depth) {
                let depth = depth.min(inputs - start);
                let (block, stride) = if spread {
                    for (row, into) in (top..bottom).zip(copy.chunks_exact_mut(spread_stride)) {
                        into[..depth].copy_from_slice(&self.x[row * inputs + start..][..depth]);
                    }
                    (&copy[..], spread_stride)
                } else {
                    (&self.x[top * inputs + start..], inputs)
                };
                for group in groups.clone() {
                    let column = group * K::PANELS * PANEL;
                    let next = self.layer.lines.get((group + 1) * K::PANELS * inputs + start..).unwrap_or_default();
                    let mut ahead = Ahead::new(next, [K::PANELS, inputs, depth], (bottom - top).div_ceil(K::ROWS));
                    let mut tile = Tile {
                        depth,
                        a: block.as_ptr(),
                        a_stride: stride,
                        b: self.layer.lines[group * K::PANELS * inputs + start..].as_ptr().cast(),
                        b_stride: PANEL,
                        b_panel: PANEL * inputs,
                        c: self.y.pointer(top * outputs + column),
                        c_stride: outputs,
                        columns: (outputs - column).min(K::PANELS * PANEL),
                        first: start == 0,
                        last: start + depth == inputs,
                        bias: self.layer.bias[column..].as_ptr(),
                        scale: 1.0,
                        activation: self.activation,
                        residual: std::ptr::null(),
                        residual_stride: outputs,
                        ahead: std::ptr::null(),
                        ahead_step: 0,
                    };
                    for (row, height) in tiles(top..bottom, K::ROWS) {
                        let (ahead, ahead_step) = ahead.part();
                        tile.a = block[(row - top) * stride..].as_ptr();
                        tile.c = self.y.pointer(row * outputs + column);
                        if let Some(residual) = self.residual {
                            tile.residual = residual[row * outputs + column..].as_ptr();
                        }
                        (tile.ahead, tile.ahead_step) = (ahead.cast(), ahead_step);
                        // SAFETY: `forward` chose `K` by what the processor has and checked that x, y and residual hold
                        // all rows; `row + height <= rows`, `start + depth <= inputs` and `column + columns <= outputs`;
                        // lines and bias are padded to whole panels, and a block has all its rows in `copy` or in x. Each
                        // task has its own rows or its own columns of y.
                        unsafe { K::tile(height, &tile) };
                    }
                }
            }
            top = bottom;
        }
    }
}

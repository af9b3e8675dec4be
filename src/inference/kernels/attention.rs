//! Multi-head attention (Vaswani et al. 2017) over the fused query-key-value rows of a ragged batch.
//!
//! The tokens of all sequences lie one after the other without padding; only attention looks at where a sequence begins
//! and ends. A (sequence, head) pair is one unit of work: its keys are packed into panels once, then a few query rows at
//! a time are multiplied, normalised and multiplied with the values while they are in the first cache level.

use std::ops::Range;

use super::activation::Activation;
use super::shared::SharedMut;
use super::tile::{PANEL, Plain, Tile, TileKernel, tiles};
use super::{Compute, Isa};

/// Who may look at whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Every token sees its whole sequence.
    Full,
    /// A token sees itself and what came before.
    Causal,
}

/// Shape of the attention of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Number of heads.
    pub heads: usize,
    /// Width of a head; a multiple of 16.
    pub head_width: usize,
    /// Who may look at whom.
    pub mask: Mask,
}

impl Attention {
    /// Reads `tokens × 3·width` numbers (query, key, value one after the other) and writes `tokens × width`.
    ///
    /// `sequences` are the token ranges, which together cover all tokens.
    ///
    /// # Panics
    /// When lengths or ranges don't fit or the head width is no multiple of 16 (a bug in the caller).
    pub fn forward(&self, compute: &Compute, qkv: &[f32], output: &mut [f32], sequences: &[Range<usize>]) {
        let width = self.heads * self.head_width;
        let tokens = output.len() / width;
        assert!(self.head_width.is_multiple_of(PANEL), "head width {}", self.head_width);
        assert_eq!(qkv.len(), tokens * 3 * width, "query, key and value of {tokens} tokens");
        assert!(sequences.iter().all(|sequence| sequence.end <= tokens), "sequences within {tokens} tokens");
        let run = Run { shape: *self, qkv, output: SharedMut::new(output), sequences };
        match compute.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Vnni | Isa::Amx => run.all::<super::avx512::Avx512>(compute),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => run.all::<super::avx2::Avx2>(compute),
            Isa::Plain => run.all::<Plain>(compute),
        }
    }
}

/// One call of [`Attention::forward`], its lengths checked.
struct Run<'a> {
    shape: Attention,
    qkv: &'a [f32],
    output: SharedMut<'a, f32>,
    sequences: &'a [Range<usize>],
}

impl Run<'_> {
    fn all<K: TileKernel>(&self, compute: &Compute) {
        let units = self.sequences.len() * self.shape.heads;
        let longest = self.sequences.iter().map(Range::len).max().unwrap_or(0).next_multiple_of(PANEL * K::PANELS);
        let parts = if compute.pool.threads() == 1 { 1 } else { compute.pool.threads() * 4 };
        compute.pool.run_ranges(units, parts, &|units| {
            let mut scores = vec![0f32; K::ROWS * longest];
            let mut keys = vec![0f32; longest * self.shape.head_width];
            for unit in units {
                let sequence = self.sequences[unit / self.shape.heads].clone();
                if !sequence.is_empty() {
                    self.unit::<K>(compute.isa, sequence, unit % self.shape.heads, &mut scores, &mut keys);
                }
            }
        });
    }

    /// One head of one sequence.
    fn unit<K: TileKernel>(&self, isa: Isa, sequence: Range<usize>, head: usize, scores: &mut [f32], keys: &mut [f32]) {
        let Attention { heads, head_width, mask } = self.shape;
        let width = heads * head_width;
        let row_width = 3 * width;
        let length = sequence.len();
        let score_stride = scores.len() / K::ROWS;
        let head_of = |token: usize, part: usize| {
            let start = (sequence.start + token) * row_width + part * width + head * head_width;
            &self.qkv[start..][..head_width]
        };
        // Keys transposed into panels: [length/16][head_width][16].
        for (index, panel) in keys.chunks_exact_mut(PANEL * head_width).take(length.div_ceil(PANEL)).enumerate() {
            for lane in 0..PANEL {
                let token = index * PANEL + lane;
                if token < length {
                    let key = head_of(token, 1);
                    panel.iter_mut().skip(lane).step_by(PANEL).zip(key).for_each(|(into, &x)| *into = x);
                } else {
                    panel.iter_mut().skip(lane).step_by(PANEL).for_each(|into| *into = 0.0);
                }
            }
        }
        let plain = Tile {
            depth: head_width,
            a: std::ptr::null(),
            a_stride: row_width,
            b: std::ptr::null(),
            b_stride: PANEL,
            b_panel: PANEL * head_width,
            c: std::ptr::null_mut(),
            c_stride: score_stride,
            columns: 0,
            first: true,
            last: true,
            bias: std::ptr::null(),
            scale: 1.0 / (head_width as f32).sqrt(),
            activation: Activation::None,
            residual: std::ptr::null(),
            residual_stride: 0,
            // All of it is near already.
            ahead: scores.as_ptr(),
            ahead_step: 0,
        };
        let step = K::PANELS * PANEL;
        for (query, rows) in tiles(0..length, K::ROWS) {
            // No row of this tile sees a token from here on.
            let seen = if mask == Mask::Causal { query + rows } else { length };
            for column in (0..seen).step_by(step) {
                let tile = Tile {
                    a: head_of(query, 0).as_ptr(),
                    b: keys[column * head_width..].as_ptr(),
                    c: scores[column..].as_mut_ptr(),
                    columns: (seen - column).min(step),
                    ..plain
                };
                // SAFETY: `rows` query rows from `query` are in the sequence; `keys` holds whole panels for all columns
                // below `length`; `scores` has `K::ROWS` rows of at least `seen` numbers and belongs to this task.
                unsafe { K::tile(rows, &tile) };
            }
            for row in 0..rows {
                let visible = if mask == Mask::Causal { query + row + 1 } else { length };
                let scores = &mut scores[row * score_stride..][..seen];
                softmax(isa, &mut scores[..visible]);
                scores[visible..].fill(0.0);
            }
            for column in (0..head_width).step_by(step) {
                let tile = Tile {
                    depth: seen,
                    a: scores.as_ptr(),
                    a_stride: score_stride,
                    b: head_of(0, 2)[column..].as_ptr(),
                    b_stride: row_width,
                    b_panel: PANEL,
                    c: self.output.pointer((sequence.start + query) * width + head * head_width + column),
                    c_stride: width,
                    columns: (head_width - column).min(step),
                    scale: 1.0,
                    ..plain
                };
                // SAFETY: `seen <= length` value rows, each with the `columns` (whole panels, since the head width is a
                // multiple of 16) of this head; the output's columns of this head and these rows are this task's alone.
                unsafe { K::tile(rows, &tile) };
            }
        }
    }
}

fn softmax(isa: Isa, row: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if isa.has_avx2() {
        // SAFETY: the processor has AVX2 and FMA, as `Isa` found out.
        unsafe { super::avx2::softmax(row) };
        return;
    }
    let _ = isa;
    plain_softmax(row);
}

pub(super) fn plain_softmax(row: &mut [f32]) {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for x in row.iter_mut() {
        *x = (*x - top).exp();
        total += *x;
    }
    for x in row {
        *x /= total;
    }
}

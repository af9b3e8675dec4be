//! The convolutions with our kernels. Pictures go through one at a time (or one for each thread) in NHWC, so that activations
//! stay in the cache.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape};

use super::block::Block;
use super::checkpoint::Features;
use crate::inference::kernels::{Activation, Compute, Epilogue, Linear, Pool};
use crate::inference::operations::numbers;

/// Side of a picture from which a block is computed row by row: below, everything is in the caches anyway, and a row is too
/// short to make good use of weights.
const BY_ROWS_FROM: usize = 28;

/// All but the classifier.
pub(super) struct KernelTrunk {
    stem: Linear,
    blocks: Vec<Block>,
    head: Linear,
}

/// Pictures to pooled features as one operation: between the layers of a picture nothing leaves the caches.
pub(super) struct Pooled<'a> {
    pub(super) trunk: &'a KernelTrunk,
    pub(super) compute: &'a Compute,
    pub(super) rooms: &'a RefCell<Vec<Buffers>>,
}

impl CustomOp1 for Pooled<'_> {
    fn name(&self) -> &'static str {
        "MobileNetV2's features"
    }

    fn cpu_fwd(&self, pictures: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (count, side, _, _) = layout.shape().dims4()?;
        let pictures = numbers(pictures, layout)?;
        let pooled = self.trunk.pooled(self.compute, &mut self.rooms.borrow_mut(), pictures, side);
        Ok((CpuStorage::F32(pooled), (count, self.trunk.features()).into()))
    }
}

/// Buffers of a forward pass, kept between pictures.
#[derive(Default)]
pub(in crate::inference) struct Buffers {
    input: Vec<f32>,
    state: Vec<f32>,
    expanded: Vec<f32>,
    convolved: Vec<f32>,
    next: Vec<f32>,
}

impl Buffers {
    /// Numbers held.
    pub(in crate::inference) fn capacity(&self) -> usize {
        let Self { input, state, expanded, convolved, next } = self;
        [input, state, expanded, convolved, next].map(Vec::capacity).iter().sum()
    }
}

impl KernelTrunk {
    pub(super) fn pack(features: Features) -> Self {
        let Features { stem, blocks, head } = features;
        // From [out][channel][3][3] to [out][3][3][channel], the order in which `columns` lays out the picture.
        let stem = Linear::pack(stem.outputs(), 27, &stem.bias, |output, into| {
            for (tap, pixel) in into.chunks_exact_mut(3).enumerate() {
                for (channel, weight) in pixel.iter_mut().enumerate() {
                    *weight = stem.filters[output * 27 + channel * 9 + tap];
                }
            }
        });
        let head = Linear::from_rows(&head.filters, head.outputs(), &head.bias);
        Self { stem, blocks: blocks.into_iter().map(Block::pack).collect(), head }
    }

    /// Width of the pooled features.
    pub(super) fn features(&self) -> usize {
        self.head.outputs()
    }

    /// Pooled features, one row for each picture of `side × side × 3` numbers.
    fn pooled(&self, compute: &Compute, rooms: &mut Vec<Buffers>, pictures: &[f32], side: usize) -> Vec<f32> {
        let pictures: Vec<&[f32]> = pictures.chunks_exact((side * side * 3).max(1)).collect();
        let count = pictures.len();
        let threads = compute.pool.threads();
        // Whole pictures are the better parts: between the layers nobody waits for anybody.
        let apart = if threads > 1 { count / threads * threads } else { 0 };
        let mut rows = vec![Vec::new(); count];
        if apart > 0 {
            let alone = Compute { pool: Pool::new(1), isa: compute.isa };
            let (free, done) = (Mutex::new(std::mem::take(rooms)), Mutex::new(Vec::with_capacity(apart)));
            compute.pool.run(apart, &|index| {
                let mut room = lock(&free).pop().unwrap_or_default();
                let row = self.pooled_one(&alone, &mut room, pictures[index], side);
                lock(&free).push(room);
                lock(&done).push((index, row));
            });
            *rooms = std::mem::take(&mut lock(&free));
            for (index, row) in std::mem::take(&mut *lock(&done)) {
                rows[index] = row;
            }
        }
        if rooms.is_empty() {
            rooms.push(Buffers::default());
        }
        for (index, row) in rows.iter_mut().enumerate().skip(apart) {
            *row = self.pooled_one(compute, &mut rooms[0], pictures[index], side);
        }
        rows.concat()
    }

    /// Pooled features of one picture.
    fn pooled_one(&self, compute: &Compute, buffers: &mut Buffers, picture: &[f32], mut side: usize) -> Vec<f32> {
        let Buffers { input, state, expanded, convolved, next } = buffers;
        columns(compute, picture, side, input);
        side = side.div_ceil(2);
        let mut length = side * side * self.stem.outputs();
        let around = &input[..side * side * 27];
        self.stem.forward(compute, around, room(state, length), Epilogue::activation(Activation::Relu6));
        for block in &self.blocks {
            let out_side = block.output_size(side);
            let out_length = out_side * out_side * block.outputs();
            let (narrow, out) = (&state[..length], room(next, out_length));
            if side >= BY_ROWS_FROM {
                block.by_rows(compute, narrow, out, side, expanded);
            } else {
                block.whole(compute, narrow, out, side, [expanded, convolved]);
            }
            std::mem::swap(state, next);
            (side, length) = (out_side, out_length);
        }
        let features = self.features();
        let expanded = room(expanded, side * side * features);
        self.head.forward(compute, &state[..length], expanded, Epilogue::activation(Activation::Relu6));
        let mut pooled = vec![0f32; features];
        for pixel in expanded.chunks_exact(features) {
            pooled.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += x);
        }
        let count = (side * side) as f32;
        for x in &mut pooled {
            *x /= count;
        }
        pooled
    }
}

/// The beginning of a buffer, which grows to that length and never shrinks: what lies there is overwritten, and filling it
/// with zeros for each layer again would take a tenth of the time.
pub(super) fn room(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lays out the 3×3 neighbourhoods of every second pixel as rows of 27 (stride 2, padding 1).
fn columns(compute: &Compute, picture: &[f32], side: usize, rows: &mut Vec<f32>) {
    let out_side = side.div_ceil(2);
    let rows = room(rows, out_side * out_side * 27);
    compute.pool.run_chunks(rows, out_side * 27, &|out_y, line| {
        for (out_x, row) in line.chunks_exact_mut(27).enumerate() {
            for (tap, into) in row.chunks_exact_mut(9).enumerate() {
                let Some(y) = (2 * out_y + tap).checked_sub(1).filter(|&y| y < side) else {
                    into.fill(0.0);
                    continue;
                };
                let pixels = &picture[y * side * 3..][..side * 3];
                let left = 6 * out_x;
                if out_x > 0 && left + 6 <= pixels.len() {
                    into.copy_from_slice(&pixels[left - 3..left + 6]);
                    continue;
                }
                for (x, into) in into.chunks_exact_mut(3).enumerate() {
                    match (2 * out_x + x).checked_sub(1).filter(|&x| x < side) {
                        Some(x) => into.copy_from_slice(&pixels[3 * x..3 * x + 3]),
                        None => into.fill(0.0),
                    }
                }
            }
        }
    });
}

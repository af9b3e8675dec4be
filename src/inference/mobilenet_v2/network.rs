//! The network itself, and how its convolutions are computed.
//!
//! Batch norms are folded into the convolutions when the weights are packed; pictures go through one at a time (or one for
//! each thread) in NHWC, so that activations stay in the cache.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::inference::encoder;
use crate::inference::graph::{Convolution, Convolutions, Features};
use crate::inference::kernels::{Activation, Compute, Depthwise, Epilogue, Linear, Pool};
use crate::inference::model::InferenceError;
use crate::inference::place::Place;
use crate::inference::weights::{Weights, WeightsError};

/// Epsilon of timm's batch norms.
const EPSILON: f32 = 1e-5;
/// Stride of the first block of each stage.
const STAGE_STRIDES: [usize; 7] = [1, 2, 2, 2, 1, 2, 1];
/// Side of a picture from which a block is computed row by row: below, everything is in the caches anyway, and a row is too
/// short to make good use of weights.
const BY_ROWS_FROM: usize = 28;

/// The network without its preprocessing.
pub(in crate::inference) struct Network {
    trunk: Trunk,
    classifier: Linear,
}

/// All but the classifier, wherever it computes.
enum Trunk {
    /// With our kernels.
    Kernels(KernelTrunk),
    /// With candle's operations.
    Graph(Convolutions),
}

struct KernelTrunk {
    stem: Linear,
    blocks: Vec<Block>,
    head: Linear,
}

struct Block {
    expand: Option<Linear>,
    depthwise: Depthwise,
    project: Linear,
    residual: bool,
}

/// Some rows of a block's output, and what one thread needs to compute them.
struct Part<'a> {
    /// The first row.
    first: usize,
    out: &'a mut [f32],
    /// Three rows of the expanded picture, and one of the convolved one.
    room: &'a mut [f32],
}

/// Buffers of a forward pass, kept between pictures.
#[derive(Default)]
pub(in crate::inference) struct Buffers {
    picture: Vec<f32>,
    input: Vec<f32>,
    state: Vec<f32>,
    expanded: Vec<f32>,
    convolved: Vec<f32>,
    next: Vec<f32>,
}

impl Buffers {
    /// Numbers held.
    pub(in crate::inference) fn capacity(&self) -> usize {
        let Self { picture, input, state, expanded, convolved, next } = self;
        [picture, input, state, expanded, convolved, next].map(Vec::capacity).iter().sum()
    }
}

impl Network {
    pub(in crate::inference) fn load(weights: &Weights, place: &Place) -> Result<Self, WeightsError> {
        let features = features(weights)?;
        let labels = weights.shape("classifier.weight")?.first().copied().unwrap_or_default();
        let classifier = encoder::linear(weights, "classifier", labels, features.head.bias.len())?;
        let trunk = match place {
            Place::Cpu(_) => Trunk::Kernels(KernelTrunk::pack(features)),
            Place::Candle(device) => Trunk::Graph(
                Convolutions::place(features, device)
                    .map_err(|source| WeightsError::Device { name: "the convolutions".to_owned(), source })?,
            ),
        };
        Ok(Self { trunk, classifier })
    }

    /// Width of the pooled features.
    pub(in crate::inference) fn features(&self) -> usize {
        match &self.trunk {
            Trunk::Kernels(trunk) => trunk.features(),
            Trunk::Graph(trunk) => trunk.width(),
        }
    }

    /// Number of classes.
    pub(in crate::inference) fn labels(&self) -> usize {
        self.classifier.outputs()
    }

    /// Pooled features of `count` square pictures, one row each; `fill(index, into)` writes the `side × side × 3` normalised
    /// numbers of one.
    ///
    /// # Errors
    /// Where a device fails; our kernels never do.
    pub(in crate::inference) fn pooled(
        &self,
        compute: &Compute,
        rooms: &mut Vec<Buffers>,
        count: usize,
        fill: &(dyn Fn(usize, &mut Vec<f32>) + Sync),
    ) -> Result<Vec<f32>, InferenceError> {
        match &self.trunk {
            Trunk::Kernels(trunk) => Ok(trunk.pooled(compute, rooms, count, fill)),
            Trunk::Graph(trunk) => {
                let mut pictures = vec![Vec::new(); count];
                pictures.iter_mut().enumerate().for_each(|(index, into)| fill(index, into));
                trunk.pooled(&pictures)
            }
        }
    }

    /// Logits of pooled features (any number of rows).
    pub(in crate::inference) fn classify(&self, compute: &Compute, pooled: &[f32]) -> Vec<f32> {
        let mut logits = vec![0f32; pooled.len() / self.features() * self.labels()];
        self.classifier.forward(compute, pooled, &mut logits, Epilogue::default());
        logits
    }
}

impl KernelTrunk {
    fn pack(features: Features) -> Self {
        let Features { stem, blocks, head } = features;
        // From [out][channel][3][3] to [out][3][3][channel], the order in which `columns` lays out the picture.
        let stem = Linear::pack(stem.bias.len(), 27, &stem.bias, |output, into| {
            for (tap, pixel) in into.chunks_exact_mut(3).enumerate() {
                for (channel, weight) in pixel.iter_mut().enumerate() {
                    *weight = stem.filters[output * 27 + channel * 9 + tap];
                }
            }
        });
        let blocks = blocks.into_iter().filter_map(|(convolutions, residual)| Block::pack(convolutions, residual));
        Self { stem, blocks: blocks.collect(), head: pointwise(&head) }
    }

    fn features(&self) -> usize {
        self.head.outputs()
    }

    fn pooled(
        &self,
        compute: &Compute,
        rooms: &mut Vec<Buffers>,
        count: usize,
        fill: &(dyn Fn(usize, &mut Vec<f32>) + Sync),
    ) -> Vec<f32> {
        let threads = compute.pool.threads();
        // Whole pictures are the better parts: between the layers nobody waits for anybody.
        let apart = if threads > 1 { count / threads * threads } else { 0 };
        let mut rows = vec![Vec::new(); count];
        if apart > 0 {
            let alone = Compute { pool: Pool::new(1), isa: compute.isa };
            let (free, done) = (Mutex::new(std::mem::take(rooms)), Mutex::new(Vec::with_capacity(apart)));
            compute.pool.run(apart, &|index| {
                let mut room = lock(&free).pop().unwrap_or_default();
                fill(index, &mut room.picture);
                let row = self.pooled_one(&alone, &mut room);
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
            fill(index, &mut rooms[0].picture);
            *row = self.pooled_one(compute, &mut rooms[0]);
        }
        rows.concat()
    }

    /// Pooled features of the picture in the buffers.
    fn pooled_one(&self, compute: &Compute, buffers: &mut Buffers) -> Vec<f32> {
        let Buffers { picture, input, state, expanded, convolved, next } = buffers;
        let mut side = (picture.len() / 3).isqrt();
        columns(compute, picture, side, input);
        side = side.div_ceil(2);
        let mut length = side * side * self.stem.outputs();
        let around = &input[..side * side * 27];
        self.stem.forward(compute, around, room(state, length), Epilogue::activation(Activation::Relu6));
        for block in &self.blocks {
            let out_side = block.depthwise.output_size(side);
            let out_length = out_side * out_side * block.project.outputs();
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

impl Block {
    /// One layer after the other, each over the whole picture of `side × side` pixels.
    fn whole(
        &self,
        compute: &Compute,
        narrow: &[f32],
        out: &mut [f32],
        side: usize,
        [expanded, convolved]: [&mut Vec<f32>; 2],
    ) {
        let wide = if let Some(expand) = &self.expand {
            let wide = room(expanded, side * side * expand.outputs());
            expand.forward(compute, narrow, wide, Epilogue::activation(Activation::Relu6));
            &*wide
        } else {
            narrow
        };
        let out_side = self.depthwise.output_size(side);
        let convolved = room(convolved, out_side * out_side * self.depthwise.channels());
        self.depthwise.forward(compute, wide, convolved, [side, side]);
        let epilogue = if self.residual { Epilogue::residual(narrow) } else { Epilogue::default() };
        self.project.forward(compute, convolved, out, epilogue);
    }

    /// All layers for one row of the output after the other. Of a large picture the expanded one is larger than the
    /// caches: so only the three rows of it are there that a row of the output needs.
    fn by_rows(&self, compute: &Compute, narrow: &[f32], out: &mut [f32], side: usize, rooms: &mut Vec<f32>) {
        let out_side = self.depthwise.output_size(side);
        let (wide_row, convolved_row) = (side * self.depthwise.channels(), out_side * self.depthwise.channels());
        let out_row = out_side * self.project.outputs();
        // Each part computes up to two rows of its neighbour's again, so there are not many.
        let rows = out_side.div_ceil(compute.pool.threads() * if compute.pool.threads() > 1 { 2 } else { 1 });
        let room_length = 3 * wide_row + convolved_row;
        let rooms = room(rooms, out_side.div_ceil(rows) * room_length);
        let mut parts: Vec<Part<'_>> = out
            .chunks_mut(rows * out_row)
            .zip(rooms.chunks_exact_mut(room_length))
            .enumerate()
            .map(|(index, (out, room))| Part { first: index * rows, out, room })
            .collect();
        let alone = Compute { pool: Pool::new(1), isa: compute.isa };
        compute.pool.run_chunks(&mut parts, 1, &|_, parts| {
            for Part { first, out, room } in parts {
                let (ring, convolved) = room.split_at_mut(3 * wide_row);
                let mut expanded = 0;
                for (out_y, out) in (*first..).zip(out.chunks_exact_mut(out_row)) {
                    let taps = self.depthwise.rows_of(out_y, side);
                    if let Some(expand) = &self.expand {
                        let width = expand.inputs() * side;
                        for y in taps.into_iter().flatten().filter(|&y| y >= expanded) {
                            let wide = &mut ring[y % 3 * wide_row..][..wide_row];
                            let epilogue = Epilogue::activation(Activation::Relu6);
                            expand.forward(&alone, &narrow[y * width..][..width], wide, epilogue);
                        }
                        expanded = taps.into_iter().flatten().max().map_or(expanded, |last| last + 1);
                    }
                    let source = |y: usize| {
                        let from =
                            if self.expand.is_some() { &ring[y % 3 * wide_row..] } else { &narrow[y * wide_row..] };
                        &from[..wide_row]
                    };
                    self.depthwise.forward_row(&alone, taps.map(|y| y.map(source)), convolved);
                    let epilogue = if self.residual {
                        Epilogue::residual(&narrow[out_y * out_row..][..out_row])
                    } else {
                        Epilogue::default()
                    };
                    self.project.forward(&alone, convolved, out, epilogue);
                }
            }
        });
    }

    /// Packs the convolutions of a block: an expansion where there is one, the depthwise one, and the projection.
    fn pack(mut convolutions: Vec<Convolution>, residual: bool) -> Option<Self> {
        let project = pointwise(&convolutions.pop()?);
        let Convolution { filters, bias, stride, .. } = convolutions.pop()?;
        let expand = convolutions.pop().map(|expand| pointwise(&expand));
        Some(Self { expand, depthwise: Depthwise::new(&filters, bias, stride), project, residual })
    }
}

/// The convolutions of a file in timm's layout, batch norms multiplied in.
fn features(weights: &Weights) -> Result<Features, WeightsError> {
    let mut blocks = Vec::new();
    for (stage, stage_stride) in STAGE_STRIDES.into_iter().enumerate() {
        for index in 0.. {
            let prefix = format!("blocks.{stage}.{index}");
            if !weights.has(&format!("{prefix}.conv_dw.weight")) {
                break;
            }
            blocks.push(block(weights, &prefix, if index == 0 { stage_stride } else { 1 })?);
        }
    }
    Ok(Features {
        stem: folded(weights, "conv_stem", "bn1", 2)?,
        blocks,
        head: folded(weights, "conv_head", "bn2", 1)?,
    })
}

fn block(weights: &Weights, prefix: &str, stride: usize) -> Result<(Vec<Convolution>, bool), WeightsError> {
    let name = |part: &str| format!("{prefix}.{part}");
    // A depthwise separable block (the first stage) has no expansion, and its norms are counted from there.
    let parts: &[_] = if weights.has(&name("conv_pwl.weight")) {
        &[("conv_pw", "bn1", 1), ("conv_dw", "bn2", stride), ("conv_pwl", "bn3", 1)]
    } else {
        &[("conv_dw", "bn1", stride), ("conv_pw", "bn2", 1)]
    };
    let load =
        |&(convolution, norm, stride): &(&str, &str, usize)| folded(weights, &name(convolution), &name(norm), stride);
    let mut convolutions = parts.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let inputs = convolutions.first().map_or(0, Convolution::inputs);
    let outputs = convolutions.last_mut().map_or(0, |project| {
        project.relu6 = false;
        project.bias.len()
    });
    Ok((convolutions, stride == 1 && inputs == outputs))
}

/// A convolution with its batch norm multiplied in.
fn folded(weights: &Weights, convolution: &str, norm: &str, stride: usize) -> Result<Convolution, WeightsError> {
    let name = format!("{convolution}.weight");
    let found = weights.shape(&name)?.to_vec();
    let Ok(shape) = <[usize; 4]>::try_from(found.as_slice()) else {
        let expected = found.iter().copied().chain([1; 4]).take(4).collect();
        return Err(WeightsError::Shape { name, found, expected });
    };
    let [outputs, inputs, height, width] = shape;
    let mut filters = weights.vector(&name)?;
    let part = |part: &str| weights.shaped(&format!("{norm}.{part}"), &[outputs]);
    let (scale, shift) = (part("weight")?, part("bias")?);
    let (mean, variance) = (part("running_mean")?, part("running_var")?);
    let mut bias = Vec::with_capacity(outputs);
    for (output, filter) in filters.chunks_exact_mut((inputs * height * width).max(1)).enumerate() {
        let factor = scale[output] / (variance[output] + EPSILON).sqrt();
        for weight in filter {
            *weight *= factor;
        }
        bias.push(shift[output] - mean[output] * factor);
    }
    Ok(Convolution { filters, shape, bias, stride, depthwise: inputs == 1, relu6: true })
}

/// A 1×1 convolution: over pictures in NHWC it is a linear layer for each pixel.
fn pointwise(convolution: &Convolution) -> Linear {
    Linear::from_rows(&convolution.filters, convolution.bias.len(), &convolution.bias)
}

/// The beginning of a buffer, which grows to that length and never shrinks: what lies there is overwritten, and filling it
/// with zeros for each layer again would take a tenth of the time.
fn room(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
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

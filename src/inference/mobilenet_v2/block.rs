//! A block with our kernels: layer by layer over a small picture, row by row over a large one.

use super::checkpoint::{Convolution, InvertedResidual};
use super::trunk::room;
use crate::inference::kernels::{Activation, Compute, Depthwise, Epilogue, Linear, Pool};

/// An inverted residual, packed.
pub(super) struct Block {
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
    /// Three rows of the expanded picture: row `y` is in place `y % 3`.
    ring: &'a mut [f32],
    /// One row of the convolved picture.
    convolved: &'a mut [f32],
}

impl Block {
    pub(super) fn pack(block: InvertedResidual) -> Self {
        let InvertedResidual { expand, depthwise, project, residual } = block;
        // A 1×1 convolution over pictures in NHWC is a linear layer for each pixel.
        let pointwise = |c: Convolution| Linear::from_rows(&c.filters, c.outputs(), &c.bias);
        let depthwise = Depthwise::new(&depthwise.filters, depthwise.bias, depthwise.stride);
        Self { expand: expand.map(pointwise), depthwise, project: pointwise(project), residual }
    }

    /// Channels that come out.
    pub(super) fn outputs(&self) -> usize {
        self.project.outputs()
    }

    /// Side of the output for that of the input.
    pub(super) fn output_size(&self, side: usize) -> usize {
        self.depthwise.output_size(side)
    }

    /// One layer after the other, each over the whole picture of `side × side` pixels.
    pub(super) fn whole(
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
    pub(super) fn by_rows(
        &self,
        compute: &Compute,
        narrow: &[f32],
        out: &mut [f32],
        side: usize,
        rooms: &mut Vec<f32>,
    ) {
        let out_side = self.output_size(side);
        let (wide_row, convolved_row) = (side * self.depthwise.channels(), out_side * self.depthwise.channels());
        // Each part computes up to two rows of its neighbour's again, so there are not many.
        let threads = compute.pool.threads();
        let rows = out_side.div_ceil(if threads > 1 { threads * 2 } else { 1 });
        let room_length = 3 * wide_row + convolved_row;
        let rooms = room(rooms, out_side.div_ceil(rows) * room_length);
        let mut parts: Vec<Part<'_>> = out
            .chunks_mut(rows * out_side * self.outputs())
            .zip(rooms.chunks_exact_mut(room_length))
            .enumerate()
            .map(|(index, (out, room))| {
                let (ring, convolved) = room.split_at_mut(3 * wide_row);
                Part { first: index * rows, out, ring, convolved }
            })
            .collect();
        let alone = Compute { pool: Pool::new(1), isa: compute.isa };
        compute.pool.run_chunks(&mut parts, 1, &|_, parts| {
            for part in parts {
                self.part(&alone, narrow, side, part);
            }
        });
    }

    fn part(&self, compute: &Compute, narrow: &[f32], side: usize, part: &mut Part<'_>) {
        let Part { first, out, ring, convolved } = part;
        let wide_row = side * self.depthwise.channels();
        let out_row = self.output_size(side) * self.outputs();
        // Rows of the expanded picture below this one were there already.
        let mut expanded = 0;
        for (out_y, out) in (*first..).zip(out.chunks_exact_mut(out_row)) {
            let taps = self.depthwise.rows_of(out_y, side);
            if let Some(expand) = &self.expand {
                let narrow_row = side * expand.inputs();
                for y in taps.into_iter().flatten().filter(|&y| y >= expanded) {
                    let wide = &mut ring[y % 3 * wide_row..][..wide_row];
                    let epilogue = Epilogue::activation(Activation::Relu6);
                    expand.forward(compute, &narrow[y * narrow_row..][..narrow_row], wide, epilogue);
                }
                expanded = taps.into_iter().flatten().max().map_or(expanded, |last| last + 1);
            }
            let wide = |y: usize| {
                let from = if self.expand.is_some() { &ring[y % 3 * wide_row..] } else { &narrow[y * wide_row..] };
                &from[..wide_row]
            };
            self.depthwise.forward_row(compute, taps.map(|y| y.map(wide)), convolved);
            let residual = self.residual.then(|| &narrow[out_y * out_row..][..out_row]);
            self.project.forward(compute, convolved, out, Epilogue { activation: None, residual });
        }
    }
}

//! Depthwise 3×3 convolution with padding 1 and ReLU6 over one picture in NHWC, its batch norm folded into weights and bias.

use super::Compute;

/// A depthwise 3×3 convolution (one filter for each channel) followed by ReLU6.
pub struct Depthwise {
    /// `[9][channels]`: the taps row by row.
    weights: Vec<f32>,
    bias: Vec<f32>,
    channels: usize,
    stride: usize,
}

/// One row of the output and what it is computed from.
pub(super) struct Row<'a> {
    /// The three input rows of `width × channels` numbers; `None` outside the picture, where the padding is zero.
    pub(super) inputs: [Option<&'a [f32]>; 3],
    /// `9 × channels`.
    pub(super) weights: &'a [f32],
    /// `channels`.
    pub(super) bias: &'a [f32],
    pub(super) width: usize,
    pub(super) out_width: usize,
    pub(super) channels: usize,
    pub(super) stride: usize,
    /// Columns of zeros to the left of the picture.
    pub(super) pad: usize,
}

impl Depthwise {
    /// Takes filters as PyTorch has them, `[channels][3][3]`.
    ///
    /// # Panics
    /// When there are not nine weights and one bias a channel.
    pub fn new(filters: &[f32], bias: Vec<f32>, stride: usize) -> Self {
        let channels = bias.len();
        assert_eq!(filters.len(), 9 * channels, "nine weights for each of {channels} channels");
        let mut weights = vec![0f32; 9 * channels];
        for (channel, filter) in filters.chunks_exact(9).enumerate() {
            for (tap, &weight) in filter.iter().enumerate() {
                weights[tap * channels + channel] = weight;
            }
        }
        Self { weights, bias, channels, stride }
    }

    /// Channels of input and output.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Height or width of the output for that of the input.
    pub fn output_size(&self, input: usize) -> usize {
        input.div_ceil(self.stride)
    }

    /// Convolves one picture of `height × width × channels` numbers.
    ///
    /// # Panics
    /// When the lengths don't fit (a bug in the caller, never a matter of input).
    pub fn forward(&self, compute: &Compute, x: &[f32], y: &mut [f32], [height, width]: [usize; 2]) {
        let (out_height, out_width) = (self.output_size(height), self.output_size(width));
        let (in_row, out_row) = (width * self.channels, out_width * self.channels);
        assert_eq!(x.len(), height * in_row, "input of a depthwise convolution");
        assert_eq!(y.len(), out_height * out_row, "output of a depthwise convolution");
        compute.pool.run_chunks(y, out_row, &|out_y, output| {
            let inputs = self.rows_of(out_y, height).map(|y| Some(&x[y? * in_row..][..in_row]));
            self.forward_row(compute, inputs, output);
        });
    }

    /// The rows of the input that a row of the output is computed from; `None` is outside the picture.
    pub fn rows_of(&self, out_y: usize, height: usize) -> [Option<usize>; 3] {
        [0, 1, 2].map(|tap| (out_y * self.stride + tap).checked_sub(1).filter(|&y| y < height))
    }

    /// Convolves one row of the output, on the calling thread.
    ///
    /// # Panics
    /// When all rows are outside the picture, or the lengths don't fit (a bug in the caller, never a matter of input).
    pub fn forward_row(&self, compute: &Compute, inputs: [Option<&[f32]>; 3], y: &mut [f32]) {
        let length = inputs.iter().flatten().next().map_or(0, |input| input.len());
        let width = length / self.channels;
        assert!(length > 0 && inputs.iter().flatten().all(|input| input.len() == width * self.channels));
        assert_eq!(y.len(), self.output_size(width) * self.channels, "output row of a depthwise convolution");
        let row = Row {
            inputs,
            weights: &self.weights,
            bias: &self.bias,
            width,
            out_width: self.output_size(width),
            channels: self.channels,
            stride: self.stride,
            pad: 1,
        };
        row.convolve(compute, y);
    }
}

impl Row<'_> {
    fn convolve(&self, compute: &Compute, output: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if compute.isa.has_avx512() && self.channels.is_multiple_of(16) && self.stride <= 2 {
            // SAFETY: the processor has AVX-512 F, as `Isa` found out.
            unsafe { super::avx512::depthwise_row(self, output) };
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if compute.isa.has_avx2() && self.channels.is_multiple_of(8) {
            // SAFETY: the processor has AVX2 and FMA, as `Isa` found out.
            unsafe { super::avx2::depthwise_row(self, output) };
            return;
        }
        let _ = compute;
        self.plain(output);
    }

    fn plain(&self, output: &mut [f32]) {
        for (x, pixel) in output.chunks_exact_mut(self.channels).enumerate() {
            pixel.copy_from_slice(self.bias);
            for (tap_y, input) in self.inputs.iter().enumerate() {
                let Some(input) = input else { continue };
                for tap_x in 0..3 {
                    let Some(column) = (x * self.stride + tap_x).checked_sub(self.pad).filter(|&c| c < self.width)
                    else {
                        continue;
                    };
                    let weights = &self.weights[(3 * tap_y + tap_x) * self.channels..][..self.channels];
                    let input = &input[column * self.channels..][..self.channels];
                    for ((sum, weight), x) in pixel.iter_mut().zip(weights).zip(input) {
                        *sum += weight * x;
                    }
                }
            }
            for x in pixel {
                *x = x.clamp(0.0, 6.0);
            }
        }
    }
}

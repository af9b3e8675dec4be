//! Every kernel, with every instruction set of this processor, against candle or plain arithmetic: random shapes, tails,
//! extreme values.

use candle_core::{Device, Tensor};
use candle_nn::Module as _;
use proptest::prelude::*;

use super::*;

/// One for each instruction set and number of threads.
pub(super) fn computes() -> Vec<Compute> {
    Isa::available()
        .into_iter()
        .flat_map(|isa| [1, 3].map(|threads| Compute { pool: Pool::new(threads), isa }))
        .collect()
}

/// Numbers from a small generator (xorshift), between -1 and 1.
pub(super) fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn tensor(numbers: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(numbers, shape, &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{what}[{index}]: {a}, expected {b}");
    }
}

fn activated(tensor: &Tensor, activation: Option<Activation>) -> Tensor {
    match activation {
        None | Some(Activation::None) => tensor.clone(),
        Some(Activation::Relu) => tensor.relu().unwrap(),
        Some(Activation::Relu6) => tensor.clamp(0f32, 6f32).unwrap(),
        Some(Activation::Gelu) => tensor.gelu_erf().unwrap(),
        Some(Activation::QuickGelu) => (tensor * candle_nn::ops::sigmoid(&(tensor * 1.702).unwrap()).unwrap()).unwrap(),
    }
}

fn activations() -> impl Strategy<Value = Option<Activation>> {
    prop::sample::select(vec![
        None,
        Some(Activation::None),
        Some(Activation::Relu),
        Some(Activation::Relu6),
        Some(Activation::Gelu),
        Some(Activation::QuickGelu),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn linear_is_candles(
        (rows, inputs, outputs) in (1usize..70, 1usize..140, 1usize..140),
        activation in activations(),
        (with_bias, with_residual) in any::<(bool, bool)>(),
        seed in any::<u64>(),
    ) {
        check_linear([rows, inputs, outputs], activation, [with_bias, with_residual], seed);
    }

    #[test]
    fn attention_is_candles(
        lengths in prop::collection::vec(1usize..40, 1..6),
        heads in 1usize..4,
        head_width in prop::sample::select(vec![16usize, 32, 48, 64]),
        causal in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mask = if causal { Mask::Causal } else { Mask::Full };
        check_attention(&lengths, Attention { heads, head_width, mask }, seed);
    }

    #[test]
    fn layer_norm_is_candles(rows in 1usize..9, width in 1usize..200, seed in any::<u64>()) {
        let x = noise(seed, rows * width);
        let norm = LayerNorm { weight: noise(seed ^ 1, width), bias: noise(seed ^ 2, width), epsilon: 1e-5 };
        let oracle = candle_nn::LayerNorm::new(tensor(&norm.weight, &[width]), tensor(&norm.bias, &[width]), 1e-5);
        let expected = flat(&oracle.forward(&tensor(&x, &[rows, width])).unwrap());
        for compute in computes() {
            let mut y = vec![0f32; x.len()];
            norm.forward_into(&compute, &x, &mut y);
            // Where a row is nearly constant, what is left is noise of rounding.
            assert_close(&y, &expected, if width < 3 { 0.1 } else { 2e-4 }, "layer norm");
        }
    }

    #[test]
    fn depthwise_is_candles(
        (height, width, channels) in (1usize..13, 1usize..13, 1usize..40),
        stride in 1usize..3,
        seed in any::<u64>(),
    ) {
        let x = noise(seed, height * width * channels);
        let filters: Vec<f32> = noise(seed ^ 1, 9 * channels).iter().map(|x| 4.0 * x).collect();
        let bias = noise(seed ^ 2, channels);
        let picture = tensor(&x, &[1, height, width, channels]).permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let kernel = tensor(&filters, &[channels, 1, 3, 3]);
        let convolved = picture.conv2d(&kernel, 1, stride, 1, channels).unwrap();
        let shifted = convolved.broadcast_add(&tensor(&bias, &[1, channels, 1, 1])).unwrap();
        let expected = flat(&shifted.clamp(0f32, 6f32).unwrap().permute((0, 2, 3, 1)).unwrap().contiguous().unwrap());
        let depthwise = Depthwise::new(&filters, bias, stride);
        for compute in computes() {
            let mut y = vec![f32::NAN; expected.len()];
            depthwise.forward(&compute, &x, &mut y, [height, width]);
            assert_close(&y, &expected, 1e-5, "depthwise");
        }
    }
}

fn check_linear([rows, inputs, outputs]: [usize; 3], activation: Option<Activation>, with: [bool; 2], seed: u64) {
    let [with_bias, with_residual] = with;
    let x = noise(seed, rows * inputs);
    let weights = noise(seed ^ 1, outputs * inputs);
    let bias = if with_bias { noise(seed ^ 2, outputs) } else { Vec::new() };
    let residual = noise(seed ^ 3, rows * outputs);
    let mut expected = tensor(&x, &[rows, inputs]).matmul(&tensor(&weights, &[outputs, inputs]).t().unwrap()).unwrap();
    if with_bias {
        expected = expected.broadcast_add(&tensor(&bias, &[outputs])).unwrap();
    }
    expected = activated(&expected, activation);
    if with_residual {
        expected = (expected + tensor(&residual, &[rows, outputs])).unwrap();
    }
    let expected = flat(&expected);
    let layer = Linear::from_rows(&weights, outputs, &bias);
    for compute in computes() {
        let mut y = vec![f32::NAN; rows * outputs];
        let epilogue = Epilogue { activation, residual: with_residual.then_some(&residual) };
        layer.forward(&compute, &x, &mut y, epilogue);
        let what = format!("{rows}×{inputs} → {outputs}, {activation:?}, {}", compute.isa.name());
        // Sums in another order: the error grows with the root of their length.
        assert_close(&y, &expected, 3e-6 * (inputs as f32).sqrt().max(4.0), &what);
    }
}

#[test]
fn linear_at_sizes_that_are_cut_into_blocks() {
    for [rows, inputs, outputs] in [[1, 3072, 768], [7, 768, 3072], [130, 1100, 50], [600, 27, 32], [3, 513, 17]] {
        check_linear([rows, inputs, outputs], Some(Activation::Gelu), [true, true], 7);
    }
}

#[test]
fn linear_of_no_rows_does_nothing() {
    let layer = Linear::from_rows(&[1.0, 2.0], 1, &[]);
    for compute in computes() {
        layer.forward(&compute, &[], &mut [], Epilogue::default());
    }
}

#[test]
fn activations_of_extreme_values() {
    let mut x: Vec<f32> = vec![
        0.0, -0.0, 1e-30, -1e-30, 5e-39, 0.5, -0.5, 3.9, 4.1, -5.7, -6.0, 10.0, -10.0, 88.0, -88.0, 700.0, -700.0,
        1e30, -1e30,
    ];
    x.extend((-2000..2000).map(|i| i as f32 * 0.005));
    // A layer that copies its input: one input, one output.
    let layer = Linear::from_rows(&[1.0], 1, &[]);
    for activation in [Activation::Relu, Activation::Relu6, Activation::Gelu, Activation::QuickGelu] {
        for compute in computes() {
            let mut y = vec![0f32; x.len()];
            layer.forward(&compute, &x, &mut y, Epilogue::activation(activation));
            for (x, y) in x.iter().zip(&y) {
                let expected = activation.apply(*x);
                let close = (y - expected).abs() <= 1e-6 + 1e-6 * expected.abs();
                assert!(close, "{activation:?}({x}) = {y}, expected {expected}, {}", compute.isa.name());
            }
        }
    }
}

fn check_attention(lengths: &[usize], attention: Attention, seed: u64) {
    let Attention { heads, head_width, mask } = attention;
    let width = heads * head_width;
    let tokens: usize = lengths.iter().sum();
    let qkv: Vec<f32> = noise(seed, tokens * 3 * width).iter().map(|x| 3.0 * x).collect();
    let mut expected = Vec::new();
    let mut sequences = Vec::new();
    let mut start = 0;
    for &length in lengths {
        sequences.push(start..start + length);
        let rows = tensor(&qkv[start * 3 * width..][..length * 3 * width], &[length, 3, heads, head_width]);
        let part = |index: usize| {
            rows.narrow(1, index, 1).unwrap().squeeze(1).unwrap().transpose(0, 1).unwrap().contiguous().unwrap()
        };
        let scores = part(0).matmul(&part(1).transpose(1, 2).unwrap().contiguous().unwrap()).unwrap();
        let mut scores = (scores / (head_width as f64).sqrt()).unwrap();
        if mask == Mask::Causal {
            let bias: Vec<f32> =
                (0..length * length).map(|i| if i % length > i / length { f32::NEG_INFINITY } else { 0.0 }).collect();
            scores = scores.broadcast_add(&tensor(&bias, &[1, length, length])).unwrap();
        }
        let weights = candle_nn::ops::softmax_last_dim(&scores).unwrap();
        let mixed = weights.matmul(&part(2)).unwrap().transpose(0, 1).unwrap().contiguous().unwrap();
        expected.extend(flat(&mixed));
        start += length;
    }
    for compute in computes() {
        let mut y = vec![f32::NAN; tokens * width];
        attention.forward(&compute, &qkv, &mut y, &sequences);
        assert_close(&y, &expected, 2e-5, &format!("{attention:?} of {lengths:?}, {}", compute.isa.name()));
    }
}

#[test]
fn attention_over_long_sequences() {
    for mask in [Mask::Full, Mask::Causal] {
        check_attention(&[200, 1, 77], Attention { heads: 2, head_width: 64, mask }, 3);
    }
}

#[test]
fn attention_survives_large_scores() {
    let attention = Attention { heads: 1, head_width: 16, mask: Mask::Full };
    let qkv: Vec<f32> = noise(5, 4 * 48).iter().map(|x| 1e4 * x).collect();
    for compute in computes() {
        let mut y = vec![f32::NAN; 4 * 16];
        attention.forward(&compute, &qkv, &mut y, std::slice::from_ref(&(0..4)));
        assert!(y.iter().all(|x| x.is_finite()), "{}", compute.isa.name());
    }
}

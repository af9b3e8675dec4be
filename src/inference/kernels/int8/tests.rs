//! Against the product in fp32, within what the steps allow; and the vector versions against the plain one.

use candle_core::{Device, Tensor};
use proptest::prelude::*;

use super::*;
use crate::inference::kernels::tests::{computes, noise};

fn run(layer: &LinearInt8, compute: &Compute, x: &[f32], epilogue: Epilogue<'_>) -> Vec<f32> {
    let rows = x.len() / layer.inputs;
    let mut y = vec![f32::INFINITY; rows * layer.outputs];
    // What an earlier call left behind must not matter.
    let mut quantised = Quantised { values: vec![255; 70], steps: Vec::new() };
    layer.forward(compute, x, &mut y, epilogue, &mut quantised);
    y
}

/// Compares a product of `rows` with candle's, within half a step of each input and each weight.
fn check([rows, inputs, outputs]: [usize; 3], x: &[f32], weights: &[f32], bias: &[f32], residual: Option<&[f32]>) {
    let tensor = |numbers: &[f32], shape: [usize; 2]| Tensor::from_slice(numbers, &shape, &Device::Cpu).unwrap();
    let product = tensor(x, [rows, inputs]).matmul(&tensor(weights, [outputs, inputs]).t().unwrap()).unwrap();
    let product: Vec<f32> = product.flatten_all().unwrap().to_vec1().unwrap();
    let layer = LinearInt8::from_rows(weights, outputs, bias);
    for compute in computes() {
        let y = run(&layer, &compute, x, Epilogue { activation: None, residual });
        let levels = levels(inputs);
        for (index, found) in y.iter().enumerate() {
            let (row, output) = (index / outputs, index % outputs);
            let x = &x[row * inputs..][..inputs];
            let w = &weights[output * inputs..][..inputs];
            let span =
                x.iter().copied().fold(f32::NEG_INFINITY, f32::max) - x.iter().copied().fold(f32::INFINITY, f32::min);
            let half_x = span / levels / 2.0;
            let half_w = greatest(w) / 127.0 / 2.0;
            let allowed: f32 = x.iter().zip(w).map(|(x, w)| (x.abs() + half_x) * half_w + w.abs() * half_x).sum();
            let rounding: f32 = 1e-5 * (1.0 + x.iter().zip(w).map(|(x, w)| (x * w).abs()).sum::<f32>());
            let expected = product[index] + bias.get(output).unwrap_or(&0.0) + residual.map_or(0.0, |r| r[index]);
            let close = (found - expected).abs() <= allowed + rounding;
            assert!(
                close,
                "{rows}×{inputs} → {outputs}, {} [{index}]: {found}, expected {expected} ± {allowed}",
                compute.isa.name()
            );
        }
    }
}

/// Any, and those that whole register tiles divide, as in every network.
fn widths() -> impl Strategy<Value = usize> {
    prop_oneof![2usize..300, (1usize..5).prop_map(|tiles| 64 * tiles)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn products_are_as_near_as_their_steps_allow(
        (rows, inputs, outputs) in (1usize..70, widths(), 1usize..140),
        (with_bias, with_residual) in any::<(bool, bool)>(),
        seed in any::<u64>(),
    ) {
        let bias = if with_bias { noise(seed ^ 2, outputs) } else { Vec::new() };
        let residual = noise(seed ^ 3, rows * outputs);
        let (x, weights) = (noise(seed, rows * inputs), noise(seed ^ 1, outputs * inputs));
        check([rows, inputs, outputs], &x, &weights, &bias, with_residual.then_some(&residual));
    }

    /// Without an activation, with whole numbers that need no rounding, everything is exact in every version.
    #[test]
    fn whole_numbers_come_out_exactly(
        (rows, inputs, outputs) in (1usize..70, widths(), 1usize..70),
        seed in any::<u64>(),
    ) {
        let mut x: Vec<f32> = noise(seed, rows * inputs).iter().map(|x| (x * 127.0).round()).collect();
        // Two neighbours are at most 127 together.
        let mut weights: Vec<f32> = noise(seed ^ 1, inputs * outputs).iter().map(|w| (w * 63.0).round()).collect();
        for row in x.chunks_exact_mut(inputs) {
            // Steps of one.
            row[0] = -128.0;
            row[1] = 127.0;
        }
        weights.chunks_exact_mut(inputs).for_each(|row| row[..2].copy_from_slice(&[127.0, 0.0]));
        let layer = LinearInt8::from_rows(&weights, outputs, &[]);
        for compute in computes() {
            let y = run(&layer, &compute, &x, Epilogue::default());
            for (index, found) in y.iter().enumerate() {
                let (row, output) = (index / outputs, index % outputs);
                let w = &weights[output * inputs..][..inputs];
                let expected: f32 = x[row * inputs..][..inputs].iter().zip(w).map(|(x, w)| x * w).sum();
                prop_assert!((found - expected).abs() <= 1e-2f32.max(1e-6 * expected.abs()), "{}", compute.isa.name());
            }
        }
    }
}

#[test]
fn shapes_of_real_layers_and_of_blocks_of_rows() {
    for [rows, inputs, outputs] in [[1, 3_072, 768], [7, 768, 100], [130, 1_100, 50], [400, 3_072, 17], [3, 513, 33]] {
        let (x, weights) = (noise(7, rows * inputs), noise(8, outputs * inputs));
        check([rows, inputs, outputs], &x, &weights, &noise(9, outputs), None);
    }
}

#[test]
fn the_widest_sums_do_not_overflow() {
    // All weights and all inputs but one at their greatest: sums as large as they can be, in 32 bits and in 16.
    for inputs in [3_072, 5_000, 70_000] {
        let mut x = vec![1.0; inputs];
        x[inputs / 2] = 0.0;
        for sign in [1.0, -1.0] {
            check([1, inputs, 3], &x, &vec![sign; 3 * inputs], &[], None);
        }
    }
}

#[test]
fn activations_are_applied_to_the_product() {
    let (x, weights, bias) = (noise(1, 5 * 64), noise(2, 33 * 64), noise(3, 33));
    let residual = noise(4, 5 * 33);
    let layer = LinearInt8::from_rows(&weights, 33, &bias);
    for activation in [Activation::Relu, Activation::Relu6, Activation::Gelu, Activation::QuickGelu] {
        for compute in computes() {
            let product = run(&layer, &compute, &x, Epilogue::default());
            let epilogue = Epilogue { activation: Some(activation), residual: Some(&residual) };
            for ((found, product), residual) in run(&layer, &compute, &x, epilogue).iter().zip(product).zip(&residual) {
                let expected = activation.apply(product) + residual;
                assert!((found - expected).abs() < 2e-6, "{activation:?}, {}: {found}, {expected}", compute.isa.name());
            }
        }
    }
}

/// Rows of nothing, of one number, of numbers so small that their steps have no inverse, and one far from all others.
#[test]
fn rows_of_extreme_values() {
    let ordinary = noise(5, 40);
    let mut outlier = ordinary.clone();
    outlier[17] = 1e30;
    let small: Vec<f32> = ordinary.iter().map(|x| x * 1e-40).collect();
    let large: Vec<f32> = ordinary.iter().map(|x| x * 1e30).collect();
    let x = [vec![0.0; 40], vec![3.5; 40], vec![-3.5; 40], small, large, outlier].concat();
    let weights = [noise(6, 40), vec![0.0; 40], noise(7, 40).iter().map(|w| w * 1e-40).collect()].concat();
    check([6, 40, 3], &x, &weights, &[], None);
}

#[test]
fn what_is_not_finite_spoils_its_row_alone() {
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for place in [0, 15, 16, 39] {
            let mut x = noise(5, 3 * 40);
            x[40 + place] = odd;
            let layer = LinearInt8::from_rows(&noise(6, 40 * 20), 20, &[]);
            for compute in computes() {
                let y = run(&layer, &compute, &x, Epilogue::default());
                let wrong = |row: usize| y[row * 20..][..20].iter().filter(|y| y.is_nan()).count();
                assert_eq!([0, 1, 2].map(wrong), [0, 20, 0], "{odd} at {place}, {}", compute.isa.name());
            }
        }
    }
}

#[test]
fn a_weight_that_is_not_a_number_spoils_its_output_alone() {
    for odd in [f32::NAN, f32::INFINITY] {
        let mut weights = noise(6, 40 * 3);
        weights[50] = odd;
        let layer = LinearInt8::from_rows(&weights, 3, &[]);
        for compute in computes() {
            let y = run(&layer, &compute, &noise(5, 40), Epilogue::default());
            assert_eq!(y.iter().map(|y| y.is_nan()).collect::<Vec<_>>(), [false, true, false]);
        }
    }
}

#[test]
fn no_rows_are_no_work() {
    let layer = LinearInt8::from_rows(&[1.0, 2.0], 1, &[]);
    for compute in computes() {
        assert!(run(&layer, &compute, &[], Epilogue::default()).is_empty());
    }
}

#[test]
#[should_panic(expected = "a linear layer of 262145 → 1")]
fn a_layer_too_wide_is_refused() {
    LinearInt8::from_rows(&vec![0.0; LinearInt8::MAX_INPUTS + 1], 1, &[]);
}

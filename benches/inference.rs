//! The kernels one by one, with every instruction set of this processor: `cargo bench --bench inference`.
//!
//! Shapes are those of DistilBERT-base, MobileNetV2 and CLIP. Quote ratios from one run, not absolute times.

use std::hint::black_box;

use aiq::inference::kernels::{
    Activation, Attention, Compute, Depthwise, Epilogue, Isa, LayerNorm, Linear, Mask, Pool,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// One for each instruction set, on one thread.
fn computes() -> Vec<Compute> {
    Isa::available().into_iter().map(|isa| Compute { pool: Pool::new(1), isa }).collect()
}

/// Some numbers between -1 and 1.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index * 7_919 % 2_003) as f32 / 1_001.5 - 1.0).collect()
}

fn linear(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear");
    for [rows, inputs, outputs] in [
        [1, 768, 768],
        [16, 768, 3_072],
        [16, 3_072, 768],
        [128, 768, 3_072],
        [512, 768, 2_304],
        [3_136, 24, 144],
        [196, 96, 576],
    ] {
        let layer = Linear::from_rows(&numbers(inputs * outputs), outputs, &numbers(outputs));
        let x = numbers(rows * inputs);
        let mut y = vec![0f32; rows * outputs];
        // Two operations for each weight and row: what is reported as elements a second is FLOP/s.
        group.throughput(Throughput::Elements(2 * (rows * inputs * outputs) as u64));
        for compute in computes() {
            let id = BenchmarkId::new(compute.isa.name(), format!("{rows}x{inputs}x{outputs}"));
            group.bench_function(id, |b| {
                b.iter(|| layer.forward(&compute, black_box(&x), &mut y, Epilogue::activation(Activation::Gelu)));
            });
        }
    }
    group.finish();
}

fn attention(c: &mut Criterion) {
    let mut group = c.benchmark_group("attention");
    let attention = Attention { heads: 12, head_width: 64, mask: Mask::Full };
    for tokens in [16, 128, 512] {
        let qkv = numbers(tokens * 3 * 768);
        let mut y = vec![0f32; tokens * 768];
        let sequence = 0..tokens;
        for compute in computes() {
            group.bench_function(BenchmarkId::new(compute.isa.name(), tokens), |b| {
                b.iter(|| attention.forward(&compute, black_box(&qkv), &mut y, std::slice::from_ref(&sequence)));
            });
        }
    }
    group.finish();
}

fn layer_norm(c: &mut Criterion) {
    let mut group = c.benchmark_group("layer_norm");
    let norm = LayerNorm { weight: numbers(768), bias: numbers(768), epsilon: 1e-12 };
    let mut x = numbers(128 * 768);
    for compute in computes() {
        group.bench_function(compute.isa.name(), |b| b.iter(|| norm.forward(&compute, black_box(&mut x))));
    }
    group.finish();
}

fn depthwise(c: &mut Criterion) {
    let mut group = c.benchmark_group("depthwise");
    for [side, channels, stride] in [[112, 32, 1], [56, 144, 2], [14, 384, 1], [7, 960, 1]] {
        let layer = Depthwise::new(&numbers(9 * channels), numbers(channels), stride);
        let x = numbers(side * side * channels);
        let mut y = vec![0f32; layer.output_size(side) * layer.output_size(side) * channels];
        for compute in computes() {
            let id = BenchmarkId::new(compute.isa.name(), format!("{side}x{side}x{channels}/{stride}"));
            group.bench_function(id, |b| b.iter(|| layer.forward(&compute, black_box(&x), &mut y, [side, side])));
        }
    }
    group.finish();
}

criterion_group!(benches, linear, attention, layer_norm, depthwise);
criterion_main!(benches);

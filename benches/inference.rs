//! The kernels one by one, with every instruction set of this processor, and the way from a JPEG to pixels:
//! `cargo bench --bench inference`.
//!
//! Shapes are those of DistilBERT-base, MobileNetV2 and CLIP. Quote ratios from one run, not absolute times.

use std::hint::black_box;

use aiq::inference::image::{CropRounding, Preprocess, samples};
use aiq::inference::kernels::{
    Activation, Attention, Compute, Depthwise, Epilogue, Isa, LayerNorm, Linear, LinearInt8, Mask, Pool, Quantised,
};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Shape, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One for each instruction set, on one thread.
fn computes() -> Vec<Compute> {
    Isa::available().into_iter().map(|isa| Compute { pool: Pool::new(1), isa }).collect()
}

/// Some numbers between -1 and 1.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index * 7_919 % 2_003) as f32 / 1_001.5 - 1.0).collect()
}

const LINEAR: [[usize; 3]; 8] = [
    [1, 768, 768],
    [16, 768, 3_072],
    [16, 3_072, 768],
    [128, 768, 3_072],
    [512, 3_072, 768],
    [512, 768, 2_304],
    [3_136, 24, 144],
    [196, 96, 576],
];

fn linear(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear");
    for [rows, inputs, outputs] in LINEAR {
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

fn linear_int8(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear_int8");
    for [rows, inputs, outputs] in LINEAR {
        let layer = LinearInt8::from_rows(&numbers(inputs * outputs), outputs, &numbers(outputs));
        let x = numbers(rows * inputs);
        let mut y = vec![0f32; rows * outputs];
        let mut room = Quantised::default();
        let epilogue = Epilogue::activation(Activation::Gelu);
        group.throughput(Throughput::Elements(2 * (rows * inputs * outputs) as u64));
        for compute in computes() {
            let id = BenchmarkId::new(compute.isa.name(), format!("{rows}x{inputs}x{outputs}"));
            group
                .bench_function(id, |b| b.iter(|| layer.forward(&compute, black_box(&x), &mut y, epilogue, &mut room)));
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

/// A layer as a custom operation of candle, whose output is new memory each time.
struct AsOperation<'a> {
    layer: &'a Linear,
    compute: &'a Compute,
    activation: Activation,
}

impl AsOperation<'_> {
    fn output(&self, x: &CpuStorage, residual: Option<&[f32]>) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = x.as_slice::<f32>()?;
        let rows = x.len() / self.layer.inputs();
        let mut y = vec![0f32; rows * self.layer.outputs()];
        self.layer.forward(self.compute, x, &mut y, Epilogue { activation: Some(self.activation), residual });
        Ok((CpuStorage::F32(y), (rows, self.layer.outputs()).into()))
    }
}

impl CustomOp1 for AsOperation<'_> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        self.output(x, None)
    }
}

impl CustomOp2 for AsOperation<'_> {
    fn name(&self) -> &'static str {
        "linear with a residual"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        _: &Layout,
        residual: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.output(x, Some(residual.as_slice()?))
    }
}

/// What it costs that kernels are custom operations of candle, with an output of its own each time: two layers with a
/// residual around them, on buffers that are kept and as operations. Tokens through DistilBERT's feed-forward part, and
/// pixels through MobileNetV2's second block, which for this reason is no operation of its own.
fn custom_operation(c: &mut Criterion) {
    let mut group = c.benchmark_group("custom_operation");
    for [rows, width, hidden] in
        [[16, 768, 3_072], [128, 768, 3_072], [512, 768, 3_072], [3_136, 24, 144], [25_088, 24, 144]]
    {
        let up = Linear::from_rows(&numbers(width * hidden), hidden, &numbers(hidden));
        let down = Linear::from_rows(&numbers(width * hidden), width, &numbers(width));
        let x = numbers(rows * width);
        let compute = &Compute::new(1);
        let shape = format!("{rows}x{width}x{hidden}");
        let (mut between, mut y) = (vec![0f32; rows * hidden], vec![0f32; rows * width]);
        group.bench_function(BenchmarkId::new("buffers", &shape), |b| {
            b.iter(|| {
                up.forward(compute, black_box(&x), &mut between, Epilogue::activation(Activation::Relu6));
                down.forward(compute, &between, &mut y, Epilogue::residual(&x));
            });
        });
        let Ok(x) = Tensor::from_vec(x, (rows, width), &Device::Cpu) else { return };
        let up = AsOperation { layer: &up, compute, activation: Activation::Relu6 };
        let down = AsOperation { layer: &down, compute, activation: Activation::None };
        group.bench_function(BenchmarkId::new("operations", &shape), |b| {
            b.iter(|| black_box(&x).apply_op1_no_bwd(&up)?.apply_op2_no_bwd(&x, &down));
        });
    }
    group.finish();
}

/// A photograph of 640 × 480 as JPEG of ordinary quality, down to what MobileNetV2 and CLIP take, on one thread.
fn preprocessing(c: &mut Criterion) {
    let Some(photograph) = samples().iter().find_map(|sample| image::load_from_memory(sample.bytes).ok()) else {
        return;
    };
    let photograph = photograph.resize_exact(640, 480, image::imageops::FilterType::CatmullRom).into_rgb8();
    let mut jpeg = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 90);
    if photograph.write_with_encoder(encoder).is_err() {
        return;
    }
    let mut group = c.benchmark_group("preprocessing");
    for (network, scale_to, rounding) in
        [("mobilenet", 256, CropRounding::HalfEven), ("clip", 224, CropRounding::Floor)]
    {
        let preprocess = Preprocess { scale_to, side: 224, rounding, mean: [0.5; 3], std: [0.5; 3] };
        group.bench_function(network, |b| b.iter(|| preprocess.decode(black_box(&jpeg))));
    }
    group.finish();
}

criterion_group!(benches, linear, linear_int8, attention, layer_norm, depthwise, custom_operation, preprocessing);
criterion_main!(benches);

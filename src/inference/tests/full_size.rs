//! The networks at their full size against PyTorch, from weights that are generated here and there alike.
//!
//! `assets/goldens/full_size.py` says how, and made the expected outputs. The weights are written to a file and loaded as
//! a checkpoint from the hub would be.

use std::io::Write as _;
use std::path::Path;
use std::sync::LazyLock;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use super::checkpoint::{self, Shapes, Sizes, begin};
use super::places;
use crate::inference::clip::{TextConfig, TextTower, VisionConfig, VisionTransformer};
use crate::inference::kernels::Isa;
use crate::inference::model::Context;
use crate::inference::weights::Weights;
use crate::inference::{Place, Precision, distilbert, mobilenet_v2};

const TOLERANCE: f32 = 1e-4;
/// Most that 8-bit weights may bend an output: the length of the difference over the length of what is expected.
const INT8_TOLERANCE: f32 = 0.05;

static GOLDEN: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/goldens/full_size.json"))).unwrap()
});

/// Numbers from -1 to 1 for a name: SplitMix64 from the name's FNV-1a hash.
fn uniform(name: &str) -> impl Iterator<Item = f64> {
    let mut state = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    std::iter::from_fn(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(((z ^ (z >> 31)) >> 40) as f64 / (1 << 23) as f64 - 1.0)
    })
}

/// The tensor of a name; the scales are those of the script.
fn tensor(name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    let kind = name.rsplit('.').next().unwrap();
    let (scale, shift) = match kind {
        "logit_scale" => (0.0, 100f64.ln()),
        "running_var" => (0.5, 1.0),
        "running_mean" | "bias" => (0.1, 0.0),
        "class_embedding" => (1.0, 0.0),
        _ if shape.len() == 1 => (0.2, 1.0),
        _ if name.contains("embedding") && shape.len() == 2 => (1.0, 0.0),
        _ => ((3.0 / shape[1..].iter().product::<usize>() as f64).sqrt(), 0.0),
    };
    uniform(name).take(count).map(|x| (shift + scale * x) as f32).collect()
}

/// Writes a checkpoint with tensors of these names and shapes.
fn write(folder: &Path, shapes: &Shapes) -> Weights {
    let path = folder.join("model.safetensors");
    let mut file = begin(&path, shapes);
    for (name, shape) in shapes {
        let bytes: Vec<u8> = tensor(name, shape).into_iter().flat_map(f32::to_le_bytes).collect();
        file.write_all(&bytes).unwrap();
    }
    file.flush().unwrap();
    Weights::open(&path).unwrap()
}

fn assert_close(found: &[f32], expected: &Value, what: &str) {
    let expected = expected.as_array().unwrap();
    assert!(!expected.is_empty() && found.len() >= expected.len(), "{what}");
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        let b = b.as_f64().unwrap() as f32;
        assert!((a - b).abs() < TOLERANCE, "{what}[{index}]: {a}, expected {b}");
    }
}

/// Checks an output with 8-bit weights, one for each instruction set.
fn assert_int8_near(mut run: impl FnMut(&mut Context) -> Vec<f32>, expected: &Value, what: &str) {
    let expected: Vec<f32> = expected.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
    let length = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| x * x).sum::<f32>().sqrt();
    for isa in Isa::available() {
        let mut context = Context::new(2);
        context.compute.isa = isa;
        let found = run(&mut context);
        let error =
            length(&mut found.iter().zip(&expected).map(|(a, b)| a - b)) / length(&mut expected.iter().copied());
        assert!(error < INT8_TOLERANCE, "{what}, {}: {error}", isa.name());
    }
}

fn token_ids(name: &str, count: usize, range: std::ops::Range<u32>) -> Vec<u32> {
    let span = f64::from(range.end - range.start);
    uniform(name).take(count).map(|x| range.start + (f64::midpoint(x, 1.0) * span) as u32).collect()
}

/// The picture, from 3 × 224 × 224 to 224 × 224 × 3.
fn picture() -> Vec<f32> {
    let planes: Vec<f32> = uniform("picture").take(3 * 224 * 224).map(|x| x as f32).collect();
    (0..224 * 224).flat_map(|pixel| [0, 1, 2].map(|channel| planes[channel * 224 * 224 + pixel])).collect()
}

#[test]
fn distilbert_base() {
    let shapes = checkpoint::distilbert(30_522, 512, 2, Sizes { width: 768, hidden: 3_072, layers: 6 });
    let folder = tempfile::tempdir().unwrap();
    let weights = write(folder.path(), &shapes);
    let config = json!({
        "dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072, "max_position_embeddings": 512,
    });
    let config = serde_json::from_value(config).unwrap();
    let load = |place: Place| distilbert::Network::load(&weights, &config, &place).unwrap();
    let cases = GOLDEN["distilbert"]["cases"].as_array().unwrap();
    let texts: Vec<Vec<u32>> = cases
        .iter()
        .map(|case| case["tokens"].as_u64().unwrap() as usize)
        .map(|count| token_ids(&format!("text {count}"), count, 1_000..30_000))
        .collect();
    // One ragged batch: nothing is padded, and nobody's answer depends on who else is in it.
    let batch: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    for place in places() {
        let logits = load(place).forward(&mut Context::new(2), &batch).unwrap();
        for (case, logits) in cases.iter().zip(logits.chunks_exact(2)) {
            assert_close(logits, &case["logits"], &format!("logits of {} tokens", case["tokens"]));
        }
    }
    let network = load(Place::from(Precision::Int8));
    assert_int8_near(|context| network.forward(context, &batch[..1]).unwrap(), &cases[0]["logits"], "logits");
}

#[test]
fn mobilenet_v2_100() {
    let shapes = checkpoint::mobilenet(32, [16, 24, 32, 64, 96, 160, 320], 1_280, 6, 1_000);
    let folder = tempfile::tempdir().unwrap();
    let weights = write(folder.path(), &shapes);
    let mut context = Context::new(2);
    // More pictures than threads: some go through apart, the last one on all threads.
    let pictures = [picture(), vec![0.0; 224 * 224 * 3], picture()];
    let pictures = Tensor::from_vec(pictures.concat(), (3, 224, 224, 3), &Device::Cpu).unwrap();
    for place in places() {
        let network = mobilenet_v2::Network::load(&weights, &place).unwrap();
        let pooled = network.pooled(&mut context, &pictures).unwrap();
        for index in [0, 2] {
            let pooled = &pooled[index * 1_280..][..1_280];
            assert_close(pooled, &GOLDEN["mobilenet"]["pooled"], "pooled features");
            assert_close(&network.classify(&context.compute, pooled), &GOLDEN["mobilenet"]["logits"], "logits");
        }
    }
}

#[test]
fn clip_vit_base_patch32_texts() {
    let shapes = checkpoint::clip_text(49_408, 77, 512, Sizes { width: 512, hidden: 2_048, layers: 12 });
    let folder = tempfile::tempdir().unwrap();
    let weights = write(folder.path(), &shapes);
    let load = |place: Place| TextTower::load(&weights, &TextConfig::default(), 512, &place).unwrap();
    let cases = GOLDEN["clip"]["cases"].as_array().unwrap();
    let texts: Vec<Vec<u32>> = cases
        .iter()
        .map(|case| case["tokens"].as_u64().unwrap() as usize)
        .map(|count| [&[49_406], &token_ids(&format!("clip {count}"), count, 300..40_000)[..], &[49_407]].concat())
        .collect();
    let batch: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    for place in places() {
        let rows = load(place).forward(&mut Context::new(2), &batch).unwrap();
        for (case, row) in cases.iter().zip(rows.chunks_exact(512)) {
            assert_close(row, &case["text"], &format!("projection of {} tokens", case["tokens"]));
        }
    }
    let network = load(Place::from(Precision::Int8));
    assert_int8_near(|context| network.forward(context, &batch[..1]).unwrap(), &cases[0]["text"], "projection");
}

#[test]
fn clip_vit_base_patch32_pictures() {
    let shapes = checkpoint::clip_vision(49, 32, 512, Sizes { width: 768, hidden: 3_072, layers: 12 });
    let folder = tempfile::tempdir().unwrap();
    let weights = write(folder.path(), &shapes);
    let load = |place: Place| VisionTransformer::load(&weights, &VisionConfig::default(), 512, &place).unwrap();
    let pictures = Tensor::from_vec([picture(), picture()].concat(), (2, 224, 224, 3), &Device::Cpu).unwrap();
    for place in places() {
        let rows = load(place).forward(&mut Context::new(2), &pictures).unwrap();
        for row in rows.chunks_exact(512) {
            assert_close(row, &GOLDEN["clip"]["picture"], "projection");
        }
    }
    let network = load(Place::from(Precision::Int8));
    assert_int8_near(
        |context| network.forward(context, &pictures.narrow(0, 0, 1).unwrap()).unwrap(),
        &GOLDEN["clip"]["picture"],
        "projection",
    );
}

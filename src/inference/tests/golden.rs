//! What the networks compute from the shipped weights, against what PyTorch computes.

use base64::Engine as _;
use serde_json::Value;

use super::places;
use crate::inference::image::{Pixels, samples};
use crate::inference::kernels::Isa;
use crate::inference::model::{Context, softmax};
use crate::inference::source::{CLIP, DISTILBERT, Files, Loader, MOBILENET_V2};
use crate::inference::tokenizer::Tokenizer;
use crate::inference::{Place, Precision, clip, distilbert, mobilenet_v2};

const TOLERANCE: f32 = 1e-3;

fn golden(files: &Files) -> Value {
    files.config("golden.json").unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect()
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() < TOLERANCE, "{what}[{index}]: {a}, expected {b}");
    }
}

/// One context for each instruction set and number of threads.
fn contexts() -> Vec<Context> {
    let with = |isa, threads| {
        let mut context = Context::new(threads);
        context.compute.isa = isa;
        context
    };
    Isa::available().into_iter().flat_map(|isa| [with(isa, 1), with(isa, 3)]).collect()
}

/// Every way there is to compute: our kernels with all instructions and numbers of threads, and candle's operations.
fn ways() -> Vec<(Place, Context)> {
    let kernels = contexts().into_iter().map(|context| (Place::default(), context));
    let elsewhere = places().into_iter().filter(|place| matches!(place, Place::Candle(_)));
    kernels.chain(elsewhere.map(|place| (place, Context::new(1)))).collect()
}

#[test]
fn distilbert_ids_and_logits() {
    let files = Files::embedded(&DISTILBERT);
    let config: distilbert::Config = files.config("config.json").unwrap();
    let tokenizer = Tokenizer::load(&files, 512, 12_973).unwrap();
    let golden = golden(&files);
    let cases = golden["cases"].as_array().unwrap();
    let tokens: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["input_ids"])).collect();
    for (case, tokens) in cases.iter().zip(&tokens) {
        assert_eq!(&tokenizer.encode(case["text"].as_str().unwrap()).unwrap().ids, tokens);
    }
    let sequences: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
    for (place, mut context) in ways() {
        let network = distilbert::Network::load(&files.weights().unwrap(), &config, &place).unwrap();
        let together = network.forward(&mut context, &sequences).unwrap();
        for ((case, sequence), logits) in cases.iter().zip(&sequences).zip(together.chunks_exact(2)) {
            assert_close(logits, &numbers(&case["logits"]), "logits in a ragged batch");
            let alone = network.forward(&mut context, &[sequence]).unwrap();
            assert_close(&alone, &numbers(&case["logits"]), "logits alone");
        }
    }
}

/// With 8-bit weights the answers stay, and their certainty hardly moves.
#[test]
fn int8_is_near_the_golden_answers() {
    let files = Files::embedded(&DISTILBERT);
    let config: distilbert::Config = files.config("config.json").unwrap();
    let network = distilbert::Network::load(&files.weights().unwrap(), &config, &Place::from(Precision::Int8)).unwrap();
    let sentences = golden(&files);
    let model = clip::load(&Files::embedded(&CLIP), &Loader::new(Place::from(Precision::Int8))).unwrap();
    let texts = golden(&Files::embedded(&CLIP));
    for mut context in contexts() {
        let isa = context.compute.isa.name();
        for case in sentences["cases"].as_array().unwrap() {
            let [found, expected] =
                [network.forward(&mut context, &[&ids(&case["input_ids"])]).unwrap(), numbers(&case["logits"])]
                    .map(|logits| softmax(&logits).unwrap()[1]);
            assert!((found - expected).abs() < 0.03, "{}, {isa}: {found}, expected {expected}", case["text"]);
        }
        for case in texts["cases"].as_array().unwrap() {
            let embedding = &model.embed_texts(&mut context, &[&ids(&case["input_ids"])]).unwrap()[0];
            let expected = numbers(&case["text_embed"]);
            let cosine: f32 = embedding.iter().zip(&expected).map(|(a, b)| a * b).sum();
            assert!(cosine > 0.995, "{}, {isa}: {cosine}", case["text"]);
        }
    }
}

#[test]
fn mobilenet_features_and_logits() {
    let files = Files::embedded(&MOBILENET_V2);
    let golden = golden(&files);
    for (place, mut context) in ways() {
        let (network, preprocess) = mobilenet_v2::load(&files, &place).unwrap().backbone();
        for case in golden["cases"].as_array().unwrap() {
            let rgb = base64::engine::general_purpose::STANDARD.decode(case["pixels"].as_str().unwrap()).unwrap();
            let pixels = Pixels::new(rgb, &preprocess);
            let pooled = mobilenet_v2::pooled_features(&network, &[&pixels], &mut context).unwrap();
            assert_close(&pooled[..8], &numbers(&case["pooled_first8"]), "pooled features");
            let logits = network.classify(&context.compute, &pooled);
            assert_close(&logits[..16], &numbers(&case["logits_first16"]), "logits");
            let probabilities = softmax(&logits).unwrap();
            let best = probabilities.iter().copied().fold(0.0, f64::max);
            assert!((best - case["top5"][0]["probability"].as_f64().unwrap()).abs() < 1e-3);
        }
    }
}

#[test]
fn clip_embeddings_of_texts_and_pictures() {
    let files = Files::embedded(&CLIP);
    let tokenizer = Tokenizer::load(&files, 77, 5_603).unwrap();
    let golden = golden(&files);
    let cases = golden["cases"].as_array().unwrap();
    let tokens: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["input_ids"])).collect();
    for (case, tokens) in cases.iter().zip(&tokens) {
        assert_eq!(&tokenizer.encode(case["text"].as_str().unwrap()).unwrap().ids, tokens);
    }
    let sequences: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
    let pixels: Value = Files::embedded(&MOBILENET_V2).config("golden.json").unwrap();
    for (place, mut context) in ways() {
        let loader = Loader::new(place);
        let model = clip::load(&files, &loader).unwrap();
        let (_, preprocess) = loader.embedded_pictures().unwrap().backbone();
        let texts = model.embed_texts(&mut context, &sequences).unwrap();
        for (case, embedding) in cases.iter().zip(&texts) {
            assert_close(embedding, &numbers(&case["text_embed"]), "text embedding");
        }
        for case in golden["pictures"].as_array().unwrap() {
            let same = |pixels: &&Value| pixels["sample"] == case["sample"];
            let pixels = pixels["cases"].as_array().unwrap().iter().find(same).unwrap();
            let rgb = base64::engine::general_purpose::STANDARD.decode(pixels["pixels"].as_str().unwrap()).unwrap();
            let embedding = &model.embed_pictures(&mut context, &[&Pixels::new(rgb, &preprocess)]).unwrap()[0];
            assert_close(embedding, &numbers(&case["image_embed"]), "picture embedding");
        }
    }
}

#[test]
fn preprocessing_is_close_to_pillow() {
    let loader = Loader::default();
    let (_, preprocess) = loader.embedded_pictures().unwrap().backbone();
    let golden = golden(&Files::embedded(&MOBILENET_V2));
    for case in golden["cases"].as_array().unwrap() {
        let expected = base64::engine::general_purpose::STANDARD.decode(case["pixels"].as_str().unwrap()).unwrap();
        let sample = samples().iter().find(|sample| case["sample"] == sample.name.as_str()).unwrap();
        let found = preprocess.decode(sample.bytes).unwrap();
        let differences = found.rgb().iter().zip(&expected).map(|(a, b)| f64::from(a.abs_diff(*b)));
        let mean = differences.sum::<f64>() / expected.len() as f64;
        assert!(mean < 1.5, "{}: {mean} of 255 on average", sample.name);
    }
}

//! Models that are not what they say: every tensor left out or of another shape, every size in a configuration changed.
//! That is an error which names it, and never a panic, an absurd amount of memory or another network than was meant.

use serde_json::{Value, json};

use super::checkpoint::{self, Shapes, Sizes, hollow};
use super::engine::copy_files;
use super::places;
use crate::inference::clip::{TextConfig, TextTower, VisionConfig, VisionTransformer};
use crate::inference::source::{CLIP, DISTILBERT, Files, LoadError, MOBILENET_V2};
use crate::inference::weights::Weights;
use crate::inference::{Engine, EngineConfig, Place, Source, distilbert, mobilenet_v2};
use crate::protocol::{Options, TaskType};

const SMALL: Sizes = Sizes { width: 32, hidden: 48, layers: 1 };

/// Writes every variant of a file in which one tensor is missing or has another shape, and expects that none is loaded;
/// `tables` may have any number of rows: their vocabulary is held against the tokenizer's.
fn every_tensor_counts(shapes: &Shapes, tables: &[&str], load: &dyn Fn(&Weights) -> Result<(), LoadError>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let attempt = |shapes: &Shapes| {
        hollow(&path, shapes);
        load(&Weights::open(&path).unwrap())
    };
    attempt(shapes).expect("the file as it should be");
    for (index, (name, shape)) in shapes.iter().enumerate() {
        let mut without = shapes.clone();
        without.remove(index);
        let error = attempt(&without).expect_err(&format!("without {name}"));
        assert!(error.to_string().contains(name.as_str()), "without {name}: {error}");
        for changed in reshaped(shape) {
            if tables.contains(&name.as_str()) && changed.len() == 2 && changed[0] > 0 && changed[1] == shape[1] {
                continue;
            }
            let mut with = shapes.clone();
            with[index].1.clone_from(&changed);
            attempt(&with).expect_err(&format!("{name} of shape {changed:?} in place of {shape:?}"));
        }
    }
}

/// Other shapes than this one.
fn reshaped(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut shapes = vec![[shape, &[1]].concat()];
    for dimension in 0..shape.len() {
        for length in [0, shape[dimension] + 1] {
            let mut changed = shape.to_vec();
            changed[dimension] = length;
            shapes.push(changed);
        }
    }
    shapes
}

#[test]
fn tensors_of_distilbert() {
    let shapes = checkpoint::distilbert(10, 8, 3, SMALL);
    let config = json!({"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 8});
    let config = serde_json::from_value(config).unwrap();
    for place in places() {
        every_tensor_counts(&shapes, &["distilbert.embeddings.word_embeddings.weight"], &|weights| {
            distilbert::Network::load(weights, &config, &place).map(drop)
        });
    }
}

#[test]
fn tensors_of_mobilenet_v2() {
    let shapes = checkpoint::mobilenet(4, [2, 3, 4, 5, 6, 7, 8], 9, 2, 3);
    for place in places() {
        every_tensor_counts(&shapes, &[], &|weights| Ok(mobilenet_v2::Network::load(weights, &place).map(drop)?));
    }
}

#[test]
fn tensors_of_clip() {
    let texts = checkpoint::clip_text(10, 8, 5, SMALL);
    let pictures = checkpoint::clip_vision(4, 2, 5, SMALL);
    let text = TextConfig {
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        max_position_embeddings: 8,
        ..TextConfig::default()
    };
    for place in places() {
        every_tensor_counts(&texts, &["text_model.embeddings.token_embedding.weight"], &|weights| {
            TextTower::load(weights, &text, 5, &place).map(drop)
        });
        every_tensor_counts(&pictures, &[], &|weights| {
            VisionTransformer::load(weights, &small_vision(), 5, &place).map(drop)
        });
    }
}

fn small_vision() -> VisionConfig {
    VisionConfig {
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        image_size: 4,
        patch_size: 2,
        ..VisionConfig::default()
    }
}

#[test]
fn sizes_of_a_vision_transformer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    hollow(&path, &checkpoint::clip_vision(4, 2, 5, SMALL));
    let weights = Weights::open(&path).unwrap();
    let sizes: [fn(&mut VisionConfig) -> &mut usize; 5] = [
        |config| &mut config.hidden_size,
        |config| &mut config.intermediate_size,
        |config| &mut config.num_attention_heads,
        |config| &mut config.image_size,
        |config| &mut config.patch_size,
    ];
    for (index, size) in sizes.into_iter().enumerate() {
        for value in [0, 3, 1_000_000_000, usize::MAX - 1, usize::MAX] {
            let mut config = small_vision();
            *size(&mut config) = value;
            assert!(
                VisionTransformer::load(&weights, &config, 5, &Place::default()).is_err(),
                "size {index} = {value}"
            );
        }
    }
}

/// Changes numbers of the configuration of a model in a folder, each by itself. What is refused is refused with an error;
/// what is not, answers or says why it can't.
fn every_number_counts(files: &Files, task: TaskType, data: &str, numbers: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy_files(files, &model);
    let original: Value = files.config("config.json").unwrap();
    let options: Options = serde_json::from_value(json!({"candidates": ["a cat"]})).unwrap();
    for pointer in numbers {
        for value in [json!(0), json!(1), json!(7), json!(1_000_000_000), json!(-1), json!(1e300)] {
            let mut config = original.clone();
            *config.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is in the configuration")) = value.clone();
            std::fs::write(model.join("config.json"), config.to_string()).unwrap();
            let config = EngineConfig {
                source: Source::Folder(folder.path().to_owned()),
                speciality: vec![task],
                threads: 1,
                place: Place::default(),
            };
            match Engine::start(&config) {
                Err(error) => assert!(!error.to_string().is_empty(), "{pointer} = {value}"),
                Ok(engine) => {
                    if let Ok(prepared) = engine.prepare(task, data, &options) {
                        assert_eq!(engine.run(&[prepared]).len(), 1, "{pointer} = {value}");
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_of_distilberts_configuration() {
    let numbers = ["/dim", "/n_layers", "/n_heads", "/hidden_dim", "/max_position_embeddings"];
    every_number_counts(&Files::embedded(&DISTILBERT), TaskType::TextClassification, "good", &numbers);
}

#[test]
fn numbers_of_mobilenets_configuration() {
    let numbers = ["input_size/0", "input_size/1", "input_size/2", "crop_pct", "mean/1", "std/1"]
        .map(|number| format!("/pretrained_cfg/{number}"));
    let numbers = numbers.each_ref().map(String::as_str);
    every_number_counts(&Files::embedded(&MOBILENET_V2), TaskType::ImageClassification, "sample:cat", &numbers);
}

#[test]
fn numbers_of_clips_configuration() {
    let text =
        ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"];
    let numbers = text.map(|number| format!("/text_config/{number}"));
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).chain(["/projection_dim"]).collect();
    every_number_counts(&Files::embedded(&CLIP), TaskType::ClipTextSimilarity, "a dog", &numbers);
}

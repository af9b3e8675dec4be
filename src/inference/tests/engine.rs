//! The engine as a worker uses it, over the models in the binary.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::Value;

use crate::inference::image::samples;
use crate::inference::source::{CLIP, DISTILBERT, Files, HubConfig, MOBILENET_V2};
use crate::inference::{Engine, EngineConfig, Output, Place, Source};
use crate::protocol::{ModelSource, ModelState, Options, ProblemCode, TaskType};

static ENGINE: LazyLock<Arc<Engine>> = LazyLock::new(|| {
    let speciality = vec![TaskType::TextClassification];
    Engine::start(&EngineConfig { source: Source::Embedded, speciality, threads: 2, place: Place::default() }).unwrap()
});

fn on_one_thread(source: Source) -> EngineConfig {
    EngineConfig { source, speciality: Vec::new(), threads: 1, place: Place::default() }
}

fn ask(task: TaskType, data: &str, options: &Options) -> Output {
    let prepared = ENGINE.prepare(task, data, options).unwrap();
    ENGINE.run(&[prepared]).remove(0).unwrap()
}

fn problem(task: TaskType, data: &str, options: &Options) -> ProblemCode {
    ENGINE.prepare(task, data, options).err().unwrap().code()
}

#[test]
fn sentences_have_the_right_sentiment() {
    let positive = [
        "I love this product!",
        "What a wonderful day we had at the lake.",
        "The staff was friendly and the food delicious.",
        "Easily the best film I have seen this year.",
        "It works perfectly and looks beautiful.",
        "An absolute joy from the first page to the last.",
        "Thank you, this made me very happy.",
        "The new version is fast, clean and a pleasure to use.",
        "Her performance is brilliant and moving.",
        "Great value, I would buy it again.",
    ];
    let negative = [
        "This is the worst phone I have ever owned.",
        "The plot makes no sense and the jokes fall flat.",
        "I want my money back.",
        "Terrible service, we waited two hours for cold food.",
        "It broke after one day and nobody answers my calls.",
        "A boring, lifeless waste of time.",
        "I regret buying this.",
        "The room was dirty and smelled awful.",
        "He is a bad actor in an even worse movie.",
        "Disappointing from start to finish.",
    ];
    let sentences =
        positive.iter().map(|text| (text, "POSITIVE")).chain(negative.iter().map(|text| (text, "NEGATIVE")));
    for (text, label) in sentences {
        let output = ask(TaskType::TextClassification, text, &Options::default());
        assert_eq!(output.answer.prediction, label, "{text}");
        assert!(output.answer.confidence > 0.5 && output.answer.confidence <= 1.0);
        assert_eq!(output.answer.scores.0.len(), 2);
        assert_eq!(output.card.model_info, "DistilBERT (mini)");
        assert!(output.card.degraded);
        assert_eq!(output.card.reference.source, ModelSource::Embedded);
    }
}

#[test]
fn samples_have_their_label_in_the_top_five() {
    let mut right = 0;
    for sample in samples() {
        let output = ask(TaskType::ImageClassification, &format!("sample:{}", sample.name), &Options::default());
        let scores = &output.answer.scores.0;
        assert_eq!(scores.len(), 5);
        assert!(scores.is_sorted_by(|a, b| a.1 >= b.1));
        right += usize::from(scores.iter().any(|(label, _)| sample.labels.contains(label)));
    }
    assert!(right * 5 >= samples().len() * 4, "{right} of {}", samples().len());
}

#[test]
fn the_dummy_image_is_really_classified_as_a_cat() {
    let output = ask(TaskType::ImageClassification, "dummy_image_data", &Options::default());
    assert!(output.answer.prediction.contains("cat"), "{}", output.answer.prediction);
}

#[test]
fn our_own_preprocessing_gives_the_labels_of_pillows() {
    let golden: Value = Files::embedded(&MOBILENET_V2).config("golden.json").unwrap();
    for (name, label) in golden["top1"].as_object().unwrap() {
        let output = ask(TaskType::ImageClassification, &format!("sample:{name}"), &Options::default());
        assert_eq!(output.answer.prediction, label.as_str().unwrap(), "{name}");
    }
}

#[test]
fn a_cat_ranks_above_a_car_and_confidence_is_the_cosine() {
    let candidates = ["a photo of a cat", "a photo of a dog", "a car", "a car"].map(str::to_owned).to_vec();
    let options = Options { candidates: Some(candidates), ..Options::default() };
    for _ in 0..2 {
        let output = ask(TaskType::ClipTextSimilarity, "a small kitten", &options);
        let similarities = output.answer.similarities.unwrap().0;
        assert_eq!(similarities.len(), 3, "no text twice");
        assert_eq!(output.answer.prediction, "a photo of a cat");
        assert_eq!(similarities[0].0, "a photo of a cat");
        assert_eq!(similarities[2].0, "a car");
        assert!((output.answer.confidence - similarities[0].1).abs() < 1e-12);
    }
    let same = ask(TaskType::ClipTextSimilarity, "a photo of a cat", &Options::default());
    assert!((same.answer.confidence - 1.0).abs() < 1e-4, "{}", same.answer.confidence);
    assert_eq!(same.card.model_info, "CLIP-ViT-B/32 (mini)");
}

#[test]
fn text_finds_the_picture_that_pytorch_finds() {
    let golden: Value = Files::embedded(&CLIP).config("golden.json").unwrap();
    for (caption, name) in golden["first_picture"].as_object().unwrap() {
        let output = ask(TaskType::ClipTextToImage, caption, &Options::default());
        assert_eq!(output.answer.prediction, name.as_str().unwrap(), "{caption}");
        assert_eq!(output.answer.similarities.unwrap().0.len(), samples().len());
        assert!((output.answer.confidence - output.answer.scores.0[0].1).abs() < 1e-12);
    }
}

#[test]
fn given_pictures_are_searched() {
    let images = ["sample:rocket", "dummy_image_data", "sample:lemon"].map(str::to_owned).to_vec();
    let options = Options { images: Some(images), ..Options::default() };
    let output = ask(TaskType::ClipTextToImage, "a photo of a cat", &options);
    assert_eq!(output.answer.prediction, "image 1");
}

#[test]
fn a_mixed_batch_is_answered_in_order() {
    let default = Options::default();
    let batch = [
        ENGINE.prepare(TaskType::TextClassification, "good", &default).unwrap(),
        ENGINE.prepare(TaskType::ClipTextSimilarity, "a dog", &default).unwrap(),
        ENGINE.prepare(TaskType::ImageClassification, "sample:lemon", &default).unwrap(),
        ENGINE.prepare(TaskType::TextClassification, "bad", &default).unwrap(),
        ENGINE.prepare(TaskType::ClipTextToImage, "a lemon", &default).unwrap(),
    ];
    let outputs = ENGINE.run(&batch);
    for (prepared, output) in batch.iter().zip(outputs) {
        let alone = ENGINE.run(std::slice::from_ref(prepared)).remove(0).unwrap();
        let output = output.unwrap();
        assert_eq!(output.answer.prediction, alone.answer.prediction);
        assert!((output.answer.confidence - alone.answer.confidence).abs() < 1e-5);
    }
}

#[test]
fn costs_tell_what_a_batch_will_take() {
    let default = Options::default();
    let text = ENGINE.prepare(TaskType::TextClassification, "not bad at all", &default).unwrap();
    assert_eq!((text.cost().tokens, text.cost().pictures), (6, 0));
    let long = ENGINE.prepare(TaskType::TextClassification, &"word ".repeat(2_000), &default).unwrap();
    assert_eq!(long.cost().tokens, 512);
    assert!(long.truncated() && !text.truncated());
    let picture = ENGINE.prepare(TaskType::ImageClassification, "sample:cat", &default).unwrap();
    assert_eq!((picture.cost().tokens, picture.cost().pictures), (0, 1));
}

#[test]
fn bad_input_has_its_code() {
    let default = Options::default();
    for (data, code) in [
        ("", ProblemCode::EmptyData),
        ("http://example.org/cat.jpg", ProblemCode::InvalidField),
        ("sample:unicorn", ProblemCode::InvalidField),
        ("not base64!", ProblemCode::UndecodableImage),
        ("aGVsbG8=", ProblemCode::UndecodableImage),
    ] {
        assert_eq!(problem(TaskType::ImageClassification, data, &default), code, "{data}");
    }
    assert_eq!(problem(TaskType::TextClassification, " \n", &default), ProblemCode::EmptyData);
    let many = Options { candidates: Some(vec!["x".to_owned(); 65]), ..Options::default() };
    assert_eq!(problem(TaskType::ClipTextSimilarity, "x", &many), ProblemCode::InvalidField);
    let blank = Options { candidates: Some(vec![" ".to_owned()]), ..Options::default() };
    assert_eq!(problem(TaskType::ClipTextSimilarity, "x", &blank), ProblemCode::EmptyData);
}

#[test]
fn capabilities_name_every_task_once() {
    let capabilities = ENGINE.capabilities();
    assert_eq!(capabilities.iter().map(|c| c.task).collect::<Vec<_>>(), TaskType::ALL);
    assert!(capabilities.iter().all(|c| c.degraded && c.state == ModelState::Ready));
    assert_eq!(capabilities.iter().filter(|c| c.specialised).count(), 1);
}

#[test]
fn without_models_everything_is_answered_at_once() {
    let engine = Engine::start(&on_one_thread(Source::Noop(Duration::ZERO))).unwrap();
    for task in TaskType::ALL {
        let prepared = engine.prepare(task, "x", &Options::default()).unwrap();
        let output = engine.run(&[prepared]).remove(0).unwrap();
        assert_eq!(output.card.reference.source, ModelSource::Noop);
    }
}

/// Puts a model into a hub's cache as if it had been fetched, or into a folder.
pub(super) fn copy_files(files: &Files, folder: &std::path::Path) {
    std::fs::create_dir_all(folder).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        if let Some(bytes) = files.optional(name).unwrap() {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

#[test]
fn a_folder_is_served_from_and_the_binary_for_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    copy_files(&Files::embedded(&DISTILBERT), &folder.path().join("my-model"));
    let engine = Engine::start(&on_one_thread(Source::Folder(folder.path().to_owned()))).unwrap();
    let sources: Vec<_> = engine.capabilities().into_iter().map(|c| (c.model.source, c.model.id)).collect();
    assert_eq!(sources[0], (ModelSource::Folder, "my-model".to_owned()));
    assert_eq!(sources[1].0, ModelSource::Embedded);
    let prepared = engine.prepare(TaskType::TextClassification, "I like it", &Options::default()).unwrap();
    assert_eq!(engine.run(&[prepared]).remove(0).unwrap().answer.prediction, "POSITIVE");
}

#[test]
fn a_damaged_folder_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    copy_files(&Files::embedded(&DISTILBERT), folder.path());
    let weights = std::fs::OpenOptions::new().write(true).open(folder.path().join("model.safetensors")).unwrap();
    weights.set_len(1_000_000).unwrap();
    let error = Engine::start(&on_one_thread(Source::Folder(folder.path().to_owned()))).err().unwrap();
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
}

/// Waits for the background thread, which ends by itself; it holds no lock that could be waited on.
fn state_of(engine: &Engine, task: TaskType) -> ModelState {
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let state = engine.capabilities().into_iter().find(|c| c.task == task).unwrap().state;
        match state {
            ModelState::Ready | ModelState::Failed { .. } => return state,
            ModelState::Loading | ModelState::Downloading { .. } => {
                assert!(std::time::Instant::now() < deadline, "{state:?}");
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn a_model_in_the_cache_is_swapped_in_while_the_small_one_serves() {
    let cache = tempfile::tempdir().unwrap();
    let model = cache.path().join("models--distilbert--distilbert-base-uncased-finetuned-sst-2-english");
    let snapshot = model.join("snapshots/abc");
    copy_files(&Files::embedded(&DISTILBERT), &snapshot);
    // As on the hub: vocab.txt, and no tokenizer.json.
    let vocabulary = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/models/distilbert-mini-sst2/vocab.txt");
    std::fs::copy(vocabulary, snapshot.join("vocab.txt")).unwrap();
    std::fs::remove_file(snapshot.join("tokenizer.json")).unwrap();
    std::fs::create_dir_all(model.join("refs")).unwrap();
    std::fs::write(model.join("refs/main"), "abc").unwrap();
    let hub = HubConfig {
        endpoint: "http://127.0.0.1:1".to_owned(),
        cache: cache.path().to_owned(),
        offline: true,
        token: None,
        proxied: false,
    };
    let speciality = vec![TaskType::TextClassification, TaskType::ImageClassification];
    let engine = Engine::start_with_hub(&EngineConfig { speciality, ..on_one_thread(Source::Auto) }, hub).unwrap();
    let small = engine.prepare(TaskType::TextClassification, "not bad at all", &Options::default()).unwrap();
    assert_eq!(state_of(&engine, TaskType::TextClassification), ModelState::Ready);
    let swapped = engine.prepare(TaskType::TextClassification, "not bad at all", &Options::default()).unwrap();
    let outputs = engine.run(&[small, swapped]);
    let [small, swapped] = [0, 1].map(|index| outputs[index].clone().unwrap());
    assert_eq!(swapped.card.reference.source, ModelSource::Hub);
    assert_eq!(swapped.card.reference.revision.as_deref(), Some("abc"));
    assert_eq!(small.answer, swapped.answer, "the same weights and, from vocab.txt, the same tokens");
    // What can't be had is said, and the small model goes on serving.
    let ModelState::Failed { reason } = state_of(&engine, TaskType::ImageClassification) else { panic!("no failure") };
    assert!(reason.contains("HF_HUB_OFFLINE"), "{reason}");
    assert!(engine.prepare(TaskType::ImageClassification, "sample:cat", &Options::default()).is_ok());
}

//! The engine as a worker uses it, over the models in the binary.

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::inference::image::samples;
use crate::inference::source::{CLIP, Files, MOBILENET_V2};
use crate::inference::{Engine, EngineConfig, Output, Source};
use crate::protocol::{ModelSource, ModelState, Options, ProblemCode, TaskType};

static ENGINE: LazyLock<Arc<Engine>> = LazyLock::new(|| {
    let speciality = vec![TaskType::TextClassification];
    Engine::start(&EngineConfig { source: Source::Embedded, speciality, threads: 2 }).unwrap()
});

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
    let config = EngineConfig { source: Source::Noop, speciality: Vec::new(), threads: 1 };
    let engine = Engine::start(&config).unwrap();
    for task in TaskType::ALL {
        let prepared = engine.prepare(task, "x", &Options::default()).unwrap();
        let output = engine.run(&[prepared]).remove(0).unwrap();
        assert_eq!(output.card.reference.source, ModelSource::Noop);
    }
}

//! Whether the small models say what is right: plain sentences, sample pictures, and searches, asked
//! of a real fleet.

use serde_json::{Value, json};

use crate::contract::fleet;
use crate::support::post;

const GOOD: [&str; 10] = [
    "The food was delicious and the staff were friendly.",
    "What a wonderful surprise, thank you so much!",
    "The new keyboard is excellent, I enjoy typing on it every day.",
    "Our holiday was beautiful from beginning to end.",
    "She gave a brilliant talk and everyone loved it.",
    "The repair was quick and works perfectly.",
    "A charming little hotel with a lovely garden.",
    "This is the best coffee I have had in years.",
    "I am very happy with how the team solved it.",
    "The children had great fun at the museum.",
];

const BAD: [&str; 10] = [
    "The soup was cold and the waiter was rude.",
    "What a terrible waste of money.",
    "The battery died after two days and nobody helped me.",
    "Our train was late again and the seats were filthy.",
    "He gave a boring talk and half of the room left.",
    "The repair failed and now it is worse than before.",
    "An ugly, noisy hotel with a horrible smell.",
    "This is the worst coffee I have ever had.",
    "I am deeply disappointed with this useless service.",
    "The game is dull, slow and full of annoying bugs.",
];

fn ask(url: &str, body: &Value) -> Value {
    let reply = post(&format!("{url}/infer"), body.to_string());
    assert_eq!(reply.status, 200, "{}", reply.json());
    reply.json()["result"].clone()
}

fn samples() -> Vec<Value> {
    serde_json::from_str(include_str!("../../assets/samples/index.json")).unwrap()
}

#[test]
fn the_small_models_are_right_about_plain_things() {
    let fleet = fleet(&[]);
    let url = &fleet.url;

    for (sentences, label) in [(GOOD, "POSITIVE"), (BAD, "NEGATIVE")] {
        for text in sentences {
            let result = ask(url, &json!({"task_type": "text_classification", "data": text}));
            assert_eq!(result["prediction"], label, "{text}: {result}");
        }
    }

    // At least four of five sample pictures have a right label among the first five.
    let samples = samples();
    assert!(samples.len() >= 20);
    let known = samples.iter().filter(|sample| {
        let data = format!("sample:{}", sample["name"].as_str().unwrap());
        let result = ask(url, &json!({"task_type": "image_classification", "data": data, "options": {"top_k": 5}}));
        let scores = result["scores"].as_object().unwrap();
        assert_eq!(scores.len(), 5, "{result}");
        sample["labels"].as_array().unwrap().iter().any(|label| scores.contains_key(label.as_str().unwrap()))
    });
    let known = known.count();
    assert!(known * 5 >= samples.len() * 4, "{known} of {} sample pictures", samples.len());

    // A query finds the picture that fits it; over all of the captions, the small model at least two of three.
    for query in ["a photo of a cat", "a photo of a lemon", "a photo of a penguin", "a photo of a bison"] {
        let result = ask(url, &json!({"task_type": "clip_text_to_image", "data": query}));
        assert!(query.ends_with(result["prediction"].as_str().unwrap()), "{query}: {result}");
    }
    let found = samples.iter().filter(|sample| {
        let result = ask(url, &json!({"task_type": "clip_text_to_image", "data": sample["caption"]}));
        result["prediction"] == sample["name"]
    });
    let found = found.count();
    assert!(found * 3 >= samples.len() * 2, "{found} of {} captions find their picture first", samples.len());

    // A cat is nearer to a cat than to a car.
    let candidates = json!(["a photo of a car", "a photo of a cat"]);
    for query in ["a photo of a cat", "a picture of a kitten", "a cat sleeping on a sofa"] {
        let body = json!({"task_type": "clip_text_similarity", "data": query, "options": {"candidates": candidates}});
        let result = ask(url, &body);
        assert_eq!(result["prediction"], "a photo of a cat", "{query}: {result}");
    }
}

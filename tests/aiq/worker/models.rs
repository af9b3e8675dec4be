//! A worker with the real models that ship in the binary.

use serde_json::{Value, json};

use crate::support::{Process, eventually, get, post};

fn with_models() -> Process {
    let args = ["serve-worker", "--port", "0", "--standalone", "--models", "embedded"];
    Process::serve(&args)
}

fn ask(url: &str, request: &Value) -> Value {
    let reply = post(&format!("{url}/infer"), request.to_string());
    let body = reply.json();
    assert_eq!(reply.status, 200, "{body}");
    body
}

/// Resident memory of a process, bytes.
fn resident(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn every_worker_answers_every_task_and_says_which_model_did() {
    let worker = with_models();
    let good = ask(&worker.url, &json!({"task_type": "text_classification", "data": "I love this product!"}));
    assert_eq!(good["result"]["prediction"], "POSITIVE");
    assert_eq!(good["result"]["model_info"], "DistilBERT (mini)");
    assert_eq!(good["result"]["degraded"], true);
    assert_eq!(good["result"]["model"]["source"], "embedded");
    assert!(good["inference_time"].as_f64().unwrap() > 0.0);
    let bad = ask(&worker.url, &json!({"task_type": "text_classification", "data": "A dull and lifeless film."}));
    assert_eq!(bad["result"]["prediction"], "NEGATIVE");

    let picture = ask(&worker.url, &json!({"task_type": "image_classification", "data": "dummy_image_data"}));
    assert_eq!(picture["result"]["model_info"], "MobileNetV2 (mini)");
    assert_eq!(picture["result"]["scores"].as_object().unwrap().len(), 5);

    let candidates = json!({"candidates": ["a photo of a cat", "a car"]});
    let similar = json!({"task_type": "clip_text_similarity", "data": "a kitten", "options": candidates});
    let similar = ask(&worker.url, &similar);
    assert_eq!(similar["result"]["prediction"], "a photo of a cat");
    assert_eq!(similar["result"]["similarities"].as_object().unwrap().len(), 2);
    let found = ask(&worker.url, &json!({"task_type": "clip_text_to_image", "data": "a photo of a cat"}));
    assert_eq!(found["result"]["model_info"], "CLIP-ViT-B/32 (mini)");

    let health = get(&format!("{}/health", worker.url)).json();
    assert_eq!((&health["degraded"], &health["completed"]), (&json!(true), &json!(5)));
    let specialised: Vec<&Value> =
        health["capabilities"].as_array().unwrap().iter().filter(|c| c["specialised"] == true).collect();
    assert_eq!(specialised.len(), 1, "worker-1 is meant for text: {specialised:?}");
}

#[test]
fn input_that_no_model_can_take_is_refused_with_its_reason() {
    let worker = with_models();
    let says = |data: &str, status: u16, code: &str| {
        let request = json!({"request_id": "p-1", "task_type": "image_classification", "data": data});
        let reply = post(&format!("{}/infer", worker.url), request.to_string());
        let body = reply.json();
        assert_eq!((reply.status, body["code"].as_str().unwrap()), (status, code), "{body}");
        assert_eq!(body["request_id"], "p-1");
        assert_eq!(body["retryable"], false);
    };
    // The head of a JPEG and nothing behind it; text that is no base64; a sample that is not there.
    says("/9j/4AAQSkZJRgABAQAAAQABAAD/", 422, "undecodable_image");
    says("definitely not a picture", 422, "undecodable_image");
    says("sample:unicorn", 422, "invalid_field");
    let health = get(&format!("{}/health", worker.url)).json();
    assert_eq!(health["failed"], 0, "bad input is no failure of the worker");
}

#[test]
fn many_requests_at_once_are_all_answered_rightly() {
    let worker = with_models();
    let texts = [("What a wonderful day!", "POSITIVE"), ("This is terrible and sad.", "NEGATIVE")];
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let url = worker.url.as_str();
            scope.spawn(move || {
                for round in 0..6 {
                    let (text, expected) = texts[(thread + round) % 2];
                    let answer = ask(url, &json!({"task_type": "text_classification", "data": text}));
                    assert_eq!(answer["result"]["prediction"], expected, "{text}");
                    let task = ["image_classification", "clip_text_to_image"][round % 2];
                    ask(url, &json!({"task_type": task, "data": "dummy_image_data"}));
                }
            });
        }
    });
    let health = get(&format!("{}/health", worker.url)).json();
    assert_eq!((&health["completed"], &health["in_flight"]), (&json!(96), &json!(0)));
    // What nobody asked for is measured as soon as there is nothing else to do.
    eventually("each task's service time is known", || {
        let health = get(&format!("{}/health", worker.url)).json();
        (health["service_times"].as_array().unwrap().len() == 4).then_some(())
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_with_the_small_models_stays_small() {
    let worker = with_models();
    ask(&worker.url, &json!({"task_type": "text_classification", "data": "I love this product!"}));
    ask(&worker.url, &json!({"task_type": "image_classification", "data": "dummy_image_data"}));
    ask(&worker.url, &json!({"task_type": "clip_text_to_image", "data": "a dog"}));
    let serving: u64 = super::children(&worker)[0].as_raw() as u64;
    let (serving, supervisor) = (resident(serving), resident(worker.pid().as_raw() as u64));
    assert!(serving < 130 << 20, "the serving process takes {} MiB", serving >> 20);
    assert!(supervisor < 30 << 20, "the supervisor takes {} MiB", supervisor >> 20);
}

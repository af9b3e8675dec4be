//! The base contract, from its page alone: the endpoints, shapes and variables that people's scripts
//! rely on. Plain JSON over plain HTTP; nothing here knows the crate's types.

use std::net::TcpListener;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Process, Reply, eventually, get, post, send};

/// A fleet as `aiq up` starts it, on free ports, without a network.
pub(crate) fn fleet(args: &[&str]) -> Process {
    let args: Vec<&str> =
        ["up", "--port", "0", "--models", "embedded"].into_iter().chain(args.iter().copied()).collect();
    let mut up = Process::start_with(&args, &[]);
    let line = up.line_after("coordinator ");
    up.url = line.split_whitespace().next().unwrap().into();
    up.line_after("Ctrl-C stops the fleet");
    up
}

fn infer(fleet: &Process, body: &Value) -> Value {
    let reply = post(&format!("{}/infer", fleet.url), body.to_string());
    assert_eq!(reply.status, 200, "{}", reply.json());
    reply.json()
}

fn refused(reply: &Reply, status: u16, says: &str) {
    let problem = reply.json();
    assert_eq!(reply.status, status, "{problem}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    assert_eq!(problem["status"], status);
    for member in ["type", "title", "detail", "code"] {
        assert!(problem[member].as_str().is_some_and(|s| !s.is_empty()), "{member} in {problem}");
    }
    assert!(problem["retryable"].is_boolean(), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(says), "\"{says}\" in {problem}");
}

fn is_answer(answer: &Value, id: &str, task: &str, model: &str) {
    assert_eq!(answer["request_id"], id, "{answer}");
    let result = &answer["result"];
    assert!(result["prediction"].as_str().is_some_and(|p| !p.is_empty()), "{answer}");
    assert!((-1.0..=1.0).contains(&result["confidence"].as_f64().unwrap()), "{answer}");
    assert!(["worker-1", "worker-2", "worker-3"].contains(&result["worker_id"].as_str().unwrap()), "{answer}");
    assert_eq!(result["task_type"], task, "{answer}");
    assert_eq!(result["model_info"], model, "{answer}");
    assert!(answer["latency"].as_f64().is_some_and(|s| s > 0.0 && s < 60.0), "{answer}");
    assert_eq!(answer["retry_count"], 0, "{answer}");
}

#[test]
fn every_base_endpoint_answers_in_its_shape() {
    let fleet = fleet(&[]);
    let url = &fleet.url;

    let answer = infer(
        &fleet,
        &json!({"request_id": "test-1", "task_type": "text_classification", "data": "I love this product!"}),
    );
    is_answer(&answer, "test-1", "text_classification", "DistilBERT (mini)");
    assert_eq!(answer["result"]["prediction"], "POSITIVE");

    let picture =
        STANDARD.encode(std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/samples/cat.jpg")).unwrap());
    for (n, data) in
        ["dummy_image_data", "sample:cat", &picture, &format!("data:image/jpeg;base64,{picture}")].iter().enumerate()
    {
        let id = format!("image-{n}");
        let answer = infer(&fleet, &json!({"request_id": id, "task_type": "image_classification", "data": data}));
        is_answer(&answer, &id, "image_classification", "MobileNetV2 (mini)");
        let label = answer["result"]["prediction"].as_str().unwrap();
        assert!(["Egyptian cat", "tabby", "Persian cat"].contains(&label), "{answer}");
    }

    let answer = infer(
        &fleet,
        &json!({"request_id": "clip-456", "task_type": "clip_text_similarity", "data": "a photo of a kitten",
                "options": {"candidates": ["a photo of a cat", "a photo of a dog", "a car"]}}),
    );
    is_answer(&answer, "clip-456", "clip_text_similarity", "CLIP-ViT-B/32 (mini)");
    let similarities = answer["result"]["similarities"].as_object().unwrap();
    assert_eq!(answer["result"]["prediction"], "a photo of a cat");
    assert_eq!(similarities.len(), 3);
    assert_eq!(similarities["a photo of a cat"], answer["result"]["confidence"]);
    assert!(similarities["a photo of a cat"].as_f64() > similarities["a car"].as_f64(), "{answer}");

    // Without candidates and without images, the built-in ones.
    let answer = infer(&fleet, &json!({"task_type": "clip_text_similarity", "data": "a photo of a cat"}));
    let id = answer["request_id"].as_str().unwrap().to_owned();
    is_answer(&answer, &id, "clip_text_similarity", "CLIP-ViT-B/32 (mini)");
    let answer = infer(&fleet, &json!({"task_type": "clip_text_to_image", "data": "a photo of a cat"}));
    let id = answer["request_id"].as_str().unwrap().to_owned();
    is_answer(&answer, &id, "clip_text_to_image", "CLIP-ViT-B/32 (mini)");

    // Asynchronously.
    let reply = post(
        &format!("{url}/infer/async"),
        r#"{"request_id": "later-1", "task_type": "text_classification", "data": "Terrible."}"#,
    );
    assert_eq!(reply.status, 202, "{}", reply.json());
    assert_eq!(reply.json()["request_id"], "later-1");
    let answer = eventually("the async result is there", || {
        let reply = get(&format!("{url}/result/later-1"));
        assert!([200, 202].contains(&reply.status), "{}", reply.json());
        (reply.status == 200).then(|| reply.json())
    });
    is_answer(&answer, "later-1", "text_classification", "DistilBERT (mini)");
    refused(&get(&format!("{url}/result/never-sent")), 404, "never-sent");

    // At high priority.
    let reply = post(&format!("{url}/priority/infer"), r#"{"task_type": "text_classification", "data": "Great!"}"#);
    assert_eq!(reply.status, 200, "{}", reply.json());
    assert_eq!(reply.json()["result"]["prediction"], "POSITIVE");

    // The id in the header, echoed.
    let headers = [("content-type", "application/json"), ("x-request-id", "by-header")];
    let body = br#"{"task_type": "text_classification", "data": "Great!"}"#;
    let reply = send("POST", &format!("{url}/infer"), &headers, body).unwrap();
    assert_eq!(reply.header("x-request-id"), Some("by-header"));
    assert_eq!(reply.json()["request_id"], "by-header");

    statistics_have_their_shape(url);
    workers_answer_by_themselves(url);
}

fn statistics_have_their_shape(url: &str) {
    let stats = get(&format!("{url}/queue/stats")).json();
    for (field, value) in
        [("queue_size", 0), ("active_tasks", 0), ("total_workers", 3), ("healthy_workers", 3), ("busy_workers", 0)]
    {
        assert_eq!(stats[field], value, "{field} in {stats}");
    }
    for field in ["total_requests", "successful_requests", "failed_requests", "queue_high_watermark"] {
        assert!(stats["stats"][field].is_u64(), "{field} in {stats}");
    }
    assert!(stats["stats"]["successful_requests"].as_u64() >= Some(10), "{stats}");
    assert_eq!(stats["stats"]["failed_requests"], 0, "{stats}");

    let status = get(&format!("{url}/status"));
    assert_eq!(status.status, 200);
    assert_eq!(status.json()["total_workers"], 3);

    let performance = get(&format!("{url}/workers/performance")).json();
    let workers = performance["workers"].as_array().unwrap();
    let names: Vec<&str> = workers.iter().map(|w| w["worker_id"].as_str().unwrap()).collect();
    assert_eq!(names, ["worker-1", "worker-2", "worker-3"]);
    for worker in workers {
        assert!((0.0..=100.0).contains(&worker["performance_score"].as_f64().unwrap()), "{worker}");
        assert!(worker["successful_requests"].is_u64() && worker["failed_requests"] == 0, "{worker}");
    }
}

fn workers_answer_by_themselves(url: &str) {
    let workers = get(&format!("{url}/workers")).json();
    let at = workers["workers"][0]["url"].as_str().unwrap().to_owned();
    let reply = post(
        &format!("{at}/infer"),
        r#"{"request_id": "straight", "task_type": "text_classification", "data": "I love this product!"}"#,
    );
    assert_eq!(reply.status, 200, "{}", reply.json());
    is_answer(&reply.json(), "straight", "text_classification", "DistilBERT (mini)");
    assert_eq!(reply.json()["result"]["worker_id"], "worker-1");
    let health = get(&format!("{at}/health"));
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["worker_id"], "worker-1");
    assert_eq!(health.json()["degraded"], true);
}

#[test]
fn bad_input_is_refused_with_what_was_wrong() {
    let fleet = fleet(&[]);
    let url = format!("{}/infer", fleet.url);
    let text = |data: &str| json!({"task_type": "text_classification", "data": data}).to_string();
    let image = |bytes: &[u8]| json!({"task_type": "image_classification", "data": STANDARD.encode(bytes)}).to_string();

    refused(&post(&url, r#"{"task_type": "text_classification", "data": "#), 400, "JSON");
    refused(&post(&url, r#"{"task_type": "text_classification", "data": 7}"#), 422, "string");
    refused(&post(&url, r#"{"task_type": "text_classification"}"#), 422, "data");
    refused(&post(&url, r#"{"task_type": "speech", "data": "x"}"#), 422, "clip_text_to_image");
    refused(&post(&url, text("")), 422, "empty");
    refused(&post(&url, text(&"word ".repeat(100_000))), 413, "bytes");
    let jpeg = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/samples/cat.jpg")).unwrap();
    refused(&post(&url, image(&jpeg[..jpeg.len() / 3])), 422, "JPEG");
    refused(&post(&url, image(b"GIF89a, says the file")), 422, "JPEG, PNG");
    refused(&post(&url, image(&png_header(30_000, 30_000))), 413, "30000");
    refused(&post(&url, r#"{"task_type": "image_classification", "data": "http://example.org/cat.jpg"}"#), 422, "URL");
    refused(&post(&url, r#"{"task_type": "image_classification", "data": "sample:unicorn"}"#), 422, "unicorn");
    refused(&get(&format!("{}/no/such/route", fleet.url)), 404, "/no/such/route");
    refused(&get(&url), 405, "POST");

    // A 50 MB body is refused from its length; the connection may close before all of it is sent.
    let huge = vec![b'x'; 50 << 20];
    match send("POST", &url, &[("content-type", "application/json")], &huge) {
        Ok(reply) => refused(&reply, 413, "bytes"),
        Err(ureq::Error::Io(_)) => {}
        Err(other) => panic!("{other}"),
    }

    // None of that hurt anybody.
    assert_eq!(infer(&fleet, &json!({"task_type": "text_classification", "data": "Lovely."}))["retry_count"], 0);
    let stats = get(&format!("{}/queue/stats", fleet.url)).json();
    assert_eq!((&stats["healthy_workers"], &stats["active_tasks"]), (&json!(3), &json!(0)), "{stats}");
}

/// The first bytes of a PNG that says how large it is, and nothing more.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut ihdr = b"IHDR".to_vec();
    ihdr.extend(width.to_be_bytes());
    ihdr.extend(height.to_be_bytes());
    ihdr.extend([8, 2, 0, 0, 0]);
    let mut crc = u32::MAX;
    for byte in &ihdr {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(&ihdr);
    png.extend((!crc).to_be_bytes());
    png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    png
}

#[test]
fn the_same_id_twice() {
    let fleet = fleet(&["--workers", "1"]);
    let url = format!("{}/infer", fleet.url);
    let body = r#"{"request_id": "twice", "task_type": "text_classification", "data": "Good."}"#;
    let first = post(&url, body).json();
    assert_eq!(post(&url, body).json()["result"], first["result"]);
    let other = r#"{"request_id": "twice", "task_type": "text_classification", "data": "Bad."}"#;
    refused(&post(&url, other), 409, "twice");
    let stats = get(&format!("{}/queue/stats", fleet.url)).json();
    assert_eq!(stats["stats"]["attempts"], 1, "{stats}");
}

/// A port that was free a moment ago.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

#[test]
fn a_worker_takes_its_name_port_and_faults_from_the_environment() {
    let port = free_port();
    let args = ["serve-worker", "--standalone", "--models", "embedded"];
    let text = r#"{"task_type": "text_classification", "data": "I love this product!"}"#;

    let env = [("WORKER_ID", "worker-7"), ("PORT", port.as_str())];
    let worker = Process::serve_with(&args, &env);
    assert_eq!(worker.url, format!("http://127.0.0.1:{port}"));
    let health = get(&format!("{}/health", worker.url)).json();
    assert_eq!(health["worker_id"], "worker-7");
    assert_eq!(health["fault_injection"], false, "{health}");
    assert_eq!(post(&format!("{}/infer", worker.url), text).json()["result"]["worker_id"], "worker-7");

    // One variable switches fault injection on, with the base settings for the others.
    let worker = Process::serve_with(&args, &[("PORT", "0"), ("CRASH_PROBABILITY", "0.5")]);
    let health = get(&format!("{}/health", worker.url)).json();
    assert_eq!(health["fault_injection"], true, "{health}");
    for (field, value) in [
        ("crash_probability", 0.5),
        ("timeout_probability", 0.03),
        ("network_delay_min", 0.1),
        ("network_delay_max", 0.8),
    ] {
        assert_eq!(health["faults"][field], value, "{field} in {health}");
    }

    // Each of them does what it says.
    let quiet = [("PORT", "0"), ("TIMEOUT_PROBABILITY", "0"), ("NETWORK_DELAY_MIN", "0"), ("NETWORK_DELAY_MAX", "0")];
    let crashing: Vec<_> = quiet.into_iter().chain([("CRASH_PROBABILITY", "1")]).collect();
    let worker = Process::serve_with(&args, &crashing);
    refused(&post(&format!("{}/infer", worker.url), text), 503, "crash");

    let silent = [("CRASH_PROBABILITY", "0"), ("NETWORK_DELAY_MIN", "0"), ("NETWORK_DELAY_MAX", "0")];
    let silent: Vec<_> = silent.into_iter().chain([("PORT", "0"), ("TIMEOUT_PROBABILITY", "1")]).collect();
    let worker = Process::serve_with(&args, &silent);
    let headers = [("content-type", "application/json"), ("x-aiq-deadline-ms", "300")];
    let reply = send("POST", &format!("{}/infer", worker.url), &headers, text.as_bytes()).unwrap();
    refused(&reply, 504, "300 ms");

    let slow = [("CRASH_PROBABILITY", "0"), ("TIMEOUT_PROBABILITY", "0"), ("PORT", "0")];
    let slow: Vec<_> = slow.into_iter().chain([("NETWORK_DELAY_MIN", "0.2"), ("NETWORK_DELAY_MAX", "0.2")]).collect();
    let worker = Process::serve_with(&args, &slow);
    let before = std::time::Instant::now();
    assert_eq!(post(&format!("{}/infer", worker.url), text).status, 200);
    assert!(before.elapsed().as_secs_f64() >= 0.2, "a delay of 0.2 s can't take less");
}

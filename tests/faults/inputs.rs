//! Malformed, oversized and bomb inputs: each is refused for what it is, nothing panics, memory stays
//! bounded, and good traffic beside them does not notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::fleet::{Fleet, REAL, resident_mib};
use crate::load::Load;
use crate::support::send;
use crate::{alone, seconds};

fn image(data: &str) -> Vec<u8> {
    json!({"task_type": "image_classification", "data": data}).to_string().into_bytes()
}

/// A real JPEG whose header says that it is 65535 pixels wide and high.
fn jpeg_of_four_gigapixels() -> Vec<u8> {
    let mut jpeg = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/samples/cat.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0] || w == [0xff, 0xc2]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    jpeg
}

/// A picture of 6 000 by 6 000 pixels, fewer than are allowed, that takes more memory than is allowed.
fn png_that_unpacks_to_144_megabytes() -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbaImage::new(6_000, 6_000).write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let text = |options: Value| {
        json!({"task_type": "clip_text_similarity", "data": "a cat", "options": options}).to_string().into_bytes()
    };
    vec![
        ("nothing", Vec::new()),
        ("half an object", b"{\"task_type\": ".to_vec()),
        ("an array", b"[1, 2, 3]".to_vec()),
        ("no UTF-8", vec![0xff; 100]),
        ("brackets without end", vec![b'['; 1 << 20]),
        ("objects in objects", format!("{}1{}", "{\"a\":".repeat(50_000), "}".repeat(50_000)).into_bytes()),
        ("no text", br#"{"task_type": "text_classification", "data": ""}"#.to_vec()),
        ("a number for a text", br#"{"task_type": "text_classification", "data": 1e999999}"#.to_vec()),
        ("an unknown task", br#"{"task_type": "mind_reading", "data": "x"}"#.to_vec()),
        ("a long text", json!({"task_type": "text_classification", "data": "x".repeat(1 << 20)}).to_string().into()),
        (
            "a long id",
            json!({"request_id": "x".repeat(1 << 16), "task_type": "text_classification", "data": "x"})
                .to_string()
                .into(),
        ),
        ("too many candidates", text(json!({"candidates": vec!["a dog"; 10_000]}))),
        ("a huge top_k", text(json!({"top_k": -1}))),
        ("a body over the limit", vec![b' '; 40 << 20]),
        ("a picture that is none", image(&STANDARD.encode([7; 5000]))),
        ("a picture that breaks off", image(&STANDARD.encode(&jpeg_of_four_gigapixels()[..200]))),
        ("no base64", image("!!!!")),
        ("a file of the machine", image("file:///etc/passwd")),
        ("another machine's picture", image("http://127.0.0.1:1/cat.jpg")),
        ("a JPEG of four gigapixels", image(&STANDARD.encode(jpeg_of_four_gigapixels()))),
        ("a PNG bomb", image(&STANDARD.encode(png_that_unpacks_to_144_megabytes()))),
    ]
}

/// Bytes that are no good HTTP.
fn garbage() -> Vec<(&'static str, Vec<u8>)> {
    let post = "POST /infer HTTP/1.1\r\nhost: c\r\ncontent-type: application/json\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    vec![
        ("a TLS hello", [&[0x16, 3, 1, 2, 0, 1][..], &[0; 512]].concat()),
        ("zeros", vec![0; 100_000]),
        ("a line without end", vec![b'G'; 1 << 20]),
        ("a header of a megabyte", format!("{post}x: {}\r\n\r\n", "y".repeat(1 << 20)).into_bytes()),
        ("ten thousand headers", format!("{post}{}\r\n", "x: y\r\n".repeat(10_000)).into_bytes()),
        ("two lengths", format!("{post}content-length: 5\r\ncontent-length: 6\r\n\r\nhello!").into_bytes()),
        ("a negative length", format!("{post}content-length: -1\r\n\r\n").into_bytes()),
        ("chunks without end", format!("{post}transfer-encoding: chunked\r\n\r\n{}", chunk.repeat(40)).into_bytes()),
        ("a chunk that lies", format!("{post}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n").into_bytes()),
        (
            "a packed body",
            format!("{post}content-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x08\x08\x08").into_bytes(),
        ),
    ]
}

/// The status that garbage is answered with; none where the connection is closed without a word.
fn status_of(address: &str, bytes: &[u8]) -> Option<u16> {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // Refused early, the rest of it can't be written.
    let _ = connection.write_all(bytes);
    let _ = connection.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = connection.take(4096).read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok())
}

fn panics_in(dir: &Path) -> Vec<String> {
    let logs = std::fs::read_dir(dir.join("logs")).map(|d| d.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let texts = logs.iter().map(|entry| std::fs::read_to_string(entry.path()).unwrap_or_default());
    texts.flat_map(|t| t.lines().filter(|l| l.contains("panic")).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn hostile_inputs_are_refused_and_harm_nobody() {
    let _alone = alone();
    println!("malformed, oversized and bomb inputs");
    let fleet = Fleet::start(2, REAL);
    let serving = |n: usize| fleet.worker(n)["rss_bytes"].as_f64().unwrap() / f64::from(1 << 20);
    let before = (resident_mib(&fleet.coordinator), serving(1).max(serving(2)));
    let good = Load::start(&fleet, &format!("--rate 2 --duration {}s --seed 9", seconds(8, 30)));
    let json = [("content-type", "application/json")];
    let inputs = hostile();
    // Workers are reached by themselves too, where they have no coordinator to check for them.
    for url in [&fleet.coordinator.url, &fleet.workers[0].url] {
        for (what, body) in &inputs {
            let reply = send("POST", &format!("{url}/infer"), &json, body).unwrap_or_else(|e| panic!("{what}: {e}"));
            let said = reply.json();
            assert!((400..500).contains(&reply.status), "{what}: {said}");
            assert!(said["code"].is_string() && said["detail"].is_string(), "{what}: {said}");
        }
        for (what, bytes) in garbage() {
            let status = status_of(url.trim_start_matches("http://"), &bytes);
            assert!(status.is_none_or(|s| (400..500).contains(&s)), "{what}: {status:?}");
        }
    }
    let report = good.finish();
    report.print("good traffic beside it");
    report.all_answered();
    let after = (resident_mib(&fleet.coordinator), serving(1).max(serving(2)));
    println!(
        "  {} inputs; coordinator {:.0} -> {:.0} MiB, worker {:.0} -> {:.0} MiB",
        inputs.len(),
        before.0,
        after.0,
        before.1,
        after.1
    );
    assert!(after.0 - before.0 < 256.0 && after.1 - before.1 < 384.0, "memory grew: {before:?} to {after:?} MiB");
    for process in std::iter::once(&fleet.coordinator).chain(&fleet.workers) {
        let panics = panics_in(process.dir.path());
        assert!(panics.is_empty(), "{panics:#?}");
    }
    assert!((1..=2).all(|n| fleet.worker(n)["restarts"] == 0), "a worker died of it");
}

//! A worker's work stream, spoken byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::standalone;
use crate::support::{PATIENCE, Process, eventually, get, send};

/// A client of one stream.
struct Client {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Client {
    fn open(worker: &Process) -> Self {
        let mut writer = TcpStream::connect(worker.url.trim_start_matches("http://")).unwrap();
        writer.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = "GET /infer/stream HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: aiq-work/1\r\n\r\n";
        writer.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(writer.try_clone().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 101"), "{line}");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        Self { reader, writer }
    }

    fn frame(kind: u8, number: u64, rest: &[u8]) -> Vec<u8> {
        let length = (9 + rest.len()) as u32;
        [&length.to_be_bytes()[..], &[kind], &number.to_be_bytes(), rest].concat()
    }

    fn request_frame(number: u64, budget_ms: u32, body: &str) -> Vec<u8> {
        let id = format!("r-{number}");
        let rest = [&budget_ms.to_be_bytes()[..], &[1, id.len() as u8], id.as_bytes(), body.as_bytes()].concat();
        Self::frame(1, number, &rest)
    }

    fn request(&mut self, number: u64, budget_ms: u32, body: &str) {
        self.writer.write_all(&Self::request_frame(number, budget_ms, body)).unwrap();
    }

    fn cancel(&mut self, number: u64) {
        self.writer.write_all(&Self::frame(2, number, &[])).unwrap();
    }

    /// The next frame: its kind, number and JSON; `None` at the end.
    fn next(&mut self) -> Option<(u8, u64, Value)> {
        let mut head = [0; 13];
        self.reader.read_exact(&mut head).ok()?;
        let mut rest = vec![0; u32::from_be_bytes(head[..4].try_into().unwrap()) as usize - 9];
        self.reader.read_exact(&mut rest).unwrap();
        let json = if head[4] == 3 { &rest[20..] } else { &rest[..] };
        Some((head[4], u64::from_be_bytes(head[5..].try_into().unwrap()), serde_json::from_slice(json).unwrap()))
    }
}

/// Every request is one that never comes back.
const NEVER_ANSWERS: [&str; 4] = ["--timeout-probability", "1", "--crash-probability", "0"];

fn text() -> String {
    json!({"task_type": "text_classification", "data": "x"}).to_string()
}

#[test]
fn many_requests_are_answered_over_one_connection() {
    let worker = standalone(&[]);
    let mut client = Client::open(&worker);
    for number in 1..=20 {
        client.request(number, 10_000, &text());
    }
    let mut numbers: Vec<u64> = (0..20)
        .map(|_| {
            let (kind, number, result) = client.next().unwrap();
            assert_eq!((kind, &result["worker_id"]), (3, &json!("worker-1")), "{result}");
            number
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_bad_request_spoils_none_of_its_neighbours() {
    let worker = standalone(&[]);
    let mut client = Client::open(&worker);
    client.request(1, 10_000, "{");
    client.request(2, 10_000, &text());
    let mut frames = [client.next().unwrap(), client.next().unwrap()];
    frames.sort_by_key(|(_, number, _)| *number);
    let [(refused, _, problem), (answered, _, _)] = frames;
    assert_eq!((refused, &problem["code"], &problem["request_id"]), (4, &json!("malformed_json"), &json!("r-1")));
    assert_eq!(answered, 3);
}

/// A coordinator that uses a number twice harms nobody but itself.
#[test]
fn a_number_that_is_used_twice_stops_nothing() {
    let worker = standalone(&[]);
    let mut client = Client::open(&worker);
    let [twice, next] = [7, 8].map(|number| Client::request_frame(number, 10_000, &text()));
    client.writer.write_all(&[twice.as_slice(), &twice, &next].concat()).unwrap();
    let answered = std::iter::from_fn(|| client.next()).find(|(kind, number, _)| (*kind, *number) == (3, 8));
    assert!(answered.is_some());
}

#[test]
fn what_is_cancelled_leaves_the_worker() {
    let worker = standalone(&NEVER_ANSWERS);
    let in_flight = || get(&format!("{}/health", worker.url)).json()["in_flight"].as_u64().unwrap();
    let mut client = Client::open(&worker);
    client.request(1, 60_000, &text());
    client.request(2, 60_000, &text());
    eventually("both are held", || (in_flight() == 2).then_some(()));
    client.cancel(1);
    eventually("one is gone", || (in_flight() == 1).then_some(()));
    drop(client);
    eventually("the other went with the connection", || (in_flight() == 0).then_some(()));
}

#[test]
fn a_deadline_on_the_stream_is_kept() {
    let worker = standalone(&NEVER_ANSWERS);
    let mut client = Client::open(&worker);
    client.request(1, 50, &text());
    let (kind, _, problem) = client.next().unwrap();
    assert_eq!((kind, &problem["code"]), (4, &json!("deadline_exceeded")));
}

/// The first occupies the model; of those behind it one is cancelled, one late, one answered, and one left by its client.
#[test]
fn what_waits_for_the_model_ends_in_its_own_way() {
    let slow = ["--models", "noop:1500ms", "--max-batch", "1"];
    let worker = Process::serve(&[&["serve-worker", "--port", "0", "--standalone"][..], &slow].concat());
    let mut client = Client::open(&worker);
    let mut leaving = Client::open(&worker);
    let queued = || get(&format!("{}/health", worker.url)).json()["queue_depth"].as_u64().unwrap();
    client.request(1, 60_000, &text());
    client.request(2, 60_000, &text());
    eventually("the first is computed, the second waits", || (queued() == 1).then_some(()));
    client.request(3, 60_000, &text());
    client.request(4, 50, &text());
    leaving.request(1, 60_000, &text());
    client.cancel(2);
    drop(leaving);
    let (kind, number, problem) = client.next().unwrap();
    assert_eq!((kind, number, &problem["code"]), (4, 4, &json!("deadline_exceeded")));
    for expected in [1, 3] {
        let (kind, number, _) = client.next().unwrap();
        assert_eq!((kind, number), (3, expected));
    }
    let metrics = String::from_utf8(get(&format!("{}/metrics", worker.url)).body).unwrap();
    for (outcome, count) in [("success", 2), ("cancelled", 2), ("deadline_exceeded", 1)] {
        let series = format!("task=\"text_classification\",outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&series), "{metrics}");
    }
    let batches = "aiq_serving_batch_size_count{task=\"text_classification\"} 2\n";
    assert!(metrics.contains(batches), "what was given up is not computed: {metrics}");
}

#[test]
fn what_is_no_frame_ends_the_stream() {
    let worker = standalone(&[]);
    let mut client = Client::open(&worker);
    client.writer.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    assert!(client.next().is_none());
}

#[test]
fn a_stream_is_asked_for_in_the_right_way() {
    let worker = standalone(&[]);
    let reply = get(&format!("{}/infer/stream", worker.url));
    assert_eq!((reply.status, reply.header("upgrade")), (426, Some("aiq-work/1")));
    assert!(reply.json()["detail"].as_str().unwrap().contains("Upgrade: aiq-work/1"));
    let reply = send("POST", &format!("{}/infer/stream", worker.url), &[], &[]).unwrap();
    assert_eq!(reply.status, 405);
}

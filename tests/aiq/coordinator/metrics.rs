//! What `/metrics` counts is what its clients and its workers saw, to the last one.

use std::collections::BTreeMap;
use std::thread;

use serde_json::json;

use super::answers::problem;
use super::fake::{Conduct, Fake};
use crate::support::{Process, get, post};

const TASKS: [&str; 2] = ["text_classification", "image_classification"];
const PRIORITIES: [&str; 3] = ["high", "normal", "low"];

/// Counts by series, as `/metrics` names them.
type Counts = BTreeMap<String, u64>;

/// The `n`th thing that a worker does: mostly well, now and then in every other way.
fn conduct(n: usize) -> Conduct {
    match n % 11 {
        3 => Conduct::Drop,
        6 => Conduct::Say(500, problem("inference_failed", 500)),
        8 => Conduct::Say(422, problem("undecodable_image", 422)),
        9 => Conduct::Say(503, problem("worker_busy", 503)),
        _ => Conduct::Serve,
    }
}

fn request(id: &str, n: usize) -> String {
    let (task, priority) = (TASKS[n % 2], PRIORITIES[n / 2 % 3]);
    json!({"request_id": id, "task_type": task, "data": "AAAA", "priority": priority}).to_string()
}

/// The series that an answer to a request counts in.
fn series(n: usize, status: u16, code: &str) -> String {
    let (task, priority) = (TASKS[n % 2], PRIORITIES[n / 2 % 3]);
    let outcome = match (status, code) {
        (200, _) => "success",
        (422, "undecodable_image") => "invalid",
        (502, _) => "failed",
        (504, _) => "timeout",
        (499, _) => "cancelled",
        (429 | 503, _) => "refused",
        other => panic!("an answer of no known kind: {other:?}"),
    };
    format!("aiq_requests_total{{task=\"{task}\",priority=\"{priority}\",outcome=\"{outcome}\"}}")
}

/// Submits one after the other and logs what comes back.
fn client(url: &str, name: usize) -> Counts {
    let mut log = Counts::new();
    let mut note = |series: String| *log.entry(series).or_default() += 1;
    for n in 0..60 {
        let infer = format!("{url}/infer");
        let body = request(&format!("{name}-{n}"), n);
        let reply = post(&infer, &body);
        note(series(n, reply.status, reply.json()["code"].as_str().unwrap_or("")));
        match n % 12 {
            // The same again is answered from the store, if there is a final answer; another payload is refused.
            0 if reply.status == 200 => {
                assert_eq!(post(&infer, &body).status, 200);
                note("aiq_replayed_total".to_owned());
                assert_eq!(post(&infer, request(&format!("{name}-{n}"), n + 1)).status, 409);
                note("aiq_refused_submissions_total{code=\"request_id_conflict\"}".to_owned());
            }
            4 => {
                assert_eq!(post(&infer, "{").status, 400);
                note("aiq_refused_submissions_total{code=\"malformed_json\"}".to_owned());
            }
            7 => {
                assert_eq!(post(&infer, json!({"task_type": TASKS[0], "data": ""}).to_string()).status, 422);
                note("aiq_refused_submissions_total{code=\"empty_data\"}".to_owned());
            }
            _ => {}
        }
    }
    log
}

/// Every sample of `/metrics`.
fn scrape(url: &str) -> BTreeMap<String, f64> {
    let text = String::from_utf8(get(&format!("{url}/metrics")).body).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap()).map(|(k, v)| (k.to_owned(), v.parse().unwrap())).collect()
}

/// The counts of these families that are not zero.
fn counted(samples: &BTreeMap<String, f64>, families: &[&str]) -> Counts {
    let of = |name: &str| families.iter().any(|f| name.split('{').next() == Some(f));
    samples.iter().filter(|(name, n)| of(name) && **n > 0.0).map(|(name, n)| (name.clone(), *n as u64)).collect()
}

#[test]
fn counters_agree_with_the_logs_of_clients_and_workers() {
    let c = Process::serve(&["serve-coordinator", "--port", "0"]);
    let workers = ["a", "b", "c"].map(|id| Fake::join(&c.url, id, &TASKS));
    for (i, worker) in workers.iter().enumerate() {
        worker.script((0..200).map(|n| conduct(n + 4 * i)));
    }
    let mut log = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|name| {
                scope.spawn({
                    let url = &c.url;
                    move || client(url, name)
                })
            })
            .collect();
        let mut log = Counts::new();
        for (series, n) in clients.into_iter().flat_map(|client| client.join().unwrap()) {
            *log.entry(series).or_default() += n;
        }
        log
    });
    // And one whose time runs out at a worker.
    for worker in &workers {
        worker.forget_script();
        worker.conduct(Conduct::Hold);
    }
    let late = json!({"task_type": TASKS[0], "data": "x", "timeout_ms": 300}).to_string();
    assert_eq!(post(&format!("{}/infer", c.url), late).status, 504);
    *log.entry(series(2, 504, "")).or_default() += 1;
    let samples = scrape(&c.url);
    let families = ["aiq_requests_total", "aiq_refused_submissions_total", "aiq_replayed_total"];
    assert_eq!(counted(&samples, &families), log);

    let sum = |family: &str| counted(&samples, &[family]).values().sum::<u64>();
    let by = |outcome: &str| log.iter().filter(|(s, _)| s.contains(outcome)).map(|(_, n)| n).sum::<u64>();
    let got = |worker: &Fake| worker.got().len() as u64;
    assert_eq!(sum("aiq_attempts_total"), workers.iter().map(got).sum::<u64>(), "each attempt reached a worker");
    assert_eq!(sum("aiq_worker_completed_total"), by("\"success\"") + by("\"invalid\""));
    assert_eq!(sum("aiq_request_latency_seconds_count"), by("\"success\""));
    assert_eq!(sum("aiq_batch_size_count"), by("\"success\""));
    let stats = get(&format!("{}/queue/stats", c.url)).json()["stats"].clone();
    assert_eq!(stats["total_requests"], sum("aiq_requests_total"), "{stats}");
    assert_eq!(stats["successful_requests"], by("\"success\""), "{stats}");
}

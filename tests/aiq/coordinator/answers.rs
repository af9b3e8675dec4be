//! Requests and their answers: the base contract, ids, async results, retries, cancellation.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::fake::{Conduct, Fake};
use crate::support::{Process, eventually, get, post, send};

const TEXT: &str = "text_classification";

fn coordinator() -> Process {
    Process::serve(&["serve-coordinator", "--port", "0"])
}

fn request(id: &str, data: &str) -> String {
    json!({"request_id": id, "task_type": TEXT, "data": data}).to_string()
}

pub(super) fn problem(code: &str, status: u16) -> Value {
    json!({"type": format!("urn:aiq:problem:{code}"), "title": "x", "status": status, "detail": "said the worker",
           "code": code, "retryable": status >= 500})
}

#[test]
fn the_answer_has_the_base_shape_and_the_coordinators_own_times() {
    let c = coordinator();
    let w = Fake::join(&c.url, "worker-1", &[TEXT]);
    let reply = post(&format!("{}/infer", c.url), request("test-1", "I love this product!"));
    let v = reply.json();
    assert_eq!(reply.status, 200, "{v}");
    assert_eq!(reply.header("x-request-id"), Some("test-1"));
    assert_eq!(v["request_id"], "test-1");
    assert_eq!(v["result"]["prediction"], "POSITIVE");
    assert_eq!(v["result"]["worker_id"], "worker-1");
    assert_eq!(v["retry_count"], 0);
    assert!(v["latency"].as_f64().unwrap() < 99.0, "the coordinator's own: {v}");
    assert_eq!(v["attempts"][0]["worker"], "worker-1");
    let got = w.got();
    assert_eq!(got[0].header("x-request-id"), Some("test-1"));
    let left: u64 = got[0].header("x-aiq-deadline-ms").unwrap().parse().unwrap();
    assert!((1..=30_000).contains(&left), "{left}");
    let stats = get(&format!("{}/queue/stats", c.url)).json();
    assert_eq!(stats["stats"]["total_requests"], 1, "{stats}");
    assert_eq!(stats["stats"]["successful_requests"], 1);
    assert_eq!((&stats["total_workers"], &stats["healthy_workers"]), (&json!(1), &json!(1)));
    let performance = get(&format!("{}/workers/performance", c.url)).json();
    assert_eq!(performance["workers"][0]["worker_id"], "worker-1");
    assert_eq!(performance["workers"][0]["successful_requests"], 1);
    let status = get(&format!("{}/status", c.url)).json();
    assert_eq!(status["status"], "ready");
}

#[test]
fn an_id_is_made_where_none_is_given_and_headers_stand_in_for_fields() {
    let c = coordinator();
    let w = Fake::join(&c.url, "w", &[TEXT]);
    let plain = json!({"task_type": TEXT, "data": "x"}).to_string();
    let made = post(&format!("{}/priority/infer", c.url), &plain).json();
    assert!(made["request_id"].as_str().is_some_and(|id| id.len() == 36), "{made}");
    let headers = [
        ("content-type", "application/json"),
        ("x-request-id", "h-1"),
        ("x-aiq-deadline-ms", "1500"),
        ("x-aiq-priority", "low"),
    ];
    let reply = send("POST", &format!("{}/infer", c.url), &headers, plain.as_bytes()).unwrap();
    assert_eq!(reply.json()["request_id"], "h-1");
    assert!(w.got()[1].header("x-aiq-deadline-ms").unwrap().parse::<u64>().unwrap() <= 1500);
    // The worker, which has a queue of its own, learns how urgent each is.
    let urgency: Vec<String> = w.got().iter().map(|got| got.header("x-aiq-priority").unwrap().to_owned()).collect();
    assert_eq!(urgency, ["high", "low"]);
}

#[test]
fn an_async_result_is_pending_then_there_and_can_be_waited_for() {
    let c = coordinator();
    let w = Fake::join(&c.url, "w", &[TEXT]);
    w.conduct(Conduct::Hold);
    let accepted = post(&format!("{}/infer/async", c.url), request("job-1", "x"));
    assert_eq!(accepted.status, 202, "{:?}", accepted.json());
    assert_eq!(accepted.json()["result_url"], "/result/job-1");
    let url = format!("{}/result/job-1", c.url);
    let pending = get(&url);
    assert_eq!((pending.status, pending.header("retry-after")), (202, Some("1")));
    let waiting = thread::spawn({
        let url = url.clone();
        move || get(&format!("{url}?wait=30"))
    });
    eventually("the worker has it", || (w.held() == 1).then_some(()));
    assert_eq!(get(&url).json()["status"], "running");
    w.let_go();
    let result = waiting.join().unwrap();
    assert_eq!((result.status, &result.json()["result"]["prediction"]), (200, &json!("POSITIVE")));
    assert_eq!(get(&url).json(), result.json());
    assert_eq!(get(&format!("{}/queue/stats", c.url)).json()["stored_results"], 1);
    assert_eq!(get(&format!("{}/result/other", c.url)).status, 404);
}

#[test]
fn results_expire() {
    let c = Process::serve(&["serve-coordinator", "--port", "0", "--result-ttl", "1ms"]);
    let _w = Fake::join(&c.url, "w", &[TEXT]);
    assert_eq!(post(&format!("{}/infer/async", c.url), request("job-1", "x")).status, 202);
    let url = format!("{}/result/job-1", c.url);
    let gone = eventually("it expires", || Some(get(&url)).filter(|r| r.status == 410));
    assert_eq!(gone.json()["code"], "result_expired");
}

#[test]
fn the_same_id_joins_or_replays_and_another_payload_conflicts() {
    let c = coordinator();
    let w = Fake::join(&c.url, "w", &[TEXT]);
    w.conduct(Conduct::Hold);
    let infer = format!("{}/infer", c.url);
    let clients: Vec<_> = (0..5)
        .map(|_| {
            let infer = infer.clone();
            thread::spawn(move || post(&infer, request("same", "x")).json())
        })
        .collect();
    eventually("the worker has it", || (w.held() == 1).then_some(()));
    let other = post(&infer, request("same", "y"));
    assert_eq!((other.status, &other.json()["code"]), (409, &json!("request_id_conflict")));
    w.let_go();
    let answers: Vec<_> = clients.into_iter().map(|c| c.join().unwrap()).collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!(post(&infer, request("same", "x")).json(), answers[0], "replayed");
    assert_eq!(post(&infer, request("same", "y")).status, 409, "kept with its fingerprint");
    assert_eq!(w.got().len(), 1, "one execution");
}

#[test]
fn a_failure_that_may_be_tried_again_is_not_replayed() {
    let c = Process::serve(&["serve-coordinator", "--port", "0", "--max-retries", "0"]);
    let w = Fake::join(&c.url, "w", &[TEXT]);
    w.script([Conduct::Say(500, problem("inference_failed", 500))]);
    let failed = post(&format!("{}/infer", c.url), request("again", "x"));
    assert_eq!((failed.status, &failed.json()["code"]), (502, &json!("attempts_spent")));
    assert_eq!(failed.json()["attempts"][0]["outcome"], "failed");
    assert!(failed.json()["detail"].as_str().unwrap().contains("said the worker"), "{}", failed.json());
    assert_eq!(post(&format!("{}/infer", c.url), request("again", "x")).status, 200);
}

#[test]
fn a_broken_connection_goes_to_another_worker() {
    let c = coordinator();
    let (a, b) = (Fake::join(&c.url, "a", &[TEXT]), Fake::join(&c.url, "b", &[TEXT]));
    a.script([Conduct::Drop]);
    b.script([Conduct::Drop]);
    let v = post(&format!("{}/infer", c.url), request("r", "x")).json();
    // Both fail once; the third attempt is answered.
    assert_eq!(v["retry_count"], 2, "{v}");
    let outcomes: Vec<_> = v["attempts"].as_array().unwrap().iter().map(|a| a["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["connection_lost", "connection_lost", "success"]);
    assert_ne!(v["attempts"][0]["worker"], v["attempts"][1]["worker"]);
}

#[test]
fn what_the_worker_says_of_bad_input_is_the_answer_and_is_not_tried_again() {
    let c = coordinator();
    let w = Fake::join(&c.url, "w", &["image_classification"]);
    w.conduct(Conduct::Say(422, problem("undecodable_image", 422)));
    let body = json!({"task_type": "image_classification", "data": "AAAA"}).to_string();
    let reply = post(&format!("{}/infer", c.url), body);
    assert_eq!((reply.status, &reply.json()["code"]), (422, &json!("undecodable_image")));
    assert_eq!(reply.json()["detail"], "said the worker");
    assert_eq!(w.got().len(), 1);
}

#[test]
fn a_client_that_leaves_cancels_its_request_down_to_the_worker() {
    let c = coordinator();
    let w = Fake::join(&c.url, "w", &[TEXT]);
    w.conduct(Conduct::Hold);
    let body = request("gone", "x");
    let host = c.url.strip_prefix("http://").unwrap();
    let mut client = std::net::TcpStream::connect(host).unwrap();
    let head = format!(
        "POST /infer HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    std::io::Write::write_all(&mut client, format!("{head}{body}").as_bytes()).unwrap();
    eventually("the worker has it", || (w.held() == 1).then_some(()));
    drop(client);
    eventually("the worker is told", || (w.abandoned() == 1).then_some(()));
    let stats = eventually("it is counted", || {
        Some(get(&format!("{}/queue/stats", c.url)).json()).filter(|s| s["stats"]["cancelled_requests"] == 1)
    });
    assert_eq!(stats["active_tasks"], 0, "{stats}");
}

#[test]
fn a_request_can_be_withdrawn() {
    let c = coordinator();
    let w = Fake::join(&c.url, "w", &[TEXT]);
    w.conduct(Conduct::Hold);
    let url = format!("{}/result/job", c.url);
    assert_eq!(post(&format!("{}/infer/async", c.url), request("job", "x")).status, 202);
    eventually("the worker has it", || (w.held() == 1).then_some(()));
    assert_eq!(send("DELETE", &url, &[], &[]).unwrap().status, 204);
    eventually("the worker is told", || (w.abandoned() == 1).then_some(()));
    let result = get(&url);
    assert_eq!((result.status, &result.json()["code"]), (499, &json!("cancelled")));
    assert_eq!(send("DELETE", &url, &[], &[]).unwrap().status, 409);
    assert_eq!(send("DELETE", &format!("{}/result/none", c.url), &[], &[]).unwrap().status, 404);
}

#[test]
fn a_deadline_passes_wherever_the_request_is() {
    let c = coordinator();
    let w = Fake::join(&c.url, "w", &[TEXT]);
    w.conduct(Conduct::Hold);
    let body = json!({"task_type": TEXT, "data": "x", "timeout_ms": 100}).to_string();
    let reply = post(&format!("{}/infer", c.url), body);
    assert_eq!((reply.status, &reply.json()["code"]), (504, &json!("deadline_exceeded")));
    eventually("the worker is told", || (w.abandoned() == 1).then_some(()));
}

#[test]
fn a_drain_finishes_what_runs_and_refuses_what_is_new() {
    let mut c = coordinator();
    let w = Fake::join(&c.url, "w", &[TEXT]);
    w.conduct(Conduct::Hold);
    let infer = format!("{}/infer", c.url);
    let client = thread::spawn({
        let infer = infer.clone();
        move || post(&infer, request("last", "x"))
    });
    eventually("the worker has it", || (w.held() == 1).then_some(()));
    c.signal(Signal::SIGTERM);
    let ready = format!("{}/readyz", c.url);
    eventually("readiness goes", || (get(&ready).status == 503).then_some(()));
    let refused = post(&infer, request("late", "x"));
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("unavailable")));
    w.let_go();
    assert_eq!(client.join().unwrap().status, 200);
    assert_eq!(c.wait().code(), Some(0));
}

/// Clients that come all at once, while the coordinator has not the time to take them in.
#[cfg(target_os = "linux")]
#[test]
fn a_burst_of_connections_finds_room() {
    let c = Process::serve(&["serve-coordinator", "--port", "0"]);
    let address: std::net::SocketAddr = c.url.strip_prefix("http://").unwrap().parse().unwrap();
    c.signal(Signal::SIGSTOP);
    // A connection that finds no room is tried again by the kernel after a second.
    let connect = |_: u32| TcpStream::connect_timeout(&address, Duration::from_millis(900));
    let connections: Result<Vec<_>, _> = (0..400).map(connect).collect();
    c.signal(Signal::SIGCONT);
    for mut connection in connections.unwrap() {
        connection.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

//! A worker as two real processes: its HTTP, its life under real signals, and its link to a
//! coordinator, which here is a fake one that records what it hears.

mod coordinator;
mod models;
mod stream;

use std::io::{Read, Write};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use self::coordinator::{Coordinator, Heard};
use crate::support::{Process, aiq, eventually, get, post, send};

const TEXT: &str = r#"{"request_id":"t-1","task_type":"text_classification","data":"I love this product!"}"#;

fn standalone(more: &[&str]) -> Process {
    let args = ["serve-worker", "--port", "0", "--standalone", "--models", "noop"];
    Process::serve(&[&args, more].concat())
}

fn linked(coordinator: &Coordinator, more: &[&str]) -> Process {
    let args = ["serve-worker", "--port", "0", "--models", "noop", "--coordinator", &coordinator.url];
    Process::serve(&[&args, more].concat())
}

fn infer(worker: &Process) -> u16 {
    post(&format!("{}/infer", worker.url), TEXT).status
}

/// Whether somebody listens there.
fn is_listening(worker: &Process) -> bool {
    std::net::TcpStream::connect(worker.url.trim_start_matches("http://")).is_ok()
}

/// The serving processes of a supervisor, by the system's own account.
fn children(worker: &Process) -> Vec<Pid> {
    let path = format!("/proc/{pid}/task/{pid}/children", pid = worker.pid());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
}

#[test]
fn a_worker_answers_by_itself() {
    let worker = standalone(&[]);
    let reply = post(&format!("{}/infer", worker.url), TEXT);
    let body = reply.json();
    assert_eq!(reply.status, 200, "{body}");
    assert_eq!(reply.header("x-request-id"), Some("t-1"));
    assert_eq!(body["request_id"], "t-1");
    assert_eq!(body["retry_count"], 0);
    assert_eq!(body["batch_size"], 1);
    assert_eq!(body["result"]["worker_id"], "worker-1");
    assert_eq!(body["result"]["task_type"], "text_classification");
    assert_eq!(body["result"]["model_info"], "no model");
    assert!(body["latency"].as_f64().unwrap() > 0.0);
    let health = get(&format!("{}/health", worker.url)).json();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["state"], "ready");
    assert_eq!(health["worker_id"], "worker-1");
    assert_eq!(health["completed"], 1);
    assert_eq!(health["capabilities"].as_array().unwrap().len(), 4);
    assert_eq!(get(&format!("{}/readyz", worker.url)).status, 200);
    let metrics = String::from_utf8(get(&format!("{}/metrics", worker.url)).body).unwrap();
    let series = "aiq_serving_requests_total{task=\"text_classification\",outcome=\"success\"} 1";
    assert!(metrics.contains(series), "{metrics}");
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let worker = standalone(&[]);
    let url = format!("{}/infer", worker.url);
    let says = |reply: crate::support::Reply, status: u16, code: &str| {
        let body = reply.json();
        assert_eq!((reply.status, body["code"].as_str().unwrap()), (status, code), "{body}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    };
    says(post(&url, "{"), 400, "malformed_json");
    says(post(&url, r#"{"task_type":"speech","data":"x"}"#), 422, "unknown_task_type");
    says(post(&url, r#"{"task_type":"text_classification","data":""}"#), 422, "empty_data");
    says(send("POST", &url, &[("content-type", "text/plain")], b"x").unwrap(), 415, "unsupported_media_type");
    says(get(&url), 405, "method_not_allowed");
    says(get(&format!("{}/nowhere", worker.url)), 404, "not_found");
    let late = [("content-type", "application/json"), ("x-aiq-deadline-ms", "0")];
    says(send("POST", &url, &late, TEXT.as_bytes()).unwrap(), 504, "deadline_exceeded");
    let odd = [("content-type", "application/json"), ("x-aiq-deadline-ms", "soon")];
    says(send("POST", &url, &odd, TEXT.as_bytes()).unwrap(), 422, "invalid_field");
    let huge = vec![b' '; 13 << 20];
    says(send("POST", &url, &[("content-type", "application/json")], &huge).unwrap(), 413, "body_too_large");
    assert_eq!(infer(&worker), 200, "and it still serves");
}

#[test]
fn a_token_is_asked_for_where_there_is_one() {
    let args = ["serve-worker", "--port", "0", "--standalone", "--models", "noop"];
    let worker = Process::serve_with(&args, &[("AIQ_TOKEN", "0123456789abcdef")]);
    let url = format!("{}/infer", worker.url);
    let refused = post(&url, TEXT);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (401, Some("unauthorized")));
    let headers = [("content-type", "application/json"), ("authorization", "Bearer 0123456789abcdef")];
    assert_eq!(send("POST", &url, &headers, TEXT.as_bytes()).unwrap().status, 200);
}

/// Sends a request and does not wait for its answer; dropping the connection takes it back.
fn hold(worker: &Process, id: &str) -> std::net::TcpStream {
    let body = TEXT.replace("t-1", id);
    let head = "POST /infer HTTP/1.1\r\nhost: w\r\ncontent-type: application/json";
    let mut connection = std::net::TcpStream::connect(worker.url.trim_start_matches("http://")).unwrap();
    write!(connection, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    connection
}

fn wait_until_held(worker: &Process, count: u64) {
    eventually("so many are held", || {
        (get(&format!("{}/health", worker.url)).json()["in_flight"] == count).then_some(())
    });
}

#[test]
fn a_worker_takes_no_more_than_its_capacity_and_forgets_who_left() {
    let worker = standalone(&["--capacity", "2", "--hang"]);
    let held = [hold(&worker, "t-1"), hold(&worker, "t-2")];
    wait_until_held(&worker, 2);
    let refused = post(&format!("{}/infer", worker.url), TEXT);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (429, Some("worker_busy")));
    assert!(refused.header("retry-after").is_some());
    // Clients that go away give their places up at once, the one before the hung model too.
    drop(held);
    wait_until_held(&worker, 0);
}

#[test]
fn a_hung_model_meets_no_deadline_and_holds_nobody_beyond_it() {
    let worker = standalone(&["--hang"]);
    let headers = [("content-type", "application/json"), ("x-aiq-deadline-ms", "50")];
    for _ in 0..2 {
        let late = send("POST", &format!("{}/infer", worker.url), &headers, TEXT.as_bytes()).unwrap();
        assert_eq!((late.status, late.json()["code"].as_str()), (504, Some("deadline_exceeded")));
    }
    wait_until_held(&worker, 0);
}

#[test]
fn a_port_in_use_is_said_plainly() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (mut command, _dir) = aiq(&["serve-worker", "--standalone", "--models", "noop", "--port", &port]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains(&port) && said.contains("in use") && said.contains("--port"), "{said}");
}

#[test]
fn a_serving_process_that_dies_is_started_again_on_its_port() {
    let coordinator = Coordinator::start();
    let worker = linked(&coordinator, &[]);
    let first = coordinator.heartbeat(|beat| beat["state"] == "ready");
    kill(Pid::from_raw(first["pid"].as_i64().unwrap() as i32), Signal::SIGKILL).unwrap();
    let crashed = coordinator.heartbeat(|beat| beat["state"] == "crashed");
    assert!(crashed["pid"].is_null());
    let again = coordinator.heartbeat(|beat| beat["state"] == "ready");
    assert_eq!(again["restarts"], 1);
    assert_ne!(again["pid"], first["pid"]);
    assert_eq!(infer(&worker), 200);
}

#[test]
fn kill_is_real_and_lasts_until_revive() {
    let coordinator = Coordinator::start();
    let worker = linked(&coordinator, &[]);
    let first = coordinator.heartbeat(|beat| beat["state"] == "ready");
    let pid = Pid::from_raw(first["pid"].as_i64().unwrap() as i32);
    coordinator.command(&json!({"command": "kill"}));
    coordinator.heartbeat(|beat| beat["state"] == "killed");
    assert!(kill(pid, None).is_err(), "the serving process is still there");
    assert!(!is_listening(&worker));
    // Dead it stays: the next heartbeats say so too.
    for _ in 0..2 {
        assert_eq!(coordinator.heartbeat(|_| true)["state"], "killed");
    }
    coordinator.command(&json!({"command": "revive"}));
    let revived = coordinator.heartbeat(|beat| beat["state"] == "ready");
    assert_ne!(revived["pid"], first["pid"]);
    assert_eq!(infer(&worker), 200);
}

#[test]
fn a_drained_worker_takes_nothing_until_it_is_resumed() {
    let coordinator = Coordinator::start();
    let worker = linked(&coordinator, &[]);
    coordinator.heartbeat(|beat| beat["state"] == "ready");
    coordinator.command(&json!({"command": "drain"}));
    coordinator.heartbeat(|beat| beat["state"] == "draining");
    let refused =
        eventually("it refuses", || Some(post(&format!("{}/infer", worker.url), TEXT)).filter(|r| r.status != 200));
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("unavailable")));
    assert_eq!(get(&format!("{}/health", worker.url)).json()["state"], "draining");
    coordinator.command(&json!({"command": "resume"}));
    coordinator.heartbeat(|beat| beat["state"] == "ready");
    eventually("it serves again", || (infer(&worker) == 200).then_some(()));
}

#[test]
fn sigterm_finishes_what_is_held_leaves_and_ends_well() {
    let coordinator = Coordinator::start();
    let mut worker = linked(&coordinator, &["--hang"]);
    let url = format!("{}/infer", worker.url);
    let held = std::thread::spawn(move || post(&url, TEXT).status);
    coordinator.heartbeat(|beat| beat["in_flight"] == json!(["t-1"]) && beat["progress"] == 1);
    worker.signal(Signal::SIGTERM);
    coordinator.heartbeat(|beat| beat["state"] == "draining");
    coordinator.command(&json!({"command": "set_faults", "faults": {}}));
    assert_eq!(held.join().unwrap(), 200);
    coordinator.hear("it leaves", |heard| matches!(heard, Heard::Left));
    assert_eq!(worker.wait().code(), Some(0));
}

#[test]
fn what_was_not_begun_is_handed_back_at_once() {
    // One hangs in the model, one waits for it; a third is still on its way through a slow network.
    let coordinator = Coordinator::start();
    let mut worker = linked(&coordinator, &["--hang", "--max-batch", "1"]);
    let url = format!("{}/infer", worker.url);
    let ask = |id: &str| {
        let (url, body) = (url.clone(), TEXT.replace("t-1", id));
        std::thread::spawn(move || post(&url, body))
    };
    let begun = ask("begun");
    coordinator.heartbeat(|beat| beat["progress"] == 1);
    let waits = ask("waits");
    coordinator.heartbeat(|beat| beat["queue_depth"] == 1);
    let slow = json!({"hang": true, "network_delay_min": 60.0, "network_delay_max": 60.0});
    coordinator.command(&json!({"command": "set_faults", "faults": slow}));
    coordinator.heartbeat(|beat| beat["faults"]["network_delay_min"] == 60.0);
    let underway = ask("underway");
    coordinator.heartbeat(|beat| beat["in_flight"].as_array().unwrap().len() == 3);
    worker.signal(Signal::SIGTERM);
    for held in [waits, underway] {
        let back = held.join().unwrap();
        assert_eq!((back.status, back.json()["code"].as_str()), (503, Some("unavailable")), "{}", back.json());
    }
    coordinator.command(&json!({"command": "set_faults", "faults": {}}));
    assert_eq!(begun.join().unwrap().status, 200);
    assert_eq!(worker.wait().code(), Some(0));
}

#[test]
fn a_drain_gives_up_what_does_not_end_in_its_time() {
    let coordinator = Coordinator::start();
    let mut worker = linked(&coordinator, &["--hang", "--drain-timeout", "300ms"]);
    let _held = hold(&worker, "t-1");
    coordinator.heartbeat(|beat| beat["progress"] == 1);
    worker.signal(Signal::SIGTERM);
    coordinator.hear("it leaves", |heard| matches!(heard, Heard::Left));
    assert_eq!(worker.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_a_drain_at_once() {
    let mut worker = standalone(&["--hang"]);
    let mut held = hold(&worker, "t-1");
    eventually("it is begun", || (get(&format!("{}/health", worker.url)).json()["progress"] == 1).then_some(()));
    worker.signal(Signal::SIGTERM);
    eventually("it drains", || (get(&format!("{}/health", worker.url)).json()["state"] == "draining").then_some(()));
    worker.signal(Signal::SIGTERM);
    assert!(!worker.wait().success());
    let mut answer = Vec::new();
    let cut = held.read_to_end(&mut answer);
    assert!(cut.is_err() || answer.is_empty(), "there is an answer: {}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_stopped_serving_process_shows_in_the_age_of_its_report() {
    let coordinator = Coordinator::start();
    let _worker = linked(&coordinator, &[]);
    let first = coordinator.heartbeat(|beat| beat["state"] == "ready");
    assert!(first["report_age_ms"].as_u64().unwrap() < 2000);
    let pid = Pid::from_raw(first["pid"].as_i64().unwrap() as i32);
    kill(pid, Signal::SIGSTOP).unwrap();
    coordinator.heartbeat(|beat| beat["report_age_ms"].as_u64().unwrap() > 2000);
    kill(pid, Signal::SIGCONT).unwrap();
    coordinator.heartbeat(|beat| beat["report_age_ms"].as_u64().unwrap() < 2000);
}

#[test]
fn the_serving_process_ends_with_its_supervisor() {
    let worker = standalone(&[]);
    let serving = children(&worker);
    assert_eq!(serving.len(), 1);
    // Even when it is stopped and can't notice anything.
    kill(serving[0], Signal::SIGSTOP).unwrap();
    worker.signal(Signal::SIGKILL);
    eventually("it is gone", || {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", serving[0])).unwrap_or_default();
        // Gone, or a zombie that nobody here reaps.
        (state.is_empty() || state.contains(") Z ")).then_some(())
    });
}

#[test]
fn a_coordinator_that_forgot_the_worker_is_told_again() {
    let coordinator = Coordinator::start();
    let _worker = linked(&coordinator, &[]);
    let first = coordinator.hear("it registers", |heard| matches!(heard, Heard::Registered(_)));
    let Heard::Registered(first) = first else { unreachable!() };
    assert_eq!(first["worker_id"], "worker-1");
    assert_eq!(first["capacity"], 64);
    coordinator.heartbeat(|beat| beat["state"] == "ready");
    coordinator.forget();
    let again = coordinator.hear("it registers again", |heard| matches!(heard, Heard::Registered(_)));
    let Heard::Registered(again) = again else { unreachable!() };
    assert_eq!(again["url"], first["url"]);
    assert_eq!(again["state"], "ready");
    assert_eq!(again["capabilities"].as_array().unwrap().len(), 4);
}

#[test]
fn a_worker_serves_before_its_coordinator_is_there_and_registers_when_it_comes() {
    let place = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let url = format!("http://{address}");
    let worker = Process::serve(&["serve-worker", "--port", "0", "--models", "noop", "--coordinator", &url]);
    assert_eq!(infer(&worker), 200);
    let coordinator = Coordinator::start_at(address);
    coordinator.hear("it registers", |heard| matches!(heard, Heard::Registered(_)));
}

#[test]
fn faults_are_set_only_where_they_were_switched_on() {
    let crash_all: Value = json!({"command": "set_faults", "faults": {"crash_probability": 1.0}});
    let coordinator = Coordinator::start();
    let worker = linked(&coordinator, &[]);
    coordinator.heartbeat(|beat| beat["state"] == "ready");
    coordinator.command(&crash_all);
    // Commands are obeyed in order: once this one shows, the one before it was dealt with.
    coordinator.command(&json!({"command": "drain"}));
    let beat = coordinator.heartbeat(|beat| beat["state"] == "draining");
    assert_eq!((&beat["faults"]["crash_probability"], &beat["fault_injection"]), (&json!(0.0), &json!(false)));
    drop(worker);

    let coordinator = Coordinator::start();
    let worker = linked(&coordinator, &["--slow-factor", "1"]);
    coordinator.heartbeat(|beat| beat["state"] == "ready");
    assert_eq!(infer(&worker), 200);
    coordinator.command(&crash_all);
    coordinator.heartbeat(|beat| beat["faults"]["crash_probability"] == json!(1.0));
    let refused =
        eventually("it crashes", || Some(post(&format!("{}/infer", worker.url), TEXT)).filter(|r| r.status != 200));
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("injected_crash")));
}

#[test]
fn an_injected_crash_of_the_process_is_a_real_one() {
    let args = ["--crash-probability", "1", "--crash-scope", "process", "--timeout-probability", "0"];
    let worker = standalone(&[&args[..], &["--network-delay-max", "0", "--network-delay-min", "0"]].concat());
    let before = children(&worker);
    let url = format!("{}/infer", worker.url);
    let broken = send("POST", &url, &[("content-type", "application/json")], TEXT.as_bytes());
    assert!(broken.is_err(), "the connection should break: {broken:?}");
    let after = eventually("it is started again", || {
        is_listening(&worker).then(|| children(&worker)).filter(|now| now.len() == 1 && *now != before)
    });
    assert_ne!(before, after);
}

#[test]
fn a_serving_process_without_a_supervisor_says_what_to_run() {
    let (mut command, _dir) = aiq(&["serve-worker", "--serving-process", "--standalone", "--models", "noop"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(said.contains("supervisor"), "{said}");
}

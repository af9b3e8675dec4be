//! A fleet under fire: workers killed with real signals, stopped, revived; and what `aiq up` leaves
//! behind when it ends.

use std::collections::BTreeSet;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::contract::fleet;
use crate::support::{Process, eventually, get, post};

fn text(fleet: &Process) -> Value {
    let reply = post(&format!("{}/infer", fleet.url), r#"{"task_type": "text_classification", "data": "I love it!"}"#);
    assert_eq!(reply.status, 200, "{}", reply.json());
    assert_eq!(reply.json()["result"]["prediction"], "POSITIVE");
    reply.json()
}

fn workers(fleet: &Process) -> Vec<Value> {
    get(&format!("{}/workers", fleet.url)).json()["workers"].as_array().unwrap().clone()
}

fn worker(fleet: &Process, name: &str) -> Value {
    workers(fleet).into_iter().find(|w| w["worker_id"] == name).unwrap()
}

fn serving_pid(worker: &Value) -> Pid {
    Pid::from_raw(i32::try_from(worker["pid"].as_i64().unwrap()).unwrap())
}

fn gone(pid: Pid) -> bool {
    kill(pid, None) == Err(Errno::ESRCH)
}

fn parent(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets; the fields stand behind its last bracket.
    let field = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
    Some(Pid::from_raw(field))
}

/// Every process that descends from this one.
fn descendants(of: Pid) -> BTreeSet<i32> {
    let pids = || std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    let mut family = BTreeSet::from([of.as_raw()]);
    loop {
        let before = family.len();
        let children = pids().filter(|p| parent(Pid::from_raw(*p)).is_some_and(|q| family.contains(&q.as_raw())));
        let children: Vec<i32> = children.collect();
        family.extend(children);
        if family.len() == before {
            family.remove(&of.as_raw());
            return family;
        }
    }
}

#[test]
fn a_killed_serving_process_is_replaced_and_its_work_goes_elsewhere() {
    let fleet = fleet(&[]);
    assert_eq!(text(&fleet)["result"]["worker_id"], "worker-1");
    let pid = serving_pid(&worker(&fleet, "worker-1"));
    kill(pid, Signal::SIGKILL).unwrap();
    // At once, by another.
    assert_ne!(text(&fleet)["result"]["worker_id"], "worker-1");
    // The supervisor starts it again.
    eventually("worker-1 serves again in a new process", || {
        let w = worker(&fleet, "worker-1");
        (w["healthy"] == true && w["pid"].is_u64() && serving_pid(&w) != pid).then_some(())
    });
}

#[test]
fn an_operator_kills_and_revives_a_worker() {
    let fleet = fleet(&[]);
    let pid = serving_pid(&worker(&fleet, "worker-1"));
    let reply = post(&format!("{}/workers/worker-1/kill", fleet.url), "");
    assert_eq!(reply.status, 200, "{}", reply.json());
    assert_eq!(reply.json()["worker_id"], "worker-1");
    assert_ne!(text(&fleet)["result"]["worker_id"], "worker-1");
    eventually("the process is gone", || gone(pid).then_some(()));
    eventually("the fleet says so", || (worker(&fleet, "worker-1")["state"] == "killed").then_some(()));
    let stats = get(&format!("{}/queue/stats", fleet.url)).json();
    assert_eq!((&stats["total_workers"], &stats["healthy_workers"]), (&json!(3), &json!(2)), "{stats}");
    assert_eq!(get(&format!("{}/status", fleet.url)).json()["healthy_workers"], 2);
    let performance = get(&format!("{}/workers/performance", fleet.url)).json();
    assert_eq!(performance["workers"][0]["state"], "killed", "{performance}");

    // It stays dead until it is revived, and then serves in a new process.
    let reply = post(&format!("{}/workers/worker-1/revive", fleet.url), "");
    assert_eq!(reply.status, 200, "{}", reply.json());
    eventually("worker-1 serves again", || (worker(&fleet, "worker-1")["healthy"] == true).then_some(()));
    assert_ne!(serving_pid(&worker(&fleet, "worker-1")), pid);
    eventually("the specialist gets its work again", || {
        (text(&fleet)["result"]["worker_id"] == "worker-1").then_some(())
    });
    assert_eq!(post(&format!("{}/workers/worker-9/kill", fleet.url), "").status, 404);
}

#[test]
fn a_worker_that_is_stopped_leaves_in_good_order() {
    let fleet = fleet(&[]);
    let supervisor = parent(serving_pid(&worker(&fleet, "worker-1"))).unwrap();
    kill(supervisor, Signal::SIGTERM).unwrap();
    eventually("worker-1 has left", || workers(&fleet).iter().all(|w| w["worker_id"] != "worker-1").then_some(()));
    assert_ne!(text(&fleet)["result"]["worker_id"], "worker-1");
    let stats = get(&format!("{}/queue/stats", fleet.url)).json();
    assert_eq!((&stats["total_workers"], &stats["healthy_workers"]), (&json!(2), &json!(2)), "{stats}");
}

#[test]
fn a_stopped_process_gets_no_work_and_its_requests_go_elsewhere() {
    let fleet = fleet(&[]);
    let pid = serving_pid(&worker(&fleet, "worker-1"));
    kill(pid, Signal::SIGSTOP).unwrap();
    // Sent to the stopped specialist or not, it is answered.
    assert_ne!(text(&fleet)["result"]["worker_id"], "worker-1");
    eventually("the fleet says so", || (worker(&fleet, "worker-1")["healthy"] == false).then_some(()));
    kill(pid, Signal::SIGCONT).unwrap();
    eventually("it is taken back", || (worker(&fleet, "worker-1")["healthy"] == true).then_some(()));
}

#[test]
fn nothing_is_left_behind_when_the_fleet_is_told_to_stop() {
    let mut fleet = fleet(&[]);
    let family = descendants(fleet.pid());
    // A coordinator, and three workers of two processes each.
    assert_eq!(family.len(), 7, "{family:?}");
    fleet.signal(Signal::SIGTERM);
    assert!(fleet.wait().success());
    for pid in family {
        assert!(gone(Pid::from_raw(pid)), "{pid} is still there");
    }
}

#[test]
fn nothing_is_left_behind_when_up_itself_is_killed() {
    let mut fleet = fleet(&["--workers", "2"]);
    let family = descendants(fleet.pid());
    assert_eq!(family.len(), 5, "{family:?}");
    fleet.signal(Signal::SIGKILL);
    fleet.wait();
    for pid in family {
        eventually("every process ends with its parent", || gone(Pid::from_raw(pid)).then_some(()));
    }
}

#[test]
fn a_taken_port_is_said_plainly() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (mut command, _dir) = crate::support::aiq(&["up", "--port", &port, "--models", "embedded"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&port) && said.contains("--port"), "{said}");
}

#[test]
fn finished_tasks_are_logged_without_their_text() {
    let fleet = fleet(&["--workers", "1"]);
    let body = r#"{"request_id": "logged-1", "task_type": "text_classification", "data": "sesquipedalian delight"}"#;
    assert_eq!(post(&format!("{}/infer", fleet.url), body).status, 200);
    let path = fleet.dir.path().join("logs/task_operations.log");
    let line = eventually("the task is in the log", || {
        let log = std::fs::read_to_string(&path).ok()?;
        log.lines().find(|l| l.contains("logged-1")).map(str::to_owned)
    });
    let record: Value = serde_json::from_str(&line).unwrap();
    for (field, value) in [("task_type", "text_classification"), ("worker_id", "worker-1"), ("outcome", "success")] {
        assert_eq!(record[field], value, "{record}");
    }
    assert_eq!(record["retry_count"], 0);
    assert!(record["latency"].as_f64().unwrap() >= record["queue_time"].as_f64().unwrap(), "{record}");
    for entry in std::fs::read_dir(fleet.dir.path().join("logs")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("sesquipedalian"), "a log holds a request's text");
        assert!(text.lines().all(|l| serde_json::from_str::<Value>(l).is_ok()), "a log line is not JSON");
    }
}

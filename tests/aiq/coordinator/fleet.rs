//! Workers come, go, are told what to do, and what is said of them is true.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;

use serde_json::{Value, json};

use super::fake::{Conduct, Fake};
use crate::support::{Process, eventually, get, post, send};

const TEXT: &str = "text_classification";

fn coordinator() -> Process {
    Process::serve(&["serve-coordinator", "--port", "0"])
}

fn text(id: &str) -> String {
    json!({"request_id": id, "task_type": TEXT, "data": "x"}).to_string()
}

fn act(c: &Process, worker: &str, action: &str) -> crate::support::Reply {
    send("POST", &format!("{}/workers/{worker}/{action}", c.url), &[], &[]).unwrap()
}

fn worker(c: &Process, id: &str) -> Value {
    get(&format!("{}/workers/{id}", c.url)).json()
}

#[test]
fn a_killed_worker_loses_its_work_to_another_at_once() {
    let c = coordinator();
    let mut a = Fake::join(&c.url, "a", &[TEXT]);
    a.open_control();
    a.conduct(Conduct::Hold);
    let client = thread::spawn({
        let url = format!("{}/infer", c.url);
        move || post(&url, text("r")).json()
    });
    eventually("the worker has it", || (a.held() == 1).then_some(()));
    let _b = Fake::join(&c.url, "b", &[TEXT]);
    let reply = act(&c, "a", "kill");
    let v = reply.json();
    assert_eq!((reply.status, &v["state"], &v["rerouted"]), (200, &json!("killing"), &json!(1)), "{v}");
    let answer = client.join().unwrap();
    assert_eq!(answer["result"]["worker_id"], "b", "{answer}");
    assert_eq!(a.command(), json!({"command": "kill"}));
    a.live("killed");
    eventually("it is confirmed", || (worker(&c, "a")["state"] == "killed").then_some(()));
    let stats = get(&format!("{}/queue/stats", c.url)).json();
    assert_eq!((&stats["total_workers"], &stats["healthy_workers"]), (&json!(2), &json!(1)), "{stats}");
    assert_eq!(act(&c, "a", "revive").status, 200);
    assert_eq!(a.command(), json!({"command": "revive"}));
    a.live("ready");
    eventually("it is back", || (worker(&c, "a")["healthy"] == true).then_some(()));
}

#[test]
fn a_drained_worker_gets_nothing_new_until_it_is_resumed() {
    let c = coordinator();
    let (mut a, mut b) = (Fake::join(&c.url, "a", &[TEXT]), Fake::join(&c.url, "b", &[TEXT]));
    a.open_control();
    assert_eq!(act(&c, "a", "drain").json()["state"], "draining");
    assert_eq!(a.command(), json!({"command": "drain"}));
    for n in 0..6 {
        assert_eq!(post(&format!("{}/infer", c.url), text(&format!("r-{n}"))).status, 200);
    }
    assert_eq!((a.got().len(), b.got().len()), (0, 6));
    assert_eq!(act(&c, "a", "resume").status, 200);
    assert_eq!(a.command(), json!({"command": "resume"}));
    // With the other one drained, work can only go to it.
    b.open_control();
    assert_eq!(act(&c, "b", "drain").status, 200);
    eventually("it gets work again", || {
        post(&format!("{}/infer", c.url), json!({"task_type": TEXT, "data": "x"}).to_string());
        (!a.got().is_empty()).then_some(())
    });
}

#[test]
fn faults_are_passed_on_where_they_are_allowed() {
    let c = coordinator();
    let mut a = Fake::join(&c.url, "a", &[TEXT]);
    let set = |faults: Value| {
        let headers = [("content-type", "application/json")];
        send("PUT", &format!("{}/workers/a/faults", c.url), &headers, faults.to_string().as_bytes()).unwrap()
    };
    assert_eq!(set(json!({"slow_factor": 2.0})).status, 409, "no control stream yet");
    a.open_control();
    let reply = set(json!({"slow_factor": 2.0}));
    assert_eq!((reply.status, &reply.json()["faults"]["slow_factor"]), (200, &json!(2.0)));
    let command = a.command();
    assert_eq!((&command["command"], &command["faults"]["slow_factor"]), (&json!("set_faults"), &json!(2.0)));
    let wrong = set(json!({"crash_probability": 7}));
    assert_eq!((wrong.status, &wrong.json()["code"]), (422, &json!("invalid_field")));
}

#[test]
fn a_worker_that_leaves_is_forgotten() {
    let c = coordinator();
    let a = Fake::join(&c.url, "a", &[TEXT]);
    drop(a);
    assert_eq!(send("DELETE", &format!("{}/workers/a", c.url), &[], &[]).unwrap().status, 204);
    assert_eq!(get(&format!("{}/workers", c.url)).json(), json!({"workers": []}));
    assert_eq!(get(&format!("{}/workers/a", c.url)).status, 404);
    let beat = json!({"seq": 9, "state": "ready", "report_age_ms": 0, "in_flight": [], "queue_depth": 0, "progress": 0,
        "service_times": [], "mean_batch_size": 0.0, "capabilities": [], "restarts": 0, "rss_bytes": 0, "faults": {},
        "fault_injection": false});
    let reply = post(&format!("{}/workers/a/heartbeat", c.url), beat.to_string());
    assert_eq!((reply.status, reply.json()), (200, json!({"registered": false})));
}

#[test]
fn a_silent_worker_is_suspect_and_then_lost() {
    let c = coordinator();
    drop(Fake::join(&c.url, "a", &[TEXT]));
    eventually("it is suspect", || (worker(&c, "a")["suspect"] == true).then_some(()));
    eventually("it is lost", || (worker(&c, "a")["state"] == "lost").then_some(()));
    let status = get(&format!("{}/status", c.url)).json();
    assert_eq!((&status["total_workers"], &status["healthy_workers"]), (&json!(1), &json!(0)), "{status}");
    assert_eq!(post(&format!("{}/infer", c.url), text("r")).status, 503);
}

#[test]
fn a_worker_that_does_not_register_is_known_by_its_health() {
    let source = coordinator();
    let fake = Fake::join(&source.url, "static-1", &[TEXT]);
    let url = worker(&source, "static-1")["url"].as_str().unwrap().to_owned();
    let c = Process::serve(&["serve-coordinator", "--port", "0", "--worker", &url]);
    eventually("it is met", || (worker(&c, "static-1")["healthy"] == true).then_some(()));
    assert_eq!(worker(&c, "static-1")["managed"], false);
    assert_eq!(post(&format!("{}/infer", c.url), text("r")).status, 200);
    assert_eq!(fake.got().len(), 1);
    assert_eq!(act(&c, "static-1", "kill").status, 409);
}

#[test]
fn events_begin_with_a_snapshot_and_count_on() {
    let c = coordinator();
    let mut stream = TcpStream::connect(c.url.strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut events = lines.filter_map(|l| l.strip_prefix("data: ").map(|d| serde_json::from_str::<Value>(d).unwrap()));
    let first = events.next().unwrap();
    assert_eq!(first["event"], "snapshot");
    assert_eq!(first["status"]["status"], "ready");
    let _a = Fake::join(&c.url, "a", &[TEXT]);
    assert_eq!(post(&format!("{}/infer", c.url), text("r")).status, 200);
    let mut seen = Vec::new();
    for (seq, event) in (first["seq"].as_u64().unwrap() + 1..).zip(events) {
        assert_eq!(event["seq"], seq, "{event}");
        seen.push(event["event"].as_str().unwrap().to_owned());
        if seen.last().is_some_and(|e| e == "request_finished") {
            assert_eq!((&event["request_id"], &event["worker"]), (&json!("r"), &json!("a")));
        }
        let all = ["worker_joined", "request_finished", "snapshot"];
        if all.iter().all(|wanted| seen.iter().any(|s| s == wanted)) {
            break;
        }
    }
}

//! Work streams, from the coordinator's side: many requests share one, and nothing on it is lost when
//! it breaks.

use std::thread;

use serde_json::{Value, json};

use super::fake::{Conduct, Fake};
use crate::support::{Process, Reply, eventually, get, post, send};

const TEXT: &str = "text_classification";

fn coordinator() -> Process {
    Process::serve(&["serve-coordinator", "--port", "0"])
}

fn text(id: &str) -> String {
    json!({"request_id": id, "task_type": TEXT, "data": "x"}).to_string()
}

/// Sends requests at the same time, each from a client of its own.
fn at_once(c: &Process, ids: &[&str]) -> Vec<thread::JoinHandle<Reply>> {
    let client = |id: &&str| {
        let (url, body) = (format!("{}/infer", c.url), text(id));
        thread::spawn(move || post(&url, body))
    };
    ids.iter().map(client).collect()
}

fn answers(clients: Vec<thread::JoinHandle<Reply>>) -> Vec<Value> {
    let answer = |client: thread::JoinHandle<Reply>| {
        let reply = client.join().unwrap();
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        reply.json()
    };
    clients.into_iter().map(answer).collect()
}

#[test]
fn requests_share_a_stream_and_keep_what_they_say() {
    let c = coordinator();
    let a = Fake::join_with_stream(&c.url, "a", &[TEXT]);
    let headers = [("content-type", "application/json"), ("x-aiq-deadline-ms", "5000")];
    let reply = send("POST", &format!("{}/priority/infer", c.url), &headers, text("one").as_bytes()).unwrap();
    let v = reply.json();
    assert_eq!((reply.status, &v["request_id"]), (200, &json!("one")), "{v}");
    assert_eq!(v["result"]["scores"], json!({"POSITIVE": 0.9, "NEGATIVE": 0.1}), "the result as the worker wrote it");
    assert_eq!((&v["inference_time"], &v["batch_size"], &v["retry_count"]), (&json!(0.002), &json!(1), &json!(0)));
    answers(at_once(&c, &["two", "three", "four"]));
    assert_eq!(a.streams_opened(), 1, "all went over one");
    let got = a.got();
    assert_eq!(got[0].header("x-request-id"), Some("one"));
    assert_eq!(got[0].header("x-aiq-priority"), Some("high"));
    assert!((1..=5000).contains(&got[0].header("x-aiq-deadline-ms").unwrap().parse::<u32>().unwrap()));
    assert_eq!(serde_json::from_slice::<Value>(&got[0].body).unwrap()["data"], "x", "the body as it was sent");
}

#[test]
fn what_was_on_a_stream_that_breaks_is_sent_again_on_a_new_one() {
    let c = coordinator();
    let a = Fake::join_with_stream(&c.url, "a", &[TEXT]);
    a.script([Conduct::Hold, Conduct::Drop]);
    let mut clients = at_once(&c, &["one"]);
    eventually("the worker holds it", || (a.held() == 1).then_some(()));
    // The second request breaks the connection; neither has an answer.
    clients.extend(at_once(&c, &["two"]));
    for v in answers(clients) {
        assert_eq!(v["attempts"][0]["outcome"], "connection_lost", "{v}");
        assert_eq!((&v["retry_count"], &v["result"]["worker_id"]), (&json!(1), &json!("a")), "{v}");
    }
    assert_eq!((a.got().len(), a.streams_opened()), (4, 2));
    let stats = get(&format!("{}/queue/stats", c.url)).json();
    assert_eq!((&stats["active_tasks"], &stats["stats"]["failed_requests"]), (&json!(0), &json!(0)), "{stats}");
}

#[test]
fn a_client_that_leaves_is_told_to_the_worker_on_the_stream() {
    let c = coordinator();
    let a = Fake::join_with_stream(&c.url, "a", &[TEXT]);
    a.conduct(Conduct::Hold);
    let reply = post(&format!("{}/infer/async", c.url), text("job"));
    assert_eq!(reply.status, 202);
    eventually("the worker holds it", || (a.held() == 1).then_some(()));
    send("DELETE", &format!("{}/result/job", c.url), &[], &[]).unwrap();
    eventually("it is told", || (a.abandoned() == 1).then_some(()));
    a.conduct(Conduct::Serve);
    answers(at_once(&c, &["next"]));
    assert_eq!(a.streams_opened(), 1, "and the stream goes on");
}

#[test]
fn a_refusal_on_the_stream_is_what_it_says() {
    let c = coordinator();
    let a = Fake::join_with_stream(&c.url, "a", &[TEXT]);
    let busy = json!({"type": "about:blank", "title": "x", "status": 503, "detail": "full", "code": "worker_busy",
                      "retryable": true});
    let bad = json!({"type": "about:blank", "title": "x", "status": 422, "detail": "no such thing",
                     "code": "undecodable_image", "retryable": false});
    a.script([Conduct::Say(503, busy)]);
    let v = answers(at_once(&c, &["one"])).remove(0);
    assert_eq!(
        (&v["attempts"][0]["outcome"], &v["attempts"][1]["outcome"]),
        (&json!("busy"), &json!("success")),
        "{v}"
    );
    a.script([Conduct::Say(422, bad)]);
    let refused = post(&format!("{}/infer", c.url), text("two"));
    assert_eq!((refused.status, &refused.json()["detail"]), (422, &json!("no such thing")));
}

#[test]
fn large_bodies_go_alone() {
    let c = coordinator();
    let a = Fake::join_with_stream(&c.url, "a", &[TEXT]);
    let large = json!({"request_id": "big", "task_type": TEXT, "data": "x".repeat(100_000)}).to_string();
    assert_eq!(post(&format!("{}/infer", c.url), large).status, 200);
    assert_eq!((a.got().len(), a.streams_opened()), (1, 0));
}

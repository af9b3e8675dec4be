//! What is wrong gets its status, its code and a message that says what would be right.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{Process, Reply, get, post, send};

fn coordinator() -> Process {
    Process::serve(&["serve-coordinator", "--port", "0"])
}

/// The code of a problem that is one.
fn code(reply: &Reply) -> String {
    let v = reply.json();
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{v}");
    assert_eq!(v["status"], reply.status, "{v}");
    for member in ["type", "title", "detail", "code"] {
        assert!(v[member].as_str().is_some_and(|t| !t.is_empty()), "{member}: {v}");
    }
    v["code"].as_str().unwrap().to_owned()
}

#[test]
fn bad_submissions_are_told_what_is_wrong() {
    let c = coordinator();
    let infer = |body: Value| post(&format!("{}/infer", c.url), body.to_string());
    let text = |data: &str| infer(json!({"request_id": "r", "task_type": "text_classification", "data": data}));
    let malformed = post(&format!("{}/infer", c.url), "{\"request_id\": ");
    assert_eq!((malformed.status, code(&malformed).as_str()), (400, "malformed_json"));
    let unknown = infer(json!({"request_id": "r", "task_type": "speech", "data": "x"}));
    assert_eq!((unknown.status, code(&unknown).as_str()), (422, "unknown_task_type"));
    assert!(unknown.json()["detail"].as_str().unwrap().contains("clip_text_to_image"));
    assert_eq!(unknown.json()["request_id"], "r");
    let empty = text("");
    assert_eq!((empty.status, code(&empty).as_str()), (422, "empty_data"));
    let long = text(&"word ".repeat(100_000));
    assert_eq!((long.status, code(&long).as_str()), (413, "body_too_large"));
    assert!(long.json()["detail"].as_str().unwrap().contains("500000 bytes"), "{}", long.json());
    let typed = infer(json!({"task_type": "text_classification", "data": 3}));
    assert_eq!((typed.status, code(&typed).as_str()), (422, "invalid_field"));
    let nobody = text("x");
    assert_eq!((nobody.status, code(&nobody).as_str()), (503, "no_worker"));
    assert!(nobody.header("retry-after").is_some(), "{:?}", nobody.headers);
    let headers = [("content-type", "text/plain")];
    let plain = send("POST", &format!("{}/infer", c.url), &headers, b"{}").unwrap();
    assert_eq!((plain.status, code(&plain).as_str()), (415, "unsupported_media_type"));
    // Deep nesting is refused by the parser and not by the stack.
    let deep = post(&format!("{}/infer", c.url), format!("{{\"more\":{}", "[".repeat(100_000)));
    assert_eq!((deep.status, code(&deep).as_str()), (400, "malformed_json"));
}

#[test]
fn a_body_of_fifty_megabytes_is_refused_and_the_client_gets_to_read_why() {
    let c = coordinator();
    let reply = post(&format!("{}/infer", c.url), " ".repeat(50_000_000));
    assert_eq!((reply.status, code(&reply).as_str()), (413, "body_too_large"));
    assert!(reply.json()["detail"].as_str().unwrap().contains("50000000"));
    // From the length alone, before a byte of it was sent.
    let mut client = TcpStream::connect(c.url.strip_prefix("http://").unwrap()).unwrap();
    client.write_all(b"POST /infer HTTP/1.1\r\nhost: x\r\ncontent-length: 50000000\r\n\r\n").unwrap();
    let mut head = [0; 12];
    client.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 413");
}

#[test]
fn wrong_routes_and_methods_are_problems_too() {
    let c = coordinator();
    let nowhere = get(&format!("{}/nowhere", c.url));
    assert_eq!((nowhere.status, code(&nowhere).as_str()), (404, "not_found"));
    let method = get(&format!("{}/infer", c.url));
    assert_eq!((method.status, code(&method).as_str()), (405, "method_not_allowed"));
    assert_eq!(method.header("allow"), Some("POST"));
    let action = send("POST", &format!("{}/workers/w/explode", c.url), &[], &[]).unwrap();
    assert_eq!((action.status, code(&action).as_str()), (404, "not_found"));
    let worker = send("POST", &format!("{}/workers/w/kill", c.url), &[], &[]).unwrap();
    assert_eq!((worker.status, code(&worker).as_str()), (404, "worker_unknown"));
    let wait = get(&format!("{}/result/x?wait=soon", c.url));
    assert_eq!((wait.status, code(&wait).as_str()), (422, "invalid_field"));
}

#[test]
fn tokens_are_asked_for_and_scopes_held_apart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    std::fs::write(&file, "submit aaaaaaaaaaaaaaaa\nadmin bbbbbbbbbbbbbbbb\n").unwrap();
    let c = Process::serve(&["serve-coordinator", "--port", "0", "--token-file", file.to_str().unwrap()]);
    let call = |method: &str, path: &str, token: Option<&str>| {
        let bearer = token.map(|t| format!("Bearer {t}"));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(bearer.as_deref().map(|b| ("authorization", b)));
        send(method, &format!("{}{path}", c.url), &headers, b"{}").unwrap()
    };
    let (submit, admin) = (Some("aaaaaaaaaaaaaaaa"), Some("bbbbbbbbbbbbbbbb"));
    for (method, path, token) in [
        ("POST", "/infer", None),
        ("POST", "/infer", admin),
        ("POST", "/workers/w/kill", submit),
        ("POST", "/workers", submit),
        ("GET", "/status", None),
        ("GET", "/status", Some("cccccccccccccccc")),
    ] {
        let reply = call(method, path, token);
        assert_eq!((reply.status, code(&reply).as_str()), (401, "unauthorized"), "{method} {path}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(call("POST", "/infer", submit).status, 422);
    assert_eq!(call("POST", "/workers/w/kill", admin).status, 404);
    assert_eq!(call("GET", "/livez", None).status, 200);
}

#[test]
fn the_api_describes_itself() {
    let c = coordinator();
    let document = get(&format!("{}/openapi.json", c.url)).json();
    for path in [
        "/infer",
        "/infer/async",
        "/result/{request_id}",
        "/priority/infer",
        "/status",
        "/queue/stats",
        "/workers/performance",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    let page = get(&format!("{}/docs", c.url));
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(get(&format!("{}/livez", c.url)).status, 200);
    assert_eq!(get(&format!("{}/readyz", c.url)).status, 200);
    let metrics = String::from_utf8(get(&format!("{}/metrics", c.url)).body).unwrap();
    assert!(
        metrics.contains("aiq_requests_total{task=\"clip_text_to_image\",priority=\"low\",outcome=\"timeout\"} 0\n")
    );
}

#[test]
fn a_port_that_is_taken_is_said_plainly() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (mut command, _dir) = crate::support::aiq(&["serve-coordinator", "--port", &port]);
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&port) && said.contains("in use"), "{said}");
}

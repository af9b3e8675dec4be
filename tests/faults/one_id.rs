//! A thousand clients post the same request id at the same time: it is executed once, and all of them
//! get that answer.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::alone;
use crate::fleet::{DISTANT, Fleet};
use crate::support::get;

const CLIENTS: usize = 1000;

#[test]
fn a_thousand_posts_of_one_id_are_one_execution() {
    let _alone = alone();
    println!("{CLIENTS} concurrent posts of one id");
    let fleet = Fleet::start(2, DISTANT);
    let body = json!({"request_id": "the-one", "task_type": "text_classification", "data": "I love this product!"});
    let body = body.to_string();
    let head = "POST /infer HTTP/1.1\r\nhost: c\r\ncontent-type: application/json\r\nconnection: close";
    let whole = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (most, last) = whole.as_bytes().split_at(whole.len() - 1);
    let address = fleet.coordinator.url.trim_start_matches("http://");
    // All but one byte of each is there before the first is complete.
    let mut clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(most).unwrap();
            client
        })
        .collect();
    for client in &mut clients {
        client.write_all(last).unwrap();
    }
    let mut answers: Vec<String> = clients
        .iter_mut()
        .map(|client| {
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
            body.to_owned()
        })
        .collect();
    answers.dedup();
    assert_eq!(answers.len(), 1, "different answers: {answers:#?}");
    let done = |worker: &crate::support::Process| get(&format!("{}/health", worker.url)).json()["completed"].as_u64();
    let executed: u64 = fleet.workers.iter().filter_map(done).sum();
    println!("  {executed} executed, {} attempts, {CLIENTS} identical answers", fleet.counter("attempts"));
    assert_eq!((executed, fleet.counter("attempts"), fleet.counter("total_requests")), (1, 1, 1));
}

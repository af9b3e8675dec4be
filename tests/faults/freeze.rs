//! SIGSTOP of a worker: its sockets stay open and it says nothing, the failure that no connection error
//! shows. It gets out of rotation, its work is done by others, and what it answers when it wakes up
//! changes nothing.

use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::fleet::{DISTANT, Fleet};
use crate::load::Load;
use crate::support::{eventually, get, post};
use crate::{alone, promise, seconds};

#[test]
fn a_stopped_worker_gets_out_of_rotation() {
    let _alone = alone();
    println!("SIGSTOP of a worker under load");
    let fleet = Fleet::start(3, DISTANT);
    let (rate, lasts) = (80, seconds(7, 15));
    let running = Load::start(&fleet, &format!("--rate {rate} --duration {lasts}s --seed 2"));
    fleet.wait_for_answers(0, rate * lasts / 5);
    fleet.signal_serving(1, Signal::SIGSTOP);
    let stopped = Instant::now();
    let why = eventually("it is out of rotation", || {
        let worker = fleet.worker(1);
        let out = worker["healthy"] == false || worker["breaker"] == "open";
        out.then(|| format!("{}, breaker {}", worker["reason"], worker["breaker"]))
    });
    let took = stopped.elapsed().as_secs_f64();
    let report = running.finish();
    report.print("with a stopped worker");
    report.all_answered();
    promise(&format!("out of rotation in under 3 s ({took:.2} s: {why})"), took < 3.0);
    fleet.signal_serving(1, Signal::SIGCONT);
    eventually("it is taken back", || (fleet.worker(1)["healthy"] == true).then_some(()));
}

#[test]
fn late_answers_of_a_stopped_worker_change_nothing() {
    let _alone = alone();
    println!("late answers after SIGCONT");
    let fleet = Fleet::start(3, DISTANT);
    fleet.signal_serving(1, Signal::SIGSTOP);
    let ids: Vec<String> = (0..30).map(|n| format!("late-{n}")).collect();
    for id in &ids {
        let body = json!({"request_id": id, "task_type": "text_classification", "data": "I love this product!"});
        assert_eq!(post(&fleet.url("/infer/async"), body.to_string()).status, 202);
    }
    let results = || -> Vec<Value> {
        let result = |id: &String| {
            let reply = get(&fleet.url(&format!("/result/{id}?wait=30")));
            assert_eq!(reply.status, 200, "{id}: {}", reply.json());
            reply.json()
        };
        ids.iter().map(result).collect()
    };
    let first = results();
    let tried_there = |r: &&Value| r["attempts"].as_array().unwrap().iter().any(|a| a["worker"] == "worker-1");
    let tried = first.iter().filter(tried_there).count();
    println!("  {tried} of 30 were sent to the stopped worker first");
    assert!(tried > 0, "it got none, which proves nothing");
    assert!(first.iter().all(|r| r["result"]["worker_id"] != "worker-1"));
    let counted = fleet.queue()["stats"].clone();
    assert_eq!(counted["successful_requests"], 30, "{counted}");

    fleet.signal_serving(1, Signal::SIGCONT);
    eventually("it is taken back", || (fleet.worker(1)["healthy"] == true).then_some(()));
    eventually("it holds nothing any more", || {
        (get(&format!("{}/health", fleet.workers[0].url)).json()["in_flight"] == 0).then_some(())
    });
    assert_eq!(results(), first);
    assert_eq!(fleet.queue()["stats"], counted);
}

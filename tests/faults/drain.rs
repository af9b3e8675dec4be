//! Workers that leave in good order under load: what they have begun they finish, the rest goes to others at
//! once, and no client notices.

use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::fleet::{DISTANT, Fleet, STEADY};
use crate::load::Load;
use crate::support::{eventually, get, post};
use crate::{alone, seconds};

#[test]
fn a_rolling_drain_fails_no_request() {
    let _alone = alone();
    println!("a rolling drain of every worker under load");
    let mut fleet = Fleet::start(3, DISTANT);
    let (rate, lasts) = (80, seconds(8, 25));
    let running = Load::start(&fleet, &format!("--rate {rate} --duration {lasts}s --seed 8"));
    fleet.wait_for_answers(0, rate / 2);
    let mut took = Vec::new();
    for n in 1..=3 {
        let begun = Instant::now();
        let mut old = fleet.workers.remove(n - 1);
        old.signal(Signal::SIGTERM);
        assert_eq!(old.wait().code(), Some(0));
        took.push(begun.elapsed().as_secs_f64());
        let new = fleet.worker_process(n, DISTANT);
        fleet.workers.insert(n - 1, new);
        fleet.all_serve();
    }
    let report = running.finish();
    report.print("meanwhile");
    report.all_answered();
    let longest = took.iter().copied().fold(0.0, f64::max);
    println!("  the longest drain took {longest:.2} s");
    assert!(longest < 25.0, "{took:?}");
    let performance = get(&fleet.url("/workers/performance")).json();
    assert_eq!(performance["workers"].as_array().unwrap().len(), 3, "{performance}");
}

#[test]
fn a_drained_worker_hands_back_what_it_has_not_begun() {
    let _alone = alone();
    println!("a drain with work in the queue of the worker");
    // One worker hangs in its first request and holds others behind it, while the second takes nothing.
    let mut fleet = Fleet::start(2, STEADY);
    let act = |action: &str| assert_eq!(post(&fleet.url(&format!("/workers/worker-2/{action}")), "").status, 200);
    act("drain");
    fleet.set_faults(1, &json!({"hang": true}));
    let url = fleet.url("/infer");
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let body = json!({"request_id": format!("held-{n}"), "task_type": "text_classification", "data": "Good."});
            let (url, body) = (url.clone(), body.to_string());
            std::thread::spawn(move || post(&url, body))
        })
        .collect();
    let health = format!("{}/health", fleet.workers[0].url);
    let waiting = eventually("it holds one and others wait behind it", || {
        let (now, queue) = (get(&health).json(), fleet.queue());
        let all_there = queue["queue_size"].as_u64()? + queue["active_tasks"].as_u64()? == 8;
        let waiting = now["queue_depth"].as_u64()?;
        (all_there && now["in_flight"] == queue["active_tasks"] && now["in_flight"].as_u64()? == waiting + 1)
            .then_some(waiting)
            .filter(|waiting| *waiting > 0)
    });
    act("resume");
    fleet.workers[0].signal(Signal::SIGTERM);
    let drained = Instant::now();
    // All but the one that is begun are answered by the other worker, long before the hang ends.
    eventually("the others are answered", || (clients.iter().filter(|c| c.is_finished()).count() == 7).then_some(()));
    println!("  {waiting} handed back; all answered elsewhere {:.2} s later", drained.elapsed().as_secs_f64());
    let stats = fleet.queue()["stats"].clone();
    assert_eq!(stats["retries"], 0, "a retry was charged: {stats}");
    // With its hang over it answers, and is gone.
    fleet.order_faults(1, &json!({"hang": false}));
    let answers: Vec<Value> = clients
        .into_iter()
        .map(|client| {
            let reply = client.join().unwrap();
            assert_eq!(reply.status, 200, "{}", reply.json());
            reply.json()
        })
        .collect();
    let by = |worker: &str| answers.iter().filter(|a| a["result"]["worker_id"] == worker).count();
    assert_eq!((by("worker-1"), by("worker-2")), (1, 7));
    let back = |a: &&Value| a["attempts"][0]["worker"] == "worker-1" && a["attempts"][0]["outcome"] == "cancelled";
    assert_eq!(answers.iter().filter(back).count() as u64, waiting);
    assert_eq!(fleet.workers[0].wait().code(), Some(0));
}

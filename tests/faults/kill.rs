//! `kill -9` of a worker under load: nothing accepted is lost, what it held is with another worker at
//! once, and its successor gets its share again.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fleet::{Fleet, distant, now_ms};
use crate::load::{Load, load};
use crate::support::eventually;
use crate::{alone, promise, seconds};

#[test]
fn a_killed_worker_loses_nothing() {
    let _alone = alone();
    println!("kill -9 of a worker under load");
    // A fifth of a second of network, so that each of them holds several requests at any time.
    let fleet = Fleet::start(4, &distant("0.2"));
    let (rate, lasts) = (120, seconds(4, 10));
    let flags = format!("--rate {rate} --duration {lasts}s --seed 1");
    // The first load of a fleet is that of a cold one.
    load(&fleet, "--rate 120 --duration 1s").all_answered();
    let before = load(&fleet, &flags);
    before.print("before");
    before.all_answered();

    let (events, answered) = (fleet.events(), fleet.counter("successful_requests"));
    let running = Load::start(&fleet, &flags);
    fleet.wait_for_answers(answered, rate * lasts / 4);
    eventually("it holds some", || (fleet.worker(1)["in_flight"].as_u64()? >= 3).then_some(()));
    let killed = now_ms();
    fleet.signal_serving(1, Signal::SIGKILL);
    let during = running.finish();
    during.print("with a kill");
    during.all_answered();

    let lost = |e: &Value| e["from"] == "worker-1" && e["outcome"] == "connection_lost";
    let rerouted: Vec<Value> = events.of("request_rerouted").into_iter().filter(lost).collect();
    let slowest = rerouted.iter().map(|e| e["at_ms"].as_u64().unwrap().saturating_sub(killed)).max().unwrap_or(0);
    println!("  {} requests re-routed, the last {slowest} ms after the kill", rerouted.len());
    promise("re-routed within 100 ms", slowest <= 100);
    let ratio = during.ms("p99") / before.ms("p99");
    promise(&format!("p99 at most 1.5 x of before ({ratio:.2} x)"), ratio <= 1.5);

    // A new process is not blamed for what became of the one before it.
    eventually("it serves again", || (fleet.worker(1)["healthy"] == true).then_some(()));
    load(&fleet, "--rate 50 --duration 5s").all_answered();
    let after = load(&fleet, &format!("--rate 50 --duration {}s", seconds(2, 5)));
    after.all_answered();
    let share = after.share("worker-1");
    println!("  its successor's share of a light load: {:.0} %", 100.0 * share);
    assert!(share > 0.02, "{share}");
}

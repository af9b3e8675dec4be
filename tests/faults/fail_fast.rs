//! A worker that fails every request at once: the quickest to answer, and the last to be asked.

use serde_json::json;

use crate::fleet::{Fleet, STEADY};
use crate::load::load;
use crate::{alone, promise, seconds};

#[test]
fn a_worker_that_fails_fast_costs_few_attempts() {
    let _alone = alone();
    println!("one worker of three fails every request at once");
    let fleet = Fleet::start(3, STEADY);
    fleet.set_faults(1, &json!({"crash_probability": 1.0}));
    let before = fleet.counter("attempts");
    let report = load(&fleet, &format!("--rate 60 --duration {}s --seed 4", seconds(5, 30)));
    report.print("with it");
    report.all_answered();
    let attempts = (fleet.counter("attempts") - before) as f64 / report.n("sent") as f64;
    promise(&format!("at most 1.08 attempts a request ({attempts:.3})"), attempts <= 1.08);
}

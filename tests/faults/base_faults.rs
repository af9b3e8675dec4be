//! The simulated faults that come with aiq, on every worker: 2 % crashes, 3 % time-outs, 0.1-0.8 s of
//! network.

use crate::fleet::Fleet;
use crate::load::load;
use crate::{alone, promise, seconds};

#[test]
fn simulated_faults_are_hidden_from_clients() {
    let _alone = alone();
    println!("2 % crashes, 3 % time-outs, 0.1-0.8 s delay on all of three workers");
    let fleet = Fleet::start(3, &["--models", "noop:5ms", "--faults"]);
    // The percentiles that time-outs and hedges go by have to be learnt first.
    load(&fleet, "--rate 60 --duration 4s --timeout 30s --seed 5");
    let before = fleet.counter("attempts");
    let report = load(&fleet, &format!("--rate 60 --duration {}s --timeout 30s --seed 6", seconds(6, 60)));
    report.print("with them");
    let (sent, failed) = (report.n("sent"), report.n("sent") - report.n("ok"));
    // Four tries fail together once in 160 000 requests; a single one among a few hundred proves nothing.
    assert!(failed <= 1 + sent / 10_000, "{failed} of {sent} failed: {:#}", report.0["errors"]);
    let extra = (fleet.counter("attempts") - before) as f64 / sent as f64 - 1.0;
    promise(&format!("p99 at most 1.8 s ({:.2} s)", report.ms("p99") / 1e3), report.ms("p99") <= 1800.0);
    promise(&format!("at most 13 % extra attempts ({:.1} %)", 100.0 * extra), extra <= 0.13);
}

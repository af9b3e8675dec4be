//! One worker whose model takes ten times as long: the others do its work, and nobody notices.

use serde_json::json;

use crate::fleet::{Fleet, STEADY};
use crate::load::load;
use crate::support::post;
use crate::{alone, promise, seconds};

#[test]
fn a_slow_worker_is_left_alone() {
    let _alone = alone();
    println!("one worker of three ten times slower");
    let fleet = Fleet::start(3, STEADY);
    let lasts = seconds(3, 20);
    let flags = format!("--rate 40 --duration {lasts}s --warmup 2s --seed 3");
    // The healthy fleet is that of the other two: what a third would add is lost in any case.
    let act = |action: &str| assert_eq!(post(&fleet.url(&format!("/workers/worker-1/{action}")), "").status, 200);
    act("drain");
    let healthy = load(&fleet, &flags);
    healthy.print("without it");
    healthy.all_answered();
    act("resume");
    fleet.set_faults(1, &json!({"slow_factor": 10.0}));
    fleet.all_serve();
    let slow = load(&fleet, &flags);
    slow.print("with it");
    slow.all_answered();
    let (ratio, share) = (slow.ms("p95") / healthy.ms("p95"), slow.share("worker-1"));
    promise(&format!("p95 at most 1.15 x of the healthy fleet's ({ratio:.2} x)"), ratio <= 1.15);
    promise(&format!("the slow one gets at most 3 % ({:.1} %)", 100.0 * share), share <= 0.03);
}

//! Twice and five times as much as the fleet can do, by clients that don't wait for each other: it does
//! what it can in time, refuses the rest at once, and needs no more memory for it.

use crate::fleet::{Fleet, STEADY, resident_mib};
use crate::load::load;
use crate::{alone, promise, seconds};

#[test]
fn overload_costs_no_goodput() {
    let _alone = alone();
    println!("overload of three workers, open loop");
    let fleet = Fleet::start(3, STEADY);
    load(&fleet, "--concurrency 96 --duration 3s").all_answered();
    let closed = load(&fleet, &format!("--concurrency 96 --duration {}s", seconds(3, 15)));
    closed.all_answered();
    let peak = closed.f("/totals/rate");
    let memory = resident_mib(&fleet.coordinator);
    println!("  peak {peak:.0}/s; the coordinator takes {memory:.0} MiB");
    for factor in [2.0, 5.0] {
        let lasts = seconds(4, 20);
        let flags = format!("--timeout 2s --max-in-flight 8000 --warmup 3s --duration {lasts}s --seed 7");
        let report = load(&fleet, &format!("--rate {} {flags}", (factor * peak).round()));
        report.print(&format!("{factor} x"));
        assert_eq!((report.n("missing"), report.n("not_sent"), report.n("wrong")), (0, 0, 0));
        assert!(report.n("refused") > 0 && report.n("ok") > 0, "{:#}", report.0["totals"]);
        // The queue is full when the measured part begins, and when its last request falls due: as much is
        // carried over at one end as at the other.
        let goodput = report.n("good") as f64 / lasts as f64 / peak;
        promise(&format!("goodput at least 90 % of peak ({:.0} %)", 100.0 * goodput), goodput >= 0.9);
        let admitted = report.n("sent") - report.n("refused");
        let kept = report.n("ok") as f64 / admitted as f64;
        promise(&format!("at least 95 % of what is admitted in time ({:.1} %)", 100.0 * kept), kept >= 0.95);
        let now = resident_mib(&fleet.coordinator);
        println!("  the coordinator takes {now:.0} MiB");
        assert!(now - memory < 64.0, "memory grew from {memory:.0} to {now:.0} MiB");
    }
}

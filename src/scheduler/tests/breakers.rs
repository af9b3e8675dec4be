//! Breakers in a fleet.

use super::driver::{Driver, TEXT};
use crate::config::SchedulerConfig;
use crate::protocol::{AttemptOutcome, BreakerState, Priority, ProblemCode, WorkerState};
use crate::scheduler::*;

fn breaker(d: &Driver, key: u32) -> BreakerState {
    d.scheduler.worker(d.now, WorkerKey(key)).unwrap().breaker
}

/// Fails what the first worker has, one after the other, until its breaker opens; how many that took.
pub(super) fn trip(d: &mut Driver) -> u32 {
    let n = d.scheduler.workers(d.now).len() as u32;
    (0..n).for_each(|key| d.batching(key));
    for _ in 0..10 * n {
        d.text();
    }
    for failures in 1..=d.on(0) as u32 {
        let run = d.running.iter().find(|r| r.worker.0 == 0).unwrap().attempt;
        d.end(run, AttemptOutcome::ConnectionLost);
        if breaker(d, 0) == BreakerState::Open {
            d.finish_all();
            (0..n).for_each(|key| d.set_cost(key, 0.02));
            return failures;
        }
    }
    panic!("it never opened");
}

/// Requests one after the other, of which those on some workers fail.
fn fail_on(d: &mut Driver, bad: &[u32], n: usize) {
    for _ in 0..n {
        let t = d.text();
        for _ in 0..4 {
            let Some(run) = d.running_of(t).first().copied() else { break };
            let outcome =
                if bad.contains(&run.worker.0) { AttemptOutcome::ConnectionLost } else { AttemptOutcome::Success };
            d.end(run.attempt, outcome);
        }
        d.pass(0.01);
    }
}

#[test]
fn a_worker_that_fails_rests_then_gets_one_probe_and_only_work_closes_it() {
    let mut d = Driver::with_workers(3);
    assert_eq!(trip(&mut d), 5);
    assert!(d.has(&Action::Breaker { worker: WorkerKey(0), state: BreakerState::Open }));
    d.finish_all();
    for _ in 0..10 {
        d.text();
    }
    assert_eq!(d.on(0), 0, "it rests, whatever waits");
    // Heartbeats go on all the while, and don't close it.
    d.finish_all();
    d.pass(1.3);
    assert_eq!(breaker(&d, 0), BreakerState::HalfOpen);
    let probe = d.text();
    assert_eq!(d.running_of(probe)[0].worker, WorkerKey(0));
    d.text();
    d.text();
    assert_eq!(d.on(0), 1, "one probe, no more");
    d.end_of(probe, AttemptOutcome::Success);
    assert_eq!(breaker(&d, 0), BreakerState::Closed);
}

#[test]
fn a_failed_probe_rests_longer_and_its_request_goes_elsewhere() {
    let mut d = Driver::with_workers(3);
    fail_on(&mut d, &[0], 400);
    d.pass(20.0);
    let before = d.scheduler.worker(d.now, WorkerKey(0)).unwrap().failed;
    fail_on(&mut d, &[0], 200);
    let after = d.scheduler.worker(d.now, WorkerKey(0)).unwrap().failed;
    assert!(after - before <= 4, "{before} {after}");
    assert_eq!(d.scheduler.counters().failed_requests, 0);
    let c = d.scheduler.counters();
    assert!((c.attempts as f64) < 1.08 * c.total_requests as f64, "{c:?}");
}

#[test]
fn never_more_than_half_of_the_fleet_and_never_the_last_one() {
    for n in 1..=6 {
        let mut d = Driver::with_workers(n);
        let all: Vec<u32> = (0..n).collect();
        fail_on(&mut d, &all, 60);
        let open = all.iter().filter(|k| breaker(&d, **k) == BreakerState::Open).count() as u32;
        assert!(open <= n / 2, "{open} of {n}");
        let t = d.text();
        assert!(!matches!(
            d.answers(t).first().map(|a| a.verdict),
            Some(Verdict::Failure { code: crate::protocol::ProblemCode::NoWorker, .. })
        ));
    }
}

#[test]
fn a_resting_worker_comes_back_when_the_others_are_gone() {
    let mut d = Driver::with_workers(2);
    trip(&mut d);
    d.finish_all();
    d.beating.remove(&1);
    d.send(Event::WorkerLeft { worker: WorkerKey(1) });
    assert_eq!(breaker(&d, 0), BreakerState::HalfOpen);
    let t = d.text();
    assert_eq!(d.running_of(t)[0].worker, WorkerKey(0));
}

#[test]
fn overload_opens_no_breaker() {
    let mut d = Driver::with_workers(2);
    for _ in 0..40 {
        let t = d.text();
        if let Some(run) = d.running_of(t).first().copied() {
            d.end(run.attempt, AttemptOutcome::Busy);
        }
        d.send(Event::Cancelled { ticket: t });
        d.pass(0.06);
    }
    assert_eq!((breaker(&d, 0), breaker(&d, 1)), (BreakerState::Closed, BreakerState::Closed));
}

#[test]
fn a_client_without_patience_is_not_held_against_the_worker() {
    let mut d = Driver::with_workers(2);
    d.teach(100, 0.05);
    for _ in 0..30 {
        let t = d.submit(super::driver::TEXT, crate::protocol::Priority::Normal, 0.03);
        d.pass(0.04);
        assert_eq!(d.answers(t).len(), 1);
    }
    assert_eq!((breaker(&d, 0), breaker(&d, 1)), (BreakerState::Closed, BreakerState::Closed));
}

/// Puts as much on every worker as it may hold, with so little time that all of it is cut short.
fn cut_all_short(d: &mut Driver) {
    for _ in 0..6 {
        d.submit(TEXT, Priority::Normal, 0.15);
    }
    assert_eq!(d.running.len(), 6);
    d.pass(0.2);
    assert_eq!(d.running.len(), 0);
}

#[test]
fn a_worker_did_not_fail_because_clients_gave_no_time() {
    let mut d = Driver::with_workers(3);
    d.teach(150, 0.05);
    // Stopped for a moment, again and again, as happens where others use the processor.
    for _ in 0..10 {
        cut_all_short(&mut d);
        (0..3).for_each(|key| d.beat(key));
    }
    for key in 0..3 {
        assert_eq!(breaker(&d, key), BreakerState::Closed);
        assert_eq!(d.scheduler.worker(d.now, WorkerKey(key)).unwrap().failed, 0);
    }
}

#[test]
fn what_others_have_overtaken_was_lost() {
    let mut d = Driver::with_workers(1);
    d.teach(150, 0.05);
    let lost = d.submit(TEXT, Priority::Normal, 0.3);
    d.pass(0.01);
    let later = d.text();
    d.pass(0.05);
    d.end_of(later, AttemptOutcome::Success);
    d.pass(0.3);
    assert_eq!(d.code(lost), ProblemCode::DeadlineExceeded);
    assert_eq!(d.scheduler.worker(d.now, WorkerKey(0)).unwrap().failed, 1);
}

#[test]
fn a_worker_that_tells_nothing_of_itself_is_judged_by_what_it_answers() {
    let mut d = Driver::new(SchedulerConfig::default());
    let spec = WorkerSpec {
        id: "checked".parse().unwrap(),
        abilities: [Ability::Full; 4],
        capacity: 8,
        state: WorkerState::Ready,
        liveness: Liveness::ActiveCheck,
    };
    d.send(Event::WorkerJoined { worker: WorkerKey(0), spec: Box::new(spec) });
    d.send(Event::WorkerChecked { worker: WorkerKey(0), check: Check::Passed });
    d.teach(150, 0.05);
    for (time, failed) in [(0.1, 0), (0.3, 1)] {
        d.submit(TEXT, Priority::Normal, time);
        d.pass(0.4);
        assert_eq!(d.scheduler.worker(d.now, WorkerKey(0)).unwrap().failed, failed, "{time} s");
    }
}

#[test]
fn a_worker_that_was_given_up_on_shows_with_one_request_that_it_is_there() {
    let mut d = Driver::with_workers(1);
    d.teach(150, 0.05);
    for _ in 0..2 {
        d.submit(TEXT, Priority::Normal, 0.15);
    }
    d.pass(0.2);
    assert_eq!(d.on(0), 0);
    let three = [d.text(), d.text(), d.text()];
    assert_eq!(d.on(0), 1, "it may still be at what was given up");
    d.pass(0.02);
    d.end_of(three[0], AttemptOutcome::Success);
    assert_eq!(d.on(0), 2, "it is not");
}

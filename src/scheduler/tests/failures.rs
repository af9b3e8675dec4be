//! Attempts that fail, deadlines that pass, clients that leave.

use std::time::Duration;

use super::driver::{Driver, TEXT};
use crate::protocol::{AttemptOutcome, Priority, ProblemCode};
use crate::scheduler::*;

#[test]
fn success_is_answered_with_its_story() {
    let mut d = Driver::with_workers(1);
    let t = d.text();
    d.pass(0.05);
    d.end_of(t, AttemptOutcome::Success);
    let a = d.answer(t);
    assert!(d.succeeded(t));
    assert_eq!((a.latency, a.queue_time, a.retries), (Duration::from_millis(50), Duration::ZERO, 0));
    assert_eq!(a.attempts.len(), 1);
    assert_eq!(a.attempts[0].worker.as_str(), "worker-0");
    assert!((a.attempts[0].seconds - 0.05).abs() < 1e-6);
}

#[test]
fn a_lost_connection_goes_elsewhere_at_once() {
    let mut d = Driver::with_workers(3);
    let t = d.text();
    let first = d.running_of(t)[0];
    d.end(first.attempt, AttemptOutcome::ConnectionLost);
    let second = d.running_of(t)[0];
    assert_ne!(second.worker, first.worker);
    assert_eq!((second.kind, second.attempt.number), (DispatchKind::Retry, 2));
    let rerouted = Action::Rerouted { ticket: t, from: first.worker, outcome: AttemptOutcome::ConnectionLost };
    assert!(d.has(&rerouted));
    d.end_of(t, AttemptOutcome::Success);
    assert_eq!(d.answer(t).retries, 1);
}

#[test]
fn a_failure_backs_off_and_avoids_the_workers_it_met() {
    let mut d = Driver::with_workers(4);
    let t = d.text();
    let mut met = Vec::new();
    for n in 0..4 {
        d.pass(2.0);
        let running = d.running_of(t);
        assert_eq!(running.len(), 1, "try {n}");
        assert!(!met.contains(&running[0].worker), "{met:?}");
        met.push(running[0].worker);
        d.end_of(t, AttemptOutcome::Failed);
    }
    assert_eq!(d.code(t), ProblemCode::AttemptsSpent);
    let a = d.answer(t);
    assert_eq!((a.retries, a.attempts.len()), (3, 4));
    assert_eq!(d.scheduler.counters().retries, 3);
}

#[test]
fn with_one_worker_it_is_tried_again_there() {
    let mut d = Driver::with_workers(1);
    let t = d.text();
    d.end_of(t, AttemptOutcome::Failed);
    d.pass(0.06);
    assert_eq!(d.running_of(t).len(), 1);
}

#[test]
fn a_retry_waits_for_another_worker_rather_than_for_the_same() {
    let mut d = Driver::with_workers(2);
    let t = d.text();
    let failed_on = d.running_of(t)[0].worker;
    let others = 1 - failed_on.0;
    while d.on(others) < 2 {
        d.text();
    }
    d.end_of(t, AttemptOutcome::Failed);
    // The other worker stays full; the one that failed has room, and others use it.
    d.pass(0.2);
    let passed_by = d.text();
    d.pass(2.1);
    assert!(d.running_of(t).is_empty());
    assert_eq!(d.running_of(passed_by)[0].worker, failed_on);
    let freed = d.running.iter().find(|r| r.worker.0 == others).unwrap().attempt;
    d.end(freed, AttemptOutcome::Success);
    assert_eq!(d.running_of(t)[0].worker.0, others);
}

#[test]
fn bad_input_is_never_tried_again() {
    let mut d = Driver::with_workers(3);
    let t = d.text();
    let run = d.running_of(t)[0];
    d.end_of(t, AttemptOutcome::Rejected);
    assert_eq!(d.answer(t).verdict, Verdict::Rejected { attempt: run.attempt, worker: run.worker });
    let view = d.scheduler.worker(d.now, run.worker).unwrap();
    assert!((view.success_rate - 1.0).abs() < 1e-9, "not the worker's fault");
}

#[test]
fn busy_and_handed_back_cost_no_retry() {
    let mut d = Driver::with_workers(2);
    let t = d.text();
    for outcome in [AttemptOutcome::Busy, AttemptOutcome::Cancelled].into_iter().cycle().take(8) {
        d.pass(0.06);
        assert_eq!(d.running_of(t).len(), 1, "{outcome:?}");
        d.end_of(t, outcome);
    }
    d.pass(0.06);
    d.end_of(t, AttemptOutcome::Success);
    assert!(d.succeeded(t));
    assert_eq!(d.scheduler.counters().retries, 0);
    for key in 0..2 {
        assert!(d.scheduler.worker(d.now, WorkerKey(key)).unwrap().failed == 0);
    }
}

#[test]
fn an_attempt_is_given_up_after_its_time_out() {
    let mut d = Driver::with_workers(2);
    let t = d.text();
    let first = d.running_of(t)[0];
    assert_eq!(first.timeout, Duration::from_secs(10), "nothing is known yet");
    d.pass(10.0);
    assert!(d.has(&Action::CancelAttempt { attempt: first.attempt, worker: first.worker }));
    d.pass(0.1);
    assert_ne!(d.running_of(t)[0].worker, first.worker);
    // What comes late from the first changes nothing.
    d.send(Event::AttemptEnded { attempt: first.attempt, outcome: AttemptOutcome::Success, timing: None });
    assert!(d.answers(t).is_empty());
    d.end_of(t, AttemptOutcome::Success);
    assert_eq!(d.answer(t).attempts[0].outcome, AttemptOutcome::Timeout);
}

#[test]
fn while_nothing_is_known_an_attempt_leaves_time_for_others() {
    let mut d = Driver::with_workers(2);
    let t = d.submit(TEXT, Priority::Normal, 9.0);
    let first = d.running_of(t)[0];
    assert_eq!(first.timeout, Duration::from_secs(3));
    d.pass(3.1);
    let second = d.running_of(t)[0];
    assert_ne!(second.worker, first.worker);
    d.end_of(t, AttemptOutcome::Success);
    assert!(d.succeeded(t));
}

#[test]
fn time_outs_follow_what_attempts_take() {
    let mut d = Driver::with_workers(2);
    d.teach(40, 0.5);
    let t = d.text();
    let timeout = d.running_of(t)[0].timeout.as_secs_f64();
    assert!((1.6..1.8).contains(&timeout), "{timeout}");
    d.end_of(t, AttemptOutcome::Success);
    d.pass(61.0);
    d.teach(40, 0.02);
    d.pass(1.0);
    let t = d.text();
    assert_eq!(d.running_of(t)[0].timeout, Duration::from_secs(1));
}

#[test]
fn a_deadline_ends_what_waits_and_what_runs_exactly_then() {
    let mut d = Driver::with_workers(1);
    let runs = d.submit(TEXT, Priority::Normal, 0.5);
    let more = [d.text(), d.text()];
    let waits = d.submit(TEXT, Priority::Low, 0.4);
    let start = d.now;
    assert_eq!((d.running_of(runs).len(), d.running_of(more[1]).len(), d.scheduler.queued()), (1, 0, 2));
    d.pass(0.6);
    for (t, seconds) in [(runs, 0.5), (waits, 0.4)] {
        assert_eq!(d.code(t), ProblemCode::DeadlineExceeded);
        let at = d.log.iter().find(|(_, a)| matches!(a, Action::Answer(a) if a.ticket == t)).unwrap().0;
        assert_eq!(at, start.plus_secs(seconds));
    }
    assert!(d.dispatches().iter().all(|(_, r)| r.attempt.ticket != waits), "it never ran");
    // The worker may be at the given-up one still; its next heartbeat says that it is not.
    assert_eq!(d.running_of(more[1]).len(), 0);
    d.pass(1.0);
    assert_eq!(d.running_of(more[1]).len(), 1);
}

#[test]
fn a_dispatch_carries_what_is_left_of_the_time() {
    let mut d = Driver::with_workers(1);
    d.text();
    d.text();
    let t = d.submit(TEXT, Priority::High, 3.0);
    d.pass(1.0);
    let oldest = d.running[0].attempt;
    d.end(oldest, AttemptOutcome::Success);
    assert_eq!(d.running_of(t)[0].budget, Duration::from_secs(2));
}

#[test]
fn a_client_that_leaves_is_forgotten_queued_or_running() {
    let mut d = Driver::with_workers(1);
    let runs = d.text();
    d.text();
    let waits = d.text();
    let attempt = d.running_of(runs)[0];
    for t in [runs, waits] {
        d.send(Event::Cancelled { ticket: t });
        assert_eq!(d.code(t), ProblemCode::Cancelled);
    }
    assert!(d.has(&Action::CancelAttempt { attempt: attempt.attempt, worker: attempt.worker }));
    d.send(Event::Cancelled { ticket: runs });
    assert_eq!(d.answers(runs).len(), 1);
    assert_eq!(d.scheduler.counters().cancelled_requests, 2);
    assert_eq!(d.scheduler.live(), 1);
}

#[test]
fn the_retry_budget_holds_and_what_waits_for_it_is_not_lost() {
    let mut d = Driver::with_workers(10);
    let tickets: Vec<_> = (0..20).map(|_| d.text()).collect();
    assert_eq!(d.running.len(), 20);
    for t in &tickets[..12] {
        d.end_of(*t, AttemptOutcome::Failed);
    }
    // Eight still run: a fifth of that is less than the three that are always allowed.
    d.pass(0.1);
    let retries = |d: &Driver| d.running.iter().filter(|r| r.kind == DispatchKind::Retry).count();
    assert_eq!(retries(&d), 3);
    d.finish_all();
    assert!(tickets.iter().all(|t| d.succeeded(*t)));
}

#[test]
fn a_crowd_of_lost_connections_is_not_held_back_by_the_budget() {
    let mut d = Driver::with_workers(10);
    for _ in 0..18 {
        d.text();
    }
    let on_first = d.on(0);
    let lost: Vec<_> = d.running.iter().filter(|r| r.worker.0 < 4).map(|r| r.attempt).collect();
    assert!(on_first > 0 && lost.len() > 5);
    for attempt in &lost {
        d.end(*attempt, AttemptOutcome::ConnectionLost);
    }
    d.finish_all();
    let late = d.dispatches().iter().filter(|(at, r)| r.kind == DispatchKind::Retry && *at > d.now).count();
    assert_eq!(late, 0);
    assert_eq!(d.scheduler.counters().successful_requests, 18);
}

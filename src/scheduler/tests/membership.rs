//! Workers that come, go, fall silent, stand still, drain and return.

use std::time::Duration;

use super::breakers::trip;
use super::driver::{Driver, TEXT};
use crate::config::SchedulerConfig;
use crate::protocol::{AttemptOutcome, BreakerState, Priority, ProblemCode, WorkerId, WorkerState};
use crate::scheduler::*;

fn state(d: &Driver, key: u32) -> WorkerState {
    d.scheduler.worker(d.now, WorkerKey(key)).unwrap().state
}

fn suspicion(d: &Driver, key: u32) -> Option<Suspicion> {
    d.scheduler.worker(d.now, WorkerKey(key)).unwrap().suspicion
}

#[test]
fn silence_is_suspect_before_three_seconds_and_lost_at_five() {
    let mut d = Driver::with_workers(2);
    let t = d.text();
    let worker = d.running_of(t)[0].worker;
    d.beating.remove(&worker.0);
    d.pass(2.7);
    assert_eq!(suspicion(&d, worker.0), None);
    d.pass(0.1);
    assert_eq!(suspicion(&d, worker.0), Some(Suspicion::Silent));
    assert!(d.has(&Action::Suspect { worker, reason: Some(Suspicion::Silent) }));
    let next = d.text();
    assert_ne!(d.running_of(next)[0].worker, worker, "nothing new goes there");
    assert_eq!(d.running_of(t)[0].worker, worker, "what it has may still come");
    d.pass(2.2);
    assert_eq!(state(&d, worker.0), WorkerState::Lost);
    assert_ne!(d.running_of(t)[0].worker, worker, "its work goes elsewhere");
    d.beat(worker.0);
    assert_eq!((state(&d, worker.0), suspicion(&d, worker.0)), (WorkerState::Ready, None));
}

#[test]
fn a_supervisor_can_not_speak_for_its_child() {
    let mut d = Driver::with_workers(2);
    d.beating.remove(&0);
    for age in 1..=5 {
        d.pass(1.0);
        let mut report = d.report(0);
        report.age = Duration::from_secs(age);
        d.send(Event::WorkerReported { worker: WorkerKey(0), report: Box::new(report) });
    }
    assert_eq!(state(&d, 0), WorkerState::Lost);
}

#[test]
fn work_that_does_not_move_is_suspect() {
    let mut d = Driver::with_workers(2);
    let t = d.text();
    let key = d.running_of(t)[0].worker.0;
    d.beating.remove(&key);
    // It beats on, with the same progress.
    for _ in 0..4 {
        d.pass(0.75);
        d.beat(key);
    }
    assert_eq!(suspicion(&d, key), Some(Suspicion::Stalled));
    let next = d.text();
    assert_ne!(d.running_of(next)[0].worker.0, key);
    d.end_of(t, AttemptOutcome::Success);
    assert_eq!(suspicion(&d, key), None, "an answer is progress");
}

#[test]
fn idle_workers_need_not_move() {
    let mut d = Driver::with_workers(1);
    d.beating.remove(&0);
    for _ in 0..10 {
        d.pass(0.9);
        d.beat(0);
    }
    assert_eq!(suspicion(&d, 0), None);
}

#[test]
fn the_last_one_works_on_even_if_it_is_stalled() {
    let mut d = Driver::with_workers(1);
    d.text();
    d.beating.remove(&0);
    for _ in 0..4 {
        d.pass(0.75);
        d.beat(0);
    }
    assert_eq!(suspicion(&d, 0), Some(Suspicion::Stalled));
    let t = d.text();
    assert!(d.answers(t).is_empty(), "there is nobody else: no 503");
    assert_eq!(d.running_of(t).len(), 1);
}

#[test]
fn a_crash_moves_everything_at_once() {
    let mut d = Driver::with_workers(2);
    let tickets: Vec<_> = (0..4).map(|_| d.text()).collect();
    d.send(Event::WorkerStateChanged { worker: WorkerKey(0), state: WorkerState::Crashed });
    assert_eq!((d.on(0), d.on(1)), (0, 2));
    assert!(d.has(&Action::WorkerState { worker: WorkerKey(0), from: WorkerState::Ready, to: WorkerState::Crashed }));
    d.finish_all();
    assert!(tickets.iter().all(|t| d.succeeded(*t)));
}

#[test]
fn a_drained_worker_finishes_and_hands_back() {
    let mut d = Driver::with_workers(2);
    let tickets: Vec<_> = (0..4).map(|_| d.text()).collect();
    d.send(Event::WorkerHeld { worker: WorkerKey(0), hold: Hold::Drain });
    assert_eq!(state(&d, 0), WorkerState::Draining);
    assert_eq!(d.on(0), 2, "it may finish");
    let [first, second] = [0, 1].map(|i| d.running.iter().filter(|r| r.worker.0 == 0).nth(i).unwrap().attempt);
    d.end(first, AttemptOutcome::Success);
    d.end(second, AttemptOutcome::Cancelled);
    d.beat(0); // a late heartbeat still says ready
    d.text();
    assert_eq!((state(&d, 0), d.on(0)), (WorkerState::Draining, 0));
    d.finish_all();
    assert!(tickets.iter().all(|t| d.succeeded(*t)));
    assert_eq!(d.scheduler.counters().retries, 0, "no retry is charged");
    d.send(Event::WorkerHeld { worker: WorkerKey(0), hold: Hold::Free });
    assert_eq!(state(&d, 0), WorkerState::Ready);
}

#[test]
fn a_kill_holds_against_late_heartbeats() {
    let mut d = Driver::with_workers(2);
    d.send(Event::WorkerHeld { worker: WorkerKey(0), hold: Hold::Kill });
    d.beat(0);
    assert_eq!(state(&d, 0), WorkerState::Killing);
    d.send(Event::WorkerStateChanged { worker: WorkerKey(0), state: WorkerState::Killed });
    assert_eq!(state(&d, 0), WorkerState::Killed);
    d.send(Event::WorkerHeld { worker: WorkerKey(0), hold: Hold::Free });
    d.send(Event::WorkerStateChanged { worker: WorkerKey(0), state: WorkerState::Ready });
    assert_eq!(state(&d, 0), WorkerState::Ready);
}

#[test]
fn one_that_left_is_gone_and_its_key_is_free() {
    let mut d = Driver::with_workers(2);
    assert_eq!(d.scheduler.free_worker_key(), Some(WorkerKey(2)));
    let tickets: Vec<_> = (0..2).map(|_| d.text()).collect();
    d.beating.remove(&0);
    d.send(Event::WorkerLeft { worker: WorkerKey(0) });
    assert_eq!(d.scheduler.free_worker_key(), Some(WorkerKey(0)));
    assert!(d.scheduler.worker(d.now, WorkerKey(0)).is_none());
    d.finish_all();
    assert!(tickets.iter().all(|t| d.succeeded(*t)));
    let begun_there = |t: &&TicketId| d.answer(**t).attempts[0].worker.as_str() == "worker-0";
    assert_eq!(tickets.iter().filter(begun_there).count(), 1, "what it held is on its record");
}

#[test]
fn one_that_comes_back_is_eased_in() {
    let mut d = Driver::with_workers(2);
    // 100 ms away: eight batches' worth of credits.
    d.network = 0.1;
    for _ in 0..100 {
        let t = d.text();
        d.pass(0.12);
        d.end_of(t, AttemptOutcome::Success);
    }
    let full = d.scheduler.worker(d.now, WorkerKey(0)).unwrap().credits;
    assert!(full >= 6, "{full}");
    for state in [WorkerState::Crashed, WorkerState::Ready] {
        d.send(Event::WorkerStateChanged { worker: WorkerKey(0), state });
    }
    assert_eq!(d.scheduler.worker(d.now, WorkerKey(0)).unwrap().credits, 1);
    d.pass(2.5);
    let half = d.scheduler.worker(d.now, WorkerKey(0)).unwrap().credits;
    assert!((2..full).contains(&half), "{half}");
    d.pass(2.6);
    assert!(d.scheduler.worker(d.now, WorkerKey(0)).unwrap().credits >= full);
}

#[test]
fn a_new_process_starts_with_a_clean_slate_and_the_old_one_does_not() {
    for (states, clean) in [
        (vec![WorkerState::Crashed, WorkerState::Starting, WorkerState::Ready], true),
        (vec![WorkerState::Lost, WorkerState::Ready], false),
        (vec![WorkerState::Draining, WorkerState::Ready], false),
    ] {
        let mut d = Driver::with_workers(3);
        // Its breaker opens, and its record is a poor one.
        trip(&mut d);
        d.beating.remove(&0);
        for state in &states {
            d.send(Event::WorkerStateChanged { worker: WorkerKey(0), state: *state });
        }
        let worker = d.scheduler.worker(d.now, WorkerKey(0)).unwrap();
        assert_eq!(worker.success_rate >= 1.0, clean, "{states:?}");
        // Even a new one is tried with one request before it gets more.
        let breaker = if clean { BreakerState::HalfOpen } else { BreakerState::Open };
        assert_eq!(worker.breaker, breaker, "{states:?}");
        if clean {
            d.beating.insert(0, 0);
            let [probe, other] = [d.text(), d.text()];
            assert_eq!([probe, other].map(|t| d.running_of(t)[0].worker.0 == 0), [true, false]);
            d.end_of(probe, AttemptOutcome::Success);
            d.end_of(other, AttemptOutcome::Success);
            // Eased in: within its five seconds it gets its share of light traffic again.
            d.pass(6.0);
            d.log.clear();
            for _ in 0..30 {
                let t = d.text();
                d.pass(0.02);
                d.end_of(t, AttemptOutcome::Success);
            }
            let its = d.dispatches().iter().filter(|(_, d)| d.worker.0 == 0).count();
            assert!(its >= 5, "{its} of 30");
        }
    }
}

#[test]
fn a_static_worker_lives_by_its_checks() {
    let mut d = Driver::new(SchedulerConfig::default());
    let spec = WorkerSpec {
        id: WorkerId::try_new("static").unwrap(),
        abilities: [Ability::Full; 4],
        capacity: 8,
        state: WorkerState::Ready,
        liveness: Liveness::ActiveCheck,
    };
    let worker = WorkerKey(0);
    d.send(Event::WorkerJoined { worker, spec: Box::new(spec) });
    let refused = d.text();
    assert_eq!(d.code(refused), ProblemCode::NoWorker);
    d.send(Event::WorkerChecked { worker, check: Check::Passed });
    d.pass(60.0);
    let t = d.text();
    assert_eq!(d.running_of(t).len(), 1);
    d.end_of(t, AttemptOutcome::Success);
    d.send(Event::WorkerChecked { worker, check: Check::Failed });
    assert_eq!(suspicion(&d, 0), None, "it answered a request since");
    d.send(Event::WorkerChecked { worker, check: Check::Failed });
    assert_eq!(suspicion(&d, 0), Some(Suspicion::CheckFailed));
}

#[test]
fn a_scheduler_that_was_stopped_itself_blames_nobody() {
    let mut d = Driver::with_workers(2);
    let t = d.text();
    let run = d.running_of(t)[0];
    d.pass(0.5);
    // Twelve seconds in which nothing ran here: heartbeats and answers lie in the sockets.
    d.now = d.now.plus_secs(12.0);
    d.end(run.attempt, AttemptOutcome::Success);
    assert!(d.succeeded(t));
    assert_eq!((state(&d, 0), suspicion(&d, 0)), (WorkerState::Ready, None));
    // But a deadline is the client's.
    let short = d.submit(TEXT, Priority::Normal, 2.0);
    d.now = d.now.plus_secs(12.0);
    d.send(Event::Tick);
    assert_eq!(d.code(short), ProblemCode::DeadlineExceeded);
}

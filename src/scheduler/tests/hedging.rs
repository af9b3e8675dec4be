//! Second attempts beside slow ones.

use super::driver::{Driver, IMAGE, TEXT};
use crate::protocol::{AttemptOutcome, Priority};
use crate::scheduler::*;

fn slow_one(d: &mut Driver) -> TicketId {
    d.teach(150, 0.05);
    let t = d.text();
    d.pass(0.045);
    assert_eq!(d.running_of(t).len(), 1);
    t
}

#[test]
fn a_slow_attempt_gets_a_second_and_the_first_success_wins() {
    let mut d = Driver::with_workers(3);
    let t = slow_one(&mut d);
    d.pass(0.02);
    let both = d.running_of(t);
    assert_eq!(both.len(), 2);
    assert_eq!(both[1].kind, DispatchKind::Hedge);
    assert_ne!(both[0].worker, both[1].worker);
    d.end(both[1].attempt, AttemptOutcome::Success);
    assert_eq!(d.answer(t).verdict, Verdict::Success { attempt: both[1].attempt, worker: both[1].worker });
    assert!(d.has(&Action::CancelAttempt { attempt: both[0].attempt, worker: both[0].worker }));
    assert!(d.running_of(t).is_empty());
    assert_eq!(d.scheduler.counters().hedges, 1);
    let outcomes: Vec<_> = d.answer(t).attempts.iter().map(|a| a.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Success, AttemptOutcome::Cancelled]);
    let loser = d.scheduler.worker(d.now, both[0].worker).unwrap();
    assert_eq!(loser.failed, 0, "slow once is no failure");
}

#[test]
fn one_of_two_may_fail() {
    let mut d = Driver::with_workers(3);
    let t = slow_one(&mut d);
    d.pass(0.02);
    let both = d.running_of(t);
    d.end(both[0].attempt, AttemptOutcome::Failed);
    assert!(d.answers(t).is_empty());
    assert_eq!(d.running_of(t).len(), 1, "no third while the second runs");
    d.end(both[1].attempt, AttemptOutcome::Success);
    assert!(d.succeeded(t));
}

#[test]
fn a_hedge_that_fails_is_replaced_elsewhere() {
    let mut d = Driver::with_workers(3);
    let t = slow_one(&mut d);
    d.pass(0.02);
    let both = d.running_of(t);
    d.end(both[1].attempt, AttemptOutcome::Failed);
    d.pass(0.001);
    let now = d.running_of(t);
    assert_eq!(now.len(), 2, "the first is late, and alone again");
    assert!(now[1].worker != both[0].worker && now[1].worker != both[1].worker);
    d.end(now[1].attempt, AttemptOutcome::Failed);
    d.pass(0.1);
    assert_eq!(d.running_of(t).len(), 1, "no worker is left that has not failed it");
    d.end(both[0].attempt, AttemptOutcome::Success);
    assert!(d.succeeded(t));
}

#[test]
fn there_is_only_one_hedge() {
    let mut d = Driver::with_workers(3);
    let t = slow_one(&mut d);
    d.pass(0.8);
    assert_eq!(d.running_of(t).len(), 2);
}

#[test]
fn nothing_is_hedged_before_the_usual_time_is_known() {
    let mut d = Driver::with_workers(3);
    d.teach(15, 0.05);
    let t = d.text();
    d.pass(0.9);
    assert_eq!(d.running_of(t).len(), 1);
}

#[test]
fn an_attempt_is_hedged_once_it_turns_out_to_be_late() {
    let mut d = Driver::with_workers(3);
    let t = d.text();
    d.teach(30, 0.01);
    d.pass(1.0);
    assert_eq!(d.running_of(t).len(), 2, "it was sent before anything was known");
}

#[test]
fn a_retry_is_hedged_too() {
    let mut d = Driver::with_workers(3);
    d.teach(150, 0.05);
    let t = d.text();
    d.pass(0.01);
    d.end_of(t, AttemptOutcome::Failed);
    d.pass(0.4);
    assert_eq!(d.running_of(t).len(), 2);
    assert_eq!(d.running_of(t)[1].kind, DispatchKind::Hedge);
}

#[test]
fn a_rare_task_is_hedged_by_what_others_take() {
    let mut d = Driver::with_workers(3);
    d.teach(60, 0.05);
    let t = d.submit(IMAGE, Priority::Normal, 30.0);
    d.pass(0.08);
    assert_eq!(d.running_of(t).len(), 1, "its own 20 ms and the others' 65 ms");
    d.pass(0.03);
    assert_eq!(d.running_of(t).len(), 2);
}

#[test]
fn tasks_that_are_all_rare_are_hedged_by_what_they_take_together() {
    let mut d = Driver::with_workers(3);
    for task in [TEXT, IMAGE].repeat(12) {
        let t = d.submit(task, Priority::Normal, 30.0);
        d.pass(0.05);
        d.end_of(t, AttemptOutcome::Success);
    }
    let t = d.text();
    d.pass(0.08);
    assert_eq!(d.running_of(t).len(), 1, "its own 20 ms and the usual 65 ms");
    d.pass(0.03);
    assert_eq!(d.running_of(t).len(), 2);
}

#[test]
fn nothing_is_hedged_on_the_same_worker() {
    let mut d = Driver::with_workers(1);
    let t = slow_one(&mut d);
    d.pass(0.5);
    assert_eq!(d.running_of(t).len(), 1);
}

#[test]
fn hedges_stay_a_small_share_even_if_everything_is_slow() {
    let mut d = Driver::with_workers(4);
    d.teach(150, 0.05);
    for _ in 0..150 {
        let t = d.text();
        d.pass(0.2);
        let first = d.running_of(t)[0].attempt;
        d.end(first, AttemptOutcome::Success);
    }
    let c = d.scheduler.counters();
    assert!(c.hedges > 0, "{c:?}");
    assert!(c.hedges as f64 <= 0.081 * c.attempts as f64, "{c:?}");
}

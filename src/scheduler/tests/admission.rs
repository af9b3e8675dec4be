//! What is refused at the door, and when to come again.

use std::time::Duration;

use super::driver::{Driver, IMAGE, TEXT};
use crate::config::SchedulerConfig;
use crate::protocol::{AttemptOutcome, Priority, ProblemCode};
use crate::scheduler::*;

fn refusal(d: &Driver, t: TicketId) -> (ProblemCode, f64) {
    match d.answer(t).verdict {
        Verdict::Failure { code, retry_after } => (code, retry_after.map_or(0.0, |r| r.as_secs_f64())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_to_do_it() {
    let mut d = Driver::new(SchedulerConfig::default());
    let t = d.text();
    let (code, after) = refusal(&d, t);
    assert_eq!(code, ProblemCode::NoWorker);
    assert!((2.0..=2.5).contains(&after), "{after}");
    assert_eq!(d.scheduler.counters().rejected_requests, 1);
}

#[test]
fn a_deadline_that_the_queue_would_break() {
    let mut d = Driver::with_workers(2);
    // Two workers, 20 ms each: a hundred requests a second. A hundred wait: about a second.
    for _ in 0..104 {
        d.text();
    }
    assert_eq!(d.scheduler.queued(), 100);
    let fits = d.submit(TEXT, Priority::Normal, 1.2);
    assert!(d.answers(fits).is_empty());
    let late = d.submit(TEXT, Priority::Normal, 0.5);
    let (code, after) = refusal(&d, late);
    assert_eq!(code, ProblemCode::DeadlineUnmeetable);
    assert!((0.4..=0.8).contains(&after), "{after}");
    // Nothing is before a request of high priority.
    let high = d.submit(TEXT, Priority::High, 0.5);
    assert!(d.answers(high).is_empty());
    // Another task's queue is empty, and its workers are these: it shares them by order.
    let image = d.submit(IMAGE, Priority::High, 0.5);
    assert!(d.answers(image).is_empty());
}

#[test]
fn a_full_queue() {
    let config = SchedulerConfig { queue_capacity: 10, ..SchedulerConfig::default() };
    let mut d = Driver::new(config);
    d.join(0, [Ability::Full; 4]);
    for _ in 0..12 {
        d.text();
    }
    assert_eq!(d.scheduler.queued(), 10);
    let t = d.text();
    let (code, after) = refusal(&d, t);
    assert_eq!(code, ProblemCode::QueueFull);
    assert!(after >= 0.1, "{after}");
    let oldest = d.running[0].attempt;
    d.end(oldest, AttemptOutcome::Success);
    let t = d.text();
    assert!(d.answers(t).is_empty());
}

#[test]
fn bytes_count_until_the_answer() {
    let config = SchedulerConfig { queue_bytes: 1000, ..SchedulerConfig::default() };
    let mut d = Driver::new(config);
    d.join(0, [Ability::Full; 4]);
    let tickets: Vec<_> = (0..10).map(|_| d.text()).collect();
    let t = d.text();
    assert_eq!(refusal(&d, t).0, ProblemCode::QueueFull);
    d.send(Event::Cancelled { ticket: tickets[9] });
    let t = d.text();
    assert!(d.answers(t).is_empty());
}

#[test]
fn a_wrong_figure_is_found_out_by_trying() {
    let mut d = Driver::with_workers(1);
    d.set_cost(0, 50.0);
    let t = d.submit(TEXT, Priority::Normal, 1.0);
    assert_eq!(d.running_of(t).len(), 1, "the worker is idle: it may try");
    let second = d.submit(TEXT, Priority::Normal, 1.0);
    assert_eq!(refusal(&d, second).0, ProblemCode::DeadlineUnmeetable);
}

#[test]
fn a_passed_deadline() {
    let mut d = Driver::with_workers(1);
    let t = d.submit(TEXT, Priority::Normal, 0.0);
    assert_eq!(refusal(&d, t), (ProblemCode::DeadlineExceeded, 0.0));
}

#[test]
fn the_measured_drain_counts_more_than_what_workers_claim() {
    let mut d = Driver::with_workers(1);
    // It claims 20 ms and takes 100.
    for _ in 0..40 {
        d.text();
    }
    for _ in 0..20 {
        d.pass(0.1);
        let oldest = d.running[0].attempt;
        d.end(oldest, AttemptOutcome::Success);
    }
    assert_eq!(d.scheduler.queued(), 18);
    let t = d.submit(TEXT, Priority::Normal, 1.0);
    let (code, after) = refusal(&d, t);
    assert_eq!(code, ProblemCode::DeadlineUnmeetable);
    assert!((0.5..3.0).contains(&after), "{after}");
    let wait = Duration::from_secs(4);
    let t = d.submit(TEXT, Priority::Normal, wait.as_secs_f64());
    assert!(d.answers(t).is_empty());
}

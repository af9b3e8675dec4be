//! Who goes first, and where to.

use std::collections::BTreeMap;

use super::driver::{Driver, IMAGE, TEXT};
use crate::config::SchedulerConfig;
use crate::protocol::{AttemptOutcome, Priority, TaskType};
use crate::scheduler::*;

/// Fills every credit, so that what comes next has to wait.
fn full(n: u32) -> Driver {
    let mut d = Driver::with_workers(n);
    while d.scheduler.queued() == 0 {
        d.text();
    }
    let blocker = d.dispatches().len() as u64;
    d.send(Event::Cancelled { ticket: TicketId(blocker) });
    assert_eq!(d.scheduler.queued(), 0);
    d.log.clear();
    d
}

fn order_of_starts(d: &Driver) -> Vec<TicketId> {
    d.dispatches().into_iter().map(|(_, d)| d.attempt.ticket).collect()
}

#[test]
fn a_worker_holds_two_batches_and_the_rest_waits_here() {
    let mut d = Driver::with_workers(3);
    for _ in 0..20 {
        d.text();
    }
    assert_eq!((d.on(0), d.on(1), d.on(2)), (2, 2, 2));
    assert_eq!(d.scheduler.queued(), 14);
    d.finish_all();
    assert_eq!(d.scheduler.counters().successful_requests, 20);
    assert_eq!(d.scheduler.counters().queue_high_watermark, 14);
}

#[test]
fn high_goes_before_normal_before_low() {
    let mut d = full(1);
    let low = d.submit(TEXT, Priority::Low, 30.0);
    let normal = d.submit(TEXT, Priority::Normal, 30.0);
    let high = d.submit(TEXT, Priority::High, 30.0);
    d.finish_all();
    assert_eq!(order_of_starts(&d), [high, normal, low]);
}

#[test]
fn low_is_overtaken_for_eight_seconds_and_no_longer() {
    let mut d = full(1);
    let low = d.submit(TEXT, Priority::Low, 30.0);
    d.pass(5.9);
    let before = d.submit(TEXT, Priority::Normal, 30.0);
    d.pass(0.2);
    let after = d.submit(TEXT, Priority::Normal, 30.0);
    d.pass(1.7);
    let high = d.submit(TEXT, Priority::High, 30.0);
    d.pass(0.3);
    let late_high = d.submit(TEXT, Priority::High, 30.0);
    d.finish_all();
    let starts: Vec<_> = order_of_starts(&d).into_iter().filter(|t| t.0 >= low.0).collect();
    assert_eq!(starts, [high, before, low, after, late_high], "{starts:?}");
}

#[test]
fn a_near_deadline_goes_first() {
    let mut d = full(1);
    let far = d.submit(TEXT, Priority::Normal, 30.0);
    let near = d.submit(TEXT, Priority::Normal, 1.0);
    d.finish_all();
    assert_eq!(order_of_starts(&d), [near, far]);
}

#[test]
fn tasks_share_workers_in_the_same_order() {
    let mut d = full(1);
    let first = d.submit(IMAGE, Priority::Normal, 30.0);
    d.pass(0.01);
    let second = d.submit(TEXT, Priority::Normal, 30.0);
    d.pass(0.01);
    let third = d.submit(IMAGE, Priority::Normal, 30.0);
    d.finish_all();
    assert_eq!(order_of_starts(&d), [first, second, third]);
}

/// A worker may hold much of a task with large batches and little of a quick one; that must not put the quick one last.
#[test]
fn a_quick_task_is_not_kept_out_by_others() {
    let mut d = Driver::with_workers(1);
    d.batching(0);
    (0..80).for_each(|_| _ = d.submit(IMAGE, Priority::Normal, 30.0));
    let held = d.on(0);
    d.set_cost_of(0, TEXT, 0.001);
    // It comes before those who wait, by its priority, and so gets the next place that is free.
    let quick = d.submit(TEXT, Priority::High, 30.0);
    assert!(d.running_of(quick).is_empty());
    d.pass(0.02);
    let first = d.running[0].attempt;
    d.end(first, AttemptOutcome::Success);
    assert_eq!((d.running_of(quick).len(), d.on(0)), (1, held));
}

#[test]
fn only_the_able_get_work() {
    let mut d = Driver::new(SchedulerConfig::default());
    let mut only_text = PerTask::default();
    only_text[TEXT.index()] = Ability::Full;
    d.join(0, only_text);
    d.beating.clear();
    let t = d.submit(TaskType::ClipTextToImage, Priority::Normal, 1.0);
    // The driver's heartbeat says that it can do everything; without one, what it registered stands.
    let mut fresh = Driver::new(SchedulerConfig::default());
    fresh.send(Event::WorkerJoined {
        worker: WorkerKey(0),
        spec: Box::new(WorkerSpec {
            id: crate::protocol::WorkerId::try_new("w").unwrap(),
            abilities: only_text,
            capacity: 4,
            state: crate::protocol::WorkerState::Ready,
            liveness: Liveness::Heartbeat,
        }),
    });
    let refused = fresh.submit(IMAGE, Priority::Normal, 1.0);
    assert_eq!(fresh.code(refused), crate::protocol::ProblemCode::NoWorker);
    let taken = fresh.text();
    assert_eq!(fresh.running_of(taken).len(), 1);
    assert_eq!(d.running_of(t).len(), 1);
}

#[test]
fn the_slow_worker_gets_little() {
    let mut d = Driver::with_workers(3);
    d.set_cost(2, 0.2);
    let mut sent = BTreeMap::<u32, u32>::new();
    for _ in 0..200 {
        let t = d.text();
        *sent.entry(d.running_of(t)[0].worker.0).or_default() += 1;
        d.pass(0.005);
        if d.running.len() > 3 {
            let oldest = d.running[0].attempt;
            d.end(oldest, AttemptOutcome::Success);
        }
    }
    assert!(sent.get(&2).copied().unwrap_or(0) <= 6, "{sent:?}");
}

#[test]
fn a_few_wait_for_the_better_worker_and_of_a_crowd_some_take_the_other() {
    let mut d = Driver::with_workers(2);
    d.set_cost(1, 0.1);
    // Two for the quick one; the next three are sooner done there as well, in 60 ms and their turn, than in 100 ms on
    // the other.
    let first = d.text();
    (0..4).for_each(|_| _ = d.text());
    assert_eq!((d.on(0), d.on(1)), (2, 0));
    // Of four that wait, one would have its turn too late.
    d.text();
    assert_eq!((d.on(0), d.on(1)), (2, 1));
    // The others still wait for the quick one.
    d.pass(0.02);
    d.end_of(first, AttemptOutcome::Success);
    assert_eq!((d.on(0), d.on(1)), (2, 1));
}

/// One request after the other goes to each of four workers about as often.
fn shares_evenly(d: &mut Driver) {
    let mut sent = [0_u32; 4];
    for _ in 0..400 {
        let t = d.text();
        sent[d.running_of(t)[0].worker.0 as usize] += 1;
        d.end_of(t, AttemptOutcome::Success);
    }
    assert!(sent.iter().all(|n| (60..=140).contains(n)), "{sent:?}");
}

#[test]
fn equals_share_the_work_evenly() {
    let mut d = Driver::with_workers(4);
    shares_evenly(&mut d);
}

#[test]
fn a_batch_is_filled_before_another_is_begun() {
    let mut d = Driver::with_workers(3);
    (0..3).for_each(|key| d.batching(key));
    (0..96).for_each(|_| _ = d.text());
    let loads = |d: &Driver| {
        let mut loads = [0, 1, 2].map(|key| d.on(key));
        loads.sort_unstable();
        loads
    };
    assert!(loads(&d)[0] >= 28, "all have a batch: {:?}", loads(&d));
    (0..24).for_each(|_| _ = d.text());
    let [least, other, most] = loads(&d);
    assert!(least >= 28 && other <= 34 && most > 50, "one has the next: {:?}", loads(&d));
    (0..24).for_each(|_| _ = d.text());
    let [least, other, most] = loads(&d);
    assert!(least <= 34 && other > 40 && most == 64, "then another: {:?}", loads(&d));
}

#[test]
fn so_do_those_that_differ_by_a_few_per_cent() {
    let mut d = Driver::with_workers(4);
    for (key, cost) in [(0, 0.02), (1, 0.0205), (2, 0.021), (3, 0.0202)] {
        d.set_cost(key, cost);
    }
    shares_evenly(&mut d);
}

#[test]
fn one_bad_moment_of_the_network_does_not_keep_a_worker_from_work() {
    let mut d = Driver::with_workers(2);
    let send = |d: &mut Driver, seconds: f64| {
        let t = d.text();
        let worker = d.running_of(t)[0].worker;
        d.pass(0.02 + seconds);
        d.end_of(t, AttemptOutcome::Success);
        worker
    };
    d.network = 0.3;
    let unlucky = send(&mut d, 0.3);
    d.network = 0.0;
    let mut went = [0_u32; 2];
    for _ in 0..600 {
        d.pass(1.0);
        let worker = send(&mut d, 0.0);
        went[usize::from(worker == unlucky)] += 1;
    }
    assert!(went[1] >= 100, "{went:?}");
}

#[test]
fn nor_does_it_count_once_a_better_one_was_seen() {
    let mut d = Driver::with_workers(2);
    let sent = |d: &mut Driver| {
        let t = d.text();
        (t, d.running_of(t)[0].worker)
    };
    d.network = 0.3;
    let (slow, unlucky) = sent(&mut d);
    d.pass(0.32);
    d.end_of(slow, AttemptOutcome::Success);
    d.network = 0.0;
    // Until the other one has all that it may hold, and longer than it is worth to wait for it.
    (0..3).for_each(|_| _ = d.text());
    d.pass(0.4);
    assert_eq!(d.on(unlucky.0), 1);
    d.finish_all();
    let mut went = [0_u32; 2];
    for _ in 0..100 {
        let (t, worker) = sent(&mut d);
        went[usize::from(worker == unlucky)] += 1;
        d.pass(0.02);
        d.end_of(t, AttemptOutcome::Success);
    }
    assert!(went.iter().all(|n| *n >= 30), "{went:?}");
}

#[test]
fn the_full_model_is_worth_a_wait_but_not_the_deadline() {
    let mut d = Driver::with_workers(2);
    let fallback = |d: &mut Driver| {
        let mut report = d.report(1);
        report.abilities = [Ability::Fallback; 4];
        d.send(Event::WorkerReported { worker: WorkerKey(1), report: Box::new(report) });
    };
    d.beating.remove(&1);
    fallback(&mut d);
    for _ in 0..4 {
        d.text();
    }
    assert_eq!((d.on(0), d.on(1)), (2, 0), "two wait although the fallback is free");
    // A request that can't wait for the full model takes the fallback.
    let hurried = d.submit(TEXT, Priority::High, 0.025);
    assert_eq!(d.running_of(hurried)[0].worker, WorkerKey(1));
    d.pass(1.9);
    fallback(&mut d);
    assert_eq!(d.on(1), 0);
    d.pass(0.2);
    assert_eq!(d.on(1), 2, "after two seconds they take what is free");
}

#[test]
fn among_fallbacks_the_worker_that_is_meant_for_the_task_goes_first() {
    let mut d = Driver::with_workers(3);
    d.beating.clear();
    for key in 0..3 {
        let mut report = d.report(key);
        report.abilities = [if key == 1 { Ability::Interim } else { Ability::Fallback }; 4];
        d.send(Event::WorkerReported { worker: WorkerKey(key), report: Box::new(report) });
    }
    for _ in 0..20 {
        let t = d.text();
        assert_eq!(d.running_of(t)[0].worker, WorkerKey(1));
        d.end_of(t, AttemptOutcome::Success);
    }
    // While it is busy, the next goes where nobody waits.
    d.text();
    let t = d.text();
    assert_ne!(d.running_of(t)[0].worker, WorkerKey(1));
}

//! The scheduler beside the usual policies, on the same seeds.

use std::fmt::Write as _;

use aiq::config::SchedulerConfig;
use aiq::scheduler::{Scheduler, WorkerKey};

use super::policies::{Kind, Policy, Rival};
use super::scenario::{Fault, Incident, Scenario};
use super::world::World;

/// What a policy reached.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    name: &'static str,
    /// Share of all requests that were answered with a result.
    success: f64,
    /// Results a second.
    goodput: f64,
    p50: f64,
    p95: f64,
    p99: f64,
    p999: f64,
    /// Of what was not refused at once, the share that was answered in time.
    kept: f64,
    /// For each request that was not refused.
    attempts: f64,
    /// Share of the attempts that went to the worker with the incident.
    odd_share: f64,
    /// Jain's index over the attempts of the other workers: 1 is even.
    fairness: f64,
}

fn figures<P: Policy>(name: &'static str, scenario: &Scenario, policy: P) -> Figures {
    let mut world = World::new(scenario, policy, SchedulerConfig::default());
    world.run().unwrap();
    let c = &mut world.checker;
    c.finish(None).unwrap();
    c.latencies.sort_unstable_by(f64::total_cmp);
    // What was taken and then failed took for ever: a policy does not look fast by losing the slow ones.
    let taken = c.submitted - c.refused - c.cancelled;
    let at = |q: f64| c.latencies.get((taken as f64 * q) as usize).copied().unwrap_or(f64::INFINITY);
    let odd = scenario.incidents.first().map(|i| WorkerKey(i.worker as u32));
    let others: Vec<f64> = (0..scenario.workers as u32)
        .map(WorkerKey)
        .filter(|k| Some(*k) != odd)
        .map(|k| c.sent.get(&k).copied().unwrap_or(0) as f64)
        .collect();
    let (sum, squares) = others.iter().fold((0.0, 0.0), |(s, q), n| (s + n, q + n * n));
    Figures {
        name,
        success: c.succeeded as f64 / c.submitted as f64,
        goodput: c.succeeded as f64 / scenario.seconds,
        p50: at(0.5),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        kept: c.succeeded as f64 / taken.max(1) as f64,
        attempts: c.attempts as f64 / (c.submitted - c.refused).max(1) as f64,
        odd_share: odd.map_or(0.0, |k| c.sent.get(&k).copied().unwrap_or(0) as f64 / c.attempts.max(1) as f64),
        fairness: sum * sum / (others.len() as f64 * squares).max(1e-9),
    }
}

/// Every policy on one scenario; the scheduler's figures are the first.
#[expect(clippy::print_stdout, reason = "the comparison is for people")]
pub(super) fn compare(scenario: &Scenario) -> Vec<Figures> {
    let all = vec![
        figures("aiq", scenario, Scheduler::new(SchedulerConfig::default(), scenario.seed)),
        figures("round robin", scenario, Rival::new(Kind::RoundRobin, scenario.seed)),
        figures("least connections", scenario, Rival::new(Kind::LeastConnections, scenario.seed)),
        figures("P2C peak EWMA", scenario, Rival::new(Kind::PeakEwma, scenario.seed)),
    ];
    println!("{}", table(scenario, &all));
    all
}

fn table(scenario: &Scenario, all: &[Figures]) -> String {
    let mut text = format!(
        "{}: {} workers, {:.0} requests/s for {:.0} s, seed {}\n{:<18} {:>8} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6}\n",
        scenario.name,
        scenario.workers,
        scenario.rate,
        scenario.seconds,
        scenario.seed,
        "policy",
        "success",
        "goodput/s",
        "kept",
        "p50",
        "p95",
        "p99",
        "p99.9",
        "attempts",
        "odd",
        "fair"
    );
    for f in all {
        let _ = writeln!(
            text,
            "{:<18} {:>7.3}% {:>9.1} {:>7.2}% {:>7.3}s {:>7.3}s {:>7.3}s {:>7.3}s {:>8.3} {:>5.1}% {:>6.3}",
            f.name,
            100.0 * f.success,
            f.goodput,
            100.0 * f.kept,
            f.p50,
            f.p95,
            f.p99,
            f.p999,
            f.attempts,
            100.0 * f.odd_share,
            f.fairness
        );
    }
    text
}

fn with(mut scenario: Scenario, fault: Fault, from: f64, to: f64) -> Scenario {
    scenario.incidents.push(Incident { worker: 0, fault, from, to });
    scenario
}

mod rivals {
    use super::*;

    fn least(all: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
        all[1..].iter().map(of).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn one_of_three_is_ten_times_slower() {
        let s = Scenario::plain("one 10x slow", 11, 3, 70.0, 60.0);
        let healthy = compare(&s);
        let slow = compare(&with(s, Fault::Slow(10.0), 0.0, 1e3));
        // Its share, and what that does to the others' 95th percentile against two workers of their own.
        assert!(slow[0].odd_share <= 0.03, "{:?}", slow[0]);
        assert!(slow[0].p95 <= least(&slow, |f| f.p95), "{slow:?}");
        assert!(slow[0].success >= 0.9999 && healthy[0].success >= 0.9999);
    }

    #[test]
    fn base_faults() {
        let s = Scenario::plain("2 % crashes, 3 % time-outs, 0.1-0.8 s", 12, 3, 60.0, 60.0).with_base_faults();
        let all = compare(&s);
        assert!(all[0].success >= 0.9999, "{:?}", all[0]);
        assert!(all[0].p99 <= 1.8, "{:?}", all[0]);
        assert!(all[0].attempts <= 1.13, "{:?}", all[0]);
        assert!(all[0].p99 <= least(&all, |f| f.p99), "{all:?}");
    }

    /// Far from busy, so that nothing but the choice of worker could make anybody wait.
    #[test]
    fn nobody_waits_for_one_worker_while_the_others_are_free() {
        for seed in 30..50 {
            let mut s = Scenario::plain("the same faults, models of 2 ms", seed, 3, 250.0, 60.0).with_base_faults();
            s.per_item = 0.002;
            let f = figures("aiq", &s, Scheduler::new(SchedulerConfig::default(), seed));
            assert!(f.p95 <= 0.9 && f.success >= 0.9995, "seed {seed}: {f:?}");
        }
    }

    /// Nearly all that the workers can do: none of them may be idle because of the network.
    #[test]
    fn base_faults_on_a_busy_fleet() {
        let s = Scenario::plain("the same faults, nine tenths busy", 22, 3, 132.0, 60.0).with_base_faults();
        let all = compare(&s);
        assert!(all[0].success >= 0.9995, "{:?}", all[0]);
        assert!(all[0].p95 <= 1.2 * least(&all, |f| f.p95), "{all:?}");
        assert!(all[0].p99 <= least(&all, |f| f.p99), "{all:?}");
    }

    /// Sentences beside pictures: none of them may always come last.
    #[test]
    fn tasks_of_many_sizes() {
        for (seed, fixed, per_item) in [(20, 0.0, 0.002), (21, 0.004, 0.001)] {
            let mut s = Scenario::plain("2 to 60 ms, four fifths busy", seed, 3, 117.0, 60.0);
            (s.fixed, s.per_item, s.tasks, s.sizes) = (fixed, per_item, 4, [1.0, 30.0, 5.0, 5.0]);
            let all = compare(&s);
            assert!(all[0].success >= 0.9999, "{:?}", all[0]);
            assert!(all[0].p50 <= 1.1 * least(&all, |f| f.p50), "{all:?}");
            assert!(all[0].p99 <= 1.1 * least(&all, |f| f.p99), "{all:?}");
        }
    }

    #[test]
    fn a_worker_dies_under_load() {
        let s = Scenario::plain("kill -9 of one", 13, 4, 100.0, 20.0);
        let all = compare(&with(s, Fault::Crash, 8.0, 13.0));
        assert!(all[0].success >= 0.9999, "{:?}", all[0]);
    }

    #[test]
    fn a_worker_fails_fast() {
        let s = Scenario::plain("one fails fast", 14, 3, 60.0, 40.0);
        let all = compare(&with(s, Fault::FailFast, 0.0, 1e3));
        assert!(all[0].attempts <= 1.08, "{:?}", all[0]);
        assert!(all[0].success >= 0.9999, "{:?}", all[0]);
    }

    #[test]
    fn a_worker_freezes() {
        let s = Scenario::plain("SIGSTOP of one", 15, 3, 60.0, 40.0);
        let all = compare(&with(s, Fault::Freeze, 10.0, 25.0));
        assert!(all[0].success >= 0.9999, "{:?}", all[0]);
        assert!(all[0].p999 <= least(&all, |f| f.p999), "{all:?}");
    }

    #[test]
    fn overload() {
        for (seed, factor) in [(16, 2.0), (17, 5.0)] {
            let mut s = Scenario::plain("overload", seed, 3, 150.0 * factor, 60.0);
            s.timeout = (1.0, 3.0);
            s.name = format!("{factor}x overload");
            let all = compare(&s);
            assert!(all[0].goodput >= 0.9 * 150.0, "{:?}", all[0]);
            assert!(all[0].kept >= 0.95, "{:?}", all[0]);
            assert!(all[0].goodput >= all[1..].iter().map(|f| f.goodput).fold(0.0, f64::max), "{all:?}");
        }
    }

    /// Of what is taken, as good as all is answered in time, however little time that is and whoever is more urgent.
    #[test]
    fn overload_by_clients_with_little_time() {
        for (seed, fixed, per_item, tasks, rate, timeout, seconds) in [
            (24, 0.005, 0.0, 1, 19_200.0, (0.2, 0.2), 4.0),
            (25, 0.005, 0.0, 1, 19_200.0, (0.5, 0.5), 4.0),
            (26, 0.005, 0.0, 1, 19_200.0, (0.1, 0.5), 4.0),
            (27, 0.0, 0.02, 4, 300.0, (0.3, 1.0), 20.0),
            (28, 0.0, 0.02, 4, 750.0, (1.0, 1.0), 40.0),
        ] {
            let mut s = Scenario::plain("overload, little time", seed, 3, rate, seconds);
            (s.fixed, s.per_item, s.max_batch, s.tasks, s.timeout) = (fixed, per_item, 16, tasks, timeout);
            let peak = if fixed > 0.0 { 3.0 * 16.0 / fixed } else { 3.0 / per_item };
            let f = figures("aiq", &s, Scheduler::new(SchedulerConfig::default(), seed));
            assert!(f.kept >= 0.95, "seed {seed}: {f:?}");
            assert!(f.goodput >= 0.9 * peak, "seed {seed}: {f:?}");
        }
    }

    /// As processors that are shared with others do; no worker is at fault.
    #[test]
    fn overload_of_workers_that_are_stopped_for_moments() {
        let peak = 3.0 * 16.0 / 0.005;
        let mut s = Scenario::plain("2x overload, 50 ms a second stopped", 23, 3, 2.0 * peak, 8.0);
        (s.fixed, s.per_item, s.max_batch, s.timeout) = (0.005, 0.0, 16, (0.1, 0.1));
        for n in 0..20 {
            let (worker, from) = (n % 3, 1.0 + 0.33 * n as f64);
            s.incidents.push(Incident { worker, fault: Fault::Freeze, from, to: from + 0.05 });
        }
        let all = compare(&s);
        assert!(all[0].goodput >= 0.9 * peak, "{:?}", all[0]);
        assert!(all[0].goodput >= all[1..].iter().map(|f| f.goodput).fold(0.0, f64::max), "{all:?}");
    }

    #[test]
    fn fifty_workers() {
        let s = Scenario::plain("50 workers, one 10x slow", 18, 50, 2000.0, 10.0);
        let all = compare(&with(s, Fault::Slow(10.0), 0.0, 1e3));
        assert!(all[0].p99 <= 1.1 * least(&all, |f| f.p99), "{all:?}");
        assert!(all[0].p999 <= least(&all, |f| f.p999), "{all:?}");
        assert!(all[0].fairness >= 0.95, "{:?}", all[0]);
    }

    #[test]
    fn a_thousand_workers() {
        let s = Scenario::plain("1 000 workers, one 10x slow", 19, 1000, 45_000.0, 2.0);
        let all = compare(&with(s, Fault::Slow(10.0), 0.0, 1e3));
        assert!(all[0].success >= 0.9999, "{:?}", all[0]);
        assert!(all[0].p99 <= 1.1 * least(&all, |f| f.p99), "{all:?}");
    }
}

//! A simulator over the pure scheduler: virtual time, seeded arrivals, workers that crash, freeze, hang,
//! slow down, drop off the network and come back, a coordinator that is stopped and a clock that
//! steps; and a checker that keeps its own books of all that.
//!
//! `cargo test --test aiq sim::` runs a thousand seeds. A seed that fails prints the command that replays
//! it alone. `cargo test --test aiq sim::rivals -- --nocapture` prints the comparison with the usual
//! policies of load balancers on the same seeds.

mod checker;
mod compare;
mod policies;
mod scenario;
mod worker;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use aiq::config::SchedulerConfig;
use aiq::scheduler::Scheduler;

use self::scenario::Scenario;
use self::world::World;

const SEEDS: u64 = 1000;

/// Runs one seed; what went wrong, if something did.
fn run(seed: u64) -> Result<(), String> {
    let scenario = Scenario::random(seed);
    let config = SchedulerConfig { queue_capacity: scenario.queue_capacity, ..SchedulerConfig::default() };
    let run = || {
        let scheduler = Scheduler::new(config.clone(), seed);
        let mut world = World::new(&scenario, scheduler, config.clone());
        world.run()?;
        let counters = world.policy.counters();
        world.checker.finish(Some(counters))
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panicked: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
    })
}

#[test]
fn a_thousand_seeds_keep_every_promise() {
    if let Ok(seed) = std::env::var("AIQ_SIM_SEED") {
        let seed = seed.parse().expect("AIQ_SIM_SEED is a number");
        println!("{:#?}", Scenario::random(seed));
        return run(seed).unwrap();
    }
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut failed = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= SEEDS {
                    return failed;
                }
                if let Err(problem) = run(seed) {
                    failed.push(format!(
                        "seed {seed}: {problem}\n  AIQ_SIM_SEED={seed} cargo test --test aiq sim::a_thousand -- --nocapture"
                    ));
                }
            }
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|h| h.join().unwrap()).collect()
    });
    assert!(
        failed.is_empty(),
        "{} of {SEEDS} seeds failed\n{}",
        failed.len(),
        failed[..failed.len().min(5)].join("\n")
    );
}

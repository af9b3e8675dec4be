//! Faults that a worker injects into its own work: which request gets which, from a seed.
//!
//! The n-th request after the settings were made gets the n-th draw, whatever else happens, so that a
//! run repeats. What is drawn is carried out by `core` (crash, time-out, delay) and by the batcher
//! (slowness, hang).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::protocol::{CrashScope, FaultSettings};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draw {
    /// How long the network takes beyond what it takes.
    pub(super) delay: Duration,
    /// What becomes of it then.
    pub(super) fate: Fate,
}

impl Draw {
    /// Nothing happens to it.
    pub(super) fn is_none(self) -> bool {
        self.delay.is_zero() && self.fate == Fate::Served
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is served.
    Served,
    /// It crashes, and takes this with it.
    Crash(CrashScope),
    /// It is never answered.
    NoAnswer,
}

/// The settings in force, and where in their sequence of draws we are.
#[derive(Debug)]
pub(super) struct Faults {
    current: Mutex<Current>,
    changed: Condvar,
    drawn: AtomicU64,
}

#[derive(Debug)]
struct Current {
    settings: FaultSettings,
    seed: u64,
}

impl Faults {
    /// Faults of the `life`-th serving process of a worker: each life has draws of its own, or a
    /// process whose third request ends it would never live to see a fourth.
    pub(super) fn new(settings: FaultSettings, life: u32) -> Self {
        let seed = Self::seed(&settings).wrapping_add(u64::from(life) << 32);
        Self { current: Mutex::new(Current { settings, seed }), changed: Condvar::new(), drawn: AtomicU64::new(0) }
    }

    fn seed(settings: &FaultSettings) -> u64 {
        settings.seed.unwrap_or_else(rand::random)
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings in force.
    pub(super) fn settings(&self) -> FaultSettings {
        self.lock().settings.clone()
    }

    /// Puts other settings in force, and begins their sequence.
    pub(super) fn set(&self, settings: FaultSettings) {
        let mut current = self.lock();
        *current = Current { seed: Self::seed(&settings), settings };
        self.drawn.store(0, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// The next request's share of it.
    pub(super) fn draw(&self) -> Draw {
        let current = self.lock();
        let settings = &current.settings;
        if !settings.any() {
            return Draw { delay: Duration::ZERO, fate: Fate::Served };
        }
        let n = self.drawn.fetch_add(1, Ordering::Relaxed);
        let mut rng = StdRng::seed_from_u64(current.seed ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (min, max) = (settings.network_delay_min, settings.network_delay_max);
        let delay = Duration::from_secs_f64(min + (max - min) * rng.random::<f64>());
        let die: f64 = rng.random();
        let fate = if die < settings.crash_probability {
            Fate::Crash(settings.crash_scope)
        } else if die < settings.crash_probability + settings.timeout_probability {
            Fate::NoAnswer
        } else {
            Fate::Served
        };
        Draw { delay, fate }
    }

    /// Stays here for as long as the model is to hang. For the inference thread.
    pub(super) fn hang(&self) {
        let mut current = self.lock();
        while current.settings.hang {
            current = self.changed.wait(current).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What a slowed model adds to a batch that took this long.
    pub(super) fn slowness(&self, took: Duration) -> Duration {
        took.mul_f64(self.lock().settings.slow_factor - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeded(seed: u64) -> FaultSettings {
        FaultSettings { seed: Some(seed), ..FaultSettings::base() }
    }

    fn draws(faults: &Faults, n: usize) -> Vec<Draw> {
        (0..n).map(|_| faults.draw()).collect()
    }

    #[test]
    fn a_seed_repeats_a_run() {
        let first = draws(&Faults::new(seeded(7), 0), 200);
        assert_eq!(first, draws(&Faults::new(seeded(7), 0), 200));
        assert_ne!(first, draws(&Faults::new(seeded(8), 0), 200));
        assert_ne!(first, draws(&Faults::new(seeded(7), 1), 200));
        let faults = Faults::new(FaultSettings::default(), 0);
        faults.set(seeded(7));
        assert_eq!(first, draws(&faults, 200));
    }

    #[test]
    fn the_shares_are_those_of_the_settings() {
        let drawn = draws(&Faults::new(seeded(1), 0), 20_000);
        let share = |fate: Fate| drawn.iter().filter(|d| d.fate == fate).count() as f64 / drawn.len() as f64;
        assert!((0.015..0.025).contains(&share(Fate::Crash(CrashScope::Request))));
        assert!((0.025..0.035).contains(&share(Fate::NoAnswer)));
        let seconds: Vec<f64> = drawn.iter().map(|d| d.delay.as_secs_f64()).collect();
        assert!(seconds.iter().all(|s| (0.1..=0.8).contains(s)));
        let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
        assert!((0.44..0.46).contains(&mean), "{mean}");
    }

    #[test]
    fn without_faults_everything_is_served_at_once() {
        let faults = Faults::new(FaultSettings::default(), 0);
        assert!(draws(&faults, 1000).iter().all(|d| d.fate == Fate::Served && d.delay.is_zero()));
        faults.hang();
        assert_eq!(faults.slowness(Duration::from_secs(1)), Duration::ZERO);
    }

    #[test]
    fn a_hang_ends_when_it_is_switched_off() {
        let faults = Faults::new(FaultSettings { hang: true, ..FaultSettings::default() }, 0);
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                faults.hang();
                ended.send(()).unwrap();
            });
            assert!(end.try_recv().is_err());
            faults.set(FaultSettings::default());
            end.recv().unwrap();
        });
    }
}

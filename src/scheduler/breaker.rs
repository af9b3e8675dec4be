//! A worker's circuit breaker: rest for one that fails, then one real request to try it out.
//!
//! It opens after a run of failures, or under a share of successes in a window. Whether it *may* open
//! (a small fleet keeps its last workers) is for whoever sees the whole fleet to say.

use std::time::Duration;

use super::Time;
use super::stats::Ring;
use crate::config::SchedulerConfig;
use crate::protocol::BreakerState;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    state: BreakerState,
    /// Failures in a row.
    failures: u32,
    ok: Ring<10>,
    failed: Ring<10>,
    /// Times that it opened without staying closed between.
    openings: u32,
    opened_at: Time,
    until: Time,
    closed_at: Time,
}

impl Breaker {
    pub(super) fn new(config: &SchedulerConfig) -> Self {
        let width = config.breaker_window / 10;
        Self {
            state: BreakerState::Closed,
            failures: 0,
            ok: Ring::new(width),
            failed: Ring::new(width),
            openings: 0,
            opened_at: Time::ZERO,
            until: Time::ZERO,
            closed_at: Time::ZERO,
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    /// When an open one lets its probe through.
    pub(super) fn reopens_at(&self) -> Option<Time> {
        (self.state == BreakerState::Open).then_some(self.until)
    }

    /// Work that began at `started` succeeded: only this closes it, and only if it began after it
    /// opened. True if it closes now.
    pub(super) fn succeed(&mut self, now: Time, started: Time) -> bool {
        self.failures = 0;
        self.ok.add(now, 1);
        if self.state == BreakerState::Closed || started <= self.opened_at {
            return false;
        }
        self.state = BreakerState::Closed;
        self.ok.clear();
        self.failed.clear();
        self.closed_at = now;
        true
    }

    /// Work failed. True if it should open now.
    pub(super) fn fail(&mut self, now: Time, config: &SchedulerConfig) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failed.add(now, 1);
        match self.state {
            BreakerState::Open => false,
            BreakerState::HalfOpen => true,
            BreakerState::Closed => {
                let failed = self.failed.sum(now, config.breaker_window);
                let all = failed + self.ok.sum(now, config.breaker_window);
                let poor = all >= config.breaker_min_attempts
                    && f64::from(all - failed) < config.breaker_success * f64::from(all);
                self.failures >= config.breaker_failures || poor
            }
        }
    }

    /// Opens it. `chance` from 0 to 1 draws the jitter of ±20 %, so that a fleet's breakers don't
    /// probe in step.
    pub(super) fn open(&mut self, now: Time, chance: f64, config: &SchedulerConfig) {
        // One that stayed closed for a window has earned its first, short rest again.
        if self.state == BreakerState::Closed && now.since(self.closed_at) > config.breaker_window {
            self.openings = 0;
        }
        let doubled = config.breaker_open.saturating_mul(1 << self.openings.min(16));
        let rest = doubled.min(config.breaker_open_max).mul_f64(0.8 + 0.4 * chance);
        self.openings = self.openings.saturating_add(1);
        self.state = BreakerState::Open;
        self.opened_at = now;
        self.until = now + rest;
    }

    /// Lets the probe through, now that its rest is over (or the fleet can't do without it).
    pub(super) fn half_open(&mut self) {
        if self.state == BreakerState::Open {
            self.state = BreakerState::HalfOpen;
        }
    }

    /// Another process is behind it now: what is known is forgotten, and an open one lets its probe
    /// through. True if it was open.
    pub(super) fn begin_anew(&mut self) -> bool {
        self.failures = 0;
        self.openings = 0;
        self.ok.clear();
        self.failed.clear();
        let open = self.state == BreakerState::Open;
        self.half_open();
        open
    }

    /// For how long it still rests.
    pub(super) fn rest(&self, now: Time) -> Option<Duration> {
        self.reopens_at().map(|at| at.since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: f64) -> Time {
        Time::from_secs_f64(s)
    }

    #[test]
    fn a_run_of_failures_opens_it_and_a_success_breaks_the_run() {
        let config = SchedulerConfig::default();
        let mut b = Breaker::new(&config);
        for i in 0..4 {
            assert!(!b.fail(at(f64::from(i) * 0.1), &config));
        }
        b.succeed(at(0.5), at(0.4));
        for i in 0..4 {
            assert!(!b.fail(at(0.6 + f64::from(i) * 0.1), &config), "{i}");
        }
        assert!(b.fail(at(1.0), &config));
    }

    #[test]
    fn a_poor_share_opens_it_only_with_enough_to_judge_by() {
        let config = SchedulerConfig::default();
        let mut b = Breaker::new(&config);
        let mut opened_at = None;
        for i in 0..40 {
            // Every second one fails: never five in a row, 50 % success.
            let t = at(f64::from(i) * 0.1);
            if i % 2 == 0 {
                b.succeed(t, t);
            } else if b.fail(t, &config) {
                opened_at = opened_at.or(Some(i));
            }
        }
        assert_eq!(opened_at, Some(19));
    }

    #[test]
    fn rests_double_up_to_their_limit_and_start_short_after_a_good_time() {
        let config = SchedulerConfig::default();
        let mut b = Breaker::new(&config);
        let mut now = at(0.0);
        let mut rests = Vec::new();
        for _ in 0..7 {
            b.open(now, 0.5, &config);
            rests.push(b.rest(now).unwrap().as_secs());
            now = b.reopens_at().unwrap();
            b.half_open();
            assert_eq!(b.state(), BreakerState::HalfOpen);
            assert!(b.fail(now, &config), "a failed probe opens it again");
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 30, 30]);
        assert!(!b.succeed(now, at(0.0)), "what began before it opened says nothing");
        assert!(b.succeed(now, now + Duration::from_millis(1)));
        b.open(now + Duration::from_secs(11), 0.5, &config);
        assert_eq!(b.rest(now + Duration::from_secs(11)).unwrap().as_secs(), 1);
    }
}

//! When a failed request may be tried again: back-off, and a budget that keeps a failing fleet from
//! being buried under repeats (Finagle's and Envoy's retry budgets are the models).

use std::time::Duration;

use crate::config::SchedulerConfig;

/// Repeats (retries and hedges) that are on their way.
#[derive(Debug, Default)]
pub(super) struct Budget {
    taken: usize,
}

impl Budget {
    /// Whether one more repeat may go, beside this many attempts in flight.
    pub(super) fn has_room(&self, in_flight: usize, config: &SchedulerConfig) -> bool {
        let share = (config.retry_budget * in_flight as f64) as usize;
        self.taken < share.max(config.retry_budget_min)
    }

    pub(super) fn take(&mut self) {
        self.taken += 1;
    }

    pub(super) fn give_back(&mut self) {
        self.taken = self.taken.saturating_sub(1);
    }
}

/// The wait before the retry that comes after `retries` others: drawn evenly from 0 to
/// `min(max, base · 2ⁿ)` ("full jitter"), with `chance` from 0 to 1.
pub(super) fn back_off(retries: u32, chance: f64, config: &SchedulerConfig) -> Duration {
    let doubled = config.backoff_base.saturating_mul(1_u32 << retries.min(20));
    doubled.min(config.backoff_max).mul_f64(chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_what_is_in_flight_and_three_at_least() {
        let config = SchedulerConfig::default();
        let mut budget = Budget::default();
        for _ in 0..3 {
            assert!(budget.has_room(1, &config));
            budget.take();
        }
        assert!(!budget.has_room(1, &config));
        assert!(!budget.has_room(15, &config));
        assert!(budget.has_room(20, &config));
        budget.give_back();
        assert!(budget.has_room(1, &config));
    }

    #[test]
    fn waits_double_up_to_their_limit() {
        let config = SchedulerConfig::default();
        let most: Vec<_> = (0..8).map(|n| back_off(n, 1.0, &config).as_millis()).collect();
        assert_eq!(most, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(back_off(3, 0.0, &config), Duration::ZERO);
        assert_eq!(back_off(u32::MAX, 1.0, &config).as_millis(), 2000);
    }
}

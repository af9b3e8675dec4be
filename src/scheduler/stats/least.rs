//! The least of the values of the last while.

use std::time::Duration;

use crate::scheduler::Time;

/// The least of the values that came in the last one to two windows: kept in two slices, of which the older one goes
/// when the newer one is a window long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Least {
    window: Duration,
    newer: f64,
    older: f64,
    /// When the newer slice began.
    since: Time,
}

impl Least {
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, newer: f64::INFINITY, older: f64::INFINITY, since: Time::ZERO }
    }

    pub(crate) fn record(&mut self, now: Time, value: f64) {
        let age = now.since(self.since);
        if age >= self.window {
            self.older = if age < 2 * self.window { self.newer } else { f64::INFINITY };
            self.newer = f64::INFINITY;
            self.since = now;
        }
        self.newer = self.newer.min(value);
    }

    /// None before the first value. What was last recorded stays, however old it is.
    pub(crate) fn get(&self) -> Option<f64> {
        let least = self.newer.min(self.older);
        least.is_finite().then_some(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_forgotten_after_one_to_two_windows() {
        let mut least = Least::new(Duration::from_secs(5));
        let at = Time::from_secs_f64;
        assert_eq!(least.get(), None);
        for (time, value, expected) in [
            (0.0, 3.0, 3.0),
            (1.0, 2.0, 2.0),
            (4.0, 7.0, 2.0),
            (5.5, 6.0, 2.0),  // the second slice: the first still counts
            (11.0, 8.0, 6.0), // the third: the first is gone
            (40.0, 9.0, 9.0), // nothing for long: only this one counts
        ] {
            least.record(at(time), value);
            assert_eq!(least.get(), Some(expected), "at {time}");
        }
    }
}

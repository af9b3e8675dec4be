//! `--find-max`: the highest rate that holds the objectives.
//!
//! Rates grow by half until one is broken, then the gap between the highest that held and the lowest
//! that did not is halved (on a logarithmic scale) until it is narrow. One trial proves nothing: a rate
//! that broke is tried again, and breaks when two of its three trials did, so that a hiccup of the machine
//! does not halve the answer; the answer is tried until it held twice, so that one that held by luck is
//! not reported. Which rates come next is a pure function of the trials so far.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::settings::Range;
use super::trial::Trial;

/// A search and what it found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Search {
    /// Lowest rate of the range.
    pub low: f64,
    /// Highest rate of the range.
    pub high: f64,
    /// The highest rate that held, twice; null where not even the lowest did.
    pub best: Option<f64>,
    /// Every trial, in order.
    pub trials: Vec<Trial>,
}

impl Search {
    /// Trials at most; the range 1..1 000 000 takes fewer.
    const MAX_TRIALS: usize = 48;
    const GROWTH: f64 = 1.5;
    /// Width of the gap at the end: 4 %, so the answer is within 4 % of the knee.
    const NARROW: f64 = 1.04;

    pub(super) fn new(range: Range) -> Self {
        Self { low: range.low, high: range.high, best: None, trials: Vec::new() }
    }

    /// The rate to try next; `None` when the search is over, and `best` then says what it found.
    pub(super) fn next(&mut self) -> Option<f64> {
        self.best = None;
        if self.trials.len() >= Self::MAX_TRIALS {
            return None;
        }
        if let Some(last) = self.trials.last()
            && self.verdict(last.rate).is_none()
        {
            return Some(last.rate);
        }
        let (held, broken): (Vec<f64>, Vec<f64>) =
            self.trials.iter().map(|t| t.rate).partition(|&rate| self.verdict(rate) == Some(true));
        // No rate above one that breaks can hold.
        let broken = broken.into_iter().reduce(f64::min);
        let held = held.into_iter().filter(|&rate| broken.is_none_or(|b| rate < b)).reduce(f64::max);
        let next = match (held, broken) {
            (None, None) => self.low,
            (None, Some(_)) => return None,
            (Some(h), None) if h >= self.high => return self.confirm(h),
            (Some(h), None) => round(h * Self::GROWTH).min(self.high),
            (Some(h), Some(b)) if b / h <= Self::NARROW => return self.confirm(h),
            (Some(h), Some(b)) => round((h * b).sqrt()),
        };
        Some(next)
    }

    /// How many trials of a rate held, and how many did not.
    fn tally(&self, rate: f64) -> (usize, usize) {
        let of_it = || self.trials.iter().filter(|t| same(t.rate, rate));
        let held = of_it().filter(|t| t.held).count();
        (held, of_it().count() - held)
    }

    /// Whether a rate holds, by its trials so far: the first where it held, the best of three where it
    /// did not. `None` is undecided.
    fn verdict(&self, rate: f64) -> Option<bool> {
        match self.tally(rate) {
            (_, 2..) => Some(false),
            (0, 0) | (0 | 1, 1) => None,
            _ => Some(true),
        }
    }

    fn confirm(&mut self, rate: f64) -> Option<f64> {
        if self.tally(rate).0 < 2 {
            return Some(rate);
        }
        self.best = Some(rate);
        None
    }

    /// Why the lowest rate did not hold.
    pub(super) fn why(&self) -> String {
        self.trials.iter().rfind(|t| !t.held).map(|t| t.why.clone()).unwrap_or_default()
    }
}

/// Rates as people say them: three digits.
fn round(rate: f64) -> f64 {
    let scale = 10_f64.powf(rate.log10().floor() - 2.0);
    (rate / scale).round() * scale
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.max(b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn search(low: f64, high: f64, mut holds: impl FnMut(f64) -> bool) -> Search {
        let mut search = Search::new(Range { low, high });
        while let Some(rate) = search.next() {
            let held = holds(rate);
            let trial = Trial { rate, ok_rate: rate, p50: None, p99: None, error_rate: None, held, why: String::new() };
            search.trials.push(trial);
        }
        search
    }

    proptest! {
        #[test]
        fn the_knee_is_found_within_five_per_cent(low in 1.0..1000.0_f64, factor in 1.1..1000.0_f64, knee in 0.0..1.0_f64) {
            let knee = low * factor.powf(knee);
            let s = search(low, low * factor, |rate| rate <= knee);
            if let Some(best) = s.best {
                prop_assert!(best <= knee * 1.000_001 && best >= knee / 1.05, "{best} for {knee}");
            } else {
                prop_assert!(knee <= low * 1.01);
            }
            prop_assert!(s.trials.len() < 40);
        }

        #[test]
        fn luck_always_ends(seed in any::<u64>()) {
            let mut x = seed;
            let s = search(10.0, 1000.0, |_| { x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1); x >> 63 == 0 });
            prop_assert!(s.trials.len() <= Search::MAX_TRIALS);
        }
    }

    #[test]
    fn a_fleet_that_holds_everything_gets_the_top() {
        let s = search(50.0, 2000.0, |_| true);
        assert_eq!(s.best, Some(2000.0));
    }

    #[test]
    fn a_fleet_that_holds_nothing_gets_nothing() {
        let s = search(50.0, 2000.0, |_| false);
        assert_eq!((s.best, s.trials.len()), (None, 2));
    }

    /// A machine that stops for a second breaks one trial, of a rate that holds all the same.
    #[test]
    fn a_hiccup_in_one_trial_costs_one_trial() {
        let undisturbed = search(50.0, 2000.0, |rate| rate <= 700.0);
        for hiccup in 1..=undisturbed.trials.len() {
            let mut trial = 0;
            let s = search(50.0, 2000.0, |rate| {
                trial += 1;
                rate <= 700.0 && trial != hiccup
            });
            assert_eq!(s.best, undisturbed.best, "a hiccup in trial {hiccup}");
            assert!(s.trials.len() <= undisturbed.trials.len() + 2, "{} trials", s.trials.len());
        }
    }

    #[test]
    fn what_held_once_by_luck_is_not_reported() {
        let mut seen = 0;
        let s = search(100.0, 120.0, |rate| {
            seen += 1;
            rate < 105.0 || seen == 2
        });
        assert!(s.best.is_some_and(|b| b < 105.0), "{:?}", s.best);
    }
}

//! Latency distributions: HDR histograms of microseconds, and what is read from them.
//!
//! HdrHistogram (Gil Tene): fixed memory, values within a fixed share of the true one, here 0.1 %
//! between 1 µs and an hour.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A distribution of times.
#[derive(Clone, Debug)]
pub(super) struct Hist(Histogram<u32>);

/// Why a histogram can't be made; it is a bug if this is ever seen.
#[derive(Debug, thiserror::Error)]
#[error("can't make a histogram: {0}")]
pub(crate) struct HistError(#[from] hdrhistogram::CreationError);

/// How finely values are kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Precision {
    /// Three digits: 90 KiB.
    Fine,
    /// Two digits, where there are many: 13 KiB.
    Coarse,
}

impl Hist {
    /// The longest time that is told apart, µs: the longest time-out is ten minutes.
    const MOST: u64 = 3_600_000_000;

    pub(super) fn try_new(precision: Precision) -> Result<Self, HistError> {
        let digits = match precision {
            Precision::Fine => 3,
            Precision::Coarse => 2,
        };
        Ok(Self(Histogram::new_with_bounds(1, Self::MOST, digits)?))
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(Self::MOST));
    }

    /// Seconds, as servers state them; what is negative or not a number counts as nothing.
    pub(super) fn record_seconds(&mut self, seconds: f64) {
        self.0.saturating_record((seconds * 1e6).max(0.0) as u64);
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.reset();
    }

    /// Adds another one of the same precision.
    pub(super) fn add(&mut self, other: &Self) {
        // It fails only where the other holds values out of this one's range, and both have the same.
        let _ = self.0.add(&other.0);
    }

    /// Seconds at a percentile, 0 to 100, whatever the number of samples; `None` when empty.
    pub(super) fn at(&self, percentile: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_percentile(percentile).min(self.0.max()) as f64 / 1e6)
    }

    /// Seconds at a percentile; `None` where too few samples lie above it to say.
    pub(super) fn sure_at(&self, percentile: f64) -> Option<f64> {
        self.at(percentile).filter(|_| enough(self.len(), percentile))
    }

    /// Mean, seconds.
    pub(super) fn mean(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.mean() / 1e6)
    }

    /// Largest, seconds.
    pub(super) fn max(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.max() as f64 / 1e6)
    }

    /// Least, seconds.
    pub(super) fn min(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.min() as f64 / 1e6)
    }

    /// What the report says of it.
    pub(super) fn summary(&self) -> Distribution {
        Distribution {
            count: self.len(),
            min: self.min(),
            mean: self.mean(),
            p50: self.sure_at(50.0),
            p90: self.sure_at(90.0),
            p95: self.sure_at(95.0),
            p99: self.sure_at(99.0),
            p999: self.sure_at(99.9),
            max: self.max(),
        }
    }

    /// Counts in steps that grow by a tenth, empty ones left out: for charts.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for value in self.0.iter_recorded() {
            let seconds = value.value_iterated_to() as f64 / 1e6;
            let exponent = (seconds.log10() * Self::STEPS_A_DECADE).ceil() as i32;
            let upto = 10_f64.powf(f64::from(exponent) / Self::STEPS_A_DECADE);
            let count = u64::from(value.count_at_value());
            match steps.last_mut() {
                Some(last) if (last.upto - upto).abs() < 1e-12 => last.count += count,
                _ => steps.push(Step { upto, count }),
            }
        }
        steps
    }

    /// 24 steps a decade: each about 10 % wide.
    const STEPS_A_DECADE: f64 = 24.0;
}

/// Whether a percentile says anything: at least one sample must be expected above it.
pub(super) fn enough(samples: u64, percentile: f64) -> bool {
    samples as f64 * (100.0 - percentile) >= 100.0 - 1e-6
}

/// A distribution of times, seconds. A percentile is null where there are too few samples: at
/// least one must be expected above it, so p99 needs 100 and p99.9 needs 1000.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Distribution {
    /// Samples.
    pub count: u64,
    /// Least.
    pub min: Option<f64>,
    /// Mean.
    pub mean: Option<f64>,
    /// Median.
    pub p50: Option<f64>,
    /// 90th percentile.
    pub p90: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// 99.9th percentile.
    pub p999: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
}

/// One step of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Its upper edge, seconds.
    pub upto: f64,
    /// Samples in it.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hist(millis: impl IntoIterator<Item = u64>) -> Hist {
        let mut h = Hist::try_new(Precision::Fine).unwrap();
        millis.into_iter().for_each(|ms| h.record(Duration::from_millis(ms)));
        h
    }

    #[test]
    fn percentiles_are_within_a_thousandth() {
        let h = hist(1..=10_000);
        for (p, seconds) in [(50.0, 5.0), (99.0, 9.9), (99.9, 9.99)] {
            let got = h.sure_at(p).unwrap();
            assert!((got - seconds).abs() <= seconds * 0.001 + 1e-6, "p{p} is {got}");
        }
        assert_eq!(h.max(), Some(10.0).map(|m: f64| h.max().unwrap().max(m)));
    }

    #[test]
    fn too_few_samples_say_nothing() {
        let d = hist(1..=99).summary();
        assert!(d.p95.is_some() && d.p99.is_none() && d.p999.is_none());
        assert!(hist(1..=100).summary().p99.is_some());
        assert_eq!(hist([]).summary(), Distribution::default());
        let one = hist([7]).summary();
        assert!(one.p50.is_none() && one.mean.is_some());
    }

    #[test]
    fn steps_hold_every_sample_in_order() {
        let h = hist((1..2000).map(|i| i * 3 % 1777 + 1));
        let steps = h.steps();
        assert_eq!(steps.iter().map(|s| s.count).sum::<u64>(), h.len());
        assert!(steps.windows(2).all(|w| w[0].upto < w[1].upto));
    }

    #[test]
    fn odd_numbers_of_a_server_do_no_harm() {
        let mut h = hist([]);
        for odd in [f64::NAN, -1.0, f64::INFINITY, 0.0] {
            h.record_seconds(odd);
        }
        assert_eq!(h.len(), 4);
    }
}

//! What a batch costs, learned from the batches that ran: seconds ≈ `fixed + per_unit · units`.
//!
//! A unit is whatever the backend counts (tokens, pictures). The line is fitted online by
//! exponentially weighted least squares. Where batches all have one size they say nothing about the slope:
//! a ridge holds it where it was (at first, where a model that gains little from batches has it), so that
//! what was learned is not forgotten under a steady load. A worker that becomes slow is known for it within
//! seconds.

use super::sizes::Sizes;
use crate::protocol::{ServiceTime, TaskType};

/// The line of one task, and the sizes that its batches had.
#[derive(Clone, Debug, Default)]
pub(in crate::worker) struct CostModel {
    /// Decayed sums over batches: weight, units, seconds, units², units · seconds, requests.
    weight: f64,
    units: f64,
    seconds: f64,
    units_squared: f64,
    units_seconds: f64,
    requests: f64,
    /// Moving average of the compute seconds of one request.
    per_request: f64,
    /// Batches that ran.
    ran: u32,
    /// Fixed seconds and seconds for each unit, once anything is known.
    line: Option<(f64, f64)>,
    sizes: Sizes,
}

impl CostModel {
    /// How much of the past a new batch leaves: a memory of some twenty batches.
    const KEEP: f64 = 0.95;
    /// The share of a batch that is taken for fixed, at least, unless the data say otherwise.
    const PRIOR_FIXED: f64 = 0.1;
    /// What held before weighs as much as data that spread by this share of their mean.
    const PRIOR_SPREAD: f64 = 0.1;
    /// A batch grows while its fixed part is at least this share of it: beyond, everyone waits
    /// longer and nothing is computed faster.
    const WORTHWHILE: f64 = 0.05;
    /// The fixed share that is assumed at least for the rule above, so that somewhat larger batches
    /// are always tried and the line stays known.
    const EXPLORED: f64 = 0.06;
    /// One batch in so many may be much larger than what is worthwhile by what is known: what larger ones gain would
    /// never be seen.
    const EXPLORE_EVERY: u32 = 16;
    /// How much larger.
    const EXPLORE_BY: f64 = 4.0;
    /// Units of a batch before anything is known.
    const UNKNOWN_UNITS: f64 = 128.0;

    /// Takes in a batch that ran.
    pub(super) fn observe(&mut self, units: usize, requests: usize, seconds: f64) {
        let u = units.max(1) as f64;
        let n = requests.max(1) as f64;
        for sum in [
            &mut self.weight,
            &mut self.units,
            &mut self.seconds,
            &mut self.units_squared,
            &mut self.units_seconds,
            &mut self.requests,
        ] {
            *sum *= Self::KEEP;
        }
        self.weight += 1.0;
        self.units += u;
        self.seconds += seconds;
        self.units_squared += u * u;
        self.units_seconds += u * seconds;
        self.requests += n;
        self.ran = self.ran.wrapping_add(1);
        let each = seconds / n;
        self.per_request = if self.per_request == 0.0 { each } else { self.per_request.mul_add(0.9, each * 0.1) };
        self.line = Some(self.fit());
        self.sizes.observe(units, seconds);
    }

    /// Seconds that a batch of this many units will take, once anything is known.
    pub(super) fn predict(&self, units: usize) -> Option<f64> {
        self.line.map(|(fixed, per_unit)| per_unit.mul_add(units as f64, fixed))
    }

    /// The fixed seconds of a batch: what waiting for a fuller one can save at most.
    pub(super) fn fixed(&self) -> f64 {
        self.line.map_or(0.0, |(fixed, _)| fixed)
    }

    /// The units beyond which a larger batch gains nothing.
    pub(super) fn worthwhile_units(&self) -> f64 {
        let Some((_, per_unit)) = self.line else { return Self::UNKNOWN_UNITS };
        if per_unit <= 0.0 {
            return f64::INFINITY;
        }
        let by = if self.ran.is_multiple_of(Self::EXPLORE_EVERY) { Self::EXPLORE_BY } else { 1.0 };
        let by_line = self.explored_fixed() * (1.0 - Self::WORTHWHILE) / (Self::WORTHWHILE * per_unit);
        by * by_line.max(self.sizes.worthwhile())
    }

    /// The fixed seconds that are assumed where more is to be found out.
    fn explored_fixed(&self) -> f64 {
        self.fixed().max(Self::EXPLORED * self.seconds / self.weight)
    }

    /// What the worker tells of it, which takes no more than `max_batch` requests at once. With no fixed part at all it
    /// would be sent too few requests at once to find one.
    pub(super) fn service_time(&self, task: TaskType, max_batch: usize) -> Option<ServiceTime> {
        let (_, per_unit) = self.line?;
        let per_item = per_unit * self.units / self.requests;
        let (seconds, fixed) = (self.per_request, self.explored_fixed());
        Some(ServiceTime { task, seconds, fixed, per_item, max_batch: max_batch as u32 })
    }

    /// The line through the mean of what was seen.
    fn fit(&self) -> (f64, f64) {
        let mean_units = self.units / self.weight;
        let mean_seconds = self.seconds / self.weight;
        let variance = (self.units_squared / self.weight - mean_units * mean_units).max(0.0);
        let covariance = self.units_seconds / self.weight - mean_units * mean_seconds;
        let most = mean_seconds / mean_units;
        // A model that is slower now is slower in both parts.
        let held = self.line.map(|(fixed, slope)| slope * mean_seconds / slope.mul_add(mean_units, fixed).max(1e-12));
        // A line without a fixed part would never try a larger batch, and so stay as it is for ever.
        let held = held.unwrap_or(f64::INFINITY).min((1.0 - Self::PRIOR_FIXED) * most);
        let ridge = (Self::PRIOR_SPREAD * mean_units).powi(2);
        let slope = (ridge.mul_add(held, covariance) / (variance + ridge)).clamp(0.0, most);
        (slope.mul_add(-mean_units, mean_seconds).max(0.0), slope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, share: f64) -> bool {
        (a - b).abs() <= share * b.abs()
    }

    #[test]
    fn a_line_is_found() {
        let mut cost = CostModel::default();
        assert_eq!(cost.predict(10), None);
        for units in [16, 64, 16, 128, 32, 16, 64, 96] {
            cost.observe(units, 1, 0.004 + 0.001 * units as f64);
        }
        assert!(close(cost.predict(16).unwrap(), 0.020, 0.05), "{:?}", cost.predict(16));
        assert!(close(cost.predict(256).unwrap(), 0.260, 0.05), "{:?}", cost.predict(256));
        // 4 ms against 1 ms a unit: a batch of about 76 units has a fixed share of 5 %.
        assert!((60.0..100.0).contains(&cost.worthwhile_units()), "{}", cost.worthwhile_units());
    }

    #[test]
    fn batches_of_one_size_keep_the_prior_and_allow_a_second_request() {
        let mut cost = CostModel::default();
        for _ in 0..50 {
            cost.observe(10, 1, 0.010);
        }
        assert!(close(cost.predict(10).unwrap(), 0.010, 0.01));
        assert!(cost.worthwhile_units() >= 20.0, "{}", cost.worthwhile_units());
    }

    #[test]
    fn a_batch_that_costs_the_same_at_any_size_may_grow_without_end() {
        let mut cost = CostModel::default();
        for units in [1, 2, 4, 8, 16, 32, 32, 32] {
            cost.observe(units, units, 0.005);
        }
        assert!(cost.worthwhile_units() > 200.0, "{}", cost.worthwhile_units());
        assert!(close(cost.fixed(), 0.005, 0.1), "{}", cost.fixed());
    }

    #[test]
    fn a_steady_load_does_not_forget_what_a_batch_saves() {
        let mut cost = CostModel::default();
        for units in [1, 4] {
            cost.observe(units, units, 0.020);
        }
        for i in 0..500 {
            let noise = if i % 2 == 0 { 1.02 } else { 0.98 };
            cost.observe(4, 4, 0.020 * noise);
        }
        assert!(close(cost.predict(32).unwrap(), 0.020, 0.25), "{:?}", cost.predict(32));
        // Twice as slow: in both parts.
        for _ in 0..200 {
            cost.observe(4, 4, 0.040);
        }
        assert!(close(cost.predict(32).unwrap(), 0.040, 0.25), "{:?}", cost.predict(32));
        // And another model in its place is learned from batches that differ.
        for units in [1, 2, 4, 8].repeat(20) {
            cost.observe(units, units, 0.010 * units as f64);
        }
        assert!(close(cost.predict(32).unwrap(), 0.320, 0.15), "{:?}", cost.predict(32));
    }

    /// As it is where the cost is not quite a line: small batches cost what their units cost, but larger ones much less.
    #[test]
    fn a_gain_that_small_batches_do_not_show_is_found() {
        let seconds = |units: f64| if units < 48.0 { 0.7e-3 * units } else { 0.55e-3f64.mul_add(units, 7.2e-3) };
        let mut cost = CostModel::default();
        for units in [12, 20, 30, 40] {
            cost.observe(units, 1, seconds(units as f64));
        }
        let mut sizes = Vec::new();
        for _ in 0..400 {
            // As many requests of 17 units as are worthwhile, of thirty that wait.
            let requests = ((cost.worthwhile_units() / 17.0) as usize).clamp(1, 30);
            cost.observe(17 * requests, requests, seconds(17.0 * requests as f64));
            sizes.push(requests);
        }
        let late = &sizes[200..];
        assert!(late.iter().sum::<usize>() / late.len() >= 8, "{late:?}");
    }

    #[test]
    fn slowness_shows_soon() {
        let mut cost = CostModel::default();
        for _ in 0..100 {
            cost.observe(10, 2, 0.010);
        }
        for _ in 0..30 {
            cost.observe(10, 2, 0.100);
        }
        let told = cost.service_time(TaskType::TextClassification, 32).unwrap();
        assert!(told.seconds > 0.045, "{told:?}");
        assert!(cost.predict(10).unwrap() > 0.07);
    }
}

//! What a worker is expected to take, and how well it does.
//!
//! A batch of n requests costs `fixed + per_item · n` compute seconds, as the worker itself fits and
//! reports; its answers correct that between reports. Round-trip time is kept apart: with a network
//! delay in the way, it can't see a model that is ten times slower.

use std::time::Duration;

use super::{Cost, Time, Timing};

/// What one task takes on one worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskCost {
    fixed: f64,
    per_item: f64,
    /// Observed over predicted, smoothed, since the last report.
    stretch: f64,
    /// Most requests that it takes in one batch.
    max_batch: u32,
    /// Batch size at which most of what batching gains is gained.
    batch: f64,
    /// One request's share of a full batch, seconds.
    unit: f64,
    /// When an answer or a report last confirmed it.
    pub(super) measured: Option<Time>,
}

impl TaskCost {
    /// What is assumed of a model before anything is known: a slow one, so that little is sent at first.
    const ASSUMED: f64 = 0.05;
    /// Least service time; keeps divisions sane for models that do nothing.
    const LEAST: f64 = 1e-6;
    /// Longest that is believed.
    const MOST: f64 = 3600.0;
    /// Weight of a new observation.
    const WEIGHT: f64 = 0.2;
    /// Seconds that a batch may take however little it gains.
    const BRIEF: f64 = 0.1;

    pub(super) fn unknown() -> Self {
        Self {
            fixed: 0.0,
            per_item: Self::ASSUMED,
            stretch: 1.0,
            max_batch: 1,
            batch: 1.0,
            unit: Self::ASSUMED,
            measured: None,
        }
    }

    /// The worker says what it takes. A worker repeats the same figures until it works again, so
    /// only changed ones count as measured now.
    pub(super) fn report(&mut self, now: Time, cost: Cost) {
        let believable = |s: f64| s.is_finite() && (0.0..=Self::MOST).contains(&s);
        if !believable(cost.fixed) || !believable(cost.per_item) {
            return;
        }
        let per_item = cost.per_item.max(if cost.fixed > 0.0 { 0.0 } else { Self::LEAST });
        #[expect(clippy::float_cmp, reason = "unchanged figures are repeated bit by bit")]
        let same = self.measured.is_some() && self.fixed == cost.fixed && self.per_item == per_item;
        if same && self.max_batch == cost.max_batch {
            return;
        }
        (self.fixed, self.per_item, self.stretch, self.max_batch) = (cost.fixed, per_item, 1.0, cost.max_batch);
        // A batch of 9·fixed/per_item has nine tenths of the throughput of an endless one. One that is over soon anyhow
        // may be as large as the worker likes, if it gains anything: only so can it find out how much.
        let most = f64::from(cost.max_batch.max(1));
        let (gaining, brief) = (9.0 * cost.fixed, if cost.fixed > 0.0 { Self::BRIEF } else { 0.0 });
        self.batch = if per_item * most > gaining.max(brief) {
            (gaining / per_item).ceil().max((brief / per_item).floor()).max(1.0)
        } else {
            most
        };
        self.measured = Some(now);
        self.unit = self.full() / self.batch;
    }

    /// An answer says what its batch took.
    pub(super) fn observe(&mut self, now: Time, timing: Timing) {
        if !timing.computed.is_finite() || !(0.0..=Self::MOST).contains(&timing.computed) {
            return;
        }
        let n = f64::from(timing.batch_size.max(1));
        if self.measured.is_none() {
            self.per_item = (timing.computed / n).max(Self::LEAST);
        } else {
            let predicted = (self.fixed + self.per_item * n).max(Self::LEAST);
            let ratio = (timing.computed / predicted).clamp(0.01, 100.0);
            self.stretch += Self::WEIGHT * (ratio - self.stretch);
        }
        self.measured = Some(now);
        self.unit = self.full() / self.batch;
    }

    /// A batch of one, seconds.
    pub(super) fn single(&self) -> f64 {
        ((self.fixed + self.per_item) * self.stretch).max(Self::LEAST)
    }

    /// A full batch, seconds.
    pub(super) fn full(&self) -> f64 {
        ((self.fixed + self.per_item * self.batch) * self.stretch).max(Self::LEAST)
    }

    /// One request's share of a full batch, seconds.
    pub(super) fn unit(&self) -> f64 {
        self.unit
    }

    /// Requests in a full batch.
    pub(super) fn batch(&self) -> f64 {
        self.batch
    }

    /// Whether at least half of what a full batch takes is the same however full it is.
    pub(super) fn is_mostly_fixed(&self) -> bool {
        self.fixed >= self.per_item * self.batch
    }

    /// Work that a worker may hold, in seconds: enough full batches that it never waits for the
    /// network, two at least.
    pub(super) fn credit(&self, rtt: f64, slack: f64) -> f64 {
        let full = self.full();
        // Never less than 0, so cutting off rounds down; one is added where that lost something.
        let wanted = slack * (rtt + full) / full;
        let whole = f64::from(wanted as u32);
        let batches = (if whole < wanted { whole + 1.0 } else { whole }).max(2.0);
        batches * full
    }

    /// The fitted line, as it is now.
    pub(super) fn line(&self) -> Cost {
        let Self { fixed, per_item, stretch, max_batch, .. } = *self;
        Cost { fixed: fixed * stretch, per_item: per_item * stretch, max_batch }
    }
}

/// A share of successes in which old attempts fade.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Success {
    ok: f64,
    all: f64,
    at: Time,
}

impl Success {
    /// Successes that every worker is credited with, so that one failure of a new worker is not its
    /// whole record; and as attempts fade and these don't, a bad record fades too.
    const PRIOR: f64 = 5.0;

    pub(super) fn record(&mut self, now: Time, ok: bool, half_life: Duration) {
        let keep = self.kept(now, half_life);
        self.ok = self.ok * keep + f64::from(u8::from(ok));
        self.all = self.all * keep + 1.0;
        self.at = now;
    }

    /// Share of recent attempts that succeeded, 0 to 1.
    pub(super) fn share(&self, now: Time, half_life: Duration) -> f64 {
        if self.ok >= self.all {
            return 1.0; // nothing failed that could fade
        }
        let keep = self.kept(now, half_life);
        (self.ok * keep + Self::PRIOR) / (self.all * keep + Self::PRIOR)
    }

    fn kept(&self, now: Time, half_life: Duration) -> f64 {
        (-now.secs_since(self.at) / half_life.as_secs_f64().max(1e-3)).exp2()
    }
}

/// Seconds that a worker's failures are expected to cost: `(1 − S) / max(S, 0.05)` time-outs.
pub(super) fn failure_penalty(success: f64, attempt_timeout: f64) -> f64 {
    (1.0 - success) / success.max(0.05) * attempt_timeout
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(fixed: f64, per_item: f64) -> TaskCost {
        let mut c = TaskCost::unknown();
        c.report(Time::ZERO, Cost { fixed, per_item, max_batch: 32 });
        c
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} {b}");
    }

    #[test]
    fn batches_grow_with_what_they_gain() {
        close(cost(0.0, 0.02).unit(), 0.02);
        close(cost(0.005, 0.0).unit(), 0.005 / 32.0);
        // fixed = 2 per_item: a batch of 18.
        close(cost(0.04, 0.02).full(), 0.04 + 0.36);
        // Little is gained, but a tenth of a second may be tried.
        close(cost(0.001, 0.02).full(), 0.001 + 0.1);
        close(cost(0.001, 0.2).full(), 0.001 + 0.2);
    }

    #[test]
    fn credits_cover_the_round_trip() {
        // No network: two batches, one computing and one waiting.
        close(cost(0.0, 0.02).credit(0.0, 1.5), 0.04);
        // 0.45 s away: ceil(1.5 · 0.47 / 0.02) = 36.
        close(cost(0.0, 0.02).credit(0.45, 1.5), 0.72);
    }

    #[test]
    fn answers_correct_a_stale_report() {
        let mut c = cost(0.0, 0.02);
        for i in 0..40 {
            c.observe(Time::from_secs_f64(f64::from(i)), Timing { queued: 0.0, computed: 0.2, batch_size: 1 });
        }
        assert!((0.19..=0.2).contains(&c.unit()), "{}", c.unit());
    }

    #[test]
    fn nonsense_is_not_believed() {
        let mut c = cost(0.0, 0.02);
        for bad in [f64::NAN, f64::INFINITY, -1.0, 1e9] {
            c.report(Time::ZERO, Cost { fixed: bad, per_item: 0.1, max_batch: 0 });
            c.observe(Time::ZERO, Timing { queued: 0.0, computed: bad, batch_size: 0 });
        }
        close(c.unit(), 0.02);
        close(cost(0.0, 0.0).unit(), 1e-6);
    }

    #[test]
    fn success_fades_to_good() {
        let half = Duration::from_secs(30);
        let mut s = Success::default();
        close(s.share(Time::ZERO, half), 1.0);
        for _ in 0..5 {
            s.record(Time::ZERO, false, half);
        }
        close(s.share(Time::ZERO, half), 0.5);
        close(s.share(Time::from_secs_f64(30.0), half), 5.0 / 7.5);
    }
}

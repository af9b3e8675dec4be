//! Sliding windows: a ring of counts, and a latency histogram over the last minute.

use std::time::Duration;

use crate::protocol::LatencySummary;
use crate::scheduler::Time;

/// Counts over the last `N` slices of time. Slices that went by are cleared when they are next met,
/// so nothing has to tick.
#[derive(Clone, Debug)]
pub(crate) struct Ring<const N: usize> {
    width: u64,
    counts: [u32; N],
    /// The slice that was last written.
    last: u64,
}

impl<const N: usize> Ring<N> {
    pub(crate) fn new(width: Duration) -> Self {
        Self { width: (width.as_nanos() as u64).max(1), counts: [0; N], last: 0 }
    }

    pub(crate) fn add(&mut self, now: Time, n: u32) {
        let slice = now.nanos() / self.width;
        if slice > self.last {
            let passed = (slice - self.last).min(N as u64);
            for i in 0..passed {
                self.counts[((slice - i) % N as u64) as usize] = 0;
            }
            self.last = slice;
        }
        let at = &mut self.counts[(self.last % N as u64) as usize];
        *at = at.saturating_add(n);
    }

    /// The sum over the window that ends now: the current slice and as many whole ones before as fit.
    pub(crate) fn sum(&self, now: Time, window: Duration) -> u32 {
        let slice = (now.nanos() / self.width).max(self.last);
        let slices = (window.as_nanos() as u64 / self.width).clamp(1, N as u64);
        let first = (slice + 1).saturating_sub(slices);
        let oldest_kept = (self.last + 1).saturating_sub(N as u64);
        let first = first.max(oldest_kept);
        if first > self.last {
            return 0;
        }
        // The ring from its first to its last slice: one run, or two around the end.
        let (from, to) = ((first % N as u64) as usize, (self.last % N as u64) as usize);
        if from <= to {
            self.counts[from..=to].iter().sum()
        } else {
            self.counts[from..].iter().chain(&self.counts[..=to]).sum()
        }
    }

    pub(crate) fn clear(&mut self) {
        self.counts = [0; N];
    }
}

/// Sub-buckets of each power of two: 32, so a value is known within 3.2 %.
const SUB_BITS: u32 = 5;
const SUBS: u64 = 1 << SUB_BITS;
/// Largest value, 2³⁰ µs (18 minutes): above the longest time budget.
const MAX_BITS: u32 = 30;
const BUCKETS: usize = ((MAX_BITS - SUB_BITS + 1) as usize) << SUB_BITS;

/// A log-linear histogram of seconds, at microsecond resolution (the layout of Gil Tene's
/// HdrHistogram, with a fixed range so that making one can't fail).
#[derive(Clone, Debug)]
struct Histogram {
    counts: Box<[u32; BUCKETS]>,
    count: u64,
    sum: f64,
    max: f64,
}

impl Histogram {
    fn new() -> Self {
        Self { counts: Box::new([0; BUCKETS]), count: 0, sum: 0.0, max: 0.0 }
    }

    fn clear(&mut self) {
        self.counts.fill(0);
        (self.count, self.sum, self.max) = (0, 0.0, 0.0);
    }

    fn bucket(seconds: f64) -> usize {
        let v = ((seconds * 1e6) as u64).min((1 << MAX_BITS) - 1);
        if v < SUBS {
            return v as usize;
        }
        let shift = v.ilog2() - SUB_BITS;
        ((u64::from(shift) << SUB_BITS) + (v >> shift)) as usize
    }

    /// The middle of a bucket, in seconds.
    fn middle(bucket: usize) -> f64 {
        let b = bucket as u64;
        if b < 2 * SUBS {
            return b as f64 * 1e-6;
        }
        let shift = (b >> SUB_BITS) - 1;
        let low = (SUBS + (b & (SUBS - 1))) << shift;
        (low as f64 + (1_u64 << shift) as f64 / 2.0) * 1e-6
    }

    fn record(&mut self, seconds: f64) {
        let at = &mut self.counts[Self::bucket(seconds)];
        *at = at.saturating_add(1);
        self.count += 1;
        self.sum += seconds;
        self.max = self.max.max(seconds);
    }

    fn add(&mut self, other: &Self) {
        for (a, b) in self.counts.iter_mut().zip(other.counts.iter()) {
            *a = a.saturating_add(*b);
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    fn quantile(&self, q: f64) -> f64 {
        let rank = ((q * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, &n) in self.counts.iter().enumerate() {
            seen += u64::from(n);
            if seen >= rank {
                return Self::middle(bucket).min(self.max);
            }
        }
        self.max
    }

    fn summary(&self) -> LatencySummary {
        if self.count == 0 {
            return LatencySummary::default();
        }
        LatencySummary {
            count: self.count,
            mean: self.sum / self.count as f64,
            p50: self.quantile(0.5),
            p95: self.quantile(0.95),
            p99: self.quantile(0.99),
            max: self.max,
        }
    }
}

/// Latencies of the last minute, in six slices of ten seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rolling {
    slices: [Option<(u64, Histogram)>; Self::SLICES as usize],
}

impl Rolling {
    const SLICES: u64 = 6;
    const WIDTH: u64 = 10_000_000_000;

    pub(crate) fn record(&mut self, now: Time, seconds: f64) {
        let slice = now.nanos() / Self::WIDTH;
        let place = &mut self.slices[(slice % Self::SLICES) as usize];
        let (of, histogram) = place.get_or_insert_with(|| (slice, Histogram::new()));
        if *of != slice {
            *of = slice;
            histogram.clear();
        }
        histogram.record(seconds);
    }

    pub(crate) fn summary(&self, now: Time) -> LatencySummary {
        Self::merged([self], now)
    }

    /// The summary of several together.
    pub(crate) fn merged<'a>(parts: impl IntoIterator<Item = &'a Self>, now: Time) -> LatencySummary {
        let slice = now.nanos() / Self::WIDTH;
        let mut all = Histogram::new();
        for (of, histogram) in parts.into_iter().flat_map(|p| p.slices.iter().flatten()) {
            if *of + Self::SLICES > slice {
                all.add(histogram);
            }
        }
        all.summary()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_ring_forgets() {
        let mut ring = Ring::<10>::new(Duration::from_secs(1));
        let window = Duration::from_secs(10);
        for s in 0..30 {
            ring.add(Time::from_secs_f64(f64::from(s) + 0.5), 2);
        }
        let now = Time::from_secs_f64(29.9);
        assert_eq!(ring.sum(now, window), 20);
        assert_eq!(ring.sum(now, Duration::from_secs(3)), 6);
        assert_eq!(ring.sum(Time::from_secs_f64(34.0), window), 10);
        assert_eq!(ring.sum(Time::from_secs_f64(60.0), window), 0);
    }

    #[test]
    fn the_last_minute_is_summed_up() {
        let mut rolling = Rolling::default();
        for i in 0..100 {
            rolling.record(Time::from_secs_f64(1.0), f64::from(i + 1) * 0.01);
        }
        let s = rolling.summary(Time::from_secs_f64(59.0));
        assert_eq!(s.count, 100);
        assert!((s.mean - 0.505).abs() < 1e-9);
        assert!((s.p50 - 0.5).abs() < 0.02 && (s.p95 - 0.95).abs() < 0.03, "{s:?}");
        assert!((s.max - 1.0).abs() < 1e-9);
        assert_eq!(rolling.summary(Time::from_secs_f64(61.0)).count, 0);
    }

    proptest! {
        #[test]
        fn a_bucket_is_within_its_error(us in 0_u64..1_000_000_000) {
            let seconds = us as f64 * 1e-6;
            let known = Histogram::middle(Histogram::bucket(seconds));
            prop_assert!((known - seconds).abs() <= seconds * 0.032 + 1.1e-6, "{} {}", known, seconds);
        }
    }
}

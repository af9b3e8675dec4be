//! Cumulative histograms with fixed buckets, as Prometheus counts them.

use std::fmt::Write;

/// Upper bounds of buckets.
pub(super) type Bounds = [f64; 14];

/// Seconds: from a cached small model to the longest usual time budget.
pub(super) const SECONDS: &Bounds =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Items of a batch.
pub(super) const ITEMS: &Bounds = &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0];

/// Counts by bucket; the last one is what lies above all bounds.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    counts: [u64; 15],
    sum: f64,
}

impl Histogram {
    /// Counts a value.
    pub(super) fn record(&mut self, bounds: &Bounds, value: f64) {
        self.counts[bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }

    /// Writes its series; `labels` are without braces.
    pub(super) fn write(&self, out: &mut String, name: &str, labels: &str, bounds: &Bounds) {
        let mut total = 0;
        for (count, bound) in self.counts.iter().zip(bounds) {
            total += count;
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
        }
        total += self.counts[bounds.len()];
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum);
        let _ = writeln!(out, "{name}_count{{{labels}}} {total}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_bounds_belong_to_them() {
        let mut h = Histogram::default();
        for value in [0.001, 0.002, 100.0] {
            h.record(SECONDS, value);
        }
        let mut text = String::new();
        h.write(&mut text, "x", "a=\"b\"", SECONDS);
        assert!(text.contains("x_bucket{a=\"b\",le=\"0.001\"} 1\n"), "{text}");
        assert!(text.contains("x_bucket{a=\"b\",le=\"0.0025\"} 2\n"), "{text}");
        assert!(text.contains("x_bucket{a=\"b\",le=\"30\"} 2\n"), "{text}");
        assert!(text.contains("x_bucket{a=\"b\",le=\"+Inf\"} 3\n"), "{text}");
        assert!(text.contains("x_count{a=\"b\"} 3\n"), "{text}");
    }
}

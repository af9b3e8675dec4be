//! Metrics as Prometheus reads them: its text format (version 0.0.4), written by hand, and a histogram
//! with fixed buckets. No global registry: whoever serves `/metrics` owns its numbers.

use std::fmt::{Display, Write};

/// The text of one scrape.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// What kind of metric a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A metric that was begun; its samples follow.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Family<'_> {
    /// One sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let _ = writeln!(self.text, "{}{} {value}", self.name, Labels(labels));
    }
}

impl Exposition {
    /// Media type of the text.
    pub const MEDIA_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Begins a metric.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        self.head(name, if kind == Kind::Counter { "counter" } else { "gauge" }, help);
        Family { text: &mut self.text, name }
    }

    /// A metric that has one sample without labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// A histogram metric: one series for each set of labels.
    pub fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (&'a [(&'a str, &'a str)], &'a Histogram)>,
    ) {
        self.head(name, "histogram", help);
        for (labels, histogram) in series {
            let mut sum = 0;
            let mut bucket = |text: &mut String, bound: &dyn Display, count: u64| {
                sum += count;
                let bound = bound.to_string();
                let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
                let _ = writeln!(text, "{name}_bucket{} {sum}", Labels(&labels));
            };
            for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
                bucket(&mut self.text, bound, *count);
            }
            bucket(&mut self.text, &"+Inf", histogram.counts.last().copied().unwrap_or(0));
            let _ = writeln!(self.text, "{name}_sum{} {}", Labels(labels), histogram.sum);
            let _ = writeln!(self.text, "{name}_count{} {sum}", Labels(labels));
        }
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }
}

struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (name, value)) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "{" } else { "," })?;
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            write!(f, "{name}=\"{value}\"")?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}

/// Counts of values up to each of a few bounds.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one beyond.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// Buckets for seconds, from half a millisecond to half a minute.
    pub const SECONDS: &'static [f64] =
        &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
    /// Buckets for the sizes of batches.
    pub const SIZES: &'static [f64] =
        &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 256.0];

    /// An empty one; the bounds must ascend.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts a value.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_the_format() {
        let mut histogram = Histogram::new(&[1.0, 2.5]);
        for value in [0.5, 1.0, 2.0, 9.0] {
            histogram.observe(value);
        }
        let mut exposition = Exposition::default();
        exposition.single("up_total", Kind::Counter, "Ups.", 3);
        exposition.family("depth", Kind::Gauge, "How deep.").sample(&[("task", "a\"b")], 0.5);
        let labels: &[(&str, &str)] = &[("task", "x")];
        exposition.histograms("size", "How big.", [(labels, &histogram)]);
        let expected = "# HELP up_total Ups.\n# TYPE up_total counter\nup_total 3\n\
            # HELP depth How deep.\n# TYPE depth gauge\ndepth{task=\"a\\\"b\"} 0.5\n\
            # HELP size How big.\n# TYPE size histogram\n\
            size_bucket{task=\"x\",le=\"1\"} 2\nsize_bucket{task=\"x\",le=\"2.5\"} 3\nsize_bucket{task=\"x\",le=\"+Inf\"} 4\n\
            size_sum{task=\"x\"} 12.5\nsize_count{task=\"x\"} 4\n";
        assert_eq!(exposition.into_text(), expected);
    }
}

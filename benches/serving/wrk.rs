//! One run of wrk, and what it says.

use std::fmt;
use std::process::{Command, Stdio};

/// What one run measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Right answers a second.
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// CPU of all of the server's processes for each of them.
    pub(crate) cpu_us: f64,
    /// Answers that were none, and broken connections.
    pub(crate) errors: u64,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, p50_ms, p99_ms, cpu_us, errors } = self;
        write!(f, "{rate:>8.0}/s p50 {p50_ms:.3} ms p99 {p99_ms:.3} ms CPU {cpu_us:.1} µs errors {errors}")
    }
}

impl Run {
    /// Each figure's median.
    pub(crate) fn median(runs: &[Self]) -> Self {
        let median = |of: fn(&Self) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            rate: median(|run| run.rate),
            p50_ms: median(|run| run.p50_ms),
            p99_ms: median(|run| run.p99_ms),
            cpu_us: median(|run| run.cpu_us),
            errors: runs.iter().map(|run| run.errors).sum(),
        }
    }
}

pub(crate) fn installed() -> bool {
    Command::new("wrk").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Closed loop for so many seconds; right answers, seconds, p50 and p99 in µs, errors.
pub(crate) fn run(url: &str, connections: u32, seconds: u32) -> (f64, f64, f64, f64, u64) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/serving/post.lua");
    let output = Command::new("wrk")
        .args(["-t1", "--timeout", "20s", "-s", script])
        .arg(format!("-c{connections}"))
        .arg(format!("-d{seconds}s"))
        .arg(url)
        .output()
        .expect("wrk runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("figures ")).unwrap_or_else(|| panic!("wrk said {text}"));
    let figures: Vec<f64> = line.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    let [requests, micros, p50, p99, errors] = figures[..] else { panic!("wrk said {line}") };
    (requests, micros / 1e6, p50, p99, errors as u64)
}

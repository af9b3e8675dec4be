//! `aiq load` as the client: it sends when requests are due, and checks what comes back.

use std::process::{Child, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::fleet::Fleet;
use crate::support::aiq;

/// A load that is under way.
pub(crate) struct Load {
    child: Child,
    _dir: TempDir,
}

/// What came of it.
pub(crate) struct Report(pub(crate) Value);

impl Load {
    pub(crate) fn start(fleet: &Fleet, flags: &str) -> Self {
        let url = fleet.url("");
        let always = ["load", "--url", &url, "--mix", "text=1", "--no-tui", "-o", "json"];
        let args: Vec<&str> = always.into_iter().chain(flags.split_whitespace()).collect();
        let (mut command, dir) = aiq(&args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: command.spawn().unwrap(), _dir: dir }
    }

    pub(crate) fn finish(self) -> Report {
        let output = self.child.wait_with_output().unwrap();
        let report = serde_json::from_slice(&output.stdout);
        Report(report.unwrap_or_else(|e| panic!("{e}\n{}", String::from_utf8_lossy(&output.stderr))))
    }
}

/// Runs a load to its end.
pub(crate) fn load(fleet: &Fleet, flags: &str) -> Report {
    Load::start(fleet, flags).finish()
}

impl Report {
    /// One of the totals that count.
    pub(crate) fn n(&self, name: &str) -> u64 {
        self.0["totals"][name].as_u64().unwrap_or_else(|| panic!("no total {name} in {:#}", self.0["totals"]))
    }

    /// A figure by its pointer.
    pub(crate) fn f(&self, pointer: &str) -> f64 {
        self.0.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {:#}", self.0))
    }

    /// A percentile of latency in milliseconds; of few samples, the largest.
    pub(crate) fn ms(&self, percentile: &str) -> f64 {
        let latency = &self.0["latency"];
        1e3 * latency[percentile].as_f64().or_else(|| latency["max"].as_f64()).unwrap_or(f64::NAN)
    }

    /// The share of the answers that a worker gave.
    pub(crate) fn share(&self, worker: &str) -> f64 {
        let workers = self.0["workers"].as_array().unwrap();
        workers.iter().find(|w| w["worker"] == worker).map_or(0.0, |w| w["share"].as_f64().unwrap())
    }

    /// Every request that was due was sent, and answered once and right.
    pub(crate) fn all_answered(&self) {
        let errors = serde_json::to_string_pretty(&self.0["errors"]).unwrap();
        assert_eq!((self.n("ok"), self.n("missing")), (self.n("offered"), 0), "{errors}");
    }

    pub(crate) fn print(&self, name: &str) {
        println!(
            "  {name}: {} offered, {} answered, {} refused, {} failed, {} late; p50 {:.1} p95 {:.1} p99 {:.1} max {:.1} ms",
            self.n("offered"),
            self.n("ok"),
            self.n("refused"),
            self.n("failed") + self.n("wrong") + self.n("missing"),
            self.n("timed_out"),
            self.ms("p50"),
            self.ms("p95"),
            self.ms("p99"),
            self.ms("max"),
        );
    }
}

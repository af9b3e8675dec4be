//! Whether the objectives held.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::hist::{Hist, enough};
use super::record::{Counts, Record, Scope};
use super::settings::Settings;
use super::slo::{Metric, Slo};

/// What became of one objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SloOutcome {
    /// The objective.
    pub slo: String,
    /// What was measured: seconds, a share of 1, or a rate; null where there was nothing to measure.
    pub measured: Option<f64>,
    /// The same, for people.
    pub shown: String,
    /// Whether it held.
    pub held: bool,
    /// What must be known about it, or empty.
    pub note: String,
}

/// Judges every objective on what has been written down, `seconds` into the measured part.
pub(super) fn judge(settings: &Settings, record: &Record, seconds: f64) -> Vec<SloOutcome> {
    settings.slos.iter().map(|slo| judge_one(slo, record, seconds)).collect()
}

fn judge_one(slo: &Slo, record: &Record, seconds: f64) -> SloOutcome {
    let (measured, note) = match slo.tasks() {
        None => measure(slo, &record.all, seconds),
        Some([one]) => measure(slo, &record.tasks[one.index()], seconds),
        Some(several) => {
            let mut scopes = several.iter().map(|task| &record.tasks[task.index()]);
            let mut sum = scopes.next().cloned().unwrap_or_else(|| record.all.clone());
            scopes.for_each(|scope| sum.merge(scope));
            measure(slo, &sum, seconds)
        }
    };
    let held = measured.is_some_and(|value| slo.holds(value));
    let shown = measured.map_or_else(|| "n/a".to_owned(), |value| slo.metric().show(value));
    SloOutcome { slo: slo.to_string(), measured, shown, held, note }
}

fn measure(slo: &Slo, scope: &Scope, seconds: f64) -> (Option<f64>, String) {
    let Counts { ok, good, .. } = scope.counts;
    let rate = |n: u64| (seconds > 0.0).then(|| n as f64 / seconds);
    let value = match slo.metric() {
        Metric::ErrorRate => scope.counts.error_rate(),
        Metric::Rate => rate(ok),
        Metric::Goodput => rate(good),
        Metric::Mean => scope.latency.mean(),
        Metric::Min => scope.latency.min(),
        Metric::Max => scope.latency.max(),
        Metric::Percentile(q) => return percentile(q, &scope.latency),
    };
    let note = if value.is_none() { "nothing to measure" } else { "" };
    (value, note.to_owned())
}

/// Where too few samples lie above a percentile, the largest one is judged in its place: no
/// percentile is larger, so what holds then holds, and luck is not taken for proof.
fn percentile(q: f64, latency: &Hist) -> (Option<f64>, String) {
    if latency.len() == 0 {
        return (None, "nothing to measure".to_owned());
    }
    if enough(latency.len(), q) {
        return (latency.at(q), String::new());
    }
    (latency.max(), format!("{} samples are too few for p{q}; judged on the largest", latency.len()))
}

impl Scope {
    fn merge(&mut self, other: &Self) {
        let (a, b) = (&mut self.counts, other.counts);
        a.offered += b.offered;
        a.not_sent += b.not_sent;
        a.sent += b.sent;
        a.ok += b.ok;
        a.refused += b.refused;
        a.failed += b.failed;
        a.timed_out += b.timed_out;
        a.wrong += b.wrong;
        a.unfinished += b.unfinished;
        a.good += b.good;
        self.latency.add(&other.latency);
        self.service.add(&other.service);
    }
}

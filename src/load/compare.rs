//! The difference to an earlier report.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::mix::short_name;
use super::report::Report;

/// A run beside its baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    /// When the baseline was run.
    pub started: String,
    /// Share by which a number may be worse.
    pub tolerance: f64,
    /// What differs in how they were run: then the numbers do not compare.
    pub differences: Vec<String>,
    /// Number by number.
    pub rows: Vec<Difference>,
    /// Whether any is worse by more than the tolerance.
    pub regressed: bool,
}

/// One number, then and now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// Which.
    pub name: String,
    /// Seconds, a share of 1, or a rate.
    pub unit: Unit,
    /// The baseline's.
    pub before: f64,
    /// This run's.
    pub now: f64,
    /// (now − before) / before; null where before is zero.
    pub change: Option<f64>,
    /// Whether it is worse by more than the tolerance.
    pub worse: bool,
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A time; more is worse.
    Seconds,
    /// A share of errors; more is worse.
    Share,
    /// A rate; less is worse.
    Rate,
}

/// A latency this much longer is noise whatever its share, seconds.
const LATENCY_NOISE: f64 = 0.001;
/// An error rate this much higher is noise: one in a thousand.
const ERROR_NOISE: f64 = 0.001;

/// Compares a run with its baseline.
pub(super) fn compare(before: &Report, now: &Report, tolerance: f64) -> Comparison {
    let mut rows = Vec::new();
    let mut add = |name: String, unit: Unit, before: Option<f64>, now: Option<f64>| {
        let (Some(before), Some(now)) = (before, now) else { return };
        let worse = match unit {
            Unit::Seconds => now > before * (1.0 + tolerance) && now - before > LATENCY_NOISE,
            Unit::Share => now > before * (1.0 + tolerance) && now - before > ERROR_NOISE,
            Unit::Rate => now < before * (1.0 - tolerance),
        };
        let change = (before > 0.0).then(|| (now - before) / before);
        rows.push(Difference { name, unit, before, now, change, worse });
    };
    let (a, b) = (&before.totals, &now.totals);
    add("rate".to_owned(), Unit::Rate, Some(a.rate), Some(b.rate));
    add("goodput".to_owned(), Unit::Rate, Some(a.goodput), Some(b.goodput));
    add("error_rate".to_owned(), Unit::Share, a.error_rate, b.error_rate);
    let scopes = |report: &Report| {
        let tasks = report.tasks.iter().map(|t| (format!("{}:", short_name(t.task)), t.latency.clone()));
        std::iter::once((String::new(), report.latency.clone())).chain(tasks).collect::<Vec<_>>()
    };
    let earlier = scopes(before);
    for (scope, now) in scopes(now) {
        let Some((_, before)) = earlier.iter().find(|(name, _)| *name == scope) else { continue };
        add(format!("{scope}p50"), Unit::Seconds, before.p50, now.p50);
        add(format!("{scope}p95"), Unit::Seconds, before.p95, now.p95);
        add(format!("{scope}p99"), Unit::Seconds, before.p99, now.p99);
    }
    Comparison {
        started: before.run.started.clone(),
        tolerance,
        differences: differences(before, now),
        regressed: rows.iter().any(|row| row.worse),
        rows,
    }
}

fn differences(before: &Report, now: &Report) -> Vec<String> {
    let (a, b) = (&before.run, &now.run);
    let mix = |report: &Report| {
        let shares = report.run.mix.iter().map(|s| format!("{}={:.3}", short_name(s.task), s.share));
        shares.collect::<Vec<_>>().join(",")
    };
    let pairs = [
        ("load", a.load.clone(), b.load.clone()),
        ("shape", a.shape.clone(), b.shape.clone()),
        ("arrivals", a.arrivals.clone(), b.arrivals.clone()),
        ("mix", mix(before), mix(now)),
        ("fleet", a.fleet.join("; "), b.fleet.join("; ")),
        (
            "host",
            format!("{}, {} cores", a.host.name, a.host.cores),
            format!("{}, {} cores", b.host.name, b.host.cores),
        ),
    ];
    let differ = pairs.into_iter().filter(|(_, before, now)| before != now);
    differ.map(|(name, before, now)| format!("{name} was \"{before}\" and is \"{now}\"")).collect()
}

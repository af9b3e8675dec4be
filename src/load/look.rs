//! A look at a run while it goes: what the live view and the progress lines show.

use std::sync::Arc;
use std::time::Instant;

use super::outcome::Group;
use super::record::{Counts, Record, Second};
use super::settings::Settings;
use super::verdict::{SloOutcome, judge};

/// The state at one instant.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// Seconds into the measured part; negative in the lead-in.
    pub(super) at: f64,
    pub(super) counts: Counts,
    pub(super) lead_in: Counts,
    /// p50, p95 and p99 of the last ten seconds, seconds.
    pub(super) recent: [Option<f64>; 3],
    /// Over the last whole seconds: what fell due and what was answered, a second.
    pub(super) offered_rate: f64,
    pub(super) ok_rate: f64,
    pub(super) in_flight: u64,
    /// 99th percentile of the pacer's lag, seconds.
    pub(super) lag: Option<f64>,
    /// Most frequent first.
    pub(super) errors: Vec<(String, Group, u64)>,
    pub(super) slos: Vec<SloOutcome>,
    /// The last rows, the current second left out.
    pub(super) rows: Arc<[Second]>,
}

impl Look {
    /// Rows that a screen can show.
    const ROWS: usize = 240;
    /// Seconds that a rate is taken over.
    const RATE_OVER: usize = 3;

    pub(super) fn at(settings: &Settings, record: &mut Record, now: Instant) -> Self {
        let recent = record.timeline.recent([50.0, 95.0, 99.0]);
        let past = now.saturating_duration_since(record.zero).as_secs_f64();
        let at = if past > 0.0 { past } else { -record.zero.saturating_duration_since(now).as_secs_f64() };
        let rows = record.timeline.closed();
        let last = &rows[rows.len().saturating_sub(Self::RATE_OVER)..];
        let rate = |of: fn(&Second) -> u64| match last.len() {
            0 => 0.0,
            n => last.iter().map(of).sum::<u64>() as f64 / n as f64,
        };
        let mut errors: Vec<_> =
            record.errors.iter().map(|(class, e)| (class.name(), class.group(), e.count)).collect();
        errors.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        Self {
            at,
            counts: record.all.counts,
            lead_in: record.lead_in,
            recent,
            offered_rate: rate(|r| r.offered),
            ok_rate: rate(|r| r.ok),
            in_flight: record.in_flight,
            lag: record.lag.at(99.0),
            errors,
            slos: judge(settings, record, at.max(0.0)),
            rows: rows[rows.len().saturating_sub(Self::ROWS)..].into(),
        }
    }
}

//! A trial of `--find-max`: one rate, held for a while, and whether it held.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::record::{Record, Second};
use super::report::{percent, rate, seconds};
use super::settings::Settings;
use super::verdict;

/// One rate, held for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trial {
    /// Requests offered a second.
    pub rate: f64,
    /// Right answers a second.
    pub ok_rate: f64,
    /// Median latency.
    pub p50: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Share without a right answer.
    pub error_rate: Option<f64>,
    /// Whether every objective held and the queue did not grow.
    pub held: bool,
    /// Why not, or empty.
    pub why: String,
}

impl Trial {
    /// Judges a run: its objectives, and whether answers kept up with what was offered.
    pub(super) fn judge(settings: &Settings, record: &Record) -> Self {
        let length = record.seconds();
        let slos = verdict::judge(settings, record, length);
        let counts = record.all.counts;
        let mut why: Vec<_> = slos.iter().filter(|s| !s.held).map(|s| format!("{} was {}", s.slo, s.shown)).collect();
        if counts.unfinished > 0 {
            why.push("cut short".to_owned());
        }
        let (lead, end) = (settings.shape.lead, settings.shape.length());
        let quick = record.all.latency.at(10.0).unwrap_or(0.0);
        if let Some(share) = growing(record.timeline.rows(), lead as usize..end as usize, quick) {
            why.push(format!("the queue grew by {} of what was offered", percent(share)));
        }
        Self {
            rate: settings.rate,
            ok_rate: if length > 0.0 { counts.ok as f64 / length } else { 0.0 },
            p50: record.all.latency.at(50.0),
            p99: record.all.latency.at(99.0),
            error_rate: counts.error_rate(),
            held: why.is_empty(),
            why: why.join("; "),
        }
    }

    /// One line for a person.
    pub(super) fn line(&self) -> String {
        let show = |v: Option<f64>, show: fn(f64) -> String| v.map_or_else(|| "n/a".to_owned(), show);
        let verdict = if self.held { "held" } else { "broken" };
        let why = if self.why.is_empty() { String::new() } else { format!(": {}", self.why) };
        format!(
            "{:>9} {:>9}  p50 {:>7}  p99 {:>7}  errors {:>7}  {verdict}{why}",
            rate(self.rate),
            rate(self.ok_rate),
            show(self.p50, seconds),
            show(self.p99, seconds),
            show(self.error_rate, percent),
        )
    }
}

/// The share of the second half's requests that were still waiting at its end and were not at its
/// beginning, where that is more than chance: such a rate does not hold, however short the trial.
///
/// What is in flight goes up and down by about what the fleet holds while nothing waits (by Little's law
/// the rate times `quick`, the seconds that the quick ones of the requests took) and by the scatter of the
/// arrivals (the root of their number, if they are Poisson's).
fn growing(rows: &[Second], measured: Range<usize>, quick: f64) -> Option<f64> {
    const CHANCE: f64 = 0.03;
    const DEVIATIONS: f64 = 2.0;
    let rows = rows.get(measured.start..measured.end.min(rows.len()))?;
    let half = rows.get(rows.len().div_ceil(2)..)?;
    let offered = half.iter().map(|r| r.offered).sum::<u64>() as f64;
    let ended = half.iter().map(|r| r.ok + r.refused + r.errors + r.not_sent).sum::<u64>() as f64;
    let behind = offered - ended;
    let chance = quick * offered / half.len().max(1) as f64 + DEVIATIONS * offered.sqrt();
    (behind > chance.max(CHANCE * offered)).then(|| behind / offered)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fleet that answers `capacity` a second, offered `rate` for `seconds`.
    fn queue(rate: u64, capacity: u64, seconds: u64) -> Vec<Second> {
        let mut waiting = 0;
        (0..seconds)
            .map(|at| {
                let before = waiting;
                waiting = (waiting + rate).saturating_sub(capacity);
                Second { at: at as f64, offered: rate, ok: rate + before - waiting, ..Second::default() }
            })
            .collect()
    }

    #[test]
    fn a_rate_beyond_the_capacity_is_seen() {
        for (rate, capacity, seconds) in [(5000, 4500, 3), (5000, 4700, 8), (1100, 1000, 8), (60, 40, 8), (5, 4, 120)] {
            // The first tenth of the requests waited for those before them.
            let quick = 0.02 + 0.1 * seconds as f64 * (rate - capacity) as f64 / capacity as f64;
            let share = growing(&queue(rate, capacity, seconds), 0..seconds as usize, quick);
            let expected = 1.0 - capacity as f64 / rate as f64;
            let share = share.unwrap_or_else(|| panic!("{rate} against {capacity} for {seconds} s"));
            assert!((share - expected).abs() < 1e-9, "{share} for {expected}");
        }
    }

    #[test]
    fn a_rate_within_it_is_not() {
        for (rate, capacity) in [(4500, 5000), (1000, 1000), (1, 1)] {
            assert_eq!(growing(&queue(rate, capacity, 8), 0..8, 0.02), None, "{rate} against {capacity}");
        }
    }

    #[test]
    fn what_scatters_is_chance() {
        let mut rows = queue(100, 200, 8);
        // More arrivals than usual in the last second, and some under way.
        rows[7].offered += 30;
        rows[7].ok -= 2;
        assert_eq!(growing(&rows, 0..8, 0.02), None);
    }

    #[test]
    fn the_lead_in_does_not_count() {
        let mut rows = queue(1000, 1000, 8);
        rows[0].offered = 9000;
        assert_eq!(growing(&rows, 2..8, 0.0), None);
        assert_eq!(growing(&rows, 8..8, 0.0), None, "no trial at all");
        assert_eq!(growing(&rows[..1], 2..8, 0.0), None, "a trial that was cut at once");
    }
}

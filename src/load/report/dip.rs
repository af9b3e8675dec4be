//! What a kill cost: how deep the answers dipped, for how long, and what was lost.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::load::observe::Mark;
use crate::load::record::Second;
use crate::protocol::WorkerId;

/// The time around one kill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Dip {
    /// The worker that was killed.
    #[schema(value_type = String)]
    pub worker: WorkerId,
    /// When, seconds into the measured part.
    pub at: f64,
    /// Right answers for each request offered, in the median second of the ten before.
    pub before: Option<f64>,
    /// The same in the worst second of the ten after.
    pub worst: Option<f64>,
    /// Largest latency in the ten seconds before.
    pub max_before: Option<f64>,
    /// And in the ten after.
    pub max_after: Option<f64>,
    /// Errors and refusals in the ten seconds after.
    pub errors: u64,
    /// Seconds from the kill until a worker that was killed served again; null where it did not.
    pub ready_after: Option<f64>,
}

/// Seconds before and after that are compared.
const WINDOW: f64 = 10.0;

pub(super) fn dips(marks: &[Mark], timeline: &[Second]) -> Vec<Dip> {
    let kills = marks.iter().filter(|m| m.ours && m.what == "kill" && m.failed.is_none());
    kills.map(|kill| dip(kill, marks, timeline)).collect()
}

fn dip(kill: &Mark, marks: &[Mark], timeline: &[Second]) -> Dip {
    let whole = |row: &&Second| row.at >= 0.0;
    let before: Vec<_> =
        timeline.iter().filter(whole).filter(|r| r.at + 1.0 <= kill.at && r.at >= kill.at - WINDOW).collect();
    let after: Vec<_> =
        timeline.iter().filter(whole).filter(|r| r.at + 1.0 > kill.at && r.at < kill.at + WINDOW).collect();
    // Seconds with few requests swing without any fault, and the last one may be cut short. A burst at the
    // end of a second is answered in the next one: it must not count against the time before.
    let shares = |rows: &[&Second]| {
        let busy = rows.iter().filter(|r| r.offered >= 5);
        let mut shares: Vec<f64> = busy.map(|r| r.ok as f64 / r.offered as f64).collect();
        shares.sort_by(f64::total_cmp);
        shares
    };
    let usual = shares(&before);
    let largest = |rows: &[&Second]| rows.iter().filter_map(|r| r.max).reduce(f64::max);
    let ready = marks.iter().find(|m| !m.ours && m.worker == kill.worker && m.what == "ready" && m.at > kill.at);
    Dip {
        worker: kill.worker.clone(),
        at: kill.at,
        before: usual.get(usual.len() / 2).copied(),
        worst: shares(&after).first().copied(),
        max_before: largest(&before),
        max_after: largest(&after),
        errors: after.iter().map(|r| r.errors + r.refused + r.not_sent).sum(),
        ready_after: ready.map(|m| m.at - kill.at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dip_is_measured_against_the_time_before() {
        let row = |at: f64, ok: u64, errors: u64, max: f64| Second {
            at,
            offered: 100,
            ok,
            errors,
            max: Some(max),
            ..Second::default()
        };
        let mut rows: Vec<_> = (0..10).map(|i| row(f64::from(i), 100, 0, 0.05)).collect();
        // A burst that is answered in the next second.
        rows[8] = Second { offered: 400, ..rows[8] };
        rows[9] = Second { ok: 400, ..rows[9] };
        rows.extend([row(10.0, 40, 2, 0.4), row(11.0, 158, 0, 0.9), row(12.0, 100, 0, 0.05)]);
        let mark = |at: f64, what: &str, ours: bool| Mark {
            at,
            worker: WorkerId::try_new("worker-1").unwrap(),
            what: what.to_owned(),
            ours,
            failed: None,
        };
        let marks = [mark(10.0, "kill", true), mark(10.1, "killed", false), mark(20.5, "ready", false)];
        let dips = dips(&marks, &rows);
        let [d] = &dips[..] else { panic!("{dips:?}") };
        assert_eq!((d.before, d.worst, d.errors), (Some(1.0), Some(0.4), 2));
        assert_eq!((d.max_before, d.max_after, d.ready_after), (Some(0.05), Some(0.9), Some(10.5)));
    }

    #[test]
    fn a_kill_that_failed_has_no_dip() {
        let mark = Mark {
            at: 1.0,
            worker: WorkerId::try_new("w").unwrap(),
            what: "kill".to_owned(),
            ours: true,
            failed: Some("403".to_owned()),
        };
        assert!(dips(&[mark], &[]).is_empty());
    }
}

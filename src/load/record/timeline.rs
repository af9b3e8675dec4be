//! One row a second, and the percentiles of the last ten seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::load::hist::{Hist, HistError, Precision};
use crate::load::outcome::Group;

/// One second of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Second {
    /// When it begins, seconds; 0 is the beginning of the measured part, below it the lead-in.
    pub at: f64,
    /// Requests that fell due in it.
    pub offered: u64,
    /// Of those, the ones that were not sent.
    pub not_sent: u64,
    /// Right answers that came in it.
    pub ok: u64,
    /// Refusals that came in it.
    pub refused: u64,
    /// Failures, time-outs and wrong answers that came in it.
    pub errors: u64,
    /// Requests in flight at its end.
    pub in_flight: u64,
    /// Requests that waited in the coordinator, where it says so.
    pub queued: Option<u64>,
    /// Median latency of what was answered in it, seconds.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Largest latency.
    pub max: Option<f64>,
}

/// The rows so far.
#[derive(Debug)]
pub(in crate::load) struct Timeline {
    start: Instant,
    lead: f64,
    rows: Vec<Second>,
    /// The second that answers go into now, and their latencies.
    current: usize,
    latencies: Hist,
    /// The last seconds, newest at the back.
    recent: VecDeque<Hist>,
    scratch: Hist,
}

impl Timeline {
    /// Rows that are kept: a day and its last time-outs.
    const MAX_ROWS: usize = 90_000;
    /// The live view's window.
    const RECENT: usize = 10;

    pub(super) fn try_new(start: Instant, lead: Duration) -> Result<Self, HistError> {
        Ok(Self {
            start,
            lead: lead.as_secs_f64(),
            rows: Vec::new(),
            current: 0,
            latencies: Hist::try_new(Precision::Fine)?,
            recent: VecDeque::with_capacity(Self::RECENT),
            scratch: Hist::try_new(Precision::Fine)?,
        })
    }

    /// A request fell due, that long after the start.
    pub(super) fn offered(&mut self, due: Duration, sent: bool) {
        if let Some(row) = self.row(due.as_secs() as usize) {
            row.offered += 1;
            row.not_sent += u64::from(!sent);
        }
    }

    /// A request ended; `None` is a right answer.
    pub(super) fn ended(&mut self, at: Instant, latency: Duration, group: Option<Group>, in_flight: u64) {
        self.roll(at);
        if matches!(group, None | Some(Group::TimedOut)) {
            self.latencies.record(latency);
        }
        let current = self.current;
        if let Some(row) = self.row(current) {
            row.in_flight = in_flight;
            match group {
                None => row.ok += 1,
                Some(Group::Refused) => row.refused += 1,
                Some(_) => row.errors += 1,
            }
        }
    }

    /// What the coordinator says of its queue.
    pub(in crate::load) fn queued(&mut self, at: f64, queued: u64) {
        let index = (at + self.lead).max(0.0) as usize;
        if let Some(row) = self.rows.get_mut(index) {
            row.queued = Some(queued);
        }
    }

    /// Closes the seconds that are over.
    pub(in crate::load) fn roll(&mut self, now: Instant) {
        let index = (now.saturating_duration_since(self.start).as_secs() as usize).min(Self::MAX_ROWS - 1);
        while self.current < index {
            self.close();
            let in_flight = self.rows.get(self.current).map_or(0, |r| r.in_flight);
            self.current += 1;
            let current = self.current;
            if let Some(row) = self.row(current) {
                row.in_flight = in_flight;
            }
        }
    }

    /// Closes the last second and gives the rows.
    pub(in crate::load) fn finish(mut self) -> Vec<Second> {
        self.close();
        self.rows
    }

    pub(in crate::load) fn rows(&self) -> &[Second] {
        &self.rows
    }

    /// Rows that are over.
    pub(in crate::load) fn closed(&self) -> &[Second] {
        &self.rows[..self.current.min(self.rows.len())]
    }

    /// Seconds at a percentile over the last ten seconds and the current one.
    pub(in crate::load) fn recent(&mut self, percentiles: [f64; 3]) -> [Option<f64>; 3] {
        self.scratch.clear();
        self.scratch.add(&self.latencies);
        for hist in &self.recent {
            self.scratch.add(hist);
        }
        percentiles.map(|p| self.scratch.at(p))
    }

    fn close(&mut self) {
        let [p50, p95, p99] = [50.0, 95.0, 99.0].map(|p| self.latencies.at(p));
        let max = self.latencies.max();
        let current = self.current;
        if let Some(row) = self.row(current) {
            (row.p50, row.p95, row.p99, row.max) = (p50, p95, p99, max);
        }
        // The oldest histogram is emptied and used again rather than a new one made each second.
        let mut fresh = if self.recent.len() < Self::RECENT { None } else { self.recent.pop_front() };
        if let Some(hist) = &mut fresh {
            hist.clear();
        }
        match fresh.map_or_else(|| Hist::try_new(Precision::Fine), Ok) {
            Ok(fresh) => self.recent.push_back(std::mem::replace(&mut self.latencies, fresh)),
            Err(_) => self.latencies.clear(),
        }
    }

    fn row(&mut self, index: usize) -> Option<&mut Second> {
        if index >= Self::MAX_ROWS {
            return None;
        }
        while self.rows.len() <= index {
            let at = self.rows.len() as f64 - self.lead;
            self.rows.push(Second { at, ..Second::default() });
        }
        self.rows.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_tell_when_things_happened() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut t = Timeline::try_new(start, Duration::from_secs(1)).unwrap();
        t.offered(ms(100), true);
        t.offered(ms(2500), false);
        t.ended(start + ms(400), ms(300), None, 0);
        t.ended(start + ms(2900), ms(50), Some(Group::Refused), 3);
        t.ended(start + ms(3100), ms(2000), Some(Group::TimedOut), 2);
        assert_eq!(t.closed().len(), 3);
        let rows = t.finish();
        assert_eq!(rows.iter().map(|r| r.at).collect::<Vec<_>>(), [-1.0, 0.0, 1.0, 2.0]);
        assert_eq!((rows[0].offered, rows[0].ok, rows[0].max.map(|m| m > 0.29)), (1, 1, Some(true)));
        assert_eq!((rows[1].ok, rows[1].p50), (0, None));
        assert_eq!((rows[2].offered, rows[2].not_sent, rows[2].refused, rows[2].p50), (1, 1, 1, None));
        assert_eq!((rows[3].errors, rows[3].in_flight), (1, 2));
        assert!(rows[3].p99.unwrap() > 1.99);
    }

    #[test]
    fn the_window_forgets_after_ten_seconds() {
        let start = Instant::now();
        let mut t = Timeline::try_new(start, Duration::ZERO).unwrap();
        t.ended(start, Duration::from_secs(5), None, 0);
        t.ended(start + Duration::from_secs(5), Duration::from_millis(10), None, 0);
        assert!(t.recent([50.0, 95.0, 99.0])[2].unwrap() > 4.9);
        t.ended(start + Duration::from_secs(14), Duration::from_millis(10), None, 0);
        assert!(t.recent([50.0, 95.0, 99.0])[2].unwrap() < 0.02);
    }
}

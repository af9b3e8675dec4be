//! The workers' table: its columns, their order, the filter and the cursor.

use std::cmp::Ordering;

use ratatui::layout::Rect;

use crate::monitor::text::Side;
use crate::monitor::theme::Badge;
use crate::protocol::{WorkerDetail, WorkerId};

/// A column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Column {
    /// Its name.
    #[default]
    Name,
    /// How it is.
    State,
    /// What answers on it.
    Model,
    /// How much of what it may hold it holds.
    Load,
    /// Mean latency of an attempt.
    Latency,
    /// 99th percentile of it.
    P99,
    /// Its performance score.
    Score,
    /// Requests that it holds, of how many.
    InFlight,
    /// Attempts a second.
    Rate,
    /// Attempts answered.
    Done,
    /// Attempts failed.
    Errors,
    /// Since its last heartbeat.
    Seen,
}

impl Column {
    /// From left to right.
    pub(crate) const ALL: [Self; 12] = [
        Self::Name,
        Self::State,
        Self::Model,
        Self::Load,
        Self::Latency,
        Self::P99,
        Self::Score,
        Self::InFlight,
        Self::Rate,
        Self::Done,
        Self::Errors,
        Self::Seen,
    ];

    /// Its heading.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::State => "STATE",
            Self::Model => "MODEL",
            Self::Load => "LOAD",
            Self::Latency => "LAT",
            Self::P99 => "P99",
            Self::Score => "SCORE",
            Self::InFlight => "INFL",
            Self::Rate => "REQ/S",
            Self::Done => "DONE",
            Self::Errors => "ERR",
            Self::Seen => "SEEN",
        }
    }

    /// What it means, for the help.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Name => "the worker's name",
            Self::State => "how it is; breaker: failed too often and rests; suspect: no sign of life or progress",
            Self::Model => "what answers on it, its own task first",
            Self::Load => "requests it holds, of those it may be sent now",
            Self::Latency => "mean of an attempt over the last minute, network included",
            Self::P99 => "99th percentile of an attempt over the last minute",
            Self::Score => "100 · success · min(1, fleet median service time / its own)",
            Self::InFlight => "requests it holds / may be sent now",
            Self::Rate => "attempts a second over the last 10 s",
            Self::Done => "attempts it answered",
            Self::Errors => "attempts that failed on it",
            Self::Seen => "since its last heartbeat",
        }
    }

    /// At which side its text stands.
    pub(crate) const fn side(self) -> Side {
        match self {
            Self::Name | Self::State | Self::Model => Side::Left,
            _ => Side::Right,
        }
    }

    /// Least and most columns of text.
    const fn widths(self) -> (usize, usize) {
        match self {
            Self::Name => (10, 24),
            Self::State => (10, 10),
            Self::Model => (9, 30),
            Self::Load => (4, 12),
            Self::Seen => (4, 4),
            Self::Latency | Self::P99 | Self::Score | Self::InFlight | Self::Rate | Self::Done | Self::Errors => (5, 5),
        }
    }

    /// Which columns fit, and how wide each is, in a table of this many columns of text. What a
    /// name and a model need is given to them before the load's bar.
    pub(crate) fn fitting(columns: usize, names: usize, models: usize) -> Vec<(Self, usize)> {
        let taken = |chosen: &[Self]| -> usize { chosen.iter().map(|c| c.widths().0 + 1).sum::<usize>().max(1) - 1 };
        let mut chosen = Self::ALL.to_vec();
        for spare in
            [Self::P99, Self::Rate, Self::Errors, Self::Seen, Self::Model, Self::Done, Self::Load, Self::Latency]
        {
            if taken(&chosen) <= columns {
                break;
            }
            chosen.retain(|c| *c != spare);
        }
        let mut room = columns.saturating_sub(taken(&chosen));
        let mut widths: Vec<(Self, usize)> = chosen.into_iter().map(|c| (c, c.widths().0)).collect();
        for (grows, wanted) in [(Self::Name, names), (Self::Model, models), (Self::Load, usize::MAX)] {
            if let Some((column, width)) = widths.iter_mut().find(|(c, _)| *c == grows) {
                let more = wanted.min(column.widths().1).saturating_sub(*width).min(room);
                *width += more;
                room -= more;
            }
        }
        widths
    }

    fn compare(self, a: &WorkerDetail, b: &WorkerDetail) -> Ordering {
        match self {
            Self::Name => Ordering::Equal,
            Self::State => Badge::of(a, None).word.cmp(Badge::of(b, None).word),
            Self::Model => model_name(a).cmp(&model_name(b)),
            Self::Load => load(a).unwrap_or(0.0).total_cmp(&load(b).unwrap_or(0.0)),
            Self::Latency => a.latency.mean.total_cmp(&b.latency.mean),
            Self::P99 => a.latency.p99.total_cmp(&b.latency.p99),
            Self::Score => a.score.total_cmp(&b.score),
            Self::InFlight => a.in_flight.cmp(&b.in_flight),
            Self::Rate => a.throughput.total_cmp(&b.throughput),
            Self::Done => a.completed.cmp(&b.completed),
            Self::Errors => a.failed.cmp(&b.failed),
            Self::Seen => a.last_seen.total_cmp(&b.last_seen),
        }
    }
}

/// The model of a worker's own task, or the first that it has, and how many more.
pub(crate) fn model_name(worker: &WorkerDetail) -> String {
    let own = worker.capabilities.iter().find(|c| c.specialised).or_else(|| worker.capabilities.first());
    let Some(own) = own else { return crate::monitor::text::NOTHING.to_owned() };
    let mut others: Vec<&str> = worker.capabilities.iter().map(|c| c.model_info.as_str()).collect();
    others.sort_unstable();
    others.dedup();
    match others.len() {
        0 | 1 => own.model_info.clone(),
        n => format!("{} +{}", own.model_info, n - 1),
    }
}

/// Requests held of those that may be, 0 to 1 and more; none where it may hold none.
pub(crate) fn load(worker: &WorkerDetail) -> Option<f64> {
    (worker.credits > 0).then(|| f64::from(worker.in_flight) / f64::from(worker.credits))
}

/// What is chosen about the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// The column that orders it.
    pub(crate) sort: Column,
    /// Whether the largest comes first.
    pub(crate) descending: bool,
    /// What a row must contain.
    pub(crate) filter: String,
    /// Whether the filter is being typed.
    pub(crate) typing: bool,
    /// The worker under the cursor.
    pub(crate) selected: Option<WorkerId>,
    /// Its row, as last seen: where the cursor stays when the worker leaves.
    pub(crate) row: usize,
    /// The first row that is shown.
    pub(crate) offset: usize,
}

impl Table {
    /// Longest filter, in characters.
    pub(crate) const MAX_FILTER: usize = 64;

    /// Rows of workers that fit in the panel: its frame and the headings are not for them.
    pub(crate) fn visible_rows(panel: Rect) -> usize {
        usize::from(panel.height.saturating_sub(3))
    }

    /// The workers that pass the filter, in order. Ties go by name, so that rows never jump about.
    pub(crate) fn rows<'a>(&self, workers: &'a [WorkerDetail]) -> Vec<&'a WorkerDetail> {
        let words: Vec<String> = self.filter.split_whitespace().map(str::to_lowercase).collect();
        let mut rows: Vec<&WorkerDetail> = workers.iter().filter(|w| matches(w, &words)).collect();
        rows.sort_by(|a, b| {
            let by_name = natural(a.worker_id.as_str(), b.worker_id.as_str());
            let ordering = if self.sort == Column::Name { by_name } else { self.sort.compare(a, b) };
            let ordering = if self.descending { ordering.reverse() } else { ordering };
            ordering.then(by_name)
        });
        rows
    }

    /// Keeps the cursor on its worker, or on its row when the worker is gone, and in sight.
    pub(crate) fn settle(&mut self, ids: &[WorkerId], visible: usize) {
        let found = self.selected.as_ref().and_then(|id| ids.iter().position(|i| i == id));
        self.row = found.unwrap_or_else(|| self.row.min(ids.len().saturating_sub(1)));
        self.selected = ids.get(self.row).cloned();
        self.offset = self.offset.min(self.row).min(ids.len().saturating_sub(visible));
        if self.row >= self.offset + visible {
            self.offset = self.row + 1 - visible;
        }
    }
}

fn matches(worker: &WorkerDetail, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let tasks = worker.capabilities.iter().flat_map(|c| [c.task.as_str(), c.model_info.as_str()]);
    let texts = [worker.worker_id.as_str(), Badge::of(worker, None).word, worker.state.as_str(), worker.url.as_str()];
    let texts: Vec<String> = texts.into_iter().chain(tasks).map(str::to_lowercase).collect();
    words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
}

/// Compares names as people do: `worker-2` before `worker-10`.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (digits_a, digits_b) = (leading_digits(a), leading_digits(b));
        if digits_a > 0 && digits_b > 0 {
            let (number_a, number_b) = (a[..digits_a].trim_start_matches('0'), b[..digits_b].trim_start_matches('0'));
            let ordering = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
            if ordering != Ordering::Equal {
                return ordering;
            }
            (a, b) = (&a[digits_a..], &b[digits_b..]);
        } else {
            let (mut chars_a, mut chars_b) = (a.chars(), b.chars());
            match (chars_a.next(), chars_b.next()) {
                (None, None) => return Ordering::Equal,
                (x, y) if x != y => return x.cmp(&y),
                _ => (a, b) = (chars_a.as_str(), chars_b.as_str()),
            }
        }
    }
}

fn leading_digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_people_count() {
        let mut names = ["worker-10", "worker-2", "a", "worker-02", "worker-1", "worker"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "worker", "worker-1", "worker-2", "worker-02", "worker-10"]);
    }

    #[test]
    fn columns_never_exceed_their_table() {
        for columns in 40..200 {
            let fitting = Column::fitting(columns, 30, 40);
            let total: usize = fitting.iter().map(|(_, width)| width + 1).sum::<usize>() - 1;
            assert!(total <= columns, "{columns}: {fitting:?}");
            assert!(fitting.iter().any(|(c, _)| *c == Column::State));
        }
    }
}

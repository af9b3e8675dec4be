//! Is the fleet well? One word and the reasons, worst first, so that who looks for five seconds
//! knows. It weighs what the coordinator says and measures nothing.

use super::text::{count, percent, plural};
use super::theme::{Badge, Tone};
use crate::protocol::{RunState, Snapshot, WorkerDetail};

/// How a fleet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing to do.
    Healthy,
    /// It answers, and something is wrong.
    Degraded,
    /// Nothing is answered.
    Down,
}

impl Level {
    /// The sign, the word and how they look.
    pub(crate) const fn badge(self) -> Badge {
        match self {
            Self::Healthy => Badge { sign: "✓", word: "HEALTHY", tone: Tone::Good },
            Self::Degraded => Badge { sign: "▲", word: "DEGRADED", tone: Tone::Warn },
            Self::Down => Badge { sign: "✗", word: "DOWN", tone: Tone::Bad },
        }
    }
}

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    /// How the fleet is.
    pub(crate) level: Level,
    /// Why, worst first; also what is only worth knowing.
    pub(crate) reasons: Vec<String>,
}

/// From this share of failed requests on something is wrong.
pub(crate) const BAD_ERROR_RATE: f64 = 0.02;
/// From this share of a full queue on something is wrong.
const BAD_QUEUE: f64 = 0.8;
/// Workers that are named before they are only counted.
const NAMED: usize = 3;

impl Health {
    /// Weighs a snapshot.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let (status, queue) = (&snapshot.status, &snapshot.queue);
        let mut reasons = Vec::new();
        let mut level = Level::Healthy;
        let mut wrong = |at_least: Level, reason: String| {
            level = level.max(at_least);
            reasons.push(reason);
        };
        match status.status {
            RunState::Starting => wrong(Level::Degraded, "the coordinator is starting".to_owned()),
            RunState::Draining => wrong(Level::Down, "the coordinator is shutting down".to_owned()),
            RunState::Ready => {}
        }
        if snapshot.workers.is_empty() {
            wrong(Level::Down, "no workers".to_owned());
        } else if status.healthy_workers == 0 {
            wrong(Level::Down, "no worker can take work".to_owned());
        }
        let groups = unwell(&snapshot.workers);
        if groups.iter().map(|(_, group)| group.len()).sum::<usize>() > NAMED {
            let (healthy, all) = (status.healthy_workers, status.total_workers);
            wrong(Level::Degraded, format!("{} of {all} workers down", all.saturating_sub(healthy)));
        }
        for (badge, workers) in groups {
            let how = match badge.word {
                "breaker" => "breaker open",
                "killing…" => "being killed",
                word => word,
            };
            wrong(Level::Degraded, format!("{} {how}", named(&workers)));
        }
        if !snapshot.workers.is_empty() {
            for task in status.tasks.iter().filter(|t| t.workers == 0) {
                wrong(Level::Degraded, format!("nobody can do {}", task.task));
            }
        }
        if status.error_rate >= BAD_ERROR_RATE {
            wrong(Level::Degraded, format!("{} of requests fail", percent(status.error_rate)));
        }
        if queue.queue_capacity > 0 && queue.queue_size as f64 >= BAD_QUEUE * queue.queue_capacity as f64 {
            wrong(Level::Degraded, format!("queue {}/{}", count(queue.queue_size), count(queue.queue_capacity)));
        }
        let faulty: Vec<&WorkerDetail> = snapshot.workers.iter().filter(|w| w.faults.any()).collect();
        if !faulty.is_empty() {
            reasons.push(format!("faults injected on {}", named(&faulty)));
        }
        if level == Level::Healthy && reasons.is_empty() {
            let tasks = status.tasks.len() as u64;
            reasons.push(format!("every worker is ready, {} served", plural(tasks, "task")));
        }
        Self { level, reasons }
    }
}

/// Workers that are not ready and well, by how they are; the largest trouble first.
fn unwell(workers: &[WorkerDetail]) -> Vec<(Badge, Vec<&WorkerDetail>)> {
    let mut groups: Vec<(Badge, Vec<&WorkerDetail>)> = Vec::new();
    for worker in workers {
        let badge = Badge::of(worker, None);
        if badge.tone == Tone::Good {
            continue;
        }
        match groups.iter_mut().find(|(b, _)| *b == badge) {
            Some((_, group)) => group.push(worker),
            None => groups.push((badge, vec![worker])),
        }
    }
    groups.sort_by_key(|(badge, group)| (badge.tone != Tone::Bad, std::cmp::Reverse(group.len())));
    groups
}

fn named(workers: &[&WorkerDetail]) -> String {
    if workers.len() > NAMED {
        return plural(workers.len() as u64, "worker");
    }
    let names: Vec<&str> = workers.iter().map(|w| w.worker_id.as_str()).collect();
    names.join(", ")
}

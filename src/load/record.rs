//! What a run writes down while it goes: counts, distributions and a row a second.
//!
//! Its memory does not grow with the number of requests: histograms are of fixed size, tables are
//! bounded, and the timeline has one row a second. One thread owns it.

mod timeline;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(super) use timeline::{Second, Timeline};

use super::hist::{Hist, HistError, Precision};
use super::outcome::{Class, Failure, Finished, Group};
use super::schedule::Arrival;
use super::settings::Settings;
use crate::protocol::{Attempt, AttemptOutcome, InferResponse, TaskType, WorkerId};

/// Counts of what was offered and what became of it. Everything that was sent is in exactly one of
/// the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) offered: u64,
    pub(super) not_sent: u64,
    pub(super) sent: u64,
    pub(super) ok: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
    pub(super) timed_out: u64,
    pub(super) wrong: u64,
    /// In flight when the run was interrupted.
    pub(super) unfinished: u64,
    /// Of the right answers, those within the latency objective.
    pub(super) good: u64,
}

impl Counts {
    fn add(&mut self, group: Group) {
        *match group {
            Group::Refused => &mut self.refused,
            Group::Failed => &mut self.failed,
            Group::TimedOut => &mut self.timed_out,
            Group::Wrong => &mut self.wrong,
        } += 1;
    }

    /// Requests without a right answer.
    pub(super) fn errors(&self) -> u64 {
        self.refused + self.failed + self.timed_out + self.wrong
    }

    /// Sent requests of which no end is known: nothing but a bug makes this other than zero.
    pub(super) fn missing(&self) -> u64 {
        self.sent.saturating_sub(self.ok + self.errors() + self.unfinished)
    }

    /// Share of what was offered that got no right answer. What was still in flight at an
    /// interruption is not held against the server.
    pub(super) fn error_rate(&self) -> Option<f64> {
        let offered = self.offered - self.unfinished;
        (offered > 0).then(|| (self.errors() + self.not_sent) as f64 / offered as f64)
    }
}

/// Counts and distributions of a task, or of all.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) counts: Counts,
    /// From the intended instant; right answers and time-outs.
    pub(super) latency: Hist,
    /// From the send.
    pub(super) service: Hist,
}

/// One worker, from the answers.
#[derive(Clone, Debug)]
pub(super) struct WorkerRecord {
    pub(super) answered: [u64; 4],
    pub(super) failed_attempts: u64,
    /// Answers of a fallback model.
    pub(super) degraded: u64,
    pub(super) service: Hist,
    pub(super) batch_sum: u64,
}

/// Errors of one class.
#[derive(Clone, Debug)]
pub(super) struct ErrorRecord {
    pub(super) count: u64,
    pub(super) tasks: [u64; 4],
    /// Seconds into the measured part of the first and last one.
    pub(super) first: f64,
    pub(super) last: f64,
    pub(super) example: String,
}

/// Everything that was written down.
#[derive(Debug)]
pub(super) struct Record {
    /// The beginning of the measured part.
    pub(super) zero: Instant,
    pub(super) all: Scope,
    pub(super) tasks: Vec<Scope>,
    /// The requests before the measured part.
    pub(super) lead_in: Counts,
    pub(super) queue: Hist,
    pub(super) inference: Hist,
    pub(super) network: Hist,
    /// How late requests were released after their due time.
    pub(super) lag: Hist,
    /// Those that timed out before there was a connection for them.
    pub(super) never_left: u64,
    pub(super) workers: BTreeMap<WorkerId, WorkerRecord>,
    pub(super) errors: Vec<(Class, ErrorRecord)>,
    pub(super) retried: u64,
    pub(super) retries: u64,
    pub(super) timeline: Timeline,
    pub(super) in_flight: u64,
    pub(super) most_in_flight: u64,
    pub(super) connections: u64,
    /// When the last answer came or, if later, the last request was due.
    pub(super) last: Instant,
    /// Length of the lead-in.
    lead: Duration,
    good_within: [Duration; 4],
}

impl Record {
    /// Workers that are told apart; beyond it they are counted only in the sums.
    const MAX_WORKERS: usize = 256;
    /// Classes of errors that are told apart; there are fewer, unless a foreign server is inventive.
    const MAX_CLASSES: usize = 64;
    /// Longest example that is kept, in characters.
    const MAX_EXAMPLE: usize = 200;

    pub(super) fn try_new(settings: &Settings, start: Instant) -> Result<Self, HistError> {
        let scope = || -> Result<Scope, HistError> {
            let fine = || Hist::try_new(Precision::Fine);
            Ok(Scope { counts: Counts::default(), latency: fine()?, service: fine()? })
        };
        let lead = Duration::from_secs_f64(settings.shape.lead);
        let zero = start + lead;
        Ok(Self {
            zero,
            all: scope()?,
            tasks: TaskType::ALL.iter().map(|_| scope()).collect::<Result<_, _>>()?,
            lead_in: Counts::default(),
            queue: Hist::try_new(Precision::Fine)?,
            inference: Hist::try_new(Precision::Fine)?,
            network: Hist::try_new(Precision::Fine)?,
            lag: Hist::try_new(Precision::Fine)?,
            never_left: 0,
            workers: BTreeMap::new(),
            errors: Vec::new(),
            retried: 0,
            retries: 0,
            timeline: Timeline::try_new(start, lead)?,
            in_flight: 0,
            most_in_flight: 0,
            connections: 0,
            last: zero,
            lead,
            good_within: TaskType::ALL.map(|task| Duration::from_secs_f64(settings.good_within(task))),
        })
    }

    /// A request fell due, and was sent.
    pub(super) fn sent(&mut self, arrival: &Arrival, late: Duration) {
        self.in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        self.timeline.offered(arrival.due, true);
        if self.measured(arrival) {
            self.lag.record(late);
        }
        self.count(arrival, |c| {
            c.offered += 1;
            c.sent += 1;
        });
    }

    /// A request fell due, and too many were in flight.
    pub(super) fn not_sent(&mut self, arrival: &Arrival) {
        self.timeline.offered(arrival.due, false);
        self.count(arrival, |c| {
            c.offered += 1;
            c.not_sent += 1;
        });
    }

    /// A sent request was dropped because the run was interrupted.
    pub(super) fn unfinished(&mut self, arrival: &Arrival) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.count(arrival, |c| c.unfinished += 1);
    }

    /// A sent request ended.
    pub(super) fn finished(&mut self, finished: &Finished) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Finished { arrival, due, sent, ended, end } = finished;
        let latency = ended.saturating_duration_since(*due);
        let group = end.as_ref().err().map(|failure| failure.class.group());
        self.timeline.ended(*ended, latency, group, self.in_flight);
        let good = latency <= self.good_within[arrival.task.index()];
        self.count(arrival, |c| match group {
            None => {
                c.ok += 1;
                c.good += u64::from(good);
            }
            Some(group) => c.add(group),
        });
        if !self.measured(arrival) {
            return;
        }
        self.last = self.last.max(*ended);
        self.never_left += u64::from(group == Some(Group::TimedOut) && sent.is_none());
        if matches!(group, None | Some(Group::TimedOut)) {
            let service = sent.map(|sent| ended.saturating_duration_since(sent));
            for scope in [&mut self.all, &mut self.tasks[arrival.task.index()]] {
                scope.latency.record(latency);
                if let Some(service) = service {
                    scope.service.record(service);
                }
            }
        }
        match end {
            Ok(answer) => self.answered(arrival.task, answer, sent.map(|s| ended.saturating_duration_since(s))),
            Err(failure) => self.failed(arrival.task, failure, *ended),
        }
    }

    fn measured(&self, arrival: &Arrival) -> bool {
        arrival.due >= self.lead
    }

    /// Seconds from the beginning of the measured part to its last event.
    pub(super) fn seconds(&self) -> f64 {
        self.last.saturating_duration_since(self.zero).as_secs_f64()
    }

    fn count(&mut self, arrival: &Arrival, change: impl Fn(&mut Counts)) {
        if self.measured(arrival) {
            self.last = self.last.max(self.zero + arrival.due.saturating_sub(self.lead));
            change(&mut self.all.counts);
            change(&mut self.tasks[arrival.task.index()].counts);
        } else {
            change(&mut self.lead_in);
        }
    }

    fn answered(&mut self, task: TaskType, answer: &InferResponse, service: Option<Duration>) {
        self.queue.record_seconds(answer.queue_time);
        self.inference.record_seconds(answer.inference_time);
        if let Some(service) = service {
            // What neither the queue nor the model took: sockets, JSON, dispatch, failed attempts.
            self.network.record_seconds(service.as_secs_f64() - answer.queue_time - answer.inference_time);
        }
        self.retries += u64::from(answer.retry_count);
        self.retried += u64::from(answer.retry_count > 0);
        self.attempts(&answer.attempts);
        if let Some(worker) = self.worker(&answer.result.worker_id) {
            worker.answered[task.index()] += 1;
            worker.degraded += u64::from(answer.result.degraded);
            worker.batch_sum += u64::from(answer.batch_size);
            if let Some(service) = service {
                worker.service.record(service);
            }
        }
    }

    fn failed(&mut self, task: TaskType, failure: &Failure, ended: Instant) {
        self.attempts(&failure.attempts);
        self.retries += failure.attempts.len().saturating_sub(1) as u64;
        self.retried += u64::from(failure.attempts.len() > 1);
        let at = ended.saturating_duration_since(self.zero).as_secs_f64();
        let known = self.errors.iter().position(|(class, _)| *class == failure.class);
        let index = known.unwrap_or_else(|| {
            if self.errors.len() < Self::MAX_CLASSES {
                let example = failure.detail.chars().take(Self::MAX_EXAMPLE).collect();
                self.errors
                    .push((failure.class, ErrorRecord { count: 0, tasks: [0; 4], first: at, last: at, example }));
            }
            self.errors.len() - 1
        });
        let (_, record) = &mut self.errors[index];
        record.count += 1;
        record.tasks[task.index()] += 1;
        record.last = at;
    }

    fn attempts(&mut self, attempts: &[Attempt]) {
        for attempt in attempts {
            let failed = matches!(
                attempt.outcome,
                AttemptOutcome::Failed | AttemptOutcome::ConnectionLost | AttemptOutcome::Timeout
            );
            if failed && let Some(worker) = self.worker(&attempt.worker) {
                worker.failed_attempts += 1;
            }
        }
    }

    fn worker(&mut self, id: &WorkerId) -> Option<&mut WorkerRecord> {
        if !self.workers.contains_key(id) && self.workers.len() < Self::MAX_WORKERS {
            let service = Hist::try_new(Precision::Coarse).ok()?;
            let fresh = WorkerRecord { answered: [0; 4], failed_attempts: 0, degraded: 0, service, batch_sum: 0 };
            self.workers.insert(id.clone(), fresh);
        }
        self.workers.get_mut(id)
    }
}

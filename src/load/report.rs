//! The report: what a run found, as one struct that every form is written from.
//!
//! Owns the shape (published as `docs/load-report.schema.json`) and how numbers are shown. How it is
//! filled is in `build`, how it looks in the module of each form.

mod build;
mod chart;
mod csv;
mod dip;
mod html;
mod markdown;
mod text;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(super) use build::{Facts, build};
pub(super) use chart::{Bars, Columns, axis};
use dip::Dip;
pub(super) use text::mark_text;

use super::compare::Comparison;
use super::hist::{Distribution, Step};
use super::observe::Mark;
use super::outcome::Group;
use super::record::Second;
use super::search::Search;
use super::verdict::SloOutcome;
use crate::cli::LoadOutput;
use crate::protocol::TaskType;

/// What a run of `aiq load` found. Times are seconds, shares are of 1, rates are a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// `aiq-load-report/1`; fields may be added under the same number.
    pub schema: String,
    /// Whether it held.
    pub verdict: Verdict,
    /// What was run.
    pub run: RunInfo,
    /// What was offered and what became of it.
    pub totals: Totals,
    /// From the instant each request was due: right answers and time-outs.
    pub latency: Distribution,
    /// From the instant each request was sent.
    pub service_time: Distribution,
    /// The latency histogram.
    pub latency_steps: Vec<Step>,
    /// By task.
    pub tasks: Vec<TaskReport>,
    /// Where the time of right answers went.
    pub shares: Shares,
    /// By worker, from the answers.
    pub workers: Vec<WorkerReport>,
    /// By class, most frequent first.
    pub errors: Vec<ErrorReport>,
    /// A row a second.
    pub timeline: Vec<Second>,
    /// What happened to workers.
    pub marks: Vec<Mark>,
    /// What each kill cost.
    pub dips: Vec<Dip>,
    /// The difference to the baseline, where there is one.
    pub baseline: Option<Comparison>,
    /// The trials of `--find-max`.
    pub search: Option<Search>,
    /// What must be known before these numbers are believed.
    pub warnings: Vec<Warning>,
}

/// The verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every objective held, and nothing got worse than the baseline.
    Held,
    /// It ran to its end; there was no objective to hold.
    Done,
    /// An objective was broken.
    Broken,
    /// Worse than the baseline.
    Regressed,
    /// Interrupted.
    Incomplete,
    /// Nothing was answered, or a fault could not be carried out: these numbers answer nothing.
    Invalid,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// In one word.
    pub outcome: Outcome,
    /// In one sentence.
    pub text: String,
    /// Every objective.
    pub slos: Vec<SloOutcome>,
}

/// What was run, so that it can be run again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunInfo {
    /// `simple`, `burst`, `sustained` or `mixed`.
    pub pattern: String,
    /// `open`: sent when due. `closed`: each client waits for its answer.
    pub load: String,
    /// Clients of a closed load; null for an open one.
    pub clients: Option<u64>,
    /// `poisson` or `constant`.
    pub arrivals: String,
    /// The pattern's rate; null where it has none.
    pub rate: Option<f64>,
    /// What it does, in words.
    pub shape: String,
    /// Tasks with their shares.
    pub mix: Vec<TaskShare>,
    /// Decides every random choice.
    pub seed: u64,
    /// Whether labels were checked too.
    pub checked: bool,
    /// Longest wait for an answer.
    pub timeout: f64,
    /// Most requests in flight at once.
    pub max_in_flight: u64,
    /// Seconds before the measured part.
    pub lead_in: f64,
    /// Seconds from the beginning of the measured part to its last event.
    pub seconds: f64,
    /// When it began (RFC 3339, UTC).
    pub started: String,
    /// The coordinator.
    pub target: String,
    /// Its version; null where it is something else.
    pub target_version: Option<String>,
    /// Its workers at the beginning, and their models.
    pub fleet: Vec<String>,
    /// This client's version.
    pub version: String,
    /// The machine that this client ran on.
    pub host: Host,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Operating system and architecture.
    pub system: String,
    /// Cores that this process may use.
    pub cores: u64,
}

/// A task's share of the mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskShare {
    /// The task.
    pub task: TaskType,
    /// 0 to 1.
    pub share: f64,
}

/// What was offered and what became of it. offered = sent + not_sent; sent = ok + refused + failed +
/// timed_out + wrong + unfinished + missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Totals {
    /// Requests that fell due.
    pub offered: u64,
    /// Of those, sent.
    pub sent: u64,
    /// Not sent, because as many as allowed were in flight.
    pub not_sent: u64,
    /// Right answers.
    pub ok: u64,
    /// Right answers within the loosest latency objective of their task, or the time-out.
    pub good: u64,
    /// Answers of 429 or 503.
    pub refused: u64,
    /// Other errors, and broken connections.
    pub failed: u64,
    /// Not answered in time.
    pub timed_out: u64,
    /// Answered with something else than what was asked.
    pub wrong: u64,
    /// In flight at an interruption.
    pub unfinished: u64,
    /// Sent, and no end known: always 0, unless this tool has a bug.
    pub missing: u64,
    /// Share of what was offered that got no right answer.
    pub error_rate: Option<f64>,
    /// Requests offered a second.
    pub offered_rate: f64,
    /// Right answers a second.
    pub rate: f64,
    /// Good answers a second.
    pub goodput: f64,
    /// Answers that took more than one attempt.
    pub retried: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Most requests in flight at once.
    pub most_in_flight: u64,
    /// Connections opened.
    pub connections: u64,
    /// How late requests left after they were due: this client's own share.
    pub pacer_lag: Distribution,
    /// Requests of the lead-in: sent, and in no other number here.
    pub lead_in_sent: u64,
    /// Of those, the ones without a right answer.
    pub lead_in_errors: u64,
    /// What the coordinator counted meanwhile; null where it is not known.
    pub coordinator: Option<Counted>,
}

/// What the coordinator counted during the run, the lead-in included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counted {
    /// Requests.
    pub total: u64,
    /// Answered with a result.
    pub successful: u64,
    /// Answered with an error after they were accepted.
    pub failed: u64,
    /// Refused at the door.
    pub rejected: u64,
    /// Withdrawn by their client.
    pub cancelled: u64,
    /// Attempts beyond the first.
    pub retries: u64,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskReport {
    /// The task.
    pub task: TaskType,
    /// Requests that fell due.
    pub offered: u64,
    /// Right answers.
    pub ok: u64,
    /// Everything else that was sent.
    pub errors: u64,
    /// Not sent.
    pub not_sent: u64,
    /// Right answers a second.
    pub rate: f64,
    /// Good answers a second.
    pub goodput: f64,
    /// From the intended instant.
    pub latency: Distribution,
    /// From the send.
    pub service_time: Distribution,
}

/// Where the time of right answers went, as the answers say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Shares {
    /// Waiting, in the coordinator and in the worker's batch queue.
    pub queue: Distribution,
    /// In the model.
    pub inference: Distribution,
    /// The rest: sockets, JSON, dispatch, failed attempts.
    pub network: Distribution,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerReport {
    /// Its name.
    pub worker: String,
    /// Right answers from it.
    pub answered: u64,
    /// Its share of all right answers.
    pub share: f64,
    /// Right answers by task.
    pub tasks: Vec<TaskAnswers>,
    /// Attempts that failed on it and went elsewhere or ended in an error.
    pub failed_attempts: u64,
    /// Answers of a fallback model.
    pub degraded: u64,
    /// Mean size of the batches that the answers were in.
    pub mean_batch: Option<f64>,
    /// From the send, of the answers that it gave (within 1 %).
    pub service_time: Distribution,
}

/// A number of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskAnswers {
    /// The task.
    pub task: TaskType,
    /// How many.
    pub answered: u64,
}

/// Errors of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorReport {
    /// A stable word: one of the server's codes, or one of this tool's.
    pub class: String,
    /// What kind of failure it is.
    pub group: Group,
    /// How many.
    pub count: u64,
    /// By task, those without any left out.
    pub tasks: Vec<TaskAnswers>,
    /// Seconds into the measured part of the first one.
    pub first: f64,
    /// And of the last one.
    pub last: f64,
    /// What the first one said.
    pub example: String,
}

/// Something that must be known before the numbers are believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// A stable word.
    pub code: String,
    /// What, and what to do.
    pub text: String,
    /// Whether the numbers are in doubt; such a warning stands above the verdict.
    pub grave: bool,
}

impl Report {
    /// The value of `schema`.
    pub const SCHEMA: &str = "aiq-load-report/1";

    /// The process's exit status.
    pub(super) fn status(&self) -> u8 {
        match self.verdict.outcome {
            Outcome::Held | Outcome::Done => 0,
            Outcome::Invalid => 1,
            Outcome::Broken | Outcome::Regressed => 99,
            Outcome::Incomplete => 130,
        }
    }

    /// The report in a form; it ends with a newline.
    ///
    /// # Errors
    /// Where it can't be written as JSON; it is a bug if this is ever seen.
    pub(super) fn write(&self, form: LoadOutput) -> Result<String, serde_json::Error> {
        Ok(match form {
            LoadOutput::Text => text::text(self),
            LoadOutput::Json => serde_json::to_string_pretty(self)? + "\n",
            LoadOutput::Csv => csv::csv(self),
            LoadOutput::Md => markdown::markdown(self),
            LoadOutput::Html => html::html(self),
        })
    }
}

/// Seconds, with three digits and a fitting unit.
pub(super) fn seconds(value: f64) -> String {
    let (value, unit) = match value {
        v if !v.is_finite() => return "n/a".to_owned(),
        0.0 => return "0".to_owned(),
        v if v.abs() < 0.000_999_5 => (v * 1e6, "µs"),
        v if v.abs() < 0.999_5 => (v * 1e3, "ms"),
        v => (v, "s"),
    };
    format!("{}{unit}", three_digits(value))
}

/// A share of 1, in per cent.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        // Never "0%" or "100%" for something that is not.
        p if p > 0.0 && p < 0.001 => "<0.001%".to_owned(),
        p if p < 100.0 && p > 99.99 => ">99.99%".to_owned(),
        p => format!("{}%", three_digits(p)),
    }
}

/// A rate a second.
pub(super) fn rate(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}/s") } else { format!("{}/s", three_digits(value)) }
}

/// Three digits, without zeros that say nothing.
fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A value that may be missing.
fn or_na(value: Option<f64>, show: fn(f64) -> String) -> String {
    value.map_or_else(|| "n/a".to_owned(), show)
}

#[cfg(test)]
mod tests;

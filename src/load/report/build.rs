//! Fills a report from what was written down.

use super::{
    Counted, ErrorReport, Host, Outcome, Report, RunInfo, Shares, TaskAnswers, TaskReport, TaskShare, Totals, Verdict,
    Warning, WorkerReport, dip, percent, rate, seconds,
};
use crate::cli::{LoadArrivals, LoadPattern};
use crate::load::compare::compare;
use crate::load::observe::{Identity, Mark};
use crate::load::record::{Counts, Record};
use crate::load::search::Search;
use crate::load::settings::{Loop, Settings};
use crate::load::verdict::judge;
use crate::protocol::{Counters, TaskType};

/// What a report is made from.
#[derive(Debug)]
pub(in crate::load) struct Facts<'a> {
    pub(in crate::load) settings: &'a Settings,
    pub(in crate::load) record: Record,
    pub(in crate::load) target: &'a str,
    pub(in crate::load) identity: &'a Identity,
    /// The coordinator's counters at the end.
    pub(in crate::load) counters: Option<Counters>,
    pub(in crate::load) started: String,
    pub(in crate::load) host: Host,
    pub(in crate::load) interrupted: bool,
    pub(in crate::load) marks: Vec<Mark>,
    pub(in crate::load) baseline: Option<&'a Report>,
    pub(in crate::load) search: Option<Search>,
}

/// Lag of the pacer, seconds and as a share of the latency, from which on the client counts as one
/// that can't keep up. Both at the 99th percentile, or of the largest where samples are few.
const GRAVE_LAG: f64 = 0.010;
const GRAVE_SHARE: f64 = 0.1;

/// Makes the report.
pub(in crate::load) fn build(facts: Facts<'_>) -> Report {
    let Facts { settings, record, .. } = &facts;
    let length = record.seconds();
    let slos = judge(settings, record, length);
    let mut report = Report {
        schema: Report::SCHEMA.to_owned(),
        verdict: Verdict { outcome: Outcome::Held, text: String::new(), slos },
        run: run_info(&facts, length),
        totals: totals(&facts, length),
        latency: record.all.latency.summary(),
        service_time: record.all.service.summary(),
        latency_steps: record.all.latency.steps(),
        tasks: tasks(record, length),
        shares: Shares {
            queue: record.queue.summary(),
            inference: record.inference.summary(),
            network: record.network.summary(),
        },
        workers: workers(record),
        errors: errors(record),
        timeline: Vec::new(),
        marks: facts.marks.clone(),
        dips: Vec::new(),
        baseline: None,
        search: facts.search.clone(),
        warnings: warnings(&facts),
    };
    report.baseline = facts.baseline.map(|before| compare(before, &report, settings.tolerance));
    report.timeline = facts.record.timeline.finish();
    report.dips = dip::dips(&report.marks, &report.timeline);
    (report.verdict.outcome, report.verdict.text) = verdict(&report, facts.interrupted);
    report
}

fn verdict(report: &Report, interrupted: bool) -> (Outcome, String) {
    let t = &report.totals;
    let undone = report.marks.iter().find_map(|m| m.failed.as_ref().map(|why| (m, why)));
    let broken: Vec<_> =
        report.verdict.slos.iter().filter(|s| !s.held).map(|s| format!("{} was {}", s.slo, s.shown)).collect();
    if interrupted {
        let text = format!("Interrupted after {}; what follows is what there is.", seconds(report.run.seconds));
        return (Outcome::Incomplete, text);
    }
    if let Some((mark, why)) = undone {
        return (Outcome::Invalid, format!("Could not {} {}: {why}.", mark.what, mark.worker));
    }
    if t.ok == 0 {
        let most = report.errors.first().map_or_else(String::new, |e| format!("; mostly {} ({})", e.class, e.example));
        return (Outcome::Invalid, format!("Nothing was answered right{most}."));
    }
    if let Some(search) = &report.search {
        return match search.best {
            Some(best) => (Outcome::Held, format!("The highest rate that holds is {}.", rate(best))),
            None => (Outcome::Broken, format!("Not even {} holds: {}.", rate(search.low), search.why())),
        };
    }
    if !broken.is_empty() {
        return (Outcome::Broken, format!("{}.", broken.join("; ")));
    }
    if let Some(baseline) = report.baseline.as_ref().filter(|b| b.regressed) {
        let worse: Vec<_> = baseline.rows.iter().filter(|r| r.worse).map(|r| r.name.as_str()).collect();
        return (Outcome::Regressed, format!("Worse than the baseline: {}.", worse.join(", ")));
    }
    let errors = t.refused + t.failed + t.timed_out + t.wrong;
    let answered = if errors + t.not_sent == 0 {
        format!("all {} requests were answered right", t.ok)
    } else {
        format!("{} of {} requests got no right answer", errors + t.not_sent, t.offered)
    };
    let (outcome, held) = match (report.verdict.slos.len(), &report.baseline) {
        (0, None) => (Outcome::Done, "No objective was set".to_owned()),
        (0, Some(_)) => (Outcome::Held, "No worse than the baseline".to_owned()),
        (1, _) => (Outcome::Held, "The objective held".to_owned()),
        (n, _) => (Outcome::Held, format!("All {n} objectives held")),
    };
    (outcome, format!("{held}; {answered}, at {}.", rate(t.rate)))
}

fn run_info(facts: &Facts<'_>, length: f64) -> RunInfo {
    let Facts { settings, identity, .. } = facts;
    let clients = match settings.how {
        Loop::Open => None,
        Loop::Closed { clients } => Some(clients as u64),
    };
    let fleet = identity.workers.iter().map(|worker| {
        let models: Vec<_> = worker.capabilities.iter().map(|c| c.model_info.as_str()).collect();
        let mut models = models;
        models.dedup();
        format!("{} {} ({})", worker.worker_id, worker.state, models.join(", "))
    });
    RunInfo {
        pattern: match settings.pattern {
            LoadPattern::Simple => "simple",
            LoadPattern::Burst => "burst",
            LoadPattern::Sustained => "sustained",
            LoadPattern::Mixed => "mixed",
        }
        .to_owned(),
        load: if clients.is_some() { "closed" } else { "open" }.to_owned(),
        clients,
        arrivals: match settings.arrivals {
            LoadArrivals::Poisson => "poisson",
            LoadArrivals::Constant => "constant",
        }
        .to_owned(),
        rate: (settings.rate > 0.0).then_some(settings.rate),
        shape: settings.describe(),
        mix: settings.mix.tasks().map(|task| TaskShare { task, share: settings.mix.share(task) }).collect(),
        seed: settings.seed,
        checked: settings.check,
        timeout: settings.timeout.as_secs_f64(),
        max_in_flight: settings.max_in_flight as u64,
        lead_in: settings.shape.lead,
        seconds: length,
        started: facts.started.clone(),
        target: facts.target.to_owned(),
        target_version: identity.status.as_ref().map(|s| s.version.clone()),
        fleet: fleet.collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: facts.host.clone(),
    }
}

fn per_second(n: u64, length: f64) -> f64 {
    if length > 0.0 { n as f64 / length } else { 0.0 }
}

fn totals(facts: &Facts<'_>, length: f64) -> Totals {
    let record = &facts.record;
    let c = record.all.counts;
    let counted = facts.identity.counters().zip(facts.counters).map(|(before, after)| Counted {
        total: after.total_requests.saturating_sub(before.total_requests),
        successful: after.successful_requests.saturating_sub(before.successful_requests),
        failed: after.failed_requests.saturating_sub(before.failed_requests),
        rejected: after.rejected_requests.saturating_sub(before.rejected_requests),
        cancelled: after.cancelled_requests.saturating_sub(before.cancelled_requests),
        retries: after.retries.saturating_sub(before.retries),
    });
    Totals {
        offered: c.offered,
        sent: c.sent,
        not_sent: c.not_sent,
        ok: c.ok,
        good: c.good,
        refused: c.refused,
        failed: c.failed,
        timed_out: c.timed_out,
        wrong: c.wrong,
        unfinished: c.unfinished,
        missing: c.missing(),
        error_rate: c.error_rate(),
        offered_rate: per_second(c.offered, length),
        rate: per_second(c.ok, length),
        goodput: per_second(c.good, length),
        retried: record.retried,
        retries: record.retries,
        most_in_flight: record.most_in_flight,
        connections: record.connections,
        pacer_lag: record.lag.summary(),
        lead_in_sent: record.lead_in.sent,
        lead_in_errors: record.lead_in.errors() + record.lead_in.not_sent,
        coordinator: counted,
    }
}

fn tasks(record: &Record, length: f64) -> Vec<TaskReport> {
    let all = TaskType::ALL.into_iter().zip(&record.tasks);
    all.filter(|(_, scope)| scope.counts.offered > 0)
        .map(|(task, scope)| TaskReport {
            task,
            offered: scope.counts.offered,
            ok: scope.counts.ok,
            errors: scope.counts.errors(),
            not_sent: scope.counts.not_sent,
            rate: per_second(scope.counts.ok, length),
            goodput: per_second(scope.counts.good, length),
            latency: scope.latency.summary(),
            service_time: scope.service.summary(),
        })
        .collect()
}

fn by_task(counts: [u64; 4]) -> Vec<TaskAnswers> {
    let all = TaskType::ALL.into_iter().zip(counts);
    all.filter(|(_, n)| *n > 0).map(|(task, answered)| TaskAnswers { task, answered }).collect()
}

fn workers(record: &Record) -> Vec<WorkerReport> {
    let all = record.all.counts.ok;
    let workers = record.workers.iter().map(|(id, worker)| {
        let answered = worker.answered.iter().sum::<u64>();
        WorkerReport {
            worker: id.to_string(),
            answered,
            share: if all > 0 { answered as f64 / all as f64 } else { 0.0 },
            tasks: by_task(worker.answered),
            failed_attempts: worker.failed_attempts,
            degraded: worker.degraded,
            mean_batch: (answered > 0 && worker.batch_sum > 0).then(|| worker.batch_sum as f64 / answered as f64),
            service_time: worker.service.summary(),
        }
    });
    workers.collect()
}

fn errors(record: &Record) -> Vec<ErrorReport> {
    let errors = record.errors.iter().map(|(class, error)| ErrorReport {
        class: class.name(),
        group: class.group(),
        count: error.count,
        tasks: by_task(error.tasks),
        first: error.first,
        last: error.last,
        example: error.example.clone(),
    });
    let mut errors: Vec<_> = errors.collect();
    errors.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.class.cmp(&b.class)));
    errors
}

fn warnings(facts: &Facts<'_>) -> Vec<Warning> {
    let Facts { settings, record, identity, .. } = facts;
    let mut warnings = Vec::new();
    let mut warn = |grave: bool, code: &str, text: String| {
        warnings.push(Warning { code: code.to_owned(), text, grave });
    };
    let Counts { not_sent, offered, .. } = record.all.counts;
    let lag = record.lag.at(99.0).unwrap_or(0.0);
    // What timed out took no longer than that; if it was noticed later, that was this client.
    let latency = record.all.latency.at(99.0).unwrap_or(0.0).min(settings.timeout.as_secs_f64());
    if settings.how == Loop::Open && lag > GRAVE_LAG && lag > GRAVE_SHARE * latency {
        let text = format!(
            "This client could not keep up: its slowest requests left {} after they were due, where the slowest answers took {}. Its own delay is in the latencies; use a lower rate or a machine with more to spare.",
            seconds(lag),
            seconds(latency)
        );
        warn(true, "client_behind", text);
    }
    if let Some((_, error)) = record.errors.iter().find(|(class, _)| *class == crate::load::outcome::Class::ClientLimit)
    {
        let text = format!(
            "This machine ran out of what connections need, {} times ({}): raise the limit of open files (ulimit -n) or lower --max-in-flight.",
            error.count, error.example
        );
        warn(true, "client_limit", text);
    }
    if record.never_left > 0 {
        let text = format!(
            "{} requests ({}) timed out before there was a connection for them: this client could not keep up, or the target takes no more connections.",
            record.never_left,
            percent(record.never_left as f64 / offered.max(1) as f64),
        );
        warn(true, "never_left", text);
    }
    if not_sent > 0 {
        let text = format!(
            "{not_sent} requests ({}) were due while {} were in flight, and were not sent. They count as errors, and are in no percentile.",
            percent(not_sent as f64 / offered.max(1) as f64),
            settings.max_in_flight
        );
        warn(true, "not_sent", text);
    }
    if record.all.counts.missing() > 0 {
        let text =
            format!("{} requests were sent and have no known end: a bug in this tool.", record.all.counts.missing());
        warn(true, "missing", text);
    }
    if settings.how != Loop::Open {
        let text = "A closed load: clients wait for the server, so a stall delays requests instead of counting against it. Its percentiles flatter; give --rate for ones that users would see.";
        warn(false, "closed_load", text.to_owned());
    }
    if record.lead_in.errors() + record.lead_in.not_sent > 0 {
        let text = format!(
            "{} of {} requests of the lead-in got no right answer; they are in no number here.",
            record.lead_in.errors() + record.lead_in.not_sent,
            record.lead_in.offered
        );
        warn(false, "lead_in_errors", text);
    }
    if identity.status.is_none() {
        warn(false, "foreign_target", "The target does not answer /status as a coordinator does.".to_owned());
    }
    let degraded: u64 = record.workers.values().map(|w| w.degraded).sum();
    if degraded > 0 {
        let text = format!(
            "{} of {} answers came from models that stand in for the full-size ones (degraded), which are slower and better.",
            degraded, record.all.counts.ok
        );
        warn(false, "degraded", text);
    }
    warnings
}

use std::time::{Duration, Instant};

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};
use crate::load::hist::{Hist, Precision};
use crate::load::observe::Identity;
use crate::load::outcome::{Class, Failure, Finished};
use crate::load::record::Record;
use crate::load::schedule::Arrival;
use crate::load::settings::Settings;
use crate::load::trial::Trial;
use crate::protocol::{
    Attempt, AttemptOutcome, InferResponse, ModelRef, ModelSource, ProblemCode, RequestId, Scores, TaskResult, WorkerId,
};

/// What a made-up run is made of.
struct Made<'a> {
    flags: &'a str,
    /// One in so many is refused; 0 for none.
    refuse_every: u64,
    interrupted: bool,
}

fn answer(task: TaskType, worker: &str, retries: u32) -> Box<InferResponse> {
    let worker = WorkerId::try_new(worker).unwrap();
    let attempt = |outcome| Attempt { worker: WorkerId::try_new("worker-1").unwrap(), outcome, seconds: 0.1 };
    Box::new(InferResponse {
        request_id: RequestId::try_new("r").unwrap(),
        result: TaskResult {
            prediction: "POSITIVE".to_owned(),
            confidence: 0.9,
            similarities: None,
            worker_id: worker,
            task_type: task,
            model_info: "DistilBERT (mini)".to_owned(),
            scores: Scores::default(),
            degraded: true,
            model: ModelRef { id: "m".to_owned(), revision: None, source: ModelSource::Embedded },
        },
        latency: 0.02,
        retry_count: retries,
        queue_time: 0.004,
        inference_time: 0.012,
        batch_size: 3,
        attempts: (0..retries).map(|_| attempt(AttemptOutcome::ConnectionLost)).collect(),
    })
}

fn settings(flags: &str) -> Settings {
    let words = ["aiq", "load", "--seed", "42"].into_iter().chain(flags.split_whitespace());
    let Command::Load(args) = Cli::parse_from(words).command else { unreachable!() };
    Settings::try_new(&args).unwrap()
}

/// A run whose every time is made up: a hundred a second, each answered after 10 to 60 ms, and
/// slower while a worker is away.
fn record(made: &Made<'_>, settings: &Settings, start: Instant) -> Record {
    let mut record = Record::try_new(settings, start).unwrap();
    let length = settings.shape.length() as u64;
    let mut ends: Vec<Finished> = Vec::new();
    for seq in 0..length * 100 {
        let due = Duration::from_millis(seq * 10);
        let task = TaskType::ALL[(seq % 7 % 4) as usize];
        let arrival = Arrival { seq, due, task, input: 0, in_spike: false };
        if seq % 977 == 976 {
            record.not_sent(&arrival);
            continue;
        }
        record.sent(&arrival, Duration::from_micros(80 + seq % 50));
        let away = (10..12).contains(&due.as_secs());
        let took = Duration::from_millis(10 + seq * 7919 % 50 + if away { 400 } else { 0 });
        let refused = made.refuse_every > 0 && seq % made.refuse_every == 1;
        let end = if refused {
            Err(Failure::new(Class::Problem(ProblemCode::QueueFull), "10000 requests wait | all of them"))
        } else if seq % 601 == 600 {
            Err(Failure::new(Class::TimedOut, "no answer within 10s"))
        } else {
            Ok(answer(
                task,
                if seq % 3 == 0 && !away { "worker-1" } else { "worker-2" },
                u32::from(away && seq % 20 == 0),
            ))
        };
        let due = start + due;
        ends.push(Finished { arrival, due, sent: Some(due + Duration::from_micros(100)), ended: due + took, end });
    }
    ends.sort_by_key(|f| f.ended);
    for finished in &ends {
        record.finished(finished);
    }
    record
}

fn report(made: &Made<'_>) -> Report {
    let settings = settings(made.flags);
    // A whole second, so that rows do not depend on when the test runs.
    let record = record(made, &settings, Instant::now());
    let mark = |at: f64, what: &str, ours: bool| Mark {
        at,
        worker: WorkerId::try_new("worker-1").unwrap(),
        what: what.to_owned(),
        ours,
        failed: None,
    };
    let marks = if settings.faults.is_empty() {
        Vec::new()
    } else {
        vec![
            mark(10.0, "kill", true),
            mark(10.2, "killed", false),
            mark(15.0, "revive", true),
            mark(15.9, "ready", false),
        ]
    };
    build(Facts {
        settings: &settings,
        record,
        target: "http://127.0.0.1:8000",
        identity: &Identity::default(),
        counters: None,
        started: "2026-01-02T03:04:05Z".to_owned(),
        host: Host { name: "example".to_owned(), system: "linux x86_64".to_owned(), cores: 2 },
        interrupted: made.interrupted,
        marks,
        baseline: None,
        search: None,
    })
}

const FLAGS: &str =
    "--rate 100 --duration 20s --slo p99<250ms --slo error_rate<1% --kill worker-1@10s --revive worker-1@15s";

fn held() -> Report {
    report(&Made {
        flags: "--rate 100 --duration 20s --slo p99<1s --slo error_rate<5%",
        refuse_every: 0,
        interrupted: false,
    })
}

fn broken() -> Report {
    report(&Made { flags: FLAGS, refuse_every: 50, interrupted: false })
}

#[test]
fn every_form_of_a_broken_run() {
    let report = broken();
    assert_eq!(report.status(), 99);
    insta::assert_snapshot!("broken_text", report.write(LoadOutput::Text).unwrap());
    insta::assert_snapshot!("broken_csv", report.write(LoadOutput::Csv).unwrap());
    insta::assert_snapshot!("broken_md", report.write(LoadOutput::Md).unwrap());
    insta::assert_snapshot!("broken_json", report.write(LoadOutput::Json).unwrap());
    let page = report.write(LoadOutput::Html).unwrap();
    insta::assert_snapshot!("broken_html", page);
    for foreign in ["<script", "src=", "http-equiv", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn a_run_that_held() {
    let report = held();
    assert_eq!(report.status(), 0);
    insta::assert_snapshot!("held_text", report.write(LoadOutput::Text).unwrap());
}

#[test]
fn counts_add_up() {
    for r in [held(), broken()] {
        let t = &r.totals;
        assert_eq!(t.offered, t.sent + t.not_sent);
        assert_eq!(t.sent, t.ok + t.refused + t.failed + t.timed_out + t.wrong + t.unfinished + t.missing);
        assert_eq!(t.missing, 0);
        assert_eq!(t.offered, r.tasks.iter().map(|t| t.offered).sum::<u64>());
        assert_eq!(t.offered, r.timeline.iter().map(|s| s.offered).sum::<u64>());
        assert_eq!(t.ok, r.timeline.iter().map(|s| s.ok).sum::<u64>());
        assert_eq!(t.ok, r.workers.iter().map(|w| w.answered).sum::<u64>());
        assert_eq!(t.ok + t.timed_out, r.latency_steps.iter().map(|s| s.count).sum::<u64>());
        assert_eq!(t.refused + t.timed_out, r.errors.iter().map(|e| e.count).sum::<u64>());
    }
}

#[test]
fn an_interrupted_run_is_marked() {
    let report = report(&Made { flags: FLAGS, refuse_every: 50, interrupted: true });
    assert_eq!((report.status(), report.verdict.outcome), (130, Outcome::Incomplete));
    assert!(report.write(LoadOutput::Text).unwrap().contains("INCOMPLETE"));
}

#[test]
fn a_report_is_read_back() {
    let report = broken();
    let json = report.write(LoadOutput::Json).unwrap();
    let read: Report = serde_json::from_str(&json).unwrap();
    assert_eq!(read.write(LoadOutput::Text).unwrap(), report.write(LoadOutput::Text).unwrap());
    assert_eq!((read.errors, read.marks), (report.errors, report.marks));
}

#[test]
fn worse_than_the_baseline_is_a_regression() {
    let before = held();
    let comparison = |change: fn(&mut Report)| {
        let mut now = before.clone();
        change(&mut now);
        crate::load::compare::compare(&before, &now, 0.1)
    };
    assert!(!comparison(|_| {}).regressed);
    assert!(!comparison(|now| now.latency.p99 = now.latency.p99.map(|v| v * 1.05)).regressed);
    let worse = comparison(|now| now.latency.p99 = now.latency.p99.map(|v| v * 1.5));
    assert!(worse.regressed);
    assert_eq!(worse.rows.iter().filter(|r| r.worse).map(|r| r.name.as_str()).collect::<Vec<_>>(), ["p99"]);
    assert!(comparison(|now| now.totals.goodput *= 0.8).regressed);
    assert!(comparison(|now| now.totals.error_rate = Some(0.05)).regressed);
    let other = comparison(|now| now.run.shape = "another".to_owned());
    assert!(other.differences[0].contains("another"));
}

/// The report of 500 requests, released so late and ended like this.
fn doubtful(late: Duration, sent: bool, end: impl Fn() -> Result<Box<InferResponse>, Failure>) -> String {
    let settings = settings("--rate 100 --duration 5s --max-in-flight 7");
    let start = Instant::now();
    let mut record = Record::try_new(&settings, start).unwrap();
    for seq in 0..500 {
        let due = Duration::from_millis(seq * 10);
        let task = TaskType::TextClassification;
        let arrival = Arrival { seq, due, task, input: 0, in_spike: false };
        record.sent(&arrival, late);
        let due = start + due;
        record.finished(&Finished { arrival, due, sent: sent.then_some(due), ended: due, end: end() });
    }
    let report = build(Facts {
        settings: &settings,
        record,
        target: "http://t",
        identity: &Identity::default(),
        counters: None,
        started: String::new(),
        host: Host { name: String::new(), system: String::new(), cores: 1 },
        interrupted: false,
        marks: Vec::new(),
        baseline: None,
        search: None,
    });
    report.write(LoadOutput::Text).unwrap()
}

#[test]
fn what_puts_the_numbers_in_doubt_stands_first() {
    let answered = || Ok(answer(TaskType::TextClassification, "w", 0));
    let text = doubtful(Duration::from_millis(30), true, answered);
    assert!(text.starts_with("  !! This client could not keep up"), "{text}");
    let late = || Err(Failure::new(Class::TimedOut, "no answer within 10s"));
    let text = doubtful(Duration::ZERO, false, late);
    assert!(text.starts_with("  !! 500 requests (100%) timed out before there was a connection"), "{text}");
    assert!(doubtful(Duration::ZERO, true, late).starts_with("INVALID"));
}

#[test]
fn a_search_is_told_trial_by_trial() {
    let trial = |rate: f64, held: bool| Trial {
        rate,
        ok_rate: rate * 0.99,
        p50: Some(0.012),
        p99: Some(if held { 0.2 } else { 1.4 }),
        error_rate: Some(0.0),
        held,
        why: if held { String::new() } else { "p99 < 500ms was 1.4s".to_owned() },
    };
    let mut report = held();
    let trials = vec![trial(50.0, true), trial(75.0, true), trial(113.0, false), trial(75.0, true)];
    report.search = Some(Search { low: 50.0, high: 2000.0, best: Some(75.0), trials });
    let text = report.write(LoadOutput::Text).unwrap();
    let from = text.find("Trials").unwrap();
    insta::assert_snapshot!("search_text", &text[from..]);
}

#[test]
fn numbers_are_short_and_never_lie_about_zero() {
    for (value, shown) in [
        (0.0, "0"),
        (0.000_000_5, "0.5µs"),
        (0.000_123_4, "123µs"),
        (0.000_999_9, "1ms"),
        (0.012_34, "12.3ms"),
        (0.25, "250ms"),
        (0.999_9, "1s"),
        (12.345, "12.3s"),
        (600.0, "600s"),
    ] {
        assert_eq!(seconds(value), shown);
    }
    for (value, shown) in
        [(0.0, "0%"), (1e-7, "<0.001%"), (0.001, "0.1%"), (0.999_999, ">99.99%"), (1.0, "100%"), (0.123_45, "12.3%")]
    {
        assert_eq!(percent(value), shown);
    }
    assert_eq!(rate(20_345.6), "20346/s");
    assert_eq!(rate(49.98), "50/s");
}

#[test]
fn the_published_schema_is_this_one() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/load-report.schema.json");
    let schema = crate::load::schema::text();
    if std::env::var_os("INSTA_UPDATE").is_some_and(|v| v == "always") {
        std::fs::write(&path, &schema).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), schema, "run with INSTA_UPDATE=always to publish it");
}

#[test]
fn an_empty_distribution_is_all_na() {
    assert_eq!(Hist::try_new(Precision::Coarse).unwrap().summary(), Distribution::default());
}

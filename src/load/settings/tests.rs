use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};
use crate::load::schedule::Phase;

fn args(flags: &str) -> LoadArgs {
    let words = ["aiq", "load"].into_iter().chain(flags.split_whitespace());
    let Command::Load(args) = Cli::try_parse_from(words).unwrap().command else { unreachable!() };
    args
}

fn settings(flags: &str) -> Settings {
    Settings::try_new(&args(flags)).unwrap_or_else(|e| panic!("{flags}: {e}"))
}

fn wrong(flags: &str) -> String {
    match Settings::try_new(&args(flags)) {
        Ok(_) => panic!("{flags} was taken"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn the_pattern_follows_from_the_flags() {
    for (flags, pattern) in [
        ("", LoadPattern::Simple),
        ("--requests 50", LoadPattern::Simple),
        ("--rate 10", LoadPattern::Sustained),
        ("--duration 5s", LoadPattern::Sustained),
        ("--concurrency 4", LoadPattern::Sustained),
        ("--find-max 5..10", LoadPattern::Sustained),
        ("--burst-size 5", LoadPattern::Burst),
        ("--base-rate 5 --duration 1m", LoadPattern::Burst),
        ("--pattern mixed --rate 20", LoadPattern::Mixed),
    ] {
        assert_eq!(settings(flags).pattern, pattern, "{flags}");
    }
}

#[test]
fn defaults_are_those_of_the_help() {
    let s = settings("");
    assert_eq!((s.requests, s.how, s.shape.expected()), (Some(10), Loop::Open, 10.0));
    assert_eq!((s.timeout, s.max_in_flight), (Duration::from_secs(10), 2000));
    let s = settings("--pattern burst");
    assert_eq!(s.shape.spikes.len(), 5);
    assert!(s.shape.spikes.iter().all(|spike| spike.size == 200));
    assert_eq!(settings("--pattern sustained").shape, Shape::sustained(50.0, 30.0));
    let s = settings("--find-max 50..200");
    assert_eq!(s.slos.iter().map(ToString::to_string).collect::<Vec<_>>(), ["p99 < 500ms", "error_rate < 1%"]);
    assert_ne!(settings("").seed, settings("").seed, "a seed is drawn");
}

#[test]
fn the_lead_in_comes_first() {
    let s = settings("--rate 100 --duration 10s --ramp 4s --warmup 2s");
    let at: Vec<_> = s.shape.phases.iter().map(|p| (p.start, p.end(), p.from, p.to)).collect();
    assert_eq!(at, [(0.0, 4.0, 0.0, 100.0), (4.0, 6.0, 100.0, 100.0), (6.0, 16.0, 100.0, 100.0)]);
    assert!((s.shape.lead - 6.0).abs() < 1e-9);
    assert!((s.shape.phases.iter().map(Phase::expected).sum::<f64>() - 1400.0).abs() < 1e-6);
}

#[test]
fn a_trial_is_the_same_load_at_another_rate() {
    let s = settings("--find-max 50..200 --duration 5s --warmup 2s").at_rate(80.0);
    assert!((s.shape.length() - 7.0).abs() < 1e-9 && (s.shape.lead - 2.0).abs() < 1e-9);
    assert!((s.rate - 80.0).abs() < 1e-9);
}

#[test]
fn good_answers_keep_the_loosest_limit() {
    let s = settings("--slo p50<50ms --slo p99<250ms --slo image:p95<400ms --timeout 3s");
    assert!((s.good_within(TaskType::TextClassification) - 0.25).abs() < 1e-9);
    assert!((s.good_within(TaskType::ImageClassification) - 0.4).abs() < 1e-9);
    assert!((settings("--timeout 3s").good_within(TaskType::ImageClassification) - 3.0).abs() < 1e-9);
}

#[test]
fn faults_are_in_order() {
    let s = settings("--rate 1 --kill w2@20s --kill w1@5s --revive w1@10s");
    let at: Vec<_> = s.faults.iter().map(|f| (f.worker.as_str(), f.at.as_secs(), f.action)).collect();
    assert_eq!(at, [("w1", 5, WorkerAction::Kill), ("w1", 10, WorkerAction::Revive), ("w2", 20, WorkerAction::Kill)]);
}

#[test]
fn the_files_name_says_its_form() {
    for (flags, form) in [
        ("", LoadOutput::Text),
        ("-o md", LoadOutput::Md),
        ("--output-file a/b.json", LoadOutput::Json),
        ("--output-file r.html", LoadOutput::Html),
        ("--output-file r.json -o csv", LoadOutput::Csv),
        ("--output-file report", LoadOutput::Text),
    ] {
        assert_eq!(settings(flags).output, form, "{flags}");
    }
}

#[test]
fn mistakes_name_the_flag_and_what_would_be_right() {
    for (flags, words) in [
        ("--rate 0", ["--rate", "over 0"]),
        ("--rate nan", ["--rate", "over 0"]),
        ("--requests 0", ["--requests", "at least 1"]),
        ("--pattern burst --rate 5", ["--rate", "--base-rate"]),
        ("--pattern simple --duration 5s", ["--duration", "simple"]),
        ("--rate 5 --burst-size 3 --pattern sustained", ["--burst-size", "burst"]),
        ("--pattern burst --burst-every 1m", ["--burst-every", "--duration"]),
        ("--pattern burst --concurrency 3", ["--concurrency", "closed loop"]),
        ("--concurrency 0", ["--concurrency", "1 to"]),
        ("--timeout 0s", ["--timeout", "1ms"]),
        ("--timeout 1h", ["--timeout", "600"]),
        ("--max-in-flight 0", ["--max-in-flight", "1 to"]),
        ("--find-max 100", ["--find-max", "LOW..HIGH"]),
        ("--find-max 100..50", ["--find-max", "LOW..HIGH"]),
        ("--find-max 1..5 --kill w@1s", ["--find-max", "--kill"]),
        ("--kill w1", ["--kill", "WORKER@TIME"]),
        ("--rate 5 --duration 10s --revive w1@10s", ["revive at 10s", "after the end"]),
        ("--kill @5s", ["--kill", "WORKER@TIME"]),
        ("--revive w1@soon", ["--revive", "WORKER@TIME"]),
        ("--tolerance much", ["--tolerance", "10%"]),
        ("--mix video=1", ["--mix", "video"]),
        ("--slo p99", ["--slo", "p99"]),
        ("--plan --concurrency 2", ["--plan", "closed"]),
    ] {
        let said = wrong(flags);
        assert!(words.iter().all(|word| said.contains(word)), "{flags}: {said}");
    }
}

#[test]
fn the_help_reads_well() {
    use clap::CommandFactory;
    let mut command = Cli::command();
    let load = command.find_subcommand_mut("load").unwrap();
    // The values of the caller's environment are not part of it.
    let load = load.clone().mut_args(|arg| arg.hide_env_values(true)).term_width(100);
    insta::assert_snapshot!("help", load.clone().render_help());
    insta::assert_snapshot!("help_long", load.clone().render_long_help());
}

//! `aiq load` as a process, against a bare server whose log is the truth.

mod schema;
mod server;

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::support::{aiq, eventually};
use server::{Manners, Oddity, Server};

/// A finished run.
struct Ran {
    output: Output,
    _dir: TempDir,
}

impl Ran {
    fn status(&self) -> i32 {
        self.output.status.code().unwrap()
    }

    fn out(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    fn err(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).unwrap()
    }

    fn report(&self) -> Value {
        serde_json::from_str(&self.out()).unwrap_or_else(|e| panic!("{e}\n{}\n{}", self.out(), self.err()))
    }
}

fn command(server: &Server, flags: &str) -> (Command, TempDir) {
    let args: Vec<&str> = ["load", "--url", &server.url].into_iter().chain(flags.split_whitespace()).collect();
    let (mut command, dir) = aiq(&args);
    command.stdin(Stdio::null());
    (command, dir)
}

fn load(server: &Server, flags: &str) -> Ran {
    let (mut command, dir) = command(server, flags);
    Ran { output: command.output().unwrap(), _dir: dir }
}

fn n(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer} in {report:#}"))
}

fn f(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} in {report:#}"))
}

#[test]
fn ten_simple_requests_are_answered() {
    let server = Server::start(Manners::default());
    let ran = load(&server, "--seed 1");
    assert_eq!(ran.status(), 0, "{}{}", ran.out(), ran.err());
    assert!(ran.out().contains("DONE  No objective was set; all 10 requests were answered right"), "{}", ran.out());
    let log = server.log();
    assert_eq!((log.ids.len(), log.tasks.len()), (10, 4));
}

#[test]
fn counts_reconcile_exactly_with_the_servers_log() {
    for pattern in [
        "--pattern burst --burst-size 60 --burst-every 1s --base-rate 40 --duration 3s",
        "--pattern mixed --rate 80 --duration 4s",
        "--rate 150 --requests 333",
        "--concurrency 7 --requests 200",
        "--rate 100 --duration 1s --ramp 1s --warmup 1s",
    ] {
        let server = Server::start(Manners { odd_every: 10, oddity: Oddity::QueueFull, ..Manners::default() });
        let ran = load(&server, &format!("{pattern} --seed 3 -o json"));
        let report = ran.report();
        let log = server.log();
        let (sent, lead_in) = (n(&report, "/totals/sent"), n(&report, "/totals/lead_in_sent"));
        assert_eq!(sent + lead_in, log.ids.values().sum::<u64>(), "{pattern}");
        assert!(log.ids.values().all(|times| *times == 1), "{pattern}: an id was used twice");
        let refused = n(&report, "/totals/refused") + n(&report, "/totals/lead_in_errors");
        assert_eq!(refused, (sent + lead_in) / 10, "{pattern}");
        assert_eq!(n(&report, "/totals/ok") + n(&report, "/totals/refused"), sent, "{pattern}");
        assert_eq!(n(&report, "/totals/missing") + n(&report, "/totals/not_sent"), 0, "{pattern}");
        if lead_in == 0 {
            for task in report["tasks"].as_array().unwrap() {
                assert_eq!(log.tasks[task["task"].as_str().unwrap()], task["offered"].as_u64().unwrap(), "{pattern}");
            }
        }
    }
}

#[test]
fn a_stall_shows_in_an_open_load_and_hides_in_a_closed_one() {
    let stall = Manners { stall: Some((200, Duration::from_secs(1))), ..Manners::default() };
    // At 200/s two hundred requests fall due while the server stands still; of a thousand in all they
    // are a fifth, so p99 shows the better part of the second.
    let open = load(&Server::start(stall.clone()), "--rate 200 --duration 5s --arrivals constant -o json");
    let open = open.report();
    assert!(f(&open, "/latency/p99") > 0.8, "{:#}", open["latency"]);
    assert!(f(&open, "/latency/p90") > 0.3, "{:#}", open["latency"]);
    // A single client that waits for its answer sends nothing while it waits: one request in a
    // thousand is slow, and p99 knows nothing of it.
    let closed = load(&Server::start(stall), "--concurrency 1 --requests 1000 -o json").report();
    assert!(f(&closed, "/latency/p99") < 0.5, "{:#}", closed["latency"]);
    assert!(f(&closed, "/latency/max") > 0.8, "{:#}", closed["latency"]);
    assert_eq!(closed["run"]["load"], "closed");
    assert!(closed["warnings"].as_array().unwrap().iter().any(|w| w["code"] == "closed_load"));
}

#[test]
fn each_wrong_answer_has_its_class() {
    for (oddity, class, group) in [
        (Oddity::QueueFull, "queue_full", "refused"),
        (Oddity::ForeignError, "http_418", "failed"),
        (Oddity::NotJson, "unreadable_answer", "failed"),
        (Oddity::OtherId, "wrong_id", "wrong"),
        (Oddity::FirstIdAgain, "duplicate_id", "wrong"),
        (Oddity::OtherTask, "wrong_task", "wrong"),
        (Oddity::Silence, "timed_out", "timed_out"),
        (Oddity::HangUp, "connection_lost", "failed"),
    ] {
        let server = Server::start(Manners { odd_every: 25, oddity, ..Manners::default() });
        let ran =
            load(&server, "--rate 100 --requests 100 --arrivals constant --timeout 2s -o json --slo error_rate<1%");
        let report = ran.report();
        assert_eq!(ran.status(), 99, "{oddity:?}");
        let errors = report["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{oddity:?}: {errors:#?}");
        assert_eq!((&errors[0]["class"], &errors[0]["group"]), (&class.into(), &group.into()), "{oddity:?}");
        assert_eq!(errors[0]["count"], 4, "{oddity:?}");
        assert_eq!(n(&report, "/totals/ok"), 96, "{oddity:?}");
    }
}

#[test]
fn labels_are_checked_where_they_are_plain() {
    // The server says POSITIVE to everything.
    let server = Server::start(Manners::default());
    let flags = "--rate 200 --requests 200 --mix text --seed 5 -o json";
    let lenient = load(&server, flags).report();
    assert_eq!(n(&lenient, "/totals/wrong"), 0);
    let ran = load(&server, &format!("{flags} --check --slo error_rate<5%"));
    let strict = ran.report();
    assert_eq!(ran.status(), 99);
    let wrong = n(&strict, "/totals/wrong");
    assert!(wrong > 20 && wrong < 120, "{wrong} of 200 texts are plainly negative");
    assert_eq!(strict["errors"][0]["class"], "wrong_answer");
}

#[test]
fn what_cannot_be_sent_is_counted_and_said_first() {
    let server = Server::start(Manners { odd_every: 1, oddity: Oddity::Silence, ..Manners::default() });
    let ran = load(&server, "--rate 100 --requests 60 --max-in-flight 20 --timeout 3s");
    assert_eq!(ran.status(), 1, "nothing was answered");
    assert!(ran.out().contains("  !! 40 requests (66.7%)"), "{}", ran.out());
    assert_eq!(server.log().ids.len(), 20);
}

#[test]
fn exit_codes_say_what_happened() {
    let server = Server::start(Manners::default());
    for (flags, status) in [
        ("--requests 20 --slo p50<10s", 0),
        ("--requests 20 --slo p50<1us", 99),
        ("--requests 20 --slo p50", 2),
        ("--requests 20 --rate none", 2),
        ("--requests 20 --baseline missing.json", 1),
        ("--requests 20 --rate 20 --kill nobody@0s", 1),
        ("--requests 20 --rate 20 --kill nobody@1h", 1),
        ("--duration 2s --rate 20 --kill nobody@3s", 2),
    ] {
        let ran = load(&server, flags);
        assert_eq!(ran.status(), status, "{flags}: {}{}", ran.out(), ran.err());
    }
    assert_eq!(server.log().acts, ["kill nobody"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (mut command, _dir) = aiq(&["load", "--url", &format!("http://127.0.0.1:{port}")]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("can't reach") && said.contains("aiq up"), "{said}");
}

#[test]
fn an_interruption_still_reports() {
    use nix::sys::signal::{Signal, kill};
    let server = Server::start(Manners { odd_every: 50, oddity: Oddity::Silence, ..Manners::default() });
    let (mut command, _dir) = command(&server, "--rate 100 --duration 10m -o json");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the server has got a hundred requests", || (server.log().ids.len() > 100).then_some(()));
    kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["verdict"]["outcome"], "incomplete");
    assert!(n(&report, "/totals/unfinished") >= 1);
    assert_eq!(n(&report, "/totals/missing"), 0);
    assert_eq!(n(&report, "/totals/sent"), server.log().ids.len() as u64);
}

#[test]
fn worse_than_the_baseline_is_a_failure() {
    let quick = Server::start(Manners::default());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("before.json");
    let path = path.to_str().unwrap();
    let flags = "--rate 100 --requests 200 --seed 4 --arrivals constant";
    assert_eq!(load(&quick, &format!("{flags} --output-file {path}")).status(), 0);
    let slow = Server::start(Manners { odd_every: 4, oddity: Oddity::QueueFull, ..Manners::default() });
    let ran = load(&slow, &format!("{flags} --baseline {path}"));
    assert_eq!(ran.status(), 99, "{}", ran.out());
    assert!(ran.out().contains("REGRESSED"), "{}", ran.out());
    assert!(ran.out().contains("Against the baseline"), "{}", ran.out());
}

#[test]
fn the_highest_rate_is_found() {
    let server = Server::start(Manners { capacity: Some(100.0), ..Manners::default() });
    let ran = load(&server, "--find-max 40..400 --duration 3s --slo p95<300ms --arrivals constant -o json");
    let report = ran.report();
    assert_eq!(ran.status(), 0, "{}", ran.err());
    let best = f(&report, "/search/best");
    assert!((80.0..=112.0).contains(&best), "{best}\n{}", ran.err());
}

#[test]
fn every_form_is_written_and_json_keeps_its_schema() {
    let server = Server::start(Manners { odd_every: 20, oddity: Oddity::QueueFull, ..Manners::default() });
    let flags = "--pattern burst --duration 2s --burst-every 1s --slo p99<60s";
    // A busy machine puts a warning above the verdict, so that it need not be the first line.
    for (form, part) in [("csv", "scope,"), ("md", "## HELD"), ("html", "<!doctype html>"), ("text", "HELD  ")] {
        let ran = load(&server, &format!("{flags} -o {form}"));
        assert!(ran.out().contains(part), "{form}: {}", ran.out());
    }
    let schema: Value = serde_json::from_str(include_str!("../../docs/load-report.schema.json")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("before.json");
    let path = path.to_str().unwrap();
    load(&server, &format!("{flags} --output-file {path}"));
    for flags in [
        format!("{flags} --baseline {path} -o json"),
        "-o json".to_owned(),
        "--find-max 20..30 --duration 1s -o json".to_owned(),
        "--rate 20 --duration 1s --kill w@0s -o json".to_owned(),
    ] {
        let report = load(&server, &flags).report();
        let wrong = schema::violations(&schema, &report);
        assert!(wrong.is_empty(), "{flags}: {wrong:#?}");
    }
}

#[test]
fn a_plan_sends_nothing_and_repeats() {
    let server = Server::start(Manners::default());
    let plan = |seed: u32| load(&server, &format!("--pattern mixed --seed {seed} --plan -o csv")).out();
    assert_eq!(plan(7), plan(7));
    assert_ne!(plan(7), plan(8));
    assert_eq!(server.log().ids.len(), 0);
}

//! Twice a fleet's peak, in an open loop: what it still does, and how soon.
//!
//! The model takes 5 ms for a batch of up to 16, so that the fleet's peak is its models' and leaves the machine time for
//! the client. That is `aiq load`, with up to 2 000 requests in flight at a time, each on a connection of its own; every
//! client gives its request 100 ms.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::server::{Kind, Server};

/// More than that is refused by whoever would answer too late.
const TIME: &str = "100ms";
const MOST_IN_FLIGHT: &str = "2000";

/// Runs it and prints a row for each round.
pub(crate) fn run(rounds: usize, seconds: u32) {
    println!("\n| at twice the peak | peak/s | answered/s | of the peak | p99 ms | refused | too late | connections |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for round in 0..rounds {
        let Some(server) = Server::start(&Kind::Aiq, true) else {
            return eprintln!("aiq: did not start; left out");
        };
        server.load(16, 1);
        let peak = server.load(256, seconds).rate;
        let report = twice(&server.url(), peak, seconds);
        let total = |name: &str| report["totals"][name].as_f64().unwrap_or(f64::NAN);
        let p99 = report["latency"]["p99"].as_f64().unwrap_or(f64::NAN) * 1e3;
        println!(
            "| round {round} | {peak:.0} | {:.0} | {:.0} % | {p99:.1} | {} | {} | {} |",
            total("goodput"),
            100.0 * total("goodput") / peak,
            total("refused"),
            total("timed_out"),
            total("connections"),
        );
    }
}

fn twice(url: &str, peak: f64, seconds: u32) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_aiq"))
        .args(["load", "--no-tui", "--mix", "text=1", "--warmup", "2s", "-o", "json", "--url", url])
        .args(["--timeout", TIME, "--max-in-flight", MOST_IN_FLIGHT])
        .args(["--rate", &format!("{:.0}", 2.0 * peak), "--duration", &format!("{seconds}s")])
        .stderr(Stdio::null())
        .output()
        .expect("aiq load runs");
    serde_json::from_slice(&output.stdout).expect("it reports in JSON")
}

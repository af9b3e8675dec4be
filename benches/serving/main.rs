//! What the way through the coordinator costs: a no-op model behind it and three workers, `wrk` beside
//! it, and the peers in the same run: HAProxy before three bare servers, and mosec.
//!
//! `just bench-serving` makes the environment for mosec and runs this; wrk and HAProxy come from the
//! system's packages, and what is missing is left out and said. All are in a network of their own
//! ([`network`]). Each round runs every server once, so that a busy machine treats all alike; the
//! figures are medians over the rounds. Quote ratios from one run, not absolute figures.
//!
//! ```text
//! cargo bench --bench serving -- [--rounds N] [--seconds N] [--mosec PYTHON] [--json FILE] [--batch] [NAME…]
//! ```
//!
//! With `--batch` the model takes 5 ms for a batch of up to 16, and only aiq and mosec are compared: those that batch.
//! aiq is then also asked for twice what it can do, in an open loop ([`overload`]).
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark says where it stops"
)]

mod bare;
mod network;
mod overload;
mod server;
mod wrk;

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::json;

use crate::server::{Kind, Server};
use crate::wrk::Run;

/// Connections of the closed-loop runs; the last is far more than any of the servers needs to be busy.
const CONNECTIONS: [u32; 5] = [1, 16, 64, 256, 2000];

struct Options {
    rounds: usize,
    seconds: u32,
    mosec: Option<String>,
    json: Option<String>,
    batch: bool,
    only: Vec<String>,
}

fn options() -> Options {
    let mut options = Options { rounds: 3, seconds: 5, mosec: None, json: None, batch: false, only: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--rounds" => options.rounds = value().parse().expect("--rounds is a number"),
            "--seconds" => options.seconds = value().parse().expect("--seconds is a number"),
            "--mosec" => options.mosec = Some(value()),
            "--json" => options.json = Some(value()),
            "--batch" => options.batch = true,
            // What cargo adds.
            "--bench" => {}
            name => options.only.push(name.to_owned()),
        }
    }
    options
}

fn main() -> ExitCode {
    if let Some(port) = std::env::var("BARE_PORT").ok().and_then(|port| port.parse().ok()) {
        bare::run(port);
        return ExitCode::SUCCESS;
    }
    network::enter();
    let options = options();
    if !wrk::installed() {
        eprintln!("wrk is not installed; on Debian: apt-get install wrk haproxy");
        return ExitCode::FAILURE;
    }
    let wanted = |kind: &Kind| options.only.is_empty() || options.only.iter().any(|name| name == kind.name());
    let kinds: Vec<Kind> = Kind::all(options.mosec.as_deref(), options.batch).into_iter().filter(wanted).collect();
    let mut runs: BTreeMap<(usize, u32), Vec<Run>> = BTreeMap::new();
    for round in 0..options.rounds {
        for (at, kind) in kinds.iter().enumerate() {
            let Some(server) = Server::start(kind, options.batch) else {
                eprintln!("{}: did not start; left out", kind.name());
                continue;
            };
            server.load(16, 1);
            for connections in CONNECTIONS {
                let run = server.load(connections, options.seconds);
                eprintln!("round {round} {:>8} c={connections:<4} {run}", kind.name());
                runs.entry((at, connections)).or_default().push(run);
            }
        }
    }
    let medians: BTreeMap<(usize, u32), Run> = runs.into_iter().map(|(key, runs)| (key, Run::median(&runs))).collect();
    table(&kinds, &medians);
    if options.batch && kinds.iter().any(|kind| kind.name() == "aiq") {
        overload::run(options.rounds, options.seconds);
    }
    if let Some(file) = options.json {
        let row = |((at, connections), run): (&(usize, u32), &Run)| {
            json!({"server": kinds[*at].name(), "connections": connections, "requests_per_second": run.rate,
                   "p50_ms": run.p50_ms, "p99_ms": run.p99_ms, "cpu_us_per_request": run.cpu_us, "errors": run.errors})
        };
        let rows: Vec<_> = medians.iter().map(row).collect();
        std::fs::write(file, format!("{:#}\n", json!(rows))).expect("the JSON can be written");
    }
    ExitCode::SUCCESS
}

/// Medians side by side, each with its ratio to HAProxy's.
fn table(kinds: &[Kind], medians: &BTreeMap<(usize, u32), Run>) {
    let proxy = kinds.iter().position(|kind| kind.name() == "haproxy");
    println!(
        "| connections | server | requests/s | p50 ms | p99 ms | CPU µs/request | errors | rate ÷ HAProxy | p50 ÷ HAProxy |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for connections in CONNECTIONS {
        for (at, kind) in kinds.iter().enumerate() {
            let Some(run) = medians.get(&(at, connections)) else { continue };
            let base = proxy.and_then(|proxy| medians.get(&(proxy, connections)));
            let ratio =
                |of: fn(&Run) -> f64| base.map_or("–".to_owned(), |base| format!("{:.2}", of(run) / of(base)));
            println!(
                "| {connections} | {} | {:.0} | {:.3} | {:.3} | {:.1} | {} | {} | {} |",
                kind.name(),
                run.rate,
                run.p50_ms,
                run.p99_ms,
                run.cpu_us,
                run.errors,
                ratio(|run| run.rate),
                ratio(|run| run.p50_ms),
            );
        }
    }
}

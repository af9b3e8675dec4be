//! `aiq load`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{TargetArgs, Theme};
use crate::config::Span;
use crate::protocol::Priority;

/// The shape of the load over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoadPattern {
    /// Ten requests at once (or --requests N)
    Simple,
    /// Spikes over a quiet base rate
    Burst,
    /// One rate, held
    Sustained,
    /// Quiet, ramp, burst and sustained phases in an order drawn from the seed
    Mixed,
}

/// When requests fall due within a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LoadArrivals {
    /// At random, as independent users come
    #[default]
    Poisson,
    /// Evenly spaced
    Constant,
}

/// How the report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoadOutput {
    /// For a person at a terminal
    Text,
    /// For programs; the schema is docs/load-report.schema.json
    Json,
    /// One row for each task
    Csv,
    /// Markdown, for an issue or a pull request
    Md,
    /// One page that needs nothing else
    Html,
}

/// Flags of `aiq load`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "\
Examples:
  aiq load                                                  ten requests: does it answer?
  aiq load --pattern burst                                  spikes of 200 over 20/s
  aiq load --rate 200 --duration 60s --slo 'p99<250ms'      does it hold 200/s?
  aiq load --find-max 50..2000 --slo 'p99<250ms'            how much does it hold?
  aiq load --pattern mixed --kill worker-1@10s --revive worker-1@20s
                                                            what does losing a worker cost?
  aiq load --pattern mixed --seed 7 --plan                  show the schedule, send nothing

Exit status: 0 it held; 1 it could not run; 2 the flags are wrong; 99 an SLO was broken or it is
worse than the baseline; 130 interrupted (the report so far is printed, marked incomplete).",
    after_long_help = "\
The load is open: requests are sent when they are due, whether or not earlier ones were answered, as
users do. Latency counts from the instant a request was due, so time that it spent waiting because the
server (or this client) stalled is in the percentiles. With --concurrency and no --rate the load is
closed: each of N clients waits for its answer before it asks again. A closed load slows down with the
server and so hides stalls; its report says so.

SLOs: [TASK:]METRIC OP VALUE, such as 'p99<250ms', 'error_rate<1%', 'image:p95<400ms', 'rate>=180'.
  TASK    text, image, similarity, search or clip (the last two); all tasks when left out
  METRIC  p50 p90 p95 p99 p99.9 (any pNN), mean, min, max: latency
          error_rate: share of what was offered that got no right answer
          rate: right answers a second; goodput: those within the latency objective
  OP      < <= > >=

Examples:
  aiq load                                                  ten requests: does it answer?
  aiq load --pattern burst                                  spikes of 200 over 20/s
  aiq load --rate 200 --duration 60s --slo 'p99<250ms'      does it hold 200/s?
  aiq load --find-max 50..2000 --slo 'p99<250ms'            how much does it hold?
  aiq load --pattern mixed --kill worker-1@10s --revive worker-1@20s
                                                            what does losing a worker cost?
  aiq load --pattern mixed --seed 7 --plan                  show the schedule, send nothing

Exit status: 0 it held; 1 it could not run; 2 the flags are wrong; 99 an SLO was broken or it is
worse than the baseline; 130 interrupted (the report so far is printed, marked incomplete)."
)]
pub struct LoadArgs {
    /// Shape of the load [default: sustained with --rate, --concurrency or --find-max, else simple]
    #[arg(short, long, value_name = "PATTERN")]
    pub pattern: Option<LoadPattern>,
    /// Which coordinator.
    #[command(flatten)]
    pub target: TargetArgs,

    /// Requests a second; for mixed, the busiest phase's [default: 50; mixed 100]
    #[arg(short, long, value_name = "N", help_heading = "How much")]
    pub rate: Option<f64>,
    /// How long requests fall due, after --ramp and --warmup [default: 30s; mixed 60s]
    #[arg(short, long, value_name = "TIME", help_heading = "How much")]
    pub duration: Option<Span>,
    /// Stop after this many requests
    #[arg(short = 'n', long, value_name = "N", help_heading = "How much")]
    pub requests: Option<u64>,
    /// A closed loop: this many clients, each waiting for its answer before it asks again
    #[arg(short, long, value_name = "N", conflicts_with_all = ["rate", "ramp", "find_max"], help_heading = "How much")]
    pub concurrency: Option<usize>,
    /// When requests fall due
    #[arg(long, value_enum, default_value_t, value_name = "HOW", help_heading = "How much")]
    pub arrivals: LoadArrivals,
    /// Requests in a spike [default: 200]
    #[arg(long, value_name = "N", help_heading = "How much")]
    pub burst_size: Option<u32>,
    /// Time from spike to spike [default: 5s]
    #[arg(long, value_name = "TIME", help_heading = "How much")]
    pub burst_every: Option<Span>,
    /// Requests a second between spikes [default: 20]
    #[arg(long, value_name = "N", help_heading = "How much")]
    pub base_rate: Option<f64>,
    /// Before the measured part: climb from nothing to the full rate
    #[arg(long, value_name = "TIME", help_heading = "How much")]
    pub ramp: Option<Span>,
    /// Before the measured part: hold the full rate, uncounted
    #[arg(long, value_name = "TIME", help_heading = "How much")]
    pub warmup: Option<Span>,

    /// Which tasks, by weight: text, image, similarity, search; clip is the last two
    #[arg(long, default_value = "text=60,image=25,clip=15", value_name = "MIX", help_heading = "What is sent")]
    pub mix: String,
    /// Decides every random choice: times, tasks, inputs [default: drawn, and reported]
    #[arg(long, value_name = "N", help_heading = "What is sent")]
    pub seed: Option<u64>,
    /// Longest wait for an answer, from the instant the request was due
    #[arg(long, default_value = "10s", value_name = "TIME", help_heading = "What is sent")]
    pub timeout: Span,
    /// How urgent the requests are
    #[arg(long, value_name = "PRIORITY", help_heading = "What is sent")]
    pub priority: Option<Priority>,
    /// Most requests in flight at once; those that fall due beyond it are counted as not sent
    #[arg(long, default_value_t = 2000, value_name = "N", help_heading = "What is sent")]
    pub max_in_flight: usize,

    /// Objective that must hold, such as 'p99<250ms' or 'image:error_rate<1%'; may be repeated
    #[arg(long, value_name = "SLO", help_heading = "What must hold")]
    pub slo: Vec<String>,
    /// Answers that are plain must also be right: a wrong label is an error
    #[arg(long, help_heading = "What must hold")]
    pub check: bool,
    /// Find the highest rate in this range that holds the SLOs, by trials (of 8s, or --duration)
    #[arg(long, value_name = "LOW..HIGH", help_heading = "What must hold")]
    pub find_max: Option<String>,
    /// An earlier report (-o json): worse than it is a failure
    #[arg(long, value_name = "FILE", help_heading = "What must hold")]
    pub baseline: Option<PathBuf>,
    /// How much worse than the baseline is still the same
    #[arg(long, default_value = "10%", value_name = "SHARE", help_heading = "What must hold")]
    pub tolerance: String,

    /// Kill a worker this long after the measured part began; may be repeated
    #[arg(long, value_name = "WORKER@TIME", help_heading = "Faults on the timeline")]
    pub kill: Vec<String>,
    /// Revive a worker; may be repeated
    #[arg(long, value_name = "WORKER@TIME", help_heading = "Faults on the timeline")]
    pub revive: Vec<String>,

    /// Form of the report [default: text; with --output-file, what the file's name ends in]
    #[arg(short, long, value_enum, value_name = "FORM", help_heading = "Output")]
    pub output: Option<LoadOutput>,
    /// Write the report to a file; the text report still goes to standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub output_file: Option<PathBuf>,
    /// No live view: one line a second on standard error
    #[arg(long, help_heading = "Output")]
    pub no_tui: bool,
    /// What the terminal's background is: auto (what COLORFGBG says, or dark), dark or light
    #[arg(long, env = "AIQ_THEME", value_enum, default_value_t, hide_possible_values = true, help_heading = "Output")]
    pub theme: Theme,
    /// Print the schedule and send nothing
    #[arg(long, help_heading = "Output")]
    pub plan: bool,
}

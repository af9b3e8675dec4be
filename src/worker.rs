//! A worker: two processes, wired here.
//!
//! `supervisor` is the parent: small, and in charge of the other's life; `control` and `heartbeat`
//! are its link to the coordinator. `serving` is the child: it holds the models; `api` is its HTTP,
//! `core` the way of a request, `batcher` the thread with the models, `backend` the seam to
//! `inference`, `faults` what is injected, `metrics` what is counted. `pipe` is what the two say to
//! each other.

mod api;
mod backend;
mod batcher;
mod control;
mod core;
mod faults;
mod heartbeat;
mod metrics;
mod pipe;
mod serving;
mod supervisor;

use std::process::ExitCode;

use crate::cli::WorkerArgs;
use crate::config::WorkerConfig;

/// Runs it to its end. Makes its own async runtime: the supervisor needs one thread and must start
/// its child from it, the serving process needs few.
///
/// # Errors
/// What it could not do, for a person.
pub fn run(args: WorkerArgs) -> anyhow::Result<ExitCode> {
    let is_serving_process = args.serving_process;
    let config = WorkerConfig::load(args)?;
    if is_serving_process { Ok(serving::run(config)) } else { supervisor::run(config) }
}

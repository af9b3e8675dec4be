//! A worker: wiring and run().

use std::process::ExitCode;

use crate::cli::WorkerArgs;

/// Runs it to its end.
///
/// # Errors
/// What it could not do, for a person.
#[expect(clippy::unused_async, reason = "under construction")]
pub async fn run(args: WorkerArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet: {args:?}")
}

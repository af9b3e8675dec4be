//! One request from the command line.

use std::process::ExitCode;

use crate::cli::InferArgs;

/// Runs it to its end.
///
/// # Errors
/// What it could not do, for a person.
#[expect(clippy::unused_async, reason = "under construction")]
pub async fn run(args: InferArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet: {args:?}")
}

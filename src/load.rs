//! The load generator.

use std::process::ExitCode;

use crate::cli::LoadArgs;

/// Runs it to its end.
///
/// # Errors
/// What it could not do, for a person.
#[expect(clippy::unused_async, reason = "under construction")]
pub async fn run(args: LoadArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet: {args:?}")
}

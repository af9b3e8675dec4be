//! The dashboard.

use std::process::ExitCode;

use crate::cli::MonitorArgs;

/// Runs it to its end.
///
/// # Errors
/// What it could not do, for a person.
#[expect(clippy::unused_async, reason = "under construction")]
pub async fn run(args: MonitorArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet: {args:?}")
}

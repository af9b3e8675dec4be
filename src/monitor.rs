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

/// What the person who left the screen wants of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Stop it.
    StopFleet,
    /// Let it run.
    KeepFleet,
}

/// The dashboard over a fleet that this process started.
///
/// # Errors
/// What kept the screen from opening.
#[expect(clippy::unused_async, reason = "under construction")]
pub async fn over_own_fleet(url: &str) -> anyhow::Result<Left> {
    anyhow::bail!("not there yet: {url}")
}

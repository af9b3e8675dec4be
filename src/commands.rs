//! Ties each command to its part: makes the async runtime it needs and runs it to its end.

use std::future::Future;
use std::process::ExitCode;

use crate::cli::Command;
use crate::{coordinator, health, infer, load, models, monitor, process, up, worker};

/// Runs a command.
///
/// # Errors
/// What it could not do, for a person.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    if !process::end_with_parent() {
        anyhow::bail!("the process that started this one is gone");
    }
    match command {
        Command::Up(args) => block_on(up::run(args)),
        Command::Infer(args) => block_on(infer::run(args)),
        Command::Monitor(args) => block_on(monitor::run(args)),
        Command::Load(args) => block_on(load::run(args)),
        Command::Models(args) => block_on(models::run(args)),
        Command::Health(args) => block_on(health::run(args)),
        Command::ServeCoordinator(args) => block_on(coordinator::run(args)),
        Command::ServeWorker(args) => worker::run(args),
    }
}

fn block_on(part: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(part)
}

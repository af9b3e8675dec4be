//! Ties each command to its part: makes the async runtime it needs and runs it to its end.

use std::future::Future;
use std::process::ExitCode;

use crate::cli::Command;
use crate::config::CoordinatorConfig;
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
        Command::ServeCoordinator(args) => block_on_with(CoordinatorConfig::threads(), coordinator::run(args)),
        Command::ServeWorker(args) => worker::run(args),
    }
}

/// Tools wait most of the time.
const TOOL_THREADS: usize = 2;

fn block_on(part: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    block_on_with(TOOL_THREADS, part)
}

fn block_on_with(threads: usize, part: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(part)
}

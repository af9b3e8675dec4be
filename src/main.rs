//! Parses, dispatches, and turns the outcome into an exit code.

use std::process::ExitCode;

use aiq::cli::Cli;
use clap::Parser;

/// A request is some dozens of small allocations that one thread makes and another frees; glibc's
/// allocator spent a sixth of the coordinator's time on them, much of it waiting for its own locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match aiq::commands::run(cli.command) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aiq: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads our output has seen enough; that is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

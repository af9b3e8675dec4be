//! The command line: clap types, nothing else. What the values mean and which defaults apply is in
//! `config`; each role's flags have a file of their own.
//!
//! Flags of the long-running roles are all optional here, because a value may also come from the
//! configuration file: `config` merges defaults < file < environment < flags.

mod coordinator;
mod health;
mod infer;
mod load;
mod models;
mod monitor;
mod shared;
mod up;
mod worker;

use clap::{Parser, Subcommand};

pub use coordinator::CoordinatorArgs;
pub use health::HealthArgs;
pub use infer::{InferArgs, InferTask};
pub use load::{LoadArgs, LoadArrivals, LoadOutput, LoadPattern};
pub use models::{ModelsArgs, ModelsCommand};
pub use monitor::MonitorArgs;
pub use shared::{LogArgs, LogLevel, TargetArgs, Theme, TokenArgs};
pub use up::UpArgs;
pub use worker::{Device, FaultArgs, Precision, Speciality, WorkerArgs};

/// Runs a fleet of AI inference workers, and the terminal tools to operate it.
#[derive(Debug, Parser)]
#[command(name = "aiq", version, propagate_version = true, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a whole fleet on this machine: a coordinator and its workers
    Up(UpArgs),
    /// Send one request and print the answer
    Infer(InferArgs),
    /// Watch and operate a fleet: the dashboard
    Monitor(MonitorArgs),
    /// Send load to a fleet and report how it held
    Load(LoadArgs),
    /// List, download or check models
    Models(ModelsArgs),
    /// Ask a coordinator or a worker whether it is ready; exit code 0 if so
    Health(HealthArgs),
    /// Run the coordinator: takes requests, queues them, gives them to workers
    ServeCoordinator(CoordinatorArgs),
    /// Run a worker: a supervisor and the process that serves models
    ServeWorker(WorkerArgs),
}

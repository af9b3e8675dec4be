//! The serving process from outside: started, listened to, given orders, ended.

use std::process::{ExitStatus, Stdio};

use nix::sys::signal::Signal;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};

use super::super::pipe::{self, Lines, Order, PipeError, Said};
use crate::config::WorkerConfig;
use crate::process;

/// A running serving process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    orders: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
    silent: bool,
    /// Its process id.
    pub(super) pid: u32,
}

/// What a serving process does.
#[derive(Debug)]
pub(super) enum News {
    /// It says something.
    Said(Said),
    /// It ended, and how.
    Ended(String),
}

impl Child {
    /// Starts this program again, with the same flags and variables, as a serving process.
    ///
    /// Must be called from the thread that lives as long as the supervisor: on Linux the child ends
    /// with the thread that started it.
    ///
    /// # Errors
    /// As the system has them.
    pub(super) fn start() -> std::io::Result<Self> {
        let mut command = std::process::Command::new(program()?);
        command.args(std::env::args_os().skip(1)).arg("--serving-process");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        process::tie(&mut command);
        let mut process = Command::from(command).kill_on_drop(true).spawn()?;
        let gone = || std::io::Error::other("the serving process has no pipes");
        let orders = process.stdin.take().ok_or_else(gone)?;
        let said = Lines::new(BufReader::new(process.stdout.take().ok_or_else(gone)?));
        let pid = process.id().ok_or_else(gone)?;
        Ok(Self { process, orders, said, silent: false, pid })
    }

    /// Gives an order.
    ///
    /// # Errors
    /// Where it does not take it: it is ending, or was stopped for so long that the pipe is full.
    pub(super) async fn order(&mut self, order: &Order) -> Result<(), PipeError> {
        let line = pipe::line(order)?;
        let written = tokio::time::timeout(WorkerConfig::ORDER_TIMEOUT, self.orders.write_all(&line)).await;
        Ok(written.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??)
    }

    /// The next thing it does. Everything it said is told before its end. Cancel-safe.
    pub(super) async fn news(&mut self) -> News {
        if !self.silent {
            match self.said.next().await {
                Ok(Some(said)) => return News::Said(said),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the serving process is not understood");
                    // It can't be trusted to serve either.
                    let _ = self.process.start_kill();
                }
            }
            self.silent = true;
        }
        News::Ended(self.process.wait().await.map_or_else(|e| e.to_string(), describe))
    }

    /// Ends it with SIGKILL, and waits until it is gone.
    pub(super) async fn kill(mut self) {
        if let Err(error) = self.process.kill().await {
            tracing::warn!(%error, pid = self.pid, "the serving process can't be killed");
        }
    }
}

/// This program. Its file may have been replaced since it was started (an upgrade): Linux still has
/// the one that runs.
fn program() -> std::io::Result<std::path::PathBuf> {
    let path = std::env::current_exe()?;
    let running = std::path::Path::new("/proc/self/exe");
    Ok(if !path.exists() && running.exists() { running.to_owned() } else { path })
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal().map(Signal::try_from), status.code()) {
        (Some(Ok(signal)), _) => format!("was ended by {signal}"),
        (_, Some(code)) => format!("ended with exit code {code}"),
        _ => "ended".to_owned(),
    }
}

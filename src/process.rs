//! Signals that mean stop, and parents and children: a child that was started by another aiq process ends with it, even when
//! that one is killed and can't say goodbye.
//!
//! Linux delivers a signal on the parent's death (prctl(2), PR_SET_PDEATHSIG). Elsewhere a parent
//! that is killed leaves its children to be stopped by hand; an orderly end stops them everywhere.

use std::process::Command;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The variable by which a parent tells its child who it is.
const PARENT: &str = "AIQ_PARENT_PID";

/// Makes a command's child one that ends with this process, provided that the child calls
/// [`end_with_parent`]. It gets a process group of its own, so that Ctrl-C reaches only the parent,
/// which then stops its children in good order.
pub fn tie(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    command.env(PARENT, std::process::id().to_string()).process_group(0)
}

/// In a child: ask for SIGTERM when the parent dies. Returns false if it is dead already, and the
/// child should end at once.
pub fn end_with_parent() -> bool {
    let Some(parent) = std::env::var(PARENT).ok().and_then(|pid| pid.parse::<i32>().ok()) else { return true };
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM) {
        tracing::warn!(%error, "can't ask for a signal on the parent's death");
    }
    // The parent may have died before the call above.
    nix::unistd::getppid().as_raw() == parent
}

/// SIGINT, SIGTERM and SIGHUP: each of them means stop.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl StopSignals {
    /// Listens for them from now on, in place of ending at once.
    ///
    /// # Errors
    /// Where the system gives no handler.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next of them. Cancel-safe.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

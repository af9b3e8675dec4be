//! What reaches the dashboard, and what it asks of the world.

use crossterm::event::Event as TerminalEvent;

use super::Exit;
use crate::client::Feed;
use crate::protocol::{FaultSettings, Snapshot, WorkerAction, WorkerActionReply, WorkerId};

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Msg {
    /// A second has passed.
    Tick,
    /// A key, the mouse, another size.
    Terminal(TerminalEvent),
    /// The coordinator's event stream.
    Feed(Feed),
    /// What became of [`Effect::Act`].
    Acted {
        /// On which worker.
        worker: WorkerId,
        /// What was asked.
        action: WorkerAction,
        /// The coordinator's answer, or why there is none.
        reply: Result<WorkerActionReply, String>,
    },
    /// What became of [`Effect::SetFaults`].
    FaultsSet {
        /// On which worker.
        worker: WorkerId,
        /// Why it failed.
        reply: Result<(), String>,
    },
    /// What became of [`Effect::Refresh`].
    Refreshed(Result<Box<Snapshot>, String>),
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Ask the coordinator to act on a worker.
    Act {
        /// On which.
        worker: WorkerId,
        /// What.
        action: WorkerAction,
    },
    /// Ask the coordinator to set a worker's faults.
    SetFaults {
        /// On which.
        worker: WorkerId,
        /// Which.
        faults: FaultSettings,
    },
    /// Fetch a snapshot now.
    Refresh,
    /// Connect now and not after the pause.
    Reconnect,
    /// Draw everything anew: something else has written to the terminal.
    Repaint,
    /// Close.
    Quit(Exit),
}

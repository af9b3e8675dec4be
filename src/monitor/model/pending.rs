//! What has been asked of workers and is not confirmed yet: a row says `killing…` from the key
//! until the coordinator says that it is done, or until five seconds have passed.

use std::time::Duration;

use crate::protocol::{WorkerAction, WorkerId, WorkerState};

/// Something asked of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Of which.
    pub(crate) worker: WorkerId,
    /// What.
    pub(crate) action: WorkerAction,
    /// When.
    pub(crate) since: Duration,
}

/// At most one thing for each worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PendingActions(Vec<Pending>);

impl PendingActions {
    /// How long a confirmation is waited for.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

    /// What has been asked of a worker.
    pub(crate) fn of(&self, worker: &WorkerId) -> Option<WorkerAction> {
        self.0.iter().find(|p| p.worker == *worker).map(|p| p.action)
    }

    /// Notes what was asked.
    pub(crate) fn begin(&mut self, pending: Pending) {
        self.0.retain(|p| p.worker != pending.worker);
        self.0.push(pending);
    }

    /// It was refused, or there is no such worker any more.
    pub(crate) fn end(&mut self, worker: &WorkerId) {
        self.0.retain(|p| p.worker != *worker);
    }

    /// A worker is in this state now: whether that confirms what was asked.
    pub(crate) fn confirm(&mut self, worker: &WorkerId, state: WorkerState) -> bool {
        let before = self.0.len();
        self.0.retain(|p| p.worker != *worker || !reached(p.action, state));
        self.0.len() != before
    }

    /// Takes out what was not confirmed in time.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<Pending> {
        let late = |p: &Pending| now.saturating_sub(p.since) >= Self::PATIENCE;
        let (late, waiting) = std::mem::take(&mut self.0).into_iter().partition(late);
        self.0 = waiting;
        late
    }
}

fn reached(action: WorkerAction, state: WorkerState) -> bool {
    match action {
        WorkerAction::Kill => matches!(state, WorkerState::Killed | WorkerState::Lost),
        WorkerAction::Revive => matches!(state, WorkerState::Starting | WorkerState::Ready),
        WorkerAction::Drain => state == WorkerState::Draining,
        WorkerAction::Resume => matches!(state, WorkerState::Ready | WorkerState::Starting),
    }
}

//! What the coordinator said, and when: the last snapshot with what happened since, the charts'
//! samples and the activity list. No figure here is our own.

use std::time::Duration;

use super::{Journal, Series, What};
use crate::protocol::{Event, EventKind, Snapshot, WorkerDetail, WorkerId};

/// The state of the connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Link {
    /// The first attempt is under way.
    #[default]
    Connecting,
    /// The stream stands.
    Connected,
    /// It does not.
    Lost {
        /// Why.
        reason: String,
        /// When the next attempt begins.
        retry_at: Duration,
        /// Attempts that have failed in a row.
        attempt: u32,
    },
}

/// What is known of the fleet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Data {
    /// The connection.
    pub(crate) link: Link,
    /// The last snapshot.
    pub(crate) snapshot: Option<Snapshot>,
    /// When it came.
    pub(crate) received: Duration,
    /// What the charts show.
    pub(crate) series: Series,
    /// What happened.
    pub(crate) journal: Journal,
    /// Events that did not reach us.
    pub(crate) dropped: u64,
}

impl Data {
    /// Every worker, in the coordinator's order.
    pub(crate) fn workers(&self) -> &[WorkerDetail] {
        self.snapshot.as_ref().map_or(&[], |s| &s.workers)
    }

    /// One worker.
    pub(crate) fn worker(&self, id: &WorkerId) -> Option<&WorkerDetail> {
        self.workers().iter().find(|w| w.worker_id == *id)
    }

    /// Whether what is shown is what is.
    pub(crate) fn connected(&self) -> bool {
        self.link == Link::Connected
    }

    /// How old the snapshot is, seconds.
    pub(crate) fn age(&self, now: Duration) -> f64 {
        now.saturating_sub(self.received).as_secs_f64()
    }

    /// Takes an event in; whether the screen shows the difference.
    pub(crate) fn take(&mut self, now: Duration, event: Event) -> bool {
        match event.kind {
            EventKind::Snapshot(snapshot) => {
                self.take_snapshot(now, *snapshot);
                true
            }
            kind => {
                self.follow(&kind);
                self.journal.push(now, event.at_ms, What::Event(kind))
            }
        }
    }

    /// Takes a snapshot in.
    pub(crate) fn take_snapshot(&mut self, now: Duration, snapshot: Snapshot) {
        self.series.push(now, &snapshot);
        self.snapshot = Some(snapshot);
        self.received = now;
    }

    /// A worker's row follows the coordinator's events at once and not only with the next snapshot.
    fn follow(&mut self, kind: &EventKind) {
        let Some(snapshot) = &mut self.snapshot else { return };
        let (EventKind::WorkerState { worker, .. }
        | EventKind::WorkerSuspect { worker, .. }
        | EventKind::Breaker { worker, .. }) = kind
        else {
            return;
        };
        let Some(row) = snapshot.workers.iter_mut().find(|w| w.worker_id == *worker) else { return };
        match kind {
            EventKind::WorkerState { to, reason, .. } => {
                row.state = *to;
                row.reason.clone_from(reason);
            }
            EventKind::WorkerSuspect { suspect, reason, .. } => {
                row.suspect = *suspect;
                row.reason.clone_from(reason);
            }
            EventKind::Breaker { state, .. } => row.breaker = *state,
            _ => {}
        }
    }
}

//! When something is due for a request.
//!
//! What waits and what runs are apart: the few that run are looked at often and have time-outs of their own kinds.

use super::Time;
use super::runs::SortedRuns;
use super::ticket::Ticket;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Timers {
    waiting: SortedRuns<Time>,
    running: SortedRuns<Time>,
}

impl Timers {
    /// Sets a request's timer to when something about it is due.
    pub(super) fn set(&mut self, slot: u32, t: &Ticket) {
        let (timers, others) = if t.in_flight() > 0 {
            (&mut self.running, &mut self.waiting)
        } else {
            (&mut self.waiting, &mut self.running)
        };
        others.remove(slot);
        timers.set(slot, t.due());
    }

    /// Nothing is due any more for this request.
    pub(super) fn remove(&mut self, slot: u32) {
        self.running.remove(slot);
        self.waiting.remove(slot);
    }

    /// The requests that run, in no order.
    pub(super) fn running(&self) -> impl Iterator<Item = u32> + '_ {
        self.running.ids()
    }

    /// What is due first, and for whom.
    pub(super) fn peek(&self) -> Option<(Time, u32)> {
        [self.running.peek(), self.waiting.peek()].into_iter().flatten().min_by_key(|e| e.0)
    }
}

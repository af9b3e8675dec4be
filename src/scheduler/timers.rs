//! When something is due for a request.
//!
//! What waits and what runs have a heap each: a request that runs is soon done, and taking its timer out
//! again should cost what few running ones cost, not what a long queue does.

use super::Time;
use super::heap::IndexedHeap;
use super::ticket::Ticket;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Timers {
    waiting: IndexedHeap<Time>,
    running: IndexedHeap<Time>,
}

impl Timers {
    /// Sets a request's timer to when something about it is due.
    pub(super) fn set(&mut self, slot: u32, t: &Ticket) {
        let (heap, other) = if t.in_flight() > 0 {
            (&mut self.running, &mut self.waiting)
        } else {
            (&mut self.waiting, &mut self.running)
        };
        other.remove(slot);
        heap.set(slot, t.due());
    }

    /// Nothing is due any more for this request.
    pub(super) fn remove(&mut self, slot: u32) {
        self.running.remove(slot);
        self.waiting.remove(slot);
    }

    /// What is due first, and for whom.
    pub(super) fn peek(&self) -> Option<(Time, u32)> {
        [self.running.peek(), self.waiting.peek()].into_iter().flatten().min_by_key(|e| e.0)
    }
}

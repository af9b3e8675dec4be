//! What waits: for each task, ordered by virtual deadline.
//!
//! The virtual deadline is `min(client deadline, arrival + patience)`, with a patience of 0, 2 and 8 s for
//! high, normal and low priority. So high goes first, and nothing is overtaken for longer than its
//! patience by what came later: priority without starvation (earliest deadline first, after Liu and
//! Layland 1973, over deadlines that the priority sets).

use super::runs::SortedRuns;
use super::ticket::Ticket;
use super::{PerTask, Time};
use crate::protocol::{ByPriority, Priority};

/// Place in a queue: the virtual deadline, then the order of arrival.
pub(super) type Order = (Time, u64);

/// See the module. Counts include what waits out a back-off or for the retry budget.
#[derive(Debug, Default)]
pub(super) struct Queue {
    tasks: PerTask<SortedRuns<Order>>,
    waiting: PerTask<[usize; Priority::ALL.len()]>,
    total: usize,
}

impl Queue {
    /// Failed requests that avoid a worker may stand before others that don't; this many are passed by.
    const LOOK: usize = 8;

    /// A request begins to wait.
    pub(super) fn enter(&mut self, t: &Ticket) {
        self.waiting[t.task.index()][t.priority as usize] += 1;
        self.total += 1;
    }

    /// A request waits no longer.
    pub(super) fn leave(&mut self, slot: u32, t: &Ticket) {
        self.tasks[t.task.index()].remove(slot);
        self.waiting[t.task.index()][t.priority as usize] -= 1;
        self.total -= 1;
    }

    /// A waiting request is ready to go to a worker.
    pub(super) fn push(&mut self, slot: u32, t: &Ticket) {
        self.tasks[t.task.index()].set(slot, (t.order, t.sequence));
    }

    /// Requests that wait.
    pub(super) fn len(&self) -> usize {
        self.total
    }

    /// Requests of a task that are ready to go.
    pub(super) fn ready(&self, task: usize) -> usize {
        self.tasks[task].len()
    }

    /// The place of the first of a task that is ready to go.
    pub(super) fn first(&self, task: usize) -> Option<Order> {
        self.tasks[task].peek().map(|e| e.0)
    }

    /// The first few of a task in order, until one is wanted.
    pub(super) fn find(&self, task: usize, wanted: impl FnMut(u32) -> bool) -> Option<u32> {
        self.tasks[task].find(Self::LOOK, wanted)
    }

    /// Every request of a task that is ready to go, in no order.
    pub(super) fn slots(&self, task: usize) -> impl Iterator<Item = u32> + '_ {
        self.tasks[task].ids()
    }

    /// Requests of a task that wait.
    pub(super) fn waiting(&self, task: usize) -> usize {
        self.waiting[task].iter().sum()
    }

    /// Requests of a task that would go before a new one of this priority.
    pub(super) fn ahead_of(&self, task: usize, priority: Priority) -> usize {
        self.waiting[task][..=priority as usize].iter().sum()
    }

    /// Requests of a task and a priority that wait.
    pub(super) fn waiting_at(&self, task: usize, priority: Priority) -> usize {
        self.waiting[task][priority as usize]
    }

    /// Requests that wait, by priority.
    pub(super) fn by_priority(&self) -> ByPriority {
        let sum = |p: Priority| self.waiting.iter().map(|w| w[p as usize] as u64).sum();
        ByPriority { high: sum(Priority::High), normal: sum(Priority::Normal), low: sum(Priority::Low) }
    }
}

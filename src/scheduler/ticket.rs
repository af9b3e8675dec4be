//! Requests that are not answered yet: their slots, and each one's own state.

use std::ops::{Index, IndexMut};

use super::{DispatchKind, Submission, TicketId, Time};
use crate::by_number::NumberIndex;
use crate::config::SchedulerConfig;
use crate::protocol::{Attempt, Priority, TaskType};

/// Where a request is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody's: the slot is free.
    Vacant,
    /// In its task's queue.
    Queued,
    /// Waits out a back-off.
    BackingOff,
    /// Waits until the retry budget has room.
    Parked,
    /// At least one worker has it.
    Running,
}

/// A request's place in the order: when its priority's patience ends, or its time.
pub(super) fn virtual_deadline(s: &Submission, now: Time, config: &SchedulerConfig) -> Time {
    s.deadline.min(now + config.patience[s.priority as usize])
}

/// An attempt that a worker has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) number: u32,
    pub(super) worker: u32,
    /// Its place in the worker's list.
    pub(super) place: u32,
    pub(super) started: Time,
    pub(super) gives_up: Time,
    /// Whether it holds a part of the retry budget.
    pub(super) extra: bool,
    /// Whether it runs beside a slow first attempt.
    pub(super) hedge: bool,
}

/// The first attempt and a hedge beside it.
pub(super) const LANES: usize = 2;

/// A request that is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) id: TicketId,
    pub(super) task: TaskType,
    pub(super) priority: Priority,
    pub(super) phase: Phase,
    /// What its next dispatch is.
    pub(super) next_kind: DispatchKind,
    /// Whether a queued retry already holds its part of the retry budget.
    pub(super) has_token: bool,
    pub(super) arrival: Time,
    pub(super) deadline: Time,
    /// Its place in the order: the virtual deadline.
    pub(super) order: Time,
    /// Breaks ties in the order by arrival.
    pub(super) sequence: u64,
    pub(super) bytes: usize,
    /// When a back-off ends.
    pub(super) resume_at: Time,
    /// When a second attempt is considered.
    pub(super) hedge_at: Time,
    pub(super) hedged: bool,
    pub(super) running: [Option<Running>; LANES],
    pub(super) dispatched: u32,
    pub(super) retries: u32,
    /// When its last attempt began.
    pub(super) last_start: Option<Time>,
    pub(super) tried: Tried,
    pub(super) log: Vec<Attempt>,
}

impl Ticket {
    fn new(s: &Submission, now: Time, sequence: u64, config: &SchedulerConfig) -> Self {
        Self {
            id: s.ticket,
            task: s.task,
            priority: s.priority,
            phase: Phase::Queued,
            next_kind: DispatchKind::First,
            has_token: false,
            arrival: now,
            deadline: s.deadline,
            order: virtual_deadline(s, now, config),
            sequence,
            bytes: s.bytes,
            resume_at: Time::NEVER,
            hedge_at: Time::NEVER,
            hedged: false,
            running: [None; LANES],
            dispatched: 0,
            retries: 0,
            last_start: None,
            tried: Tried::default(),
            log: Vec::new(),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.running.iter().flatten().count()
    }

    /// Whether a worker has it now.
    pub(super) fn runs_on(&self, worker: u32) -> bool {
        self.running.iter().flatten().any(|r| r.worker == worker)
    }

    /// When something about it is due.
    pub(super) fn due(&self) -> Time {
        let resume = if self.phase == Phase::BackingOff { self.resume_at } else { Time::NEVER };
        let attempts = self.running.iter().flatten().map(|r| r.gives_up).min().unwrap_or(Time::NEVER);
        self.deadline.min(resume).min(attempts).min(self.hedge_at)
    }

    pub(super) fn record(&mut self, attempt: Attempt) {
        if self.log.len() >= SchedulerConfig::MAX_ATTEMPT_RECORDS {
            self.log.pop();
        }
        self.log.push(attempt);
    }
}

/// The last few workers that a request failed on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried {
    workers: [u32; 4],
    count: u32,
}

impl Tried {
    pub(super) fn add(&mut self, worker: u32) {
        if !self.contains(worker) {
            self.workers[self.count as usize % 4] = worker;
            self.count += 1;
        }
    }

    pub(super) fn contains(&self, worker: u32) -> bool {
        self.iter().any(|w| w == worker)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.workers.iter().copied().take(self.count.min(4) as usize)
    }
}

/// All requests that are not answered yet, in reused slots.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    slots: Vec<Ticket>,
    free: Vec<u32>,
    by_id: NumberIndex,
    accepted: u64,
}

impl Tickets {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn slot_of(&self, id: TicketId) -> Option<u32> {
        self.by_id.get(id.0)
    }

    pub(super) fn insert(&mut self, s: &Submission, now: Time, config: &SchedulerConfig) -> u32 {
        let ticket = Ticket::new(s, now, self.accepted, config);
        self.accepted += 1;
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = ticket;
            slot
        } else {
            self.slots.push(ticket);
            self.slots.len() as u32 - 1
        };
        self.by_id.insert(s.ticket.0, slot);
        slot
    }

    /// Frees a slot. What was recorded of its attempts is handed out.
    pub(super) fn remove(&mut self, slot: u32) -> Vec<Attempt> {
        let ticket = &mut self.slots[slot as usize];
        ticket.phase = Phase::Vacant;
        self.by_id.remove(ticket.id.0);
        self.free.push(slot);
        std::mem::take(&mut ticket.log)
    }

    /// Every request, with its slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Ticket)> {
        (0..).zip(&self.slots).filter(|(_, t)| t.phase != Phase::Vacant)
    }
}

impl Index<u32> for Tickets {
    type Output = Ticket;

    fn index(&self, slot: u32) -> &Ticket {
        &self.slots[slot as usize]
    }
}

impl IndexMut<u32> for Tickets {
    fn index_mut(&mut self, slot: u32) -> &mut Ticket {
        &mut self.slots[slot as usize]
    }
}

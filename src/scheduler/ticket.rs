//! Requests that are not answered yet: their slots, and each one's own state.

use std::ops::{Index, IndexMut};
use std::time::Duration;

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
    pub(super) started: Time,
    pub(super) gives_up: Time,
    /// Whether it holds a part of the retry budget.
    pub(super) extra: bool,
    /// Whether it runs beside a slow first attempt.
    pub(super) hedge: bool,
}

/// The first attempt and a hedge beside it.
const LANES: usize = 2;

/// A request that is not answered yet. Thousands of them wait, and each is looked at a few times, long after the last: what
/// is always asked for is in the first cache line, a first attempt in the second, and the rest of it in the third.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Ticket {
    pub(super) id: TicketId,
    pub(super) arrival: Time,
    pub(super) deadline: Time,
    /// Its place in the order: the virtual deadline.
    pub(super) order: Time,
    /// When a back-off ends, or a second attempt is considered.
    pub(super) look_at: Time,
    /// When its last attempt began; never, before the first.
    pub(super) last_start: Time,
    pub(super) dispatched: u32,
    pub(super) retries: u32,
    pub(super) task: TaskType,
    pub(super) priority: Priority,
    pub(super) phase: Phase,
    /// What its next dispatch is.
    pub(super) next_kind: DispatchKind,
    /// Whether a queued retry already holds its part of the retry budget.
    pub(super) has_token: bool,
    pub(super) hedged: bool,
    /// Attempts in the lanes.
    in_flight: u8,

    first_lane: Option<Running>,
    pub(super) log: Vec<Attempt>,
    pub(super) bytes: usize,

    second_lane: Option<Running>,
    tried: Tried,
    /// Breaks ties in the order by arrival.
    pub(super) sequence: u64,
}

impl Ticket {
    fn new(s: &Submission, now: Time, sequence: u64, config: &SchedulerConfig) -> Self {
        Self {
            id: s.ticket,
            arrival: now,
            deadline: s.deadline,
            order: virtual_deadline(s, now, config),
            look_at: Time::NEVER,
            last_start: Time::NEVER,
            dispatched: 0,
            retries: 0,
            task: s.task,
            priority: s.priority,
            phase: Phase::Queued,
            next_kind: DispatchKind::First,
            has_token: false,
            hedged: false,
            in_flight: 0,
            first_lane: None,
            log: Vec::new(),
            bytes: s.bytes,
            second_lane: None,
            tried: Tried::default(),
            sequence,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        usize::from(self.in_flight)
    }

    /// The attempts that run, with their lanes.
    pub(super) fn running(&self) -> impl Iterator<Item = (usize, &Running)> {
        let lanes = (0..LANES).filter_map(|lane| Some((lane, self.lane(lane)?)));
        lanes.take(self.in_flight()) // and no look at a lane behind the last
    }

    /// Starts an attempt in a lane that is free; false if there is none.
    pub(super) fn start(&mut self, running: Running) -> bool {
        let Some(lane) = (0..LANES).find(|&lane| self.lane(lane).is_none()) else { return false };
        *self.lane_mut(lane) = Some(running);
        self.in_flight += 1;
        true
    }

    /// Ends the attempt in a lane.
    pub(super) fn stop(&mut self, lane: usize) -> Option<Running> {
        let running = self.lane_mut(lane).take()?;
        self.in_flight -= 1;
        Some(running)
    }

    /// Lets its attempts take this much longer, as far as there is time.
    pub(super) fn extend(&mut self, pause: Duration) {
        let deadline = self.deadline;
        for running in [&mut self.first_lane, &mut self.second_lane].into_iter().flatten() {
            running.gives_up = (running.gives_up + pause).min(deadline);
        }
    }

    fn lane(&self, lane: usize) -> Option<&Running> {
        if lane == 0 { self.first_lane.as_ref() } else { self.second_lane.as_ref() }
    }

    fn lane_mut(&mut self, lane: usize) -> &mut Option<Running> {
        if lane == 0 { &mut self.first_lane } else { &mut self.second_lane }
    }

    /// Whether a worker has it now.
    pub(super) fn runs_on(&self, worker: u32) -> bool {
        self.running().any(|(_, r)| r.worker == worker)
    }

    /// It failed on this worker.
    pub(super) fn failed_on(&mut self, worker: u32) {
        self.tried.add(worker);
    }

    /// Whether it is one of the last few workers that it failed on.
    pub(super) fn has_tried(&self, worker: u32) -> bool {
        // What never ran is known not to have failed without a look at the third cache line.
        self.dispatched > 0 && self.tried.contains(worker)
    }

    /// The last few workers that it failed on.
    pub(super) fn tried(&self) -> impl Iterator<Item = u32> + '_ {
        self.tried.iter()
    }

    /// When something about it is due.
    pub(super) fn due(&self) -> Time {
        let attempts = self.running().map(|(_, r)| r.gives_up).min().unwrap_or(Time::NEVER);
        self.deadline.min(attempts).min(self.look_at)
    }

    pub(super) fn record(&mut self, attempt: Attempt) {
        if self.log.len() >= SchedulerConfig::MAX_ATTEMPT_RECORDS {
            self.log.pop();
        }
        if self.log.capacity() == 0 {
            self.log.reserve_exact(1); // most have no second
        }
        self.log.push(attempt);
    }
}

/// The last few workers that a request failed on.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    workers: [u32; 4],
    count: u32,
}

impl Tried {
    fn add(&mut self, worker: u32) {
        if !self.contains(worker) {
            self.workers[self.count as usize % 4] = worker;
            self.count += 1;
        }
    }

    fn contains(&self, worker: u32) -> bool {
        self.iter().any(|w| w == worker)
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
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

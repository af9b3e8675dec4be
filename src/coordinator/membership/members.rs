//! The table of members, by the scheduler's key and by name.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::coordinator::dispatch::Link;
use crate::protocol::{Capability, ControlCommand, FaultSettings, Heartbeat, RegisterWorker, WorkerId};
use crate::scheduler::{Liveness, WorkerKey};

/// The sending end of a control stream.
#[derive(Debug)]
pub(crate) struct Control {
    /// Which of a worker's successive streams it is.
    pub(crate) number: u64,
    pub(crate) sender: mpsc::Sender<ControlCommand>,
}

impl Control {
    /// Commands that may wait for a worker to read them: an operator gives one at a time.
    pub(crate) const BUFFER: usize = 16;
}

/// One member of the fleet.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) registration: RegisterWorker,
    pub(crate) beat: Option<Heartbeat>,
    pub(crate) control: Option<Control>,
    pub(crate) link: Arc<Link>,
    pub(crate) alive: Liveness,
    /// Set by an operator, and believed until heartbeats after this number have had time to confirm it.
    pub(crate) faults: Option<(FaultSettings, u64)>,
}

impl Member {
    /// What it can do, as it last said.
    pub(crate) fn capabilities(&self) -> &[Capability] {
        self.beat.as_ref().map_or(&self.registration.capabilities, |b| &b.capabilities)
    }

    /// Whether faults may be set.
    pub(crate) fn fault_injection(&self) -> bool {
        self.beat.as_ref().map_or(self.registration.fault_injection, |b| b.fault_injection)
    }

    /// Faults in force.
    pub(crate) fn faults(&self) -> &FaultSettings {
        let said = self.beat.as_ref().map_or(&self.registration.faults, |b| &b.faults);
        self.faults.as_ref().map_or(said, |(set, _)| set)
    }

    /// Takes a heartbeat; false where it is late and says nothing new.
    pub(crate) fn heard(&mut self, beat: Heartbeat) -> bool {
        if self.beat.as_ref().is_some_and(|last| beat.seq <= last.seq) {
            return false;
        }
        if self.faults.as_ref().is_some_and(|(set, until)| beat.faults == *set || beat.seq > *until) {
            self.faults = None;
        }
        self.beat = Some(beat);
        true
    }

    /// Believes that these faults are in force until heartbeats have had time to say so.
    pub(crate) fn expect_faults(&mut self, faults: FaultSettings) {
        let until = self.beat.as_ref().map_or(0, |b| b.seq) + 2;
        self.faults = Some((faults, until));
    }
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Members {
    by_key: Vec<Option<Member>>,
    by_name: HashMap<WorkerId, WorkerKey>,
    numbers: u64,
}

impl Members {
    /// Adds a member, or renews what is known of one that registers again. Its connections and its
    /// control stream stay where its address does.
    pub(crate) fn put(&mut self, key: WorkerKey, registration: RegisterWorker, link: Link, alive: Liveness) {
        let at = key.0 as usize;
        if self.by_key.len() <= at {
            self.by_key.resize_with(at + 1, || None);
        }
        self.by_name.insert(registration.worker_id.clone(), key);
        let Some(slot) = self.by_key.get_mut(at) else { return };
        let (control, link) = match slot.take() {
            Some(old) if old.registration.url == registration.url => (old.control, old.link),
            Some(old) => {
                old.link.hang_up();
                (old.control, Arc::new(link))
            }
            None => (None, Arc::new(link)),
        };
        *slot = Some(Member { registration, beat: None, control, link, alive, faults: None });
    }

    pub(crate) fn remove(&mut self, key: WorkerKey) {
        if let Some(member) = self.by_key.get_mut(key.0 as usize).and_then(Option::take) {
            self.by_name.remove(&member.registration.worker_id);
            member.link.hang_up();
        }
    }

    pub(crate) fn key(&self, id: &WorkerId) -> Option<WorkerKey> {
        self.by_name.get(id).copied()
    }

    pub(crate) fn get(&self, key: WorkerKey) -> Option<&Member> {
        self.by_key.get(key.0 as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: WorkerKey) -> Option<&mut Member> {
        self.by_key.get_mut(key.0 as usize)?.as_mut()
    }

    pub(crate) fn by_name_mut(&mut self, id: &WorkerId) -> Option<&mut Member> {
        let key = self.key(id)?;
        self.get_mut(key)
    }

    pub(crate) fn name(&self, key: WorkerKey) -> Option<&WorkerId> {
        self.get(key).map(|m| &m.registration.worker_id)
    }

    pub(crate) fn link(&self, key: WorkerKey) -> Option<Arc<Link>> {
        self.get(key).map(|m| Arc::clone(&m.link))
    }

    /// Every member with its key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (WorkerKey, &Member)> {
        self.by_key.iter().enumerate().filter_map(|(at, m)| Some((WorkerKey(at as u32), m.as_ref()?)))
    }

    /// A number that was not used before.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

//! The activity list: two bounded rings, one of everything, one of what is out of the ordinary.
//!
//! At a thousand requests a second a list of answers tells nothing and pushes out what matters, so
//! plain successes enter the short list only now and then: enough to see that the fleet lives, and
//! every one of them while requests are rare.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::{AttemptOutcome, EventKind};

/// One line of the activity list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Its number; grows by one.
    pub(crate) n: u64,
    /// When, milliseconds since the Unix epoch (the coordinator's clock); 0 where only we noticed.
    pub(crate) at_ms: u64,
    /// What.
    pub(crate) what: Arc<What>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// The coordinator told.
    Event(EventKind),
    /// The event stream stands.
    Connected,
    /// The event stream broke, and why.
    Lost(String),
    /// Events that did not reach us.
    Missed(u64),
}

impl What {
    /// Whether it is an answer at the first attempt or a refusal at the door, of which there may be
    /// thousands a second.
    fn is_routine(&self) -> bool {
        match self {
            Self::Event(EventKind::RequestFailed { attempts, .. }) => attempts.is_empty(),
            Self::Event(EventKind::RequestFinished { attempts, .. }) => attempts.len() <= 1,
            // Part of a request that is reported again when it ends.
            Self::Event(EventKind::RequestRerouted { outcome, .. }) => *outcome == AttemptOutcome::Busy,
            _ => false,
        }
    }
}

/// What happened lately.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    all: VecDeque<Entry>,
    notable: VecDeque<Entry>,
    next: u64,
    /// Routine entries that the short list may still take; grows with time.
    allowance: f64,
    allowed_at: Duration,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            all: VecDeque::new(),
            notable: VecDeque::new(),
            next: 0,
            allowance: Self::ROUTINE_BURST,
            allowed_at: Duration::ZERO,
        }
    }
}

impl Journal {
    /// Entries that each ring keeps.
    pub(crate) const MAX_ENTRIES: usize = 500;
    /// Routine entries that the short list takes at once.
    const ROUTINE_BURST: f64 = 5.0;
    /// Routine entries that the short list takes a second, in the long run.
    const ROUTINE_RATE: f64 = 0.2;

    /// Notes something; whether the short list has it.
    pub(crate) fn push(&mut self, now: Duration, at_ms: u64, what: What) -> bool {
        let notable = !what.is_routine() || self.allow(now);
        let entry = Entry { n: self.next, at_ms, what: Arc::new(what) };
        self.next += 1;
        if notable {
            push(&mut self.notable, entry.clone());
        }
        push(&mut self.all, entry);
        notable
    }

    /// The entries, oldest first: all of them or those out of the ordinary.
    pub(crate) fn entries(&self, everything: bool) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        if everything { self.all.iter() } else { self.notable.iter() }
    }

    /// A token bucket.
    fn allow(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.allowed_at).as_secs_f64();
        self.allowed_at = now;
        self.allowance = (self.allowance + passed * Self::ROUTINE_RATE).min(Self::ROUTINE_BURST);
        let allowed = self.allowance >= 1.0;
        if allowed {
            self.allowance -= 1.0;
        }
        allowed
    }
}

fn push(ring: &mut VecDeque<Entry>, entry: Entry) {
    if ring.len() >= Journal::MAX_ENTRIES {
        ring.pop_front();
    }
    ring.push_back(entry);
}

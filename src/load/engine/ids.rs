//! Request ids of a run, and which of them were answered.

use std::fmt::Write;

/// Makes ids: `load-RUN-NUMBER`. The run's part is new each time, whatever the seed, because a
/// coordinator answers a repeated id with the answer that it has.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    prefix: String,
}

impl Ids {
    pub(super) fn new(run: u64) -> Self {
        Self { prefix: format!("load-{run:012x}-") }
    }

    pub(super) fn of(&self, seq: u64) -> String {
        let mut id = String::with_capacity(self.prefix.len() + 12);
        id.push_str(&self.prefix);
        let _ = write!(id, "{seq}"); // a string takes whatever is written
        id
    }

    /// The number of an id of this run.
    pub(super) fn seq_of(&self, id: &str) -> Option<u64> {
        id.strip_prefix(&self.prefix)?.parse().ok()
    }
}

/// Which of the last requests were answered: a bit each, in a ring, so that memory stays flat. A
/// request that is older than the whole ring counts as not answered; its time-out is long past.
#[derive(Debug)]
pub(super) struct Answered {
    words: Vec<u64>,
    /// One past the highest number seen.
    next: u64,
}

impl Answered {
    /// Requests that are remembered: 512 KiB; at 20 000 a second more than three minutes.
    const WINDOW: u64 = 1 << 22;

    pub(super) fn new() -> Self {
        Self { words: vec![0; (Self::WINDOW / 64) as usize], next: 0 }
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        seq < self.next && self.next - seq <= Self::WINDOW && self.words[Self::word(seq)] & Self::bit(seq) != 0
    }

    /// Notes an answer; true where there was one before.
    pub(super) fn insert(&mut self, seq: u64) -> bool {
        if self.contains(seq) {
            return true;
        }
        if seq >= self.next {
            // Places that come round again are emptied before they are used.
            let fresh = (seq + 1 - self.next).min(Self::WINDOW);
            for s in (seq + 1 - fresh)..=seq {
                self.words[Self::word(s)] &= !Self::bit(s);
            }
            self.next = seq + 1;
        }
        if self.next - seq <= Self::WINDOW {
            self.words[Self::word(seq)] |= Self::bit(seq);
        }
        false
    }

    fn word(seq: u64) -> usize {
        ((seq % Self::WINDOW) / 64) as usize
    }

    fn bit(seq: u64) -> u64 {
        1 << (seq % 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back() {
        let ids = Ids::new(7);
        assert_eq!(ids.of(12), "load-000000000007-12");
        assert_eq!(ids.seq_of("load-000000000007-12"), Some(12));
        assert_eq!(ids.seq_of("load-000000000008-12"), None);
        assert!(crate::protocol::RequestId::try_new(Ids::new(u64::MAX).of(u64::MAX)).is_ok());
    }

    #[test]
    fn answers_are_known_by_number_in_any_order() {
        let mut a = Answered::new();
        for seq in [5, 0, 1_000_000, 3] {
            assert!(!a.insert(seq) && a.contains(seq));
            assert!(a.insert(seq));
        }
        assert!(!a.contains(4) && !a.contains(999_999) && !a.contains(u64::MAX));
    }

    #[test]
    fn the_ring_comes_round_without_old_answers() {
        let mut a = Answered::new();
        a.insert(9);
        a.insert(Answered::WINDOW + 5); // nothing at the place of 9 yet
        assert!(a.contains(9));
        a.insert(Answered::WINDOW + 100);
        assert!(!a.contains(9) && !a.contains(Answered::WINDOW + 9));
        assert!(!a.insert(Answered::WINDOW + 9));
    }
}

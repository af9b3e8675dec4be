//! The life of the serving process, as its supervisor sees it. Pure: it decides, the supervisor acts.
//!
//! A process that dies by itself is started again after a pause, which doubles with every death and
//! starts over once a process has lived long enough. A process that was killed on purpose stays dead
//! until it is revived.

use std::time::{Duration, Instant};

use crate::config::WorkerConfig;
use crate::protocol::WorkerState;

/// Where the serving process is in its life, and what comes next.
#[derive(Clone, Debug)]
pub(super) struct Life {
    phase: Phase,
    draining: bool,
    started: Instant,
    pause: Duration,
    starts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Ready,
    Killed,
    Crashed { again_at: Instant },
}

impl Life {
    /// Before the first start.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Crashed { again_at: now },
            draining: false,
            started: now,
            pause: Duration::ZERO,
            starts: 0,
        }
    }

    /// A process was started.
    pub(super) fn started(&mut self, now: Instant) {
        self.phase = Phase::Starting;
        self.started = now;
        self.starts = self.starts.saturating_add(1);
    }

    /// It said that its models are there.
    pub(super) fn ready(&mut self) {
        if self.phase == Phase::Starting {
            self.phase = Phase::Ready;
        }
    }

    /// It died by itself (or could not be started); returns the pause before it is started again.
    pub(super) fn died(&mut self, now: Instant) -> Duration {
        let sound = now.saturating_duration_since(self.started) >= WorkerConfig::RESTART_RESET;
        self.pause = if sound || self.pause.is_zero() {
            WorkerConfig::RESTART_MIN
        } else {
            (self.pause * 2).min(WorkerConfig::RESTART_MAX)
        };
        self.phase = Phase::Crashed { again_at: now + self.pause };
        self.pause
    }

    /// It was killed on purpose.
    pub(super) fn killed(&mut self) {
        self.phase = Phase::Killed;
    }

    /// It is wanted again. Returns whether it is to be started now; it runs already otherwise.
    pub(super) fn revive(&mut self) -> Start {
        self.draining = false;
        self.pause = Duration::ZERO;
        if self.is_running() { Start::No } else { Start::Yes }
    }

    /// Takes nothing new from now on.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    /// Takes work again.
    pub(super) fn resume(&mut self) {
        self.draining = false;
    }

    /// Whether it takes nothing new.
    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Ready)
    }

    /// When it is to be started again, where that is so.
    pub(super) fn again_at(&self) -> Option<Instant> {
        if let Phase::Crashed { again_at } = self.phase { Some(again_at) } else { None }
    }

    /// Starts so far.
    pub(super) fn starts(&self) -> u32 {
        self.starts
    }

    /// What others are told.
    pub(super) fn state(&self) -> WorkerState {
        match self.phase {
            Phase::Killed => WorkerState::Killed,
            Phase::Crashed { .. } => WorkerState::Crashed,
            Phase::Starting | Phase::Ready if self.draining => WorkerState::Draining,
            Phase::Starting => WorkerState::Starting,
            Phase::Ready => WorkerState::Ready,
        }
    }
}

/// Whether something is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// It is.
    Yes,
    /// It is not.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn running(now: Instant) -> Life {
        let mut life = Life::new(now);
        life.started(now);
        life.ready();
        life
    }

    #[test]
    fn the_pause_grows_with_each_death_and_starts_over_after_a_long_life() {
        let mut now = Instant::now();
        let mut life = Life::new(now);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            life.started(now);
            now += 10 * MS;
            pauses.push(life.died(now));
            assert_eq!(life.again_at(), Some(now + pauses[pauses.len() - 1]));
        }
        assert_eq!(pauses[..4], [200 * MS, 400 * MS, 800 * MS, 1600 * MS]);
        assert_eq!(pauses[9], WorkerConfig::RESTART_MAX);
        life.started(now);
        assert_eq!(life.died(now + WorkerConfig::RESTART_RESET), WorkerConfig::RESTART_MIN);
    }

    #[test]
    fn what_was_killed_stays_dead_until_it_is_revived() {
        let now = Instant::now();
        let mut life = running(now);
        life.killed();
        assert_eq!((life.state(), life.again_at()), (WorkerState::Killed, None));
        assert_eq!(life.revive(), Start::Yes);
        life.started(now);
        assert_eq!(life.state(), WorkerState::Starting);
        assert_eq!(life.revive(), Start::No);
    }

    #[test]
    fn a_kill_ends_the_restarts_of_a_crashed_one_and_a_revive_hastens_them() {
        let now = Instant::now();
        let mut life = running(now);
        life.died(now);
        assert_eq!(life.state(), WorkerState::Crashed);
        assert_eq!(life.revive(), Start::Yes);
        life.killed();
        assert_eq!(life.again_at(), None);
    }

    #[test]
    fn draining_outlives_a_crash() {
        let now = Instant::now();
        let mut life = running(now);
        life.drain();
        assert_eq!(life.state(), WorkerState::Draining);
        life.died(now);
        life.started(now);
        assert_eq!(life.state(), WorkerState::Draining);
        life.resume();
        assert_eq!(life.state(), WorkerState::Starting);
    }
}

//! The one owner of the scheduler: tells it what happens and does what it says.
//!
//! The scheduler, the requests in flight and the fleet's members are one state behind one lock. A
//! decision takes about a microsecond and nothing is ever awaited under the lock, so that a lock held
//! briefly by whoever has news costs less than waking a task of its own for each piece of news. Requests
//! that nobody can ask for again come through the `inbox`, many under one lock. What can wait until the
//! lock is free (writing answers, keeping outcomes, logs) is done after it.

mod answer;
mod apply;
mod attempts;
mod find;
mod inbox;
mod request;
mod submit;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

pub(crate) use apply::is_refusal;
pub(crate) use find::Found;
pub(crate) use submit::{Submission, Waiter, fingerprint};

pub(crate) use request::Work;

use self::inbox::Inbox;
use self::request::{Ended, Requests};
use super::events::Events;
use super::membership::Members;
use super::metrics::Tally;
use super::store::Store;
use crate::config::CoordinatorConfig;
use crate::protocol::RunState;
use crate::scheduler::{Action, Event, Scheduler, Time};

/// See the module.
#[derive(Debug)]
pub(crate) struct Core {
    state: Mutex<State>,
    started: Instant,
    inbox: Inbox,
    last_ticket: AtomicU64,
    /// Wakes the timer task when its next time comes sooner than it thinks.
    sooner: Notify,
    run_state: AtomicU8,
    /// Wakes whoever waits, while draining, for the last request to be answered.
    answered: Notify,
    /// Whether the queue is full, and in how many milliseconds it is worth to try again: what is refused
    /// on account of it is refused before it is read.
    full: AtomicBool,
    try_again_ms: AtomicU64,
    /// Requests that joined one in flight or were answered from the store.
    pub(crate) replayed: AtomicU64,
    pub(crate) config: Arc<CoordinatorConfig>,
    pub(crate) events: Arc<Events>,
    pub(crate) store: Arc<dyn Store>,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) scheduler: Scheduler,
    pub(crate) members: Members,
    pub(crate) tally: Tally,
    requests: Requests,
    /// Kept between calls, so that it need not be made each time.
    actions: Vec<Action>,
    /// When the timer task will look again.
    armed: Time,
}

impl Core {
    pub(crate) fn new(config: Arc<CoordinatorConfig>, events: Arc<Events>, store: Arc<dyn Store>) -> Arc<Self> {
        let seed = rand::random();
        tracing::info!(seed, "scheduler started");
        let state = State {
            scheduler: Scheduler::new(config.scheduler.clone(), seed),
            members: Members::default(),
            tally: Tally::new(),
            requests: Requests::default(),
            actions: Vec::new(),
            armed: Time::NEVER,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            started: Instant::now(),
            inbox: Inbox::default(),
            last_ticket: AtomicU64::new(0),
            sooner: Notify::new(),
            answered: Notify::new(),
            run_state: AtomicU8::new(RunState::Starting as u8),
            full: AtomicBool::new(false),
            try_again_ms: AtomicU64::new(1000),
            replayed: AtomicU64::new(0),
            config,
            events,
            store,
        })
    }

    /// The scheduler's clock.
    pub(crate) fn now(&self) -> Time {
        Time::after(self.started.elapsed())
    }

    /// Since the start.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug that was reported already; the state is still the best there is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the scheduler, does what it says, and lets go of the lock before the rest.
    pub(crate) fn tell(self: &Arc<Self>, state: MutexGuard<'_, State>, event: Event) {
        self.tell_at(state, self.now(), event);
    }

    /// The same, for a caller who has read the clock.
    fn tell_at(self: &Arc<Self>, mut state: MutexGuard<'_, State>, now: Time, event: Event) {
        let mut ended = Vec::new();
        self.drive(&mut state, now, event, &mut ended);
        drop(state);
        self.finish_all(&mut ended);
    }

    /// Answers what has ended; to be called without the lock.
    pub(crate) fn finish_all(self: &Arc<Self>, ended: &mut Vec<Ended>) {
        if ended.is_empty() {
            return;
        }
        let at = SystemTime::now();
        for request in ended.drain(..) {
            self.finish(request, at);
        }
    }

    /// As [`Self::tell`], for a caller that keeps the lock; what ended is added to `ended`, of which the caller must
    /// [`Self::finish_all`].
    pub(crate) fn drive(self: &Arc<Self>, state: &mut State, now: Time, event: Event, ended: &mut Vec<Ended>) {
        let mut actions = std::mem::take(&mut state.actions);
        state.scheduler.handle(now, event, &mut actions);
        for action in actions.drain(..) {
            self.apply(state, action, ended);
        }
        state.actions = actions;
        let full = state.scheduler.queued() >= self.config.scheduler.queue_capacity;
        if full != self.full.load(Ordering::Relaxed) {
            self.full.store(full, Ordering::Relaxed);
        }
        if let Some(next) = state.scheduler.next_wakeup()
            && next < state.armed
        {
            state.armed = next;
            self.sooner.notify_one();
        }
    }

    /// Tells the scheduler when its time has come. Runs for ever.
    pub(crate) async fn run_timer(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                state.armed = state.scheduler.next_wakeup().unwrap_or(Time::NEVER);
                state.armed
            };
            let sleep = async {
                if next == Time::NEVER {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep_until((self.started + next.since_start()).into()).await;
            };
            tokio::select! {
                () = sleep => self.tell(self.lock(), Event::Tick),
                () = self.sooner.notified() => {}
            }
        }
    }

    /// Where the coordinator is in its life.
    pub(crate) fn run_state(&self) -> RunState {
        match self.run_state.load(Ordering::Acquire) {
            s if s == RunState::Starting as u8 => RunState::Starting,
            s if s == RunState::Ready as u8 => RunState::Ready,
            _ => RunState::Draining,
        }
    }

    /// The next stage of its life.
    pub(crate) fn set_run_state(&self, state: RunState) {
        self.run_state.store(state as u8, Ordering::Release);
    }

    /// A request was answered: while draining, somebody counts.
    fn note_answered(&self) {
        if self.run_state() == RunState::Draining {
            self.answered.notify_one();
        }
    }

    /// Returns once no request is without its answer.
    pub(crate) async fn all_answered(&self) {
        while self.live() > 0 {
            self.answered.notified().await;
        }
    }

    /// Requests that are not answered yet.
    pub(crate) fn live(&self) -> usize {
        let state = self.lock();
        self.inbox.len() + state.requests.len().max(state.scheduler.live())
    }
}

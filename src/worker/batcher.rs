//! Dynamic batching: requests in, answers out, and between them one thread that owns the model.
//!
//! Owns the queue before the model and the inference thread. Forms no answer to a client and knows
//! no HTTP. What is in a batch is decided by `queue`, what it costs by `cost`; this module carries it
//! out: it checks again that a request is still wanted and in time before it computes, splits a
//! batch that failed to find the one bad input, and keeps the thread alive through panics.

mod cost;
mod queue;
mod sizes;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use super::backend::Backend;
use super::faults::Faults;
use super::metrics::Meter;
use crate::config::WorkerConfig;
use crate::inference::kernels::wake_on_time;
use crate::protocol::{Priority, Problem, ProblemCode, ServiceTime, TaskResult, TaskType};
use queue::{Entry, Limits, Plan, Queue};

/// A warm-up that takes less than this is measured several times: on a machine that has just started a fleet, what it
/// takes once says little.
const WARM_UP_BRIEF: Duration = Duration::from_millis(20);
/// How often, while no work waits.
const WARM_UP_RUNS: usize = 4;

/// A request for the model.
pub(super) struct Submission<P> {
    /// What to do.
    pub(super) task: TaskType,
    /// How urgent it is.
    pub(super) priority: Priority,
    /// When it is of no use any more.
    pub(super) deadline: Instant,
    /// The input.
    pub(super) prepared: P,
}

/// What the model said, and how it came to it.
#[derive(Debug)]
pub(super) struct Computed {
    /// The answer.
    pub(super) answer: TaskResult,
    /// Time in the queue.
    pub(super) waited: Duration,
    /// Time that the batch was computed.
    pub(super) took: Duration,
    /// Requests in that batch.
    pub(super) batch_size: usize,
}

/// How a request ended.
pub(super) type Reply = Result<Computed, Problem>;

/// Replies to many requests, each with the number of its request, and where they are sent from.
pub(super) type Replies = mpsc::UnboundedReceiver<(u64, Reply)>;
pub(super) type Replying = mpsc::UnboundedSender<(u64, Reply)>;

struct Job<P> {
    prepared: P,
    reply: ReplyTo,
}

/// Where a reply goes. Dropped without one, it says that the request was not started.
struct ReplyTo(Option<To>);

enum To {
    /// To who asked for this request alone.
    One(oneshot::Sender<Reply>),
    /// To who asked for many, under this number.
    Many(Replying, u64),
}

impl ReplyTo {
    /// Nobody there is no error: the client left.
    fn send(mut self, reply: Reply) {
        self.deliver(reply);
    }

    fn deliver(&mut self, reply: Reply) {
        match self.0.take() {
            Some(To::One(to)) => drop(to.send(reply)),
            Some(To::Many(to, number)) => drop(to.send((number, reply))),
            None => {}
        }
    }

    fn is_closed(&self) -> bool {
        match &self.0 {
            Some(To::One(to)) => to.is_closed(),
            Some(To::Many(to, _)) => to.is_closed(),
            None => true,
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.deliver(Err(not_started()));
        }
    }
}

/// Someone who waits for an answer while it is computed.
type Waiting = Entry<ReplyTo>;

/// The queue before the model, and the thread behind it. Dropping it ends the thread once the
/// batch that runs is done.
pub(super) struct Batcher<B: Backend> {
    shared: Arc<Shared<B>>,
}

struct Shared<B: Backend> {
    backend: Arc<B>,
    faults: Arc<Faults>,
    meter: Arc<Meter>,
    state: Mutex<State<B::Prepared>>,
    /// Something arrived, or it is over.
    wake: Condvar,
    /// Woken when it is known what batches cost.
    warm: Arc<Notify>,
}

struct State<P> {
    queue: Queue<Job<P>>,
    next_id: u64,
    /// The inference thread waits: whoever has news for it wakes it, once.
    asleep: bool,
    /// What was not started goes back, and so does what comes now.
    handing_back: bool,
    closed: bool,
}

/// What to do when there is no work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Idle {
    /// Wait for some.
    Wait,
    /// Say so.
    Return,
}

/// What the inference thread does next.
enum Next<P> {
    /// Compute this.
    Batch(Vec<Entry<Job<P>>>),
    /// There is nothing to do.
    Idle,
    /// It is over.
    Closed,
}

impl<B: Backend> Batcher<B> {
    /// Starts the inference thread; `warm` is woken once the model is warm.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(super) fn start(
        config: &WorkerConfig,
        backend: Arc<B>,
        faults: Arc<Faults>,
        meter: Arc<Meter>,
        warm: Arc<Notify>,
    ) -> std::io::Result<Self> {
        let limits = Limits { max_batch: config.max_batch, max_delay: config.max_delay };
        let state = State { queue: Queue::new(limits), next_id: 0, asleep: false, handing_back: false, closed: false };
        let (state, wake) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { backend, faults, meter, state, wake, warm });
        let inference = Arc::clone(&shared);
        std::thread::Builder::new().name("inference".to_owned()).spawn(move || inference.work())?;
        Ok(Self { shared })
    }

    /// Queues a request. The queue needs no bound of its own: a request leaves it with its ticket,
    /// and the worker hands out no more than its capacity.
    pub(super) fn submit(&self, submission: Submission<B::Prepared>) -> Ticket<B> {
        let (to, answer) = oneshot::channel();
        let mut state = self.shared.lock();
        let place = self.push(&mut state, submission, To::One(to));
        self.shared.rouse(state);
        Ticket { place, answer }
    }

    /// Queues requests that come together, under their numbers; where each one is.
    pub(super) fn submit_all(
        &self,
        submissions: impl Iterator<Item = (u64, Submission<B::Prepared>)>,
        replying: &Replying,
    ) -> Vec<(u64, Place<B>)> {
        let mut state = self.shared.lock();
        let push =
            |(number, submission)| (number, self.push(&mut state, submission, To::Many(replying.clone(), number)));
        let places = submissions.map(push).collect();
        self.shared.rouse(state);
        places
    }

    fn push(&self, state: &mut State<B::Prepared>, submission: Submission<B::Prepared>, to: To) -> Place<B> {
        let Submission { task, priority, deadline, prepared } = submission;
        let (id, reply) = (state.next_id, ReplyTo(Some(to)));
        state.next_id += 1;
        if state.handing_back {
            reply.send(Err(handed_back()));
        } else {
            let units = self.shared.backend.units(&prepared).max(1);
            let payload = Job { prepared, reply };
            state.queue.push(Entry { id, task, arrived: Instant::now(), deadline, priority, units, payload });
        }
        Place { shared: Arc::clone(&self.shared), task, id, over: false }
    }

    /// Gives back at once what waits for the model, and from now on whatever comes; a batch that was
    /// begun is finished.
    pub(super) fn hand_back(&self) {
        let mut state = self.shared.lock();
        state.handing_back = true;
        let waiting = state.queue.take_all();
        drop(state);
        for entry in waiting {
            entry.payload.reply.send(Err(handed_back()));
        }
    }

    /// Takes work again.
    pub(super) fn take_again(&self) {
        self.shared.lock().handing_back = false;
    }

    /// How many requests wait for the model.
    pub(super) fn queue_depth(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// What each task takes.
    pub(super) fn service_times(&self) -> Vec<ServiceTime> {
        self.shared.lock().queue.service_times()
    }
}

impl<B: Backend> Drop for Batcher<B> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.rouse(state);
    }
}

/// A place in the queue. Dropping it gives the place up: what has not been started never is.
pub(super) struct Place<B: Backend> {
    shared: Arc<Shared<B>>,
    task: TaskType,
    id: u64,
    over: bool,
}

impl<B: Backend> Place<B> {
    /// The reply is there: nothing is left to be given up.
    pub(super) fn over(&mut self) {
        self.over = true;
    }
}

impl<B: Backend> Drop for Place<B> {
    fn drop(&mut self) {
        if !self.over {
            let cancelled = self.shared.lock().queue.cancel(self.task, self.id);
            // The input may be large; it is freed outside the lock.
            drop(cancelled);
        }
    }
}

/// A place in the queue with the answer to come.
pub(super) struct Ticket<B: Backend> {
    place: Place<B>,
    answer: oneshot::Receiver<Reply>,
}

impl<B: Backend> Ticket<B> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// [`ProblemCode::InferenceFailed`], [`ProblemCode::DeadlineExceeded`] where it was not started in
    /// time, or [`ProblemCode::Unavailable`] where it is handed back.
    pub(super) async fn answer(self) -> Reply {
        let Self { mut place, answer } = self;
        let reply = answer.await.unwrap_or_else(|_| Err(not_started()));
        place.over();
        reply
    }
}

/// What a request hears that was not started when its worker began to drain. Whoever sent it may send
/// it elsewhere at once: nothing was done, and nothing failed.
pub(super) fn handed_back() -> Problem {
    Problem::new(ProblemCode::Unavailable, "this worker is draining; the request was not started and is handed back")
}

fn not_started() -> Problem {
    Problem::new(ProblemCode::DeadlineExceeded, "the deadline passed before the model was free")
}

impl<B: Backend> Shared<B> {
    fn lock(&self) -> MutexGuard<'_, State<B::Prepared>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the inference thread look again.
    fn rouse(&self, mut state: MutexGuard<'_, State<B::Prepared>>) {
        // A call to the system even where nobody waits: only where somebody does.
        if std::mem::take(&mut state.asleep) {
            drop(state);
            self.wake.notify_one();
        }
    }

    fn work(&self) {
        wake_on_time();
        let mut warm_ups = self.backend.warm_ups().into_iter();
        loop {
            // Work that is there goes before warming up.
            let idle = if warm_ups.len() > 0 { Idle::Return } else { Idle::Wait };
            match self.next(idle) {
                Next::Closed => return,
                Next::Idle => {
                    warm_ups.next().into_iter().for_each(|(task, inputs)| self.warm_up(task, &inputs));
                    if warm_ups.len() == 0 {
                        self.warm.notify_one();
                    }
                }
                Next::Batch(batch) => {
                    self.meter.moved();
                    self.faults.hang();
                    self.compute(batch);
                    self.meter.moved();
                }
            }
        }
    }

    /// Runs a task before there is work for it: caches are filled, and what it takes is known to the
    /// coordinator before it has to choose among workers.
    fn warm_up(&self, task: TaskType, inputs: &[B::Prepared]) {
        let units = inputs.iter().map(|input| self.backend.units(input).max(1)).sum();
        let run = || {
            let started = Instant::now();
            let ok = catch_unwind(AssertUnwindSafe(|| self.backend.run(task, inputs).iter().all(Result::is_ok)));
            ok.unwrap_or(false).then(|| started.elapsed())
        };
        // The first run pays for cold caches; a batch comes after one alone.
        let cold = inputs.len() == 1;
        let mut took = if cold { run().and_then(|_| run()) } else { run() };
        // What else starts at the same moment makes a run longer, never shorter: of brief ones the quickest tells most.
        for _ in 1..WARM_UP_RUNS {
            let Some(quickest) = took.filter(|took| *took < WARM_UP_BRIEF && self.lock().queue.len() == 0) else {
                break;
            };
            took = run().map(|again| again.min(quickest));
        }
        if let Some(took) = took {
            self.lock().queue.observe(task, units, inputs.len(), took.as_secs_f64());
        } else {
            tracing::warn!(%task, "the model failed while warming up");
        }
    }

    fn next(&self, idle: Idle) -> Next<B::Prepared> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Next::Closed;
            }
            let now = Instant::now();
            let until = match state.queue.plan(now) {
                Plan::Run(batch) => return Next::Batch(batch),
                Plan::Idle if idle == Idle::Return => return Next::Idle,
                Plan::Idle => None,
                Plan::Wait(until) => Some(until.saturating_duration_since(now)),
            };
            state.asleep = true;
            state = match until {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(time) => self.wake.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
            };
            state.asleep = false;
        }
    }

    fn compute(&self, batch: Vec<Entry<Job<B::Prepared>>>) {
        let started = Instant::now();
        let wanted = |entry: &Entry<Job<B::Prepared>>| entry.deadline > started && !entry.payload.reply.is_closed();
        let part = |entry: Entry<Job<B::Prepared>>| {
            let (entry, Job { prepared, reply }) = entry.exchange(());
            (entry.exchange(reply).0, prepared)
        };
        let (waiting, inputs): (Vec<Waiting>, Vec<B::Prepared>) = batch.into_iter().filter(wanted).map(part).unzip();
        let Some(first) = waiting.first() else { return };
        let (task, size) = (first.task, waiting.len());
        let outcome = catch_unwind(AssertUnwindSafe(|| self.backend.run(task, &inputs)));
        std::thread::sleep(self.faults.slowness(started.elapsed()));
        let took = started.elapsed();
        let results = match outcome {
            Ok(results) if results.len() == size => results,
            Ok(results) => {
                tracing::error!(%task, size, answers = results.len(), "the model lost count of its batch");
                return self.split(waiting, inputs, "the model lost count of its batch");
            }
            Err(_) => {
                tracing::error!(%task, size, "the model panicked");
                return self.split(waiting, inputs, "the model panicked on it");
            }
        };
        // One bad input can spoil all of a batch; alone, each shows what it is.
        if size > 1 && results.iter().all(Result::is_err) {
            return self.split(waiting, inputs, "");
        }
        let units = waiting.iter().map(|entry| entry.units).sum();
        {
            let queue = &mut self.lock().queue;
            queue.observe(task, units, size, took.as_secs_f64());
            queue.answered(task, size, Instant::now());
        }
        let waited = |entry: &Waiting| started.saturating_duration_since(entry.arrived);
        // Counted first: who reads an answer may read the counters next.
        self.meter.batch(task, took, waiting.iter().map(waited));
        for (entry, result) in waiting.into_iter().zip(results) {
            let waited = waited(&entry);
            let reply = result
                .map(|answer| Computed { answer, waited, took, batch_size: size })
                .map_err(|reason| Problem::new(ProblemCode::InferenceFailed, reason));
            entry.payload.send(reply);
        }
    }

    /// Computes both halves of a batch that failed as a whole; a batch of one has failed for good.
    fn split(&self, waiting: Vec<Waiting>, inputs: Vec<B::Prepared>, reason: &str) {
        if waiting.len() == 1 {
            for entry in waiting {
                entry.payload.send(Err(Problem::new(ProblemCode::InferenceFailed, reason)));
            }
            return;
        }
        let join = |(entry, prepared): (Waiting, B::Prepared)| {
            let (entry, reply) = entry.exchange(());
            entry.exchange(Job { prepared, reply }).0
        };
        let mut batch: Vec<_> = waiting.into_iter().zip(inputs).map(join).collect();
        let second = batch.split_off(batch.len() / 2);
        self.compute(batch);
        self.compute(second);
    }
}

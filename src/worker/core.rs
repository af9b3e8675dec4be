//! The serving process without its sockets: what it holds, how it is, and the way of one request
//! through it.
//!
//! Owns admission (capacity, starting, draining), the deadline of each request, and carries out the
//! injected faults; `in_flight` does so for the many requests of one connection. What a request is made of
//! belongs to `api`, batches belong to `batcher`.

mod in_flight;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, watch};

use super::backend::{Backend, Effort};
use super::batcher::{Batcher, Reply, Submission, handed_back};
use super::faults::{Draw, Fate, Faults};
use super::metrics::{Gauges, Meter, Outcome, rss_bytes};
use super::pipe::Report;
use crate::by_number::ByNumber;
use crate::config::WorkerConfig;
use crate::protocol::{
    CrashScope, InferRequest, InferResponse, Problem, ProblemCode, RequestId, TaskType, WorkerHealth, WorkerState,
};

pub(super) use in_flight::InFlight;

/// The serving process.
pub(super) struct Core<B: Backend> {
    /// Its configuration.
    pub(super) config: WorkerConfig,
    /// Its faults.
    pub(super) faults: Arc<Faults>,
    /// Woken when the state, or the models, or what is known of them, may have changed.
    pub(super) changed: Arc<Notify>,
    meter: Arc<Meter>,
    held: Held,
    models: OnceLock<Models<B>>,
    draining: watch::Sender<bool>,
    preparing: Arc<Semaphore>,
    started: Instant,
}

struct Models<B: Backend> {
    backend: Arc<B>,
    batcher: Batcher<B>,
}

/// The requests that are held, by a number each.
struct Held {
    count: AtomicUsize,
    requests: Mutex<(u64, ByNumber<RequestId>)>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, (u64, ByNumber<RequestId>)> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A held request. When it is dropped before it has ended, its client went away.
struct Hold<B: Backend> {
    core: Arc<Core<B>>,
    number: u64,
    task: TaskType,
    outcome: Outcome,
}

impl<B: Backend> Hold<B> {
    /// It has ended; what was wrong is said in the log if it was ours.
    fn end(mut self, id: &RequestId, failed: Option<&Problem>) {
        let Some(problem) = failed else {
            self.outcome = Outcome::Success;
            return;
        };
        self.outcome = Outcome::of(problem.code);
        if problem.status == 500 {
            let task = self.task.as_str();
            tracing::warn!(request_id = id.as_str(), task, reason = problem.detail, "a request failed");
        }
    }
}

impl<B: Backend> Drop for Hold<B> {
    fn drop(&mut self) {
        let mut held = self.core.held.lock();
        held.1.remove(self.number);
        let left = held.1.len();
        self.core.held.count.store(left, Ordering::Relaxed);
        drop(held);
        self.core.meter.ended(Some(self.task), self.outcome);
        if left == 0 && self.core.is_draining() {
            self.core.changed.notify_one();
        }
    }
}

impl<B: Backend> Core<B> {
    /// Seconds after which a worker without room is worth another try.
    const RETRY_BUSY: f64 = 0.1;
    /// Seconds after which a worker that loads its models is worth another try.
    const RETRY_LOADING: f64 = 1.0;

    /// A process that has no models yet.
    pub(super) fn new(config: WorkerConfig, faults: Faults) -> Self {
        Self {
            faults: Arc::new(faults),
            changed: Arc::new(Notify::new()),
            meter: Arc::new(Meter::new()),
            held: Held { count: AtomicUsize::new(0), requests: Mutex::default() },
            models: OnceLock::new(),
            draining: watch::Sender::new(false),
            preparing: Arc::new(Semaphore::new(WorkerConfig::prepare_threads())),
            started: Instant::now(),
            config,
        }
    }

    /// Puts the models in place, and is ready.
    ///
    /// # Errors
    /// Where the system gives no thread for them.
    pub(super) fn ready(&self, backend: B) -> std::io::Result<()> {
        let backend = Arc::new(backend);
        let (faults, meter, warm) = (Arc::clone(&self.faults), Arc::clone(&self.meter), Arc::clone(&self.changed));
        let batcher = Batcher::start(&self.config, Arc::clone(&backend), faults, meter, warm)?;
        // It is called once; a second set of models would only be dropped.
        let _ = self.models.set(Models { backend, batcher });
        // An order to drain that came before them is theirs too.
        self.draining.send_modify(|draining| self.pass_on(*draining));
        self.changed.notify_one();
        Ok(())
    }

    /// Takes nothing new and hands back what was not started, or takes work again.
    pub(super) fn set_draining(&self, draining: Draining) {
        self.draining.send_modify(|now| {
            *now = draining == Draining::Yes;
            self.pass_on(*now);
        });
        self.changed.notify_one();
    }

    /// Tells the batcher, if it is there yet.
    fn pass_on(&self, draining: bool) {
        match self.models.get() {
            Some(models) if draining => models.batcher.hand_back(),
            Some(models) => models.batcher.take_again(),
            None => {}
        }
    }

    fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Returns once it drains.
    async fn drains(&self) {
        // The sender is ours: it is not gone.
        let _ = self.draining.subscribe().wait_for(|draining| *draining).await;
    }

    /// Where it is in its life.
    pub(super) fn state(&self) -> WorkerState {
        if self.is_draining() {
            WorkerState::Draining
        } else if self.models.get().is_none() {
            WorkerState::Starting
        } else {
            WorkerState::Ready
        }
    }

    /// Whether a request would be taken now; asked before its body is read.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn admits(&self) -> Result<(), Problem> {
        let refusal = self.refusal();
        if refusal.is_some() {
            self.meter.ended(None, Outcome::Refused);
        }
        refusal.map_or(Ok(()), Err)
    }

    fn refusal(&self) -> Option<Problem> {
        let id = &self.config.id;
        match self.state() {
            WorkerState::Draining => Some(Problem::new(
                ProblemCode::Unavailable,
                format!("{id} is draining: it finishes what it holds and takes nothing new"),
            )),
            WorkerState::Starting => Some(
                Problem::new(ProblemCode::ModelLoading, format!("{id} is loading its models"))
                    .with_retry_after(Self::RETRY_LOADING),
            ),
            _ if self.held.count.load(Ordering::Relaxed) >= self.config.capacity => Some(self.busy()),
            _ => None,
        }
    }

    fn busy(&self) -> Problem {
        let detail = format!("{} holds {} requests, as many as it may", self.config.id, self.config.capacity);
        Problem::new(ProblemCode::WorkerBusy, detail).with_retry_after(Self::RETRY_BUSY)
    }

    fn hold(self: &Arc<Self>, id: &RequestId, task: TaskType) -> Result<Hold<B>, Problem> {
        let mut held = self.held.lock();
        if held.1.len() >= self.config.capacity {
            drop(held);
            self.meter.ended(Some(task), Outcome::Refused);
            return Err(self.busy());
        }
        let number = held.0;
        held.0 += 1;
        held.1.insert(number, id.clone());
        self.held.count.store(held.1.len(), Ordering::Relaxed);
        Ok(Hold { core: Arc::clone(self), number, task, outcome: Outcome::Cancelled })
    }

    /// The way of one request. Dropping the future gives it up, wherever it is.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) async fn infer(
        self: &Arc<Self>,
        request: InferRequest,
        id: RequestId,
        budget: Duration,
    ) -> Result<InferResponse, Problem> {
        let arrived = Instant::now();
        let task = request.task_type;
        let hold = self.hold(&id, task)?;
        let deadline = arrived + budget;
        let computed = tokio::time::timeout_at(deadline.into(), self.compute(request, deadline)).await;
        let computed = computed.unwrap_or_else(|_| Err(late(budget)));
        hold.end(&id, computed.as_ref().err());
        let computed = computed?;
        Ok(InferResponse {
            request_id: id,
            result: computed.answer,
            latency: arrived.elapsed().as_secs_f64(),
            retry_count: 0,
            queue_time: computed.waited.as_secs_f64(),
            inference_time: computed.took.as_secs_f64(),
            batch_size: computed.batch_size as u32,
            attempts: Vec::new(),
        })
    }

    async fn compute(&self, request: InferRequest, deadline: Instant) -> Reply {
        let (task, priority) = (request.task_type, request.priority.unwrap_or_default());
        let prepared = self.make_ready(self.faults.draw(), request).await?;
        self.models()?.batcher.submit(Submission { task, priority, deadline, prepared }).answer().await
    }

    fn models(&self) -> Result<&Models<B>, Problem> {
        let loading = || Problem::new(ProblemCode::ModelLoading, format!("{} is loading", self.config.id));
        self.models.get().ok_or_else(loading)
    }

    /// All that comes before the start, unless it is handed back meanwhile.
    async fn make_ready(&self, draw: Draw, request: InferRequest) -> Result<B::Prepared, Problem> {
        let backend = &self.models()?.backend;
        let prepare = async {
            self.suffer(draw).await?;
            self.prepare(backend, request).await
        };
        // (What is ready at once costs no look at the other branch.)
        tokio::select! {
            biased;
            prepared = prepare => prepared,
            () = self.drains() => Err(handed_back()),
        }
    }

    /// Carries out what the faults have for a request.
    async fn suffer(&self, draw: Draw) -> Result<(), Problem> {
        if !draw.delay.is_zero() {
            tokio::time::sleep(draw.delay).await;
        }
        match draw.fate {
            Fate::Served => Ok(()),
            Fate::NoAnswer => std::future::pending().await,
            Fate::Crash(CrashScope::Request) => Err(Problem::new(
                ProblemCode::InjectedCrash,
                format!("{} crashed on this request, as it was told to (fault injection)", self.config.id),
            )),
            Fate::Crash(CrashScope::Process) => {
                // SIGKILL rather than abort: a crash on purpose should leave no core file behind.
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
                std::process::abort()
            }
        }
    }

    /// Prepares the input: here where that is next to nothing, else on the pool for it.
    async fn prepare(&self, backend: &Arc<B>, request: InferRequest) -> Result<B::Prepared, Problem> {
        if backend.effort(&request) == Effort::Trivial {
            return prepare_here(&**backend, &request);
        }
        // What waits here is held, so there are no more than the worker's capacity.
        let permit = Arc::clone(&self.preparing).acquire_owned().await.map_err(|e| broke(&e))?;
        let backend = Arc::clone(backend);
        let work = tokio::task::spawn_blocking(move || {
            let prepared = backend.prepare(&request);
            drop(permit);
            prepared
        });
        work.await.unwrap_or_else(|e| Err(broke(&e)))
    }

    fn queue_depth(&self) -> usize {
        self.models.get().map_or(0, |models| models.batcher.queue_depth())
    }

    /// How it is, for its supervisor.
    pub(super) fn report(&self) -> Report {
        let models = self.models.get();
        Report {
            state: self.state(),
            in_flight: self.held.lock().1.values().cloned().collect(),
            queue_depth: self.queue_depth() as u32,
            progress: self.meter.progress(),
            service_times: models.map(|m| m.batcher.service_times()).unwrap_or_default(),
            mean_batch_size: self.meter.mean_batch_size(),
            capabilities: models.map(|m| m.backend.capabilities()).unwrap_or_default(),
            rss_bytes: rss_bytes(),
        }
    }

    /// How it is, for `/health`.
    pub(super) fn health(&self) -> WorkerHealth {
        let report = self.report();
        let status = if report.state == WorkerState::Ready { "ok" } else { report.state.as_str() };
        let count = |outcome| self.meter.count(outcome);
        WorkerHealth {
            status: status.to_owned(),
            worker_id: self.config.id.clone(),
            state: report.state,
            degraded: report.capabilities.iter().any(|capability| capability.degraded),
            capabilities: report.capabilities,
            capacity: self.config.capacity as u32,
            in_flight: report.in_flight.len() as u32,
            queue_depth: report.queue_depth,
            progress: report.progress,
            completed: count(Outcome::Success),
            failed: count(Outcome::Failed) + count(Outcome::Deadline) + count(Outcome::InjectedCrash),
            mean_batch_size: report.mean_batch_size,
            service_times: report.service_times,
            faults: self.faults.settings(),
            fault_injection: self.config.fault_injection,
            uptime: self.started.elapsed().as_secs_f64(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The text of `/metrics`.
    pub(super) fn metrics(&self) -> String {
        self.meter.exposition(Gauges {
            in_flight: self.held.count.load(Ordering::Relaxed),
            queue_depth: self.queue_depth(),
            capacity: self.config.capacity,
            rss_bytes: rss_bytes(),
            ready: self.state() == WorkerState::Ready,
        })
    }
}

fn prepare_here<B: Backend>(backend: &B, request: &InferRequest) -> Result<B::Prepared, Problem> {
    let prepare = std::panic::AssertUnwindSafe(|| backend.prepare(request));
    std::panic::catch_unwind(prepare).unwrap_or_else(|_| Err(broke(&"it panicked")))
}

/// Preparing an input failed, and not for the input's sake.
fn broke(what: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%what, "preparing an input failed");
    Problem::new(ProblemCode::Internal, "preparing the input failed; the worker's log says more")
}

fn late(budget: Duration) -> Problem {
    Problem::new(ProblemCode::DeadlineExceeded, format!("not done within its {} ms", budget.as_millis()))
}

/// Whether new work is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draining {
    /// It is.
    Yes,
    /// It is not.
    No,
}

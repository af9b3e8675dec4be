//! The serving process without its sockets: what it holds, how it is, and the way of one request
//! through it.
//!
//! Owns admission (capacity, starting, draining), the deadline of each request, and carries out the
//! injected faults. What a request is made of belongs to `api`, batches belong to `batcher`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, watch};

use super::backend::{Backend, Effort};
use super::batcher::{Batcher, Submission, handed_back};
use super::faults::{Fate, Faults};
use super::metrics::{Gauges, Meter, Outcome, rss_bytes};
use super::pipe::Report;
use crate::config::WorkerConfig;
use crate::protocol::{
    CrashScope, InferRequest, InferResponse, Problem, ProblemCode, RequestId, TaskType, WorkerHealth, WorkerState,
};

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
    requests: Mutex<(u64, HashMap<u64, RequestId>)>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, (u64, HashMap<u64, RequestId>)> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A held request. When it is dropped before it has ended, its client went away.
struct Hold<'a, B: Backend> {
    core: &'a Core<B>,
    number: u64,
    task: TaskType,
    outcome: Outcome,
}

impl<B: Backend> Drop for Hold<'_, B> {
    fn drop(&mut self) {
        let mut held = self.core.held.lock();
        held.1.remove(&self.number);
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
            held: Held { count: AtomicUsize::new(0), requests: Mutex::new((0, HashMap::new())) },
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

    fn hold(&self, id: &RequestId, task: TaskType) -> Result<Hold<'_, B>, Problem> {
        let mut held = self.held.lock();
        if held.1.len() >= self.config.capacity {
            return Err(self.busy());
        }
        let number = held.0;
        held.0 += 1;
        held.1.insert(number, id.clone());
        self.held.count.store(held.1.len(), Ordering::Relaxed);
        Ok(Hold { core: self, number, task, outcome: Outcome::Cancelled })
    }

    /// The way of one request. Dropping the future gives it up, wherever it is.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) async fn infer(
        &self,
        request: InferRequest,
        id: RequestId,
        budget: Duration,
    ) -> Result<InferResponse, Problem> {
        let arrived = Instant::now();
        let task = request.task_type;
        let mut hold = self.hold(&id, task).inspect_err(|_| self.meter.ended(Some(task), Outcome::Refused))?;
        let deadline = arrived + budget;
        let answer = tokio::time::timeout_at(deadline.into(), self.serve(request, id.clone(), arrived, deadline)).await;
        let answer = answer.unwrap_or_else(|_| {
            let ms = budget.as_millis();
            Err(Problem::new(ProblemCode::DeadlineExceeded, format!("not done within its {ms} ms")))
        });
        if let Err(problem) = &answer
            && problem.status == 500
        {
            tracing::warn!(request_id = id.as_str(), task = task.as_str(), reason = problem.detail, "a request failed");
        }
        hold.outcome = answer.as_ref().map_or_else(|problem| Outcome::of(problem.code), |_| Outcome::Success);
        answer
    }

    async fn serve(
        &self,
        request: InferRequest,
        request_id: RequestId,
        arrived: Instant,
        deadline: Instant,
    ) -> Result<InferResponse, Problem> {
        let models = self
            .models
            .get()
            .ok_or_else(|| Problem::new(ProblemCode::ModelLoading, format!("{} is loading", self.config.id)))?;
        let task = request.task_type;
        let priority = request.priority.unwrap_or_default();
        let prepare = async {
            self.suffer().await?;
            self.prepare(&models.backend, request).await
        };
        // All of this comes before the start. (What is ready at once costs no look at the other branch.)
        let prepared = tokio::select! {
            biased;
            prepared = prepare => prepared?,
            () = self.drains() => return Err(handed_back()),
        };
        let ticket = models.batcher.submit(Submission { task, priority, deadline, prepared });
        let computed = ticket.answer().await?;
        Ok(InferResponse {
            request_id,
            result: computed.answer,
            latency: arrived.elapsed().as_secs_f64(),
            retry_count: 0,
            queue_time: computed.waited.as_secs_f64(),
            inference_time: computed.took.as_secs_f64(),
            batch_size: computed.batch_size as u32,
            attempts: Vec::new(),
        })
    }

    /// Carries out what the faults have for this request.
    async fn suffer(&self) -> Result<(), Problem> {
        let draw = self.faults.draw();
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
        let broke = |what: &dyn std::fmt::Display| {
            tracing::error!(%what, "preparing an input failed");
            Problem::new(ProblemCode::Internal, "preparing the input failed; the worker's log says more")
        };
        if backend.effort(&request) == Effort::Trivial {
            let prepare = std::panic::AssertUnwindSafe(|| backend.prepare(&request));
            return std::panic::catch_unwind(prepare).unwrap_or_else(|_| Err(broke(&"it panicked")));
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

/// Whether new work is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draining {
    /// It is.
    Yes,
    /// It is not.
    No,
}

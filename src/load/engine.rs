//! The engine: releases what is due, sends it, judges what comes back and writes it down.
//!
//! One thread with a runtime of its own does all of it but the pacing, so nothing is shared and
//! nothing is locked. It knows nothing of screens and reports: it publishes a look at its record a
//! few times a second and gives the whole record at the end.

mod exchange;
mod ids;
mod pacer;
mod pool;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use exchange::exchange;
use ids::{Answered, Ids};
use pacer::Pacer;
use pool::Pool;

use super::hist::HistError;
use super::inputs::Inputs;
use super::look::Look;
use super::record::Record;
use super::schedule::Arrival;
use super::settings::{Loop, Settings};

/// Where requests go.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) host: HeaderValue,
    pub(super) authorization: Option<HeaderValue>,
}

/// One run to make.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) settings: Arc<Settings>,
    pub(super) inputs: Arc<Inputs>,
    pub(super) target: Target,
    /// When it begins; a moment in the future, so that the first requests are not late.
    pub(super) start: Instant,
    /// Ends it early.
    pub(super) cancel: CancellationToken,
    /// Where looks at the record go.
    pub(super) looks: watch::Sender<Look>,
    /// Queue depths that others observe, by seconds into the measured part.
    pub(super) queued: tokio::sync::mpsc::Receiver<(f64, u64)>,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// No memory for histograms.
    #[error(transparent)]
    Hist(#[from] HistError),
    /// No thread or runtime.
    #[error("can't start the engine: {0}")]
    Start(#[from] std::io::Error),
    /// The engine's thread ended without a record.
    #[error("the engine stopped unexpectedly")]
    Stopped,
}

/// What the tasks of a run share, all on one thread.
struct Shared {
    settings: Arc<Settings>,
    inputs: Arc<Inputs>,
    target: Target,
    start: Instant,
    pool: Rc<Pool>,
    ids: Ids,
    answered: RefCell<Answered>,
    record: RefCell<Record>,
    in_flight: Cell<usize>,
}

/// How often a look at the record is published.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Makes the run on a thread of its own and gives what was written down.
pub(super) async fn make(run: Run) -> Result<Record, EngineError> {
    let (done, record) = oneshot::channel();
    std::thread::Builder::new().name("load-engine".to_owned()).spawn(move || {
        let _ = done.send(on_this_thread(run));
    })?;
    record.await.map_err(|_| EngineError::Stopped)?
}

fn on_this_thread(run: Run) -> Result<Record, EngineError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, drive(run))
}

async fn drive(run: Run) -> Result<Record, EngineError> {
    let Run { settings, inputs, target, start, cancel, looks, mut queued } = run;
    let shared = Rc::new(Shared {
        record: RefCell::new(Record::try_new(&settings, start)?),
        pool: Rc::new(Pool::new(target.address)),
        ids: Ids::new(uuid::Uuid::now_v7().as_u64_pair().1 & 0xFFFF_FFFF_FFFF),
        answered: RefCell::new(Answered::new()),
        settings,
        inputs,
        target,
        start,
        in_flight: Cell::new(0),
    });
    let observer = {
        let shared = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            let mut tick = tokio::time::interval(LOOK_EVERY);
            loop {
                tokio::select! {
                    _ = tick.tick() => {
                        let now = Instant::now();
                        let mut record = shared.record.borrow_mut();
                        record.timeline.roll(now);
                        looks.send_replace(Look::at(&shared.settings, &mut record, now));
                    }
                    Some((at, depth)) = queued.recv() => shared.record.borrow_mut().timeline.queued(at, depth),
                }
            }
        })
    };
    match shared.settings.how {
        Loop::Open => open(&shared, &cancel).await?,
        Loop::Closed { clients } => closed(&shared, clients, &cancel).await,
    }
    observer.abort();
    let _ = observer.await; // aborted: its share of the record is free again
    let opened = shared.pool.opened();
    let shared = Rc::into_inner(shared).ok_or(EngineError::Stopped)?;
    let mut record = shared.record.into_inner();
    record.connections = opened;
    Ok(record)
}

/// Sends what is due when it is due, then waits for what is in flight.
async fn open(shared: &Rc<Shared>, cancel: &CancellationToken) -> Result<(), EngineError> {
    let schedule = shared.settings.schedule(shared.inputs.counts());
    let (pacer, mut batches) = Pacer::start(schedule, shared.start)?;
    let mut flights = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            batch = batches.recv() => match batch {
                Some(batch) => batch.iter().for_each(|arrival| release(shared, &mut flights, arrival)),
                None => break,
            },
            Some(_) = flights.join_next() => {}
        }
    }
    drop(pacer);
    tokio::select! {
        () = cancel.cancelled() => {}
        () = async { while flights.join_next().await.is_some() {} } => {}
    }
    // What is still in flight is dropped here, and counts itself as unfinished.
    flights.shutdown().await;
    Ok(())
}

fn release(shared: &Rc<Shared>, flights: &mut JoinSet<()>, arrival: &Arrival) {
    if shared.in_flight.get() >= shared.settings.max_in_flight {
        shared.record.borrow_mut().not_sent(arrival);
        return;
    }
    let due = shared.start + arrival.due;
    let flight = Flight::begin(shared, *arrival, due);
    flights.spawn_local(flight.fly());
}

/// Each client asks, waits for its answer and asks again.
async fn closed(shared: &Rc<Shared>, clients: usize, cancel: &CancellationToken) {
    let picks = Rc::new(RefCell::new(shared.settings.picks(shared.inputs.counts())));
    let seq = Rc::new(Cell::new(0_u64));
    let limit = shared.settings.requests.unwrap_or(u64::MAX);
    let end = shared.start + Duration::from_secs_f64(shared.settings.shape.length());
    tokio::time::sleep_until(shared.start.into()).await;
    let mut flights = JoinSet::new();
    for _ in 0..clients {
        let (shared, picks, seq) = (Rc::clone(shared), Rc::clone(&picks), Rc::clone(&seq));
        flights.spawn_local(async move {
            loop {
                let now = Instant::now();
                let number = seq.get();
                if number >= limit || now >= end {
                    break;
                }
                seq.set(number + 1);
                let (task, input) = picks.borrow_mut().draw();
                let due = now.saturating_duration_since(shared.start);
                let arrival = Arrival { seq: number, due, task, input, in_spike: false };
                let failed = Flight::begin(&shared, arrival, now).fly_and_tell().await;
                if failed {
                    // A server that refuses at once would otherwise be asked as fast as this machine can.
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                }
            }
        });
    }
    tokio::select! {
        () = cancel.cancelled() => {}
        () = async { while flights.join_next().await.is_some() {} } => {}
    }
    flights.shutdown().await;
}

/// A closed-loop client's pause after an error, as a person would make.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

/// A request in flight. Dropped before its end, it counts as unfinished.
struct Flight {
    shared: Rc<Shared>,
    arrival: Arrival,
    due: Instant,
    landed: bool,
}

impl Flight {
    fn begin(shared: &Rc<Shared>, arrival: Arrival, due: Instant) -> Self {
        shared.in_flight.set(shared.in_flight.get() + 1);
        let late = Instant::now().saturating_duration_since(due);
        shared.record.borrow_mut().sent(&arrival, late);
        Self { shared: Rc::clone(shared), arrival, due, landed: false }
    }

    async fn fly(self) {
        self.fly_and_tell().await;
    }

    /// Whether it failed.
    async fn fly_and_tell(mut self) -> bool {
        let finished = exchange(&self.shared, self.arrival, self.due).await;
        self.shared.record.borrow_mut().finished(&finished);
        self.landed = true;
        finished.end.is_err()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.in_flight.set(self.shared.in_flight.get().saturating_sub(1));
        if !self.landed {
            self.shared.record.borrow_mut().unfinished(&self.arrival);
        }
    }
}

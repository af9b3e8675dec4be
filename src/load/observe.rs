//! What is asked of the coordinator beside the load: who it is, how deep its queue is, and the
//! faults on the timeline.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::settings::Fault;
use crate::client::{Client, ClientError};
use crate::protocol::{Counters, Status, WorkerDetail, WorkerId, WorkerState};

/// What is known of the target.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    /// `None`: something that does not speak aiq's protocol; it is measured all the same.
    pub(super) status: Option<Status>,
    pub(super) workers: Vec<WorkerDetail>,
}

impl Identity {
    /// Asks the target who it is.
    ///
    /// # Errors
    /// Where nobody answers, or it refuses this client.
    pub(super) async fn of(client: &Client) -> Result<Self, ClientError> {
        match client.status().await {
            Ok(status) => Ok(Self { status: Some(status), workers: client.workers().await.unwrap_or_default() }),
            Err(e @ (ClientError::Unreachable { .. } | ClientError::Timeout { .. })) => Err(e),
            Err(ClientError::Problem(p)) if matches!(p.status, 401 | 403) => Err(ClientError::Problem(p)),
            Err(_) => Ok(Self::default()),
        }
    }

    /// The coordinator's counters, where it has any.
    pub(super) fn counters(&self) -> Option<Counters> {
        self.status.as_ref().map(|s| s.stats)
    }
}

/// Something that happened to the fleet during the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Mark {
    /// Seconds into the measured part.
    pub at: f64,
    /// To which worker.
    #[schema(value_type = String)]
    pub worker: WorkerId,
    /// `kill` or `revive` for what this run did, or the worker's new state for what was seen.
    pub what: String,
    /// Whether this run did it.
    pub ours: bool,
    /// Why it could not be done; null where it was.
    pub failed: Option<String>,
}

/// The marks of a run, shared with its live view.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Arc<Mutex<Vec<Mark>>>);

impl Marks {
    /// Most that are kept; a worker that flaps makes many.
    const MOST: usize = 1000;

    fn add(&self, mark: Mark) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.len() < Self::MOST {
            marks.push(mark);
        }
    }

    /// Notes the faults whose time did not come before the run ended: it was not what was asked for.
    pub(super) fn note_unreached(&self, faults: &[Fault]) {
        let reached = self.all().into_iter().filter(|m| m.ours).count();
        // They are carried out in order, so the ones that are missing are the last.
        for fault in faults.iter().skip(reached) {
            self.add(Mark {
                at: fault.at.as_secs_f64(),
                worker: fault.worker.clone(),
                what: fault.action.as_str().to_owned(),
                ours: true,
                failed: Some("the run ended before".to_owned()),
            });
        }
    }

    /// All, in order of time.
    pub(super) fn all(&self) -> Vec<Mark> {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        marks.sort_by(|a, b| a.at.total_cmp(&b.at));
        marks
    }
}

/// Watches a fleet during a run and carries out its faults.
#[derive(Debug)]
pub(super) struct Observer {
    pub(super) client: Client,
    /// The beginning of the measured part.
    pub(super) zero: Instant,
    pub(super) faults: Vec<Fault>,
    pub(super) marks: Marks,
    /// Where queue depths go.
    pub(super) queued: mpsc::Sender<(f64, u64)>,
}

impl Observer {
    const QUEUE_EVERY: Duration = Duration::from_millis(500);
    /// Often enough to see a worker that comes back within a second.
    const WORKERS_EVERY: Duration = Duration::from_millis(200);

    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        tokio::join!(self.watch_queue(), self.watch_workers(), self.inflict());
    }

    fn at(&self) -> f64 {
        let now = Instant::now();
        let past = now.saturating_duration_since(self.zero).as_secs_f64();
        if past > 0.0 { past } else { -self.zero.saturating_duration_since(now).as_secs_f64() }
    }

    async fn watch_queue(&self) {
        let mut tick = tokio::time::interval(Self::QUEUE_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tick.tick().await;
            let at = self.at();
            if let Ok(stats) = self.client.queue_stats().await {
                // Full only when the engine is far behind, and then this row can be missed.
                let _ = self.queued.try_send((at, stats.queue_size));
            }
        }
    }

    /// Notes every worker's changes of state; only where this run does something to workers, because
    /// a listing of them costs a coordinator something.
    async fn watch_workers(&self) {
        if self.faults.is_empty() {
            return;
        }
        let mut known: Vec<(WorkerId, WorkerState)> = Vec::new();
        let mut tick = tokio::time::interval(Self::WORKERS_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tick.tick().await;
            let Ok(workers) = self.client.workers().await else { continue };
            let at = self.at();
            for worker in &workers {
                let before = known.iter().find(|(id, _)| *id == worker.worker_id).map(|(_, state)| *state);
                if before.is_some_and(|state| state != worker.state) {
                    let what = worker.state.as_str().to_owned();
                    self.marks.add(Mark { at, worker: worker.worker_id.clone(), what, ours: false, failed: None });
                }
            }
            known = workers.into_iter().map(|w| (w.worker_id, w.state)).collect();
        }
    }

    async fn inflict(&self) {
        for fault in &self.faults {
            tokio::time::sleep_until((self.zero + fault.at).into()).await;
            let at = self.at();
            let failed = self.client.act(&fault.worker, fault.action).await.err().map(|e| e.to_string());
            let what = fault.action.as_str().to_owned();
            self.marks.add(Mark { at, worker: fault.worker.clone(), what, ours: true, failed });
        }
    }
}

//! Who is in the fleet: registration, heartbeats, control streams, and what operators do.
//!
//! Owns what the scheduler need not know of a worker (address, control stream, what it says of
//! itself) and tells the scheduler the rest. Leases, suspicion and health are the scheduler's.

mod admin;
mod members;

use std::sync::Arc;

use tokio::sync::mpsc;

pub(crate) use members::{Control, Member, Members};

use super::core::Core;
use super::dispatch::Link;
use crate::config::CoordinatorConfig;
use crate::protocol::{
    ControlCommand, EventKind, Heartbeat, Problem, ProblemCode, RegisterReply, RegisterWorker, WorkerId,
};
use crate::scheduler::{Event, Liveness, WorkerReport, WorkerSpec};

/// A worker's end of its control stream, as it is written to the worker.
#[derive(Debug)]
pub(crate) struct ControlStream {
    commands: mpsc::Receiver<ControlCommand>,
    worker: WorkerId,
    number: u64,
    core: Arc<Core>,
}

impl ControlStream {
    /// The next command; `None` when another stream has taken this one's place.
    pub(crate) async fn next(&mut self) -> Option<ControlCommand> {
        self.commands.recv().await
    }
}

impl Drop for ControlStream {
    fn drop(&mut self) {
        let mut state = self.core.lock();
        let Some(key) = state.members.key(&self.worker) else { return };
        let Some(member) = state.members.get_mut(key) else { return };
        if member.control.as_ref().is_some_and(|c| c.number == self.number) {
            member.control = None;
            drop(state);
            tracing::info!(worker = self.worker.as_str(), "control stream ended");
            // Its supervisor may have died, and the serving process with it: that is known sooner by asking
            // than by waiting for its lease to run out.
            tokio::spawn(super::health::look_in(Arc::clone(&self.core), key));
        }
    }
}

impl Core {
    /// A worker registers; one under a known name takes that place.
    pub(crate) fn register(self: &Arc<Self>, worker: RegisterWorker) -> Result<RegisterReply, Problem> {
        self.join(worker, Liveness::Heartbeat)
    }

    /// Takes a worker in, whichever way it was found.
    pub(crate) fn join(self: &Arc<Self>, worker: RegisterWorker, alive: Liveness) -> Result<RegisterReply, Problem> {
        check(&worker)?;
        let link = Link::new(&worker.url, self.config.access.own_token()).ok_or_else(|| bad_url(&worker.url))?;
        let mut spec = WorkerSpec::from_registration(&worker);
        spec.liveness = alive;
        let mut state = self.lock();
        let known = state.members.key(&worker.worker_id);
        let Some(key) = known.or_else(|| state.scheduler.free_worker_key()) else {
            let detail = format!("the fleet has {} workers already", CoordinatorConfig::MAX_WORKERS);
            return Err(Problem::new(ProblemCode::Unavailable, detail).with_retry_after(5.0));
        };
        tracing::info!(worker = worker.worker_id.as_str(), url = worker.url, pid = worker.pid, state = %worker.state, again = known.is_some(), "worker registered");
        let id = worker.worker_id.clone();
        state.members.put(key, worker, link, alive);
        self.events.publish(|| EventKind::WorkerJoined { worker: id.clone() });
        self.tell(state, Event::WorkerJoined { worker: key, spec: Box::new(spec) });
        let s = &self.config.scheduler;
        let ms = |d: std::time::Duration| d.as_millis() as u64;
        Ok(RegisterReply { worker_id: id, heartbeat_ms: ms(s.heartbeat), lease_ms: ms(s.lease) })
    }

    /// A worker leaves in good order.
    pub(crate) fn worker_left(self: &Arc<Self>, id: &WorkerId) -> Result<(), Problem> {
        let mut state = self.lock();
        let key = state.members.key(id).ok_or_else(|| unknown(id))?;
        tracing::info!(worker = id.as_str(), "worker left");
        self.events.publish(|| EventKind::WorkerLeft { worker: id.clone() });
        let mut ended = Vec::new();
        self.drive(&mut state, self.now(), Event::WorkerLeft { worker: key }, &mut ended);
        state.members.remove(key);
        drop(state);
        self.finish_all(&mut ended);
        Ok(())
    }

    /// A worker's heartbeat; false where this worker is not known and has to register.
    pub(crate) fn heartbeat(self: &Arc<Self>, id: &WorkerId, beat: Heartbeat) -> bool {
        let report = Box::new(WorkerReport::from_heartbeat(&beat));
        let mut state = self.lock();
        let Some(key) = state.members.key(id) else { return false };
        let Some(member) = state.members.get_mut(key) else { return false };
        if member.heard(beat) {
            self.tell(state, Event::WorkerReported { worker: key, report });
        }
        true
    }

    /// Opens a worker's control stream, in the place of an earlier one.
    pub(crate) fn control_stream(self: &Arc<Self>, id: &WorkerId) -> Result<ControlStream, Problem> {
        let mut state = self.lock();
        let number = state.members.next_number();
        let member = state.members.by_name_mut(id).ok_or_else(|| unknown(id))?;
        let (sender, commands) = mpsc::channel(Control::BUFFER);
        member.control = Some(Control { number, sender });
        tracing::info!(worker = id.as_str(), "control stream opened");
        Ok(ControlStream { commands, worker: id.clone(), number, core: Arc::clone(self) })
    }
}

fn check(worker: &RegisterWorker) -> Result<(), Problem> {
    worker.faults.validate()?;
    let url: http::Uri = worker.url.parse().map_err(|_| bad_url(&worker.url))?;
    let plain = url.scheme_str() == Some("http") && url.host().is_some() && matches!(url.path(), "" | "/");
    if !plain || url.query().is_some() {
        return Err(bad_url(&worker.url));
    }
    if worker.capacity == 0 {
        return Err(Problem::new(ProblemCode::InvalidField, "capacity is 0; a worker accepts at least one request"));
    }
    Ok(())
}

fn bad_url(url: &str) -> Problem {
    let url: String = url.chars().take(64).collect();
    Problem::new(ProblemCode::InvalidField, format!("url is \"{url}\"; it must be http://HOST:PORT, without a path"))
}

/// No worker of this name.
pub(crate) fn unknown(id: &WorkerId) -> Problem {
    Problem::new(ProblemCode::WorkerUnknown, format!("no worker {id} is known; GET /workers lists them"))
}

//! The requests that are not answered yet, and who waits for them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::by_number::ByNumber;
use crate::coordinator::dispatch::{Reply, Stream};
use crate::coordinator::store::{Fingerprint, Outcome};
use crate::protocol::{Priority, RequestId, TaskType};
use crate::scheduler::{Answer, TicketId};

/// What goes to a worker; shared with the attempts at it.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) id: RequestId,
    pub(crate) task: TaskType,
    pub(crate) priority: Priority,
    /// The request as it was received: it is forwarded as it stands.
    pub(crate) body: Bytes,
}

/// Those who wait for a request's outcome: usually one.
pub(super) type Waiters = SmallVec<[oneshot::Sender<Arc<Outcome>>; 1]>;

/// Where a request is between its coming and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The store is asked whether it was answered before.
    Checking,
    /// The scheduler has it.
    Scheduled,
    /// Its outcome is being kept.
    Keeping,
}

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) work: Arc<Work>,
    pub(super) phase: Phase,
    /// Set where it may be asked for again by its id.
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) waiters: Waiters,
    /// Clients whose leaving means that it is wanted no longer.
    pub(super) wanted_by: u32,
    /// Promised to a client that comes back for it: nobody's leaving cancels it.
    pub(super) detached: bool,
    /// Attempts on their way.
    pub(super) running: SmallVec<[(u32, Running); 1]>,
    /// What the last attempt that ended brought, with its number.
    pub(super) reply: Option<(u32, Reply)>,
}

/// An attempt on its way.
#[derive(Debug)]
pub(super) enum Running {
    /// By an exchange of its own, in this task.
    Alone(AbortHandle),
    /// On a worker's stream, under this number.
    OnStream(Arc<Stream>, u64),
}

impl Running {
    /// Gives it up; the worker is told, and its end is not reported.
    pub(super) fn stop(self) {
        match self {
            // Dropping the exchange closes its connection.
            Self::Alone(task) => task.abort(),
            Self::OnStream(stream, number) => stream.cancel(number),
        }
    }
}

/// A request that has just ended, on its way to its answer.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(super) answer: Box<Answer>,
    pub(super) work: Arc<Work>,
    pub(super) reply: Option<(u32, Reply)>,
    pub(super) waiters: Waiters,
    pub(super) keep: Keep,
}

/// What is to be done with an outcome beside telling those who wait.
#[derive(Debug)]
pub(super) enum Keep {
    /// Nothing: nobody can ask for it again.
    Nothing,
    /// The request is still in the table; its outcome goes to the store if `fingerprint` is there.
    InStore {
        fingerprint: Fingerprint,
        /// A failure is kept only where it was promised.
        promised: bool,
    },
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Requests {
    by_ticket: ByNumber<Request>,
    by_id: HashMap<RequestId, TicketId>,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.by_ticket.len()
    }

    /// Adds a request; one with a fingerprint can be found by its id.
    pub(super) fn insert(&mut self, ticket: TicketId, request: Request) {
        if request.fingerprint.is_some() {
            self.by_id.insert(request.work.id.clone(), ticket);
        }
        self.by_ticket.insert(ticket.0, request);
    }

    pub(super) fn get_mut(&mut self, ticket: TicketId) -> Option<&mut Request> {
        self.by_ticket.get_mut(ticket.0)
    }

    pub(super) fn get(&self, ticket: TicketId) -> Option<&Request> {
        self.by_ticket.get(ticket.0)
    }

    pub(super) fn by_id(&mut self, id: &RequestId) -> Option<(TicketId, &mut Request)> {
        let ticket = *self.by_id.get(id)?;
        self.by_ticket.get_mut(ticket.0).map(|request| (ticket, request))
    }

    pub(super) fn remove(&mut self, ticket: TicketId) -> Option<Request> {
        let request = self.by_ticket.remove(ticket.0)?;
        if request.fingerprint.is_some() {
            self.by_id.remove(&request.work.id);
        }
        Some(request)
    }

    /// Takes out a request that has ended, or all but its place, where its outcome is to be kept first.
    pub(super) fn end(&mut self, answer: Box<Answer>) -> Option<Ended> {
        let request = self.by_ticket.get_mut(answer.ticket.0)?;
        for (_, attempt) in request.running.drain(..) {
            attempt.stop();
        }
        let (work, reply) = (Arc::clone(&request.work), request.reply.take());
        let Some(fingerprint) = request.fingerprint else {
            let waiters = self.remove(answer.ticket).map(|r| r.waiters).unwrap_or_default();
            return Some(Ended { answer, work, reply, waiters, keep: Keep::Nothing });
        };
        request.phase = Phase::Keeping;
        let keep = Keep::InStore { fingerprint, promised: request.detached };
        Some(Ended { answer, work, reply, waiters: Waiters::new(), keep })
    }
}

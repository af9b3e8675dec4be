//! How requests come in: at the door, anew, or joining one of the same id.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::Core;
use super::inbox::Coming;
use super::request::{Phase, Request, Work};
use crate::coordinator::store::{Fingerprint, Job, Lookup, Outcome, StoreError};
use crate::protocol::{InferRequest, Priority, Problem, ProblemCode, RequestId, RunState, TaskType};
use crate::scheduler::{Event, Submission as Offer, TicketId, Time};

/// A request that was read and understood.
#[derive(Clone, Debug)]
pub(crate) struct Submission {
    pub(crate) id: RequestId,
    pub(crate) task: TaskType,
    pub(crate) priority: Priority,
    /// The time that the client gives it.
    pub(crate) budget: Option<Duration>,
    pub(crate) body: Bytes,
    /// Set where it may be asked for again by its id.
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// What a payload is recognised by. Priority and time budget are not part of it: they say how, not what.
pub(crate) fn fingerprint(request: &InferRequest) -> Fingerprint {
    let mut hash = Sha256::new();
    let options = serde_json::to_vec(&request.options).unwrap_or_default();
    for part in [request.task_type.as_str().as_bytes(), request.data.as_bytes(), &options] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Waits for an outcome. Dropping it before says that this client wants it no longer.
#[derive(Debug)]
pub(crate) struct Waiter {
    outcome: oneshot::Receiver<Arc<Outcome>>,
    ticket: TicketId,
    core: Arc<Core>,
    done: bool,
}

impl Future for Waiter {
    type Output = Arc<Outcome>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Arc<Outcome>> {
        let outcome = std::task::ready!(Pin::new(&mut self.outcome).poll(cx));
        self.done = true;
        Poll::Ready(
            outcome.unwrap_or_else(|_| Arc::new(Err(Problem::new(ProblemCode::Internal, "the request was lost")))),
        )
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if !self.done {
            // First, for a request that is in no table yet: who puts it there sees that it is not wanted.
            self.outcome.close();
            self.core.leave(self.ticket);
        }
    }
}

/// What a request meets that comes in.
enum Entry {
    /// It is new; whoever made the entry sees it through.
    New(TicketId),
    /// One of the same id and payload is on its way.
    Joined(TicketId),
}

impl Core {
    /// Whether anything can be taken at all now. Costs next to nothing.
    pub(crate) fn door(&self) -> Result<(), Problem> {
        let refuse = |why| Err(Problem::new(ProblemCode::Unavailable, why).with_retry_after(1.0));
        match self.run_state() {
            RunState::Ready if self.full.load(Ordering::Relaxed) => {
                let most = self.config.scheduler.queue_capacity;
                let after = self.try_again_ms.load(Ordering::Relaxed) as f64 / 1e3;
                let detail = format!("the queue is full ({most} requests)");
                Err(Problem::new(ProblemCode::QueueFull, detail).with_retry_after(after))
            }
            RunState::Ready => Ok(()),
            RunState::Starting => refuse("the coordinator is starting"),
            RunState::Draining => refuse("the coordinator is shutting down"),
        }
    }

    /// Takes a request whose client waits for its outcome.
    pub(crate) fn submit(self: &Arc<Self>, s: Submission) -> Result<Waiter, Problem> {
        let (sender, outcome) = oneshot::channel();
        let waiter = |ticket| Waiter { outcome, ticket, core: Arc::clone(self), done: false };
        if s.fingerprint.is_none() {
            // Nobody can ask for it by its id: no other is like it, and no store has to be asked.
            let (ticket, budget) = (self.next_ticket(), s.budget);
            self.inbox.put(Coming { ticket, request: new_request(s, Some(sender)), budget });
            return Ok(waiter(ticket));
        }
        Ok(match self.enter(&s, Some(sender))? {
            Entry::Joined(ticket) => waiter(ticket),
            Entry::New(ticket) => {
                // In a task of its own where the store takes its time: others may join, and this client may leave.
                now_or_spawned(Arc::clone(self).see_through(ticket, s));
                waiter(ticket)
            }
        })
    }

    /// Takes a request whose client comes back for the outcome; returns once it is promised, with
    /// where it is now.
    pub(crate) async fn submit_detached(self: &Arc<Self>, s: Submission) -> Result<&'static str, Problem> {
        let id = s.id.clone();
        if let Entry::New(ticket) = self.enter(&s, None)? {
            let core = Arc::clone(self);
            // The promise is finished even if this client leaves meanwhile.
            let lost = |_| Problem::new(ProblemCode::Internal, "the request was lost").for_request(Some(&id));
            tokio::spawn(core.see_through_promised(ticket, s)).await.map_err(lost)??;
        }
        Ok(self.progress(&id).unwrap_or("done"))
    }

    fn enter(&self, s: &Submission, waiter: Option<oneshot::Sender<Arc<Outcome>>>) -> Result<Entry, Problem> {
        let mut state = self.lock();
        let wanted = u32::from(waiter.is_some());
        if let Some(fingerprint) = s.fingerprint
            && let Some((ticket, request)) = state.requests.by_id(&s.id)
        {
            if request.fingerprint != Some(fingerprint) {
                return Err(conflict(&s.id));
            }
            request.waiters.extend(waiter);
            request.wanted_by += wanted;
            request.detached |= wanted == 0;
            self.replayed.fetch_add(1, Ordering::Relaxed);
            return Ok(Entry::Joined(ticket));
        }
        let ticket = self.next_ticket();
        state.requests.insert(ticket, new_request(s.clone(), waiter));
        Ok(Entry::New(ticket))
    }

    /// Sees a request through whose id may have been used before.
    async fn see_through(self: Arc<Self>, ticket: TicketId, s: Submission) {
        match self.store.get(&s.id).await {
            Err(e) => self.release(ticket, &Arc::new(Err(store_failed(&s.id, &e)))),
            Ok(Lookup::Finished(f)) if Some(f.fingerprint) != s.fingerprint => {
                self.release(ticket, &Arc::new(Err(conflict(&s.id))));
            }
            Ok(Lookup::Finished(f)) if f.is_final() => {
                self.replayed.fetch_add(1, Ordering::Relaxed);
                self.release(ticket, &f.outcome);
            }
            Ok(_) => self.offer(ticket, &s),
        }
    }

    /// The same for one that is promised: what it can't be promised for comes back as an error.
    async fn see_through_promised(self: Arc<Self>, ticket: TicketId, s: Submission) -> Result<(), Problem> {
        let refuse = |problem: Problem| {
            self.release(ticket, &Arc::new(Err(problem.clone())));
            Err(problem)
        };
        match self.store.get(&s.id).await {
            Err(e) => return refuse(store_failed(&s.id, &e)),
            Ok(Lookup::Finished(f)) if Some(f.fingerprint) != s.fingerprint => return refuse(conflict(&s.id)),
            Ok(Lookup::Finished(f)) if f.is_final() => {
                self.replayed.fetch_add(1, Ordering::Relaxed);
                self.release(ticket, &f.outcome);
                return Ok(());
            }
            Ok(_) => {}
        }
        let job = Job { id: s.id.clone(), body: s.body.clone(), fingerprint: s.fingerprint.unwrap_or_default() };
        if let Err(e) = self.store.accept(job).await {
            return refuse(store_failed(&s.id, &e));
        }
        let (sender, mut refusal) = oneshot::channel();
        if let Some(request) = self.lock().requests.get_mut(ticket) {
            request.waiters.push(sender);
        }
        self.offer(ticket, &s);
        // What the scheduler refuses it refuses at once.
        match refusal.try_recv().map(Arc::unwrap_or_clone) {
            Ok(Err(problem)) => Err(problem),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// Gives a request to the scheduler.
    fn offer(self: &Arc<Self>, ticket: TicketId, s: &Submission) {
        let mut state = self.lock();
        let Some(request) = state.requests.get_mut(ticket) else { return };
        if request.wanted_by == 0 && !request.detached {
            state.requests.remove(ticket);
            return;
        }
        request.phase = Phase::Scheduled;
        let now = self.now();
        let offered = self.offered(ticket, &request.work, s.budget, now);
        self.tell_at(state, now, offered);
    }

    /// What the scheduler is told of a request.
    pub(super) fn offered(&self, ticket: TicketId, work: &Work, budget: Option<Duration>, now: Time) -> Event {
        let deadline = now + budget.unwrap_or(self.config.scheduler.default_timeout);
        let bytes = work.body.len() + std::mem::size_of::<Request>();
        Event::Submitted(Offer { ticket, task: work.task, priority: work.priority, deadline, bytes })
    }

    fn next_ticket(&self) -> TicketId {
        TicketId(self.last_ticket.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// One client less wants it. The last one's leaving cancels it.
    fn leave(self: &Arc<Self>, ticket: TicketId) {
        let mut state = self.lock();
        let Some(request) = state.requests.get_mut(ticket) else { return };
        request.wanted_by = request.wanted_by.saturating_sub(1);
        if request.wanted_by == 0 && !request.detached && request.phase == Phase::Scheduled {
            self.tell(state, Event::Cancelled { ticket });
        }
    }
}

/// A request that has just come; without a waiter its client comes back for the outcome.
fn new_request(s: Submission, waiter: Option<oneshot::Sender<Arc<Outcome>>>) -> Request {
    let work = Work { id: s.id, task: s.task, priority: s.priority, body: s.body };
    Request {
        work: Arc::new(work),
        phase: if s.fingerprint.is_some() { Phase::Checking } else { Phase::Scheduled },
        fingerprint: s.fingerprint,
        wanted_by: u32::from(waiter.is_some()),
        detached: waiter.is_none(),
        waiters: waiter.into_iter().collect(),
        running: SmallVec::new(),
        reply: None,
    }
}

fn conflict(id: &RequestId) -> Problem {
    let detail = format!("the request id {id} was used with another payload; choose a new one, or leave it out");
    Problem::new(ProblemCode::RequestIdConflict, detail).for_request(Some(id))
}

fn store_failed(id: &RequestId, error: &StoreError) -> Problem {
    Problem::new(ProblemCode::Unavailable, error.to_string()).with_retry_after(1.0).for_request(Some(id))
}

/// Runs a future that is usually ready at once, in a task of its own if it is not.
pub(super) fn now_or_spawned(future: impl Future<Output = ()> + Send + 'static) {
    let mut future = Box::pin(future);
    if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        tokio::spawn(future);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Options;

    #[test]
    fn a_payload_is_what_is_asked_and_not_how() {
        let plain = InferRequest::new(TaskType::TextClassification, "good");
        let same = InferRequest { priority: Some(Priority::High), timeout_ms: Some(5), ..plain.clone() };
        assert_eq!(fingerprint(&plain), fingerprint(&same));
        let other_text = InferRequest { data: "bad".into(), ..plain.clone() };
        let other_task = InferRequest { task_type: TaskType::ClipTextToImage, ..plain.clone() };
        let other_options = InferRequest { options: Options { top_k: Some(1), ..Options::default() }, ..plain.clone() };
        for other in [other_text, other_task, other_options] {
            assert_ne!(fingerprint(&plain), fingerprint(&other));
        }
    }
}

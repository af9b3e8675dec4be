//! The requests of one connection that are in flight: many, and one task for all of them.
//!
//! What needs no waiting is prepared where it comes in, and what came together goes to the model
//! together. Dropping a request gives it up, wherever it is.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{AbortHandle, Abortable, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::{Core, Hold, late, prepare_here};
use crate::by_number::ByNumber;
use crate::protocol::{InferRequest, Problem, RequestId};
use crate::worker::backend::{Backend, Effort};
use crate::worker::batcher::{Place, Replies, Reply, Replying, Submission};

/// See the module.
pub(in crate::worker) struct InFlight<B: Backend> {
    core: Arc<Core<B>>,
    requests: ByNumber<Request<B>>,
    /// What takes its time before it goes to the model.
    preparing: FuturesUnordered<Abortable<BoxFuture<'static, Made<B>>>>,
    /// What goes to the model next.
    ready: Vec<(u64, Submission<B::Prepared>)>,
    replying: Replying,
    replies: Replies,
    /// What ended and was not told of yet.
    ended: VecDeque<(u64, Reply)>,
    /// Goes off no later than the first deadline.
    clock: Pin<Box<Sleep>>,
    /// When that is, while it runs.
    due: Option<Instant>,
}

/// The number of a request, and what goes to the model for it.
type Made<B> = (u64, Result<Submission<<B as Backend>::Prepared>, Problem>);

struct Request<B: Backend> {
    hold: Hold<B>,
    id: RequestId,
    budget: Duration,
    deadline: Instant,
    stage: Stage<B>,
}

enum Stage<B: Backend> {
    Preparing(AbortHandle),
    Ready,
    Submitted(Place<B>),
}

impl<B: Backend> Drop for Stage<B> {
    fn drop(&mut self) {
        if let Self::Preparing(making) = self {
            making.abort();
        }
    }
}

impl<B: Backend> InFlight<B> {
    pub(in crate::worker) fn new(core: Arc<Core<B>>) -> Self {
        let (replying, replies) = mpsc::unbounded_channel();
        Self {
            core,
            requests: ByNumber::default(),
            preparing: FuturesUnordered::new(),
            ready: Vec::new(),
            replying,
            replies,
            ended: VecDeque::new(),
            clock: Box::pin(tokio::time::sleep(Duration::ZERO)),
            due: None,
        }
    }

    pub(in crate::worker) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.ended.is_empty()
    }

    /// Takes a request; how it ended comes out of [`Self::next`] under its number.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(in crate::worker) fn take(
        &mut self,
        number: u64,
        request: InferRequest,
        id: RequestId,
        budget: Duration,
    ) -> Result<(), Problem> {
        let backend = &self.core.models()?.backend;
        let hold = self.core.hold(&id, request.task_type)?;
        let (task, priority) = (request.task_type, request.priority.unwrap_or_default());
        let deadline = Instant::now() + budget;
        let submission = move |prepared| Submission { task, priority, deadline, prepared };
        let draw = self.core.faults.draw();
        let stage = if draw.is_none() && backend.effort(&request) == Effort::Trivial {
            match prepare_here(&**backend, &request) {
                Ok(prepared) => self.ready.push((number, submission(prepared))),
                Err(refusal) => {
                    hold.end(&id, Some(&refusal));
                    return Err(refusal);
                }
            }
            Stage::Ready
        } else {
            let core = Arc::clone(&self.core);
            let making = async move { (number, core.make_ready(draw, request).await.map(submission)) };
            let (making, handle) = abortable(making.boxed());
            self.preparing.push(making);
            Stage::Preparing(handle)
        };
        self.requests.insert(number, Request { hold, id, budget, deadline, stage });
        if self.due.is_none_or(|due| deadline < due) {
            self.set_clock(Some(deadline));
        }
        Ok(())
    }

    /// Gives a request up; nothing is said of it any more.
    pub(in crate::worker) fn cancel(&mut self, number: u64) {
        // What is ready has no place yet that could be given up.
        self.submit();
        self.requests.remove(number);
    }

    /// The next request that has ended, and how; waits for ever where there is none. Dropping this future loses
    /// nothing.
    pub(in crate::worker) async fn next(&mut self) -> (u64, Reply) {
        loop {
            self.submit();
            if let Some(ended) = self.ended.pop_front() {
                return ended;
            }
            tokio::select! {
                biased;
                Some((number, reply)) = self.replies.recv() => self.replied(number, reply),
                Some(made) = self.preparing.next() => if let Ok((number, made)) = made {
                    self.made(number, made);
                },
                () = self.clock.as_mut(), if self.due.is_some() => self.expire(),
            }
        }
    }

    /// Gives the model what is ready.
    fn submit(&mut self) {
        if self.ready.is_empty() {
            return;
        }
        // Nothing is ready without them.
        let Ok(models) = self.core.models() else { return };
        for (number, place) in models.batcher.submit_all(self.ready.drain(..), &self.replying) {
            if let Some(request) = self.requests.get_mut(number) {
                request.stage = Stage::Submitted(place);
            }
        }
    }

    fn made(&mut self, number: u64, made: Result<Submission<B::Prepared>, Problem>) {
        match (made, self.requests.get_mut(number)) {
            (Ok(submission), Some(request)) => {
                request.stage = Stage::Ready;
                self.ready.push((number, submission));
            }
            (Err(refusal), _) => self.end(number, Err(refusal)),
            (Ok(_), None) => {}
        }
    }

    fn replied(&mut self, number: u64, reply: Reply) {
        if let Some(Request { stage: Stage::Submitted(place), .. }) = self.requests.get_mut(number) {
            place.over();
        }
        self.end(number, reply);
    }

    /// What was given up meanwhile has ended already.
    fn end(&mut self, number: u64, reply: Reply) {
        if let Some(Request { hold, id, .. }) = self.requests.remove(number) {
            hold.end(&id, reply.as_ref().err());
            self.ended.push_back((number, reply.map_err(|problem| problem.for_request(Some(&id)))));
        }
    }

    /// Ends what is late, and finds the next deadline.
    fn expire(&mut self) {
        let now = Instant::now();
        let is_late =
            |(number, request): (u64, &Request<B>)| (request.deadline <= now).then_some((number, request.budget));
        let expired: Vec<_> = self.requests.iter().filter_map(is_late).collect();
        for (number, budget) in expired {
            self.end(number, Err(late(budget)));
        }
        self.set_clock(self.requests.values().map(|request| request.deadline).min());
    }

    fn set_clock(&mut self, due: Option<Instant>) {
        self.due = due;
        if let Some(due) = due {
            self.clock.as_mut().reset(due.into());
        }
    }
}

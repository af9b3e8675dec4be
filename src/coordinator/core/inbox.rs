//! Requests on their way to the scheduler.
//!
//! They go to it not one by one as they are read, but all that have come once nobody else has anything to do. Between
//! the system calls of two connections, the scheduler and its tables would have to be fetched into the processor's
//! caches anew for each request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::Core;
use super::request::Request;
use crate::scheduler::{Event, TicketId};

/// See the module. Holds no more than clients may wait for at once.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    coming: Mutex<Vec<Coming>>,
    wake: Notify,
}

/// A request that was taken and that the scheduler does not know yet.
#[derive(Debug)]
pub(super) struct Coming {
    pub(super) ticket: TicketId,
    pub(super) request: Request,
    /// The time that its client gives it.
    pub(super) budget: Option<Duration>,
}

impl Inbox {
    pub(super) fn put(&self, request: Coming) {
        let mut coming = self.lock();
        coming.push(request);
        if coming.len() == 1 {
            self.wake.notify_one();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Returns once something has come, after all others that are ready: what they bring goes with it.
    async fn filled(&self) {
        self.wake.notified().await;
        tokio::task::yield_now().await;
    }

    /// Swaps what has come for an empty list.
    fn swap(&self, list: &mut Vec<Coming>) {
        std::mem::swap(list, &mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Coming>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Gives the scheduler what has come in, for ever.
    pub(crate) async fn run_inbox(self: Arc<Self>) {
        let mut coming = Vec::new();
        loop {
            self.inbox.filled().await;
            // A panic is a bug that those few requests meet, not all that come after them. Who waits is told.
            if catch_unwind(AssertUnwindSafe(|| self.take_in(&mut coming))).is_err() {
                tracing::error!("taking requests in panicked");
                coming.clear();
            }
        }
    }

    fn take_in(self: &Arc<Self>, coming: &mut Vec<Coming>) {
        let mut ended = Vec::new();
        let mut state = self.lock();
        // Under the lock, so that no request is ever in neither.
        self.inbox.swap(coming);
        let now = self.now();
        for Coming { ticket, request, budget } in coming.drain(..) {
            let event = self.offered(ticket, &request.work, budget, now);
            let left = request.waiters.iter().all(oneshot::Sender::is_closed);
            state.requests.insert(ticket, request);
            self.drive(&mut state, now, event, &mut ended);
            if left {
                self.drive(&mut state, now, Event::Cancelled { ticket }, &mut ended);
            }
        }
        drop(state);
        self.finish_all(&mut ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::CoordinatorArgs;
    use crate::config::CoordinatorConfig;
    use crate::coordinator::core::Submission;
    use crate::coordinator::events::Events;
    use crate::coordinator::store::{Bounds, Memory};
    use crate::protocol::{Priority, ProblemCode, RequestId, TaskType, WorkerState};
    use crate::scheduler::{Ability, Liveness, WorkerKey, WorkerSpec};

    fn core() -> Arc<Core> {
        let config = Arc::new(CoordinatorConfig::load(CoordinatorArgs::default()).unwrap());
        let store = Memory::new(Bounds { count: 10, bytes: 1 << 20, ttl: Duration::from_secs(10) });
        Core::new(config, Arc::new(Events::new()), Arc::new(store))
    }

    fn submission() -> Submission {
        Submission {
            id: RequestId::generate(),
            task: TaskType::TextClassification,
            priority: Priority::Normal,
            budget: None,
            body: "{}".into(),
            fingerprint: None,
        }
    }

    #[tokio::test]
    async fn what_came_together_is_answered() {
        let core = core();
        let waiters: Vec<_> = (0..3).map(|_| core.submit(submission()).unwrap()).collect();
        assert_eq!(core.live(), 3, "nobody may take the coordinator for idle");
        tokio::spawn(Arc::clone(&core).run_inbox());
        for waiter in waiters {
            assert_eq!(waiter.await.as_ref().as_ref().unwrap_err().code, ProblemCode::NoWorker);
        }
        assert_eq!(core.live(), 0);
    }

    #[test]
    fn a_client_that_left_before_its_request_was_known_withdraws_it() {
        let core = core();
        // One that would keep it, as nothing is heard of it again.
        let spec = WorkerSpec {
            id: "w".parse().unwrap(),
            abilities: [Ability::Full; TaskType::ALL.len()],
            capacity: 8,
            state: WorkerState::Ready,
            liveness: Liveness::Heartbeat,
        };
        core.tell(core.lock(), Event::WorkerJoined { worker: WorkerKey(0), spec: Box::new(spec) });
        let (left, stays) = (core.submit(submission()).unwrap(), core.submit(submission()).unwrap());
        drop(left);
        core.take_in(&mut Vec::new());
        assert_eq!(core.live(), 1, "the other one");
        drop(stays);
        assert_eq!(core.live(), 0);
    }
}

//! One attempt at a request: sent to a worker, and its end told to the scheduler.

use std::sync::Arc;

use super::Core;
use super::request::Work;
use crate::coordinator::dispatch::Link;
use crate::scheduler::{Dispatch, Event};

impl Core {
    /// Sends a request to a worker and reports how that ended. Aborted where it is needed no longer;
    /// the scheduler keeps its time.
    pub(super) async fn attempt(self: Arc<Self>, link: Arc<Link>, work: Arc<Work>, dispatch: Dispatch) {
        let reply = link.infer(&work, dispatch.budget).await;
        let (outcome, timing) = (reply.outcome(), reply.timing());
        let attempt = dispatch.attempt;
        let mut state = self.lock();
        if let Some(timing) = &timing {
            state.tally.computed(work.task, timing);
        }
        if let Some(request) = state.requests.get_mut(attempt.ticket) {
            request.running.retain(|(number, _)| *number != attempt.number);
            request.reply = Some((attempt.number, reply));
        }
        self.tell(state, Event::AttemptEnded { attempt, outcome, timing });
    }
}

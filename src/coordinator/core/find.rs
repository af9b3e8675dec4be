//! How outcomes are asked for by id, and requests withdrawn.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Core;
use super::request::{Phase, Request};
use crate::coordinator::store::{Lookup, Outcome};
use crate::protocol::{Problem, ProblemCode, RequestId};
use crate::scheduler::Event;

/// What is known under an id.
#[derive(Debug)]
pub(crate) enum Found {
    /// It ended.
    Finished(Arc<Outcome>),
    /// It is `queued` or `running`.
    Pending(&'static str),
    /// It ended, long ago.
    Expired,
    /// Nothing.
    Unknown,
}

impl Core {
    /// Looks for an outcome, waiting for it if there is none yet.
    pub(crate) async fn find(&self, id: &RequestId, wait: Duration) -> Result<Found, Problem> {
        let (sender, outcome) = oneshot::channel();
        let pending = match self.lock().requests.by_id(id) {
            Some((_, request)) => {
                if !wait.is_zero() {
                    // A reader's leaving cancels nothing: it is not counted among those who want it.
                    request.waiters.retain(|w| !w.is_closed());
                    request.waiters.push(sender);
                }
                Some(progress(request))
            }
            None => None,
        };
        match pending {
            Some(status) if wait.is_zero() => Ok(Found::Pending(status)),
            Some(status) => match tokio::time::timeout(wait, outcome).await {
                Ok(Ok(outcome)) => Ok(Found::Finished(outcome)),
                _ => Ok(Found::Pending(self.progress(id).unwrap_or(status))),
            },
            None => self.stored(id).await,
        }
    }

    /// Withdraws a request; [`Found::Pending`] means that it was done.
    pub(crate) async fn cancel(self: &Arc<Self>, id: &RequestId) -> Result<Found, Problem> {
        let pending = {
            let mut state = self.lock();
            match state.requests.by_id(id) {
                Some((ticket, request)) if request.phase == Phase::Scheduled => {
                    let status = progress(request);
                    self.tell(state, Event::Cancelled { ticket });
                    Some(status)
                }
                Some((_, request)) => Some(progress(request)),
                None => None,
            }
        };
        match pending {
            Some(status) => Ok(Found::Pending(status)),
            None => self.stored(id).await,
        }
    }

    /// Where a request is that has not ended.
    pub(super) fn progress(&self, id: &RequestId) -> Option<&'static str> {
        self.lock().requests.by_id(id).map(|(_, request)| progress(request))
    }

    async fn stored(&self, id: &RequestId) -> Result<Found, Problem> {
        match self.store.get(id).await {
            Ok(Lookup::Finished(f)) => Ok(Found::Finished(f.outcome)),
            Ok(Lookup::Expired) => Ok(Found::Expired),
            Ok(Lookup::Unknown) => Ok(Found::Unknown),
            Err(e) => Err(Problem::new(ProblemCode::Unavailable, e.to_string()).with_retry_after(1.0)),
        }
    }
}

fn progress(request: &Request) -> &'static str {
    if request.running.is_empty() { "queued" } else { "running" }
}

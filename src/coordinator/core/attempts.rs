//! Attempts at requests: sent to a worker, and their ends told to the scheduler.

use std::sync::Arc;
use std::time::Duration;

use super::Core;
use super::request::{Running, Work};
use crate::coordinator::dispatch::{End, Link, Reply, Sent, Stream, Unanswered};
use crate::scheduler::{AttemptId, Dispatch, Event};

impl Core {
    /// Sends a request to a worker. How that ends is told to the scheduler, unless it is given up
    /// before; the scheduler keeps its time.
    pub(super) fn start(self: &Arc<Self>, link: &Arc<Link>, work: &Arc<Work>, dispatch: &Dispatch) -> Running {
        match link.send(dispatch.attempt, work, dispatch.budget) {
            Sent::OnStream(stream, number) => Running::OnStream(stream, number),
            Sent::OnNewStream(stream, number) => {
                tokio::spawn(Arc::clone(self).run_stream(Arc::clone(link), Arc::clone(&stream)));
                Running::OnStream(stream, number)
            }
            Sent::Alone => self.start_alone(link, work, dispatch.attempt, dispatch.budget),
        }
    }

    fn start_alone(
        self: &Arc<Self>,
        link: &Arc<Link>,
        work: &Arc<Work>,
        attempt: AttemptId,
        budget: Duration,
    ) -> Running {
        let (core, link, work) = (Arc::clone(self), Arc::clone(link), Arc::clone(work));
        let exchange = async move {
            let reply = link.infer(&work, budget).await;
            core.attempts_ended(vec![(attempt, reply)]);
        };
        Running::Alone(tokio::spawn(exchange).abort_handle())
    }

    /// Carries a worker's stream to its end.
    async fn run_stream(self: Arc<Self>, link: Arc<Link>, stream: Arc<Stream>) {
        match link.run(&stream, |ended| self.attempts_ended(ended)).await {
            End::Refused(unsent) => self.send_alone(&link, unsent),
            End::Broken(reason, lost) => {
                tracing::debug!(reason, requests = lost.len(), "a work stream ended");
                self.attempts_ended(lost.into_iter().map(|l| (l.attempt, Reply::Lost(reason.clone()))).collect());
            }
        }
    }

    /// Sends what a stream was to carry, which the worker turned out not to have.
    fn send_alone(self: &Arc<Self>, link: &Arc<Link>, unsent: Vec<Unanswered>) {
        let mut state = self.lock();
        for Unanswered { attempt, work, budget } in unsent {
            let Some(request) = state.requests.get_mut(attempt.ticket) else { continue };
            let Some((_, running)) = request.running.iter_mut().find(|(number, _)| *number == attempt.number) else {
                continue;
            };
            *running = self.start_alone(link, &work, attempt, budget);
        }
    }

    /// Tells the scheduler how attempts ended, all of them under one lock.
    fn attempts_ended(self: &Arc<Self>, attempts: Vec<(AttemptId, Reply)>) {
        let mut ended = Vec::with_capacity(attempts.len());
        let mut state = self.lock();
        let now = self.now();
        for (attempt, reply) in attempts {
            let (outcome, timing) = (reply.outcome(), reply.timing());
            // What was given up meanwhile has no end that anybody waits for.
            let Some(request) = state.requests.get_mut(attempt.ticket) else { continue };
            let Some(at) = request.running.iter().position(|(n, _)| *n == attempt.number) else { continue };
            request.running.swap_remove(at);
            request.reply = Some((attempt.number, reply));
            let task = request.work.task;
            if let Some(timing) = &timing {
                state.tally.computed(task, timing);
            }
            self.drive(&mut state, now, Event::AttemptEnded { attempt, outcome, timing }, &mut ended);
        }
        drop(state);
        self.finish_all(&mut ended);
    }
}

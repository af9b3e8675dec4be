//! Carries out what the scheduler decided.

use std::sync::Arc;

use super::request::Ended;
use super::{Core, State};
use crate::protocol::{EventKind, ProblemCode, WorkerState};
use crate::scheduler::{Action, Answer, Dispatch, Verdict};

impl Core {
    /// Carries out one action; a request that ended is added to `ended`, for after the lock.
    pub(super) fn apply(self: &Arc<Self>, state: &mut State, action: Action, ended: &mut Vec<Ended>) {
        match action {
            Action::Dispatch(dispatch) => self.dispatch(state, &dispatch),
            Action::CancelAttempt { attempt, .. } => {
                if let Some(request) = state.requests.get_mut(attempt.ticket)
                    && let Some(at) = request.running.iter().position(|(number, _)| *number == attempt.number)
                {
                    request.running.swap_remove(at).1.stop();
                }
            }
            Action::Answer(answer) => {
                state.tally.ended(&answer);
                ended.extend(state.requests.end(answer));
            }
            Action::Rerouted { ticket, from, outcome } => {
                if let Some(request) = state.requests.get(ticket)
                    && let Some(from) = state.members.name(from)
                {
                    self.events.publish(|| EventKind::RequestRerouted {
                        request_id: request.work.id.clone(),
                        task: request.work.task,
                        from: from.clone(),
                        outcome,
                    });
                }
            }
            Action::WorkerState { worker, from, to } => {
                if matches!(to, WorkerState::Killed | WorkerState::Crashed | WorkerState::Lost)
                    && let Some(link) = state.members.link(worker)
                {
                    // Where the host itself is gone, its connections would stay for ever.
                    link.hang_up();
                }
                let Some(worker) = state.members.name(worker).cloned() else { return };
                if matches!(to, WorkerState::Ready | WorkerState::Starting | WorkerState::Draining) {
                    tracing::info!(worker = worker.as_str(), %from, %to, "worker changed state");
                } else {
                    tracing::warn!(worker = worker.as_str(), %from, %to, "worker changed state");
                }
                let reason = why(to).to_owned();
                self.events.publish(|| EventKind::WorkerState { worker, from, to, reason });
            }
            Action::Suspect { worker, reason } => {
                let Some(worker) = state.members.name(worker).cloned() else { return };
                let (suspect, reason) = (reason.is_some(), reason.map_or("", |r| r.as_str()).to_owned());
                tracing::warn!(worker = worker.as_str(), suspect, reason, "worker suspicion changed");
                self.events.publish(|| EventKind::WorkerSuspect { worker, suspect, reason });
            }
            Action::Breaker { worker, state: breaker } => {
                let Some(worker) = state.members.name(worker).cloned() else { return };
                tracing::warn!(worker = worker.as_str(), ?breaker, "circuit breaker changed");
                self.events.publish(|| EventKind::Breaker { worker, state: breaker });
            }
        }
    }

    fn dispatch(self: &Arc<Self>, state: &mut State, dispatch: &Dispatch) {
        state.tally.dispatched(dispatch.kind);
        let attempt = dispatch.attempt;
        let Some(request) = state.requests.get_mut(attempt.ticket) else { return };
        let Some(link) = state.members.link(dispatch.worker) else { return };
        let running = self.start(&link, &request.work, dispatch);
        request.running.push((attempt.number, running));
    }
}

fn why(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Killing | WorkerState::Killed => "killed by an operator",
        WorkerState::Crashed => "its serving process died",
        WorkerState::Lost => "nothing is heard of it",
        WorkerState::Starting | WorkerState::Ready | WorkerState::Draining => "",
    }
}

/// Whether a request was refused at the door rather than accepted and then failed.
pub(crate) fn is_refusal(answer: &Answer) -> bool {
    matches!(
        answer.verdict,
        Verdict::Failure { code: ProblemCode::QueueFull | ProblemCode::DeadlineUnmeetable | ProblemCode::NoWorker, .. }
    ) && answer.attempts.is_empty()
        && answer.latency.is_zero()
}

//! Turns a request's end into its answer, and tells everybody who has to know.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::Core;
use super::request::{Ended, Keep, Waiters, Work};
use super::submit::now_or_spawned;
use crate::coordinator::dispatch::Reply;
use crate::coordinator::store::{Finished, Outcome};
use crate::protocol::{AnswerTiming, Answered, AttemptOutcome, EventKind, Problem, ProblemCode, TaskType};
use crate::scheduler::{Answer, AttemptId, TicketId, Verdict};
use crate::telemetry::{TaskRecord, task_finished};

impl Core {
    /// Answers a request that has ended, now.
    pub(super) fn finish(self: &Arc<Self>, ended: Ended, now: SystemTime) {
        let Ended { answer, work, reply, waiters, keep } = ended;
        let reply = reply.map(|(number, reply)| (AttemptId { ticket: answer.ticket, number }, reply));
        let outcome: Outcome = match (answer.verdict, reply) {
            (Verdict::Success { attempt, .. }, Some((of, Reply::Answered(computed)))) if of == attempt => {
                let timing = AnswerTiming {
                    latency: answer.latency.as_secs_f64(),
                    retry_count: answer.retries,
                    queue_time: computed.queue_time + answer.queue_time.as_secs_f64(),
                    inference_time: computed.inference_time,
                    batch_size: computed.batch_size,
                    attempts: &answer.attempts,
                };
                let answered = Answered { request_id: &work.id, result: &computed.result, timing };
                Ok(answered.to_json().into_boxed_slice().into())
            }
            (Verdict::Rejected { attempt, .. }, Some((of, Reply::Refused(problem)))) if of == attempt => Err(*problem),
            (Verdict::Failure { code, retry_after }, reply) => {
                let problem = Problem::new(code, self.detail(&answer, code, reply.map(|(_, r)| r).as_ref()));
                if let (ProblemCode::QueueFull, Some(after)) = (code, retry_after) {
                    self.try_again_ms.store(after.as_millis() as u64, Ordering::Relaxed);
                }
                Err(match retry_after {
                    Some(after) => problem.with_retry_after(after.as_secs_f64()),
                    None => problem,
                })
            }
            (Verdict::Success { .. } | Verdict::Rejected { .. }, _) => Err(internal("the worker's answer was lost")),
        };
        let outcome = outcome.map_err(|p| p.for_request(Some(&work.id)).with_attempts(answer.attempts.clone()));
        self.report(now, &answer, &work, outcome.as_ref().err().map(|p| p.code));
        let outcome = Arc::new(outcome);
        match keep {
            Keep::Nothing => {
                tell(waiters, &outcome);
                self.note_answered();
            }
            Keep::InStore { fingerprint, promised } => {
                let finished = Finished { outcome, fingerprint };
                let withdrawn = finished.outcome.as_ref().as_ref().is_err_and(|p| p.code == ProblemCode::Cancelled);
                // What may be tried again under the same id is not kept, unless its client comes back for it.
                if promised || finished.is_final() && !withdrawn {
                    now_or_spawned(Arc::clone(self).keep(answer.ticket, work.id.clone(), finished));
                } else {
                    self.release(answer.ticket, &finished.outcome);
                }
            }
        }
    }

    async fn keep(self: Arc<Self>, ticket: TicketId, id: crate::protocol::RequestId, finished: Finished) {
        let outcome = Arc::clone(&finished.outcome);
        match self.store.complete(id.clone(), finished).await {
            Ok(()) => self.release(ticket, &outcome),
            Err(e) => {
                tracing::error!(request_id = id.as_str(), error = %e, "an outcome could not be kept");
                let problem = Problem::new(ProblemCode::Unavailable, e.to_string()).with_retry_after(1.0);
                self.release(ticket, &Arc::new(Err(problem.for_request(Some(&id)))));
            }
        }
    }

    /// Takes a request out of the table and tells those who wait for it.
    pub(super) fn release(&self, ticket: TicketId, outcome: &Arc<Outcome>) {
        let Some(request) = self.lock().requests.remove(ticket) else { return };
        tell(request.waiters, outcome);
        self.note_answered();
    }

    /// The task log and the event stream.
    fn report(&self, at: SystemTime, answer: &Answer, work: &Work, failed: Option<ProblemCode>) {
        let latency = answer.latency.as_secs_f64();
        let queue_time = answer.queue_time.as_secs_f64();
        let last = answer.attempts.last();
        // What was refused at the door was never a task.
        if !super::apply::is_refusal(answer) {
            task_finished(TaskRecord {
                at,
                request_id: work.id.clone(),
                task: answer.task,
                priority: answer.priority,
                worker: last.map(|a| a.worker.clone()),
                latency,
                queue_time,
                retry_count: answer.retries,
                outcome: failed,
                last_attempt: last.map(|a| a.outcome),
            });
        }
        self.events.publish(|| {
            let (request_id, task, priority) = (work.id.clone(), answer.task, answer.priority);
            let attempts = answer.attempts.clone();
            let winner = attempts.iter().rfind(|a| a.outcome == AttemptOutcome::Success);
            match (failed, winner.map(|a| a.worker.clone())) {
                (None, Some(worker)) => {
                    EventKind::RequestFinished { request_id, task, priority, worker, latency, queue_time, attempts }
                }
                (code, _) => {
                    let code = code.unwrap_or(ProblemCode::Internal);
                    EventKind::RequestFailed { request_id, task, priority, code, latency, attempts }
                }
            }
        });
    }

    /// What was wrong, for a person.
    fn detail(&self, answer: &Answer, code: ProblemCode, last: Option<&Reply>) -> String {
        let task: TaskType = answer.task;
        let waited = answer.latency.as_secs_f64();
        let tried = || match answer.attempts.len() {
            1 => "1 attempt".to_owned(),
            n => format!("{n} attempts"),
        };
        match code {
            ProblemCode::NoWorker if answer.attempts.is_empty() => {
                format!("no worker can serve {task} now; GET /workers shows what each one does")
            }
            ProblemCode::NoWorker => format!("no worker can serve {task} any more, after {}", tried()),
            ProblemCode::QueueFull => {
                let most = self.config.scheduler.queue_capacity;
                format!("the queue is full ({most} requests or {} MiB)", self.config.scheduler.queue_bytes >> 20)
            }
            ProblemCode::DeadlineUnmeetable => {
                "it would not be done within its time budget: too much is queued before it".to_owned()
            }
            ProblemCode::DeadlineExceeded => {
                format!("it was not done within its time budget, after {waited:.3} s and {}", tried())
            }
            ProblemCode::Cancelled => "the client withdrew it, or went away".to_owned(),
            ProblemCode::AttemptsSpent => match (answer.attempts.last(), last) {
                (Some(attempt), Some(reply)) => {
                    format!("{} failed; the last one on {}: {}", tried(), attempt.worker, reply.reason())
                }
                (Some(attempt), None) => format!("{} failed; the last one on {}", tried(), attempt.worker),
                _ => format!("{} failed", tried()),
            },
            _ => format!("after {waited:.3} s and {}", tried()),
        }
    }
}

/// A waiter that has left is no error.
fn tell(waiters: Waiters, outcome: &Arc<Outcome>) {
    for waiter in waiters {
        let _ = waiter.send(Arc::clone(outcome));
    }
}

fn internal(why: &str) -> Problem {
    Problem::new(ProblemCode::Internal, format!("a bug: {why}"))
}

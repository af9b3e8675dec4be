//! How attempts and requests end: success, another try, or the answer that there is none.

use std::time::Duration;

use super::ticket::{Phase, Running};
use super::{Action, Answer, AttemptId, DispatchKind, Scheduler, TicketId, Timing, Verdict, WorkerKey};
use crate::protocol::{Attempt, AttemptOutcome, ProblemCode};

/// Whether the shell must be told that an attempt is over, or told us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// The shell reported it.
    Shell,
    /// The scheduler decided it; the worker may still be at it.
    Scheduler,
}

impl Scheduler {
    /// The shell reports the end of an attempt.
    pub(super) fn attempt_ended(
        &mut self,
        attempt: AttemptId,
        outcome: AttemptOutcome,
        timing: Option<Timing>,
        out: &mut Vec<Action>,
    ) {
        let Some(slot) = self.tickets.slot_of(attempt.ticket) else { return };
        let of_number = |(lane, r): (usize, &Running)| (r.number == attempt.number).then_some(lane);
        let Some(lane) = self.tickets[slot].running().find_map(of_number) else { return };
        let Some(r) = self.take_attempt(slot, lane, EndedBy::Shell, out) else { return };
        self.note_end(slot, &r, outcome, timing, out);
        self.after_end(slot, &r, outcome, out);
    }

    /// The scheduler ends an attempt: its time is up, or its worker is gone.
    pub(super) fn end_attempt(&mut self, slot: u32, lane: usize, outcome: AttemptOutcome, out: &mut Vec<Action>) {
        let Some(r) = self.take_attempt(slot, lane, EndedBy::Scheduler, out) else { return };
        self.note_end(slot, &r, outcome, None, out);
        self.after_end(slot, &r, outcome, out);
    }

    /// A client does not want its answer any more.
    pub(super) fn cancel(&mut self, ticket: TicketId, out: &mut Vec<Action>) {
        if let Some(slot) = self.tickets.slot_of(ticket) {
            self.fail(slot, ProblemCode::Cancelled, None, out);
        }
    }

    /// Ends a request without a result.
    pub(super) fn fail(&mut self, slot: u32, code: ProblemCode, retry_after: Option<Duration>, out: &mut Vec<Action>) {
        self.finish(slot, Verdict::Failure { code, retry_after }, out);
    }

    /// Takes an attempt from its worker.
    fn take_attempt(&mut self, slot: u32, lane: usize, by: EndedBy, out: &mut Vec<Action>) -> Option<Running> {
        let t = &mut self.tickets[slot];
        let r = t.stop(lane)?;
        self.in_flight -= 1;
        if r.extra {
            self.budget.give_back();
        }
        let task = t.task.index();
        let ticket = t.id;
        if let Some(w) = self.fleet.get_mut(r.worker) {
            w.load[task] -= 1;
        }
        if by == EndedBy::Scheduler {
            let attempt = AttemptId { ticket, number: r.number };
            out.push(Action::CancelAttempt { attempt, worker: WorkerKey(r.worker) });
        }
        Some(r)
    }

    /// Writes down what an attempt's end says of its worker and its task.
    fn note_end(
        &mut self,
        slot: u32,
        r: &Running,
        outcome: AttemptOutcome,
        timing: Option<Timing>,
        out: &mut Vec<Action>,
    ) {
        let now = self.now;
        let seconds = now.since(r.started).as_secs_f64();
        let t = &mut self.tickets[slot];
        let task = t.task.index();
        let figures = &mut self.stats.tasks[task];
        let Some(w) = self.fleet.get_mut(r.worker) else { return };
        t.record(Attempt { worker: w.id.clone(), outcome, seconds });
        let half_life = self.config.success_half_life;
        match outcome {
            AttemptOutcome::Success => {
                figures.attempt_took(now, seconds);
                if r.hedge {
                    figures.hedge_won();
                }
                if let Some(timing) = timing {
                    w.costs[task].observe(now, timing);
                    let at_worker = timing.queued + timing.computed;
                    if at_worker.is_finite() {
                        w.observe_rtt(now, seconds - at_worker);
                    }
                } else if w.costs[task].measured.is_none() {
                    w.costs[task].observe(now, Timing { queued: 0.0, computed: seconds, batch_size: 1 });
                }
                w.figures.completed[task] += 1;
                w.figures.latency[task].record(now, seconds);
                w.figures.done.add(now, 1);
                w.success.record(now, true, half_life);
                let breaker_closed = w.breaker.succeed(now, r.started);
                w.worked_since_check = true;
                w.stalled = false;
                w.moved = now;
                // It works, so it has got to what was given up by now.
                w.orphans = 0;
                w.answered_from = w.answered_from.max(r.started);
                if breaker_closed {
                    self.breaker_closed(r.worker, out);
                } else {
                    return self.touch_worker(r.worker, task);
                }
            }
            AttemptOutcome::Failed | AttemptOutcome::ConnectionLost | AttemptOutcome::Timeout => {
                if outcome == AttemptOutcome::Timeout {
                    figures.attempt_timed_out(now, seconds);
                    // It may be at it still, until it says otherwise.
                    w.orphans += u32::from(w.reports());
                    let p99 = figures.refresh(now).p99;
                    let fair = if r.gives_up < t.deadline { p99 } else { w.fair_when_cut_short(r.started, p99) };
                    if seconds < fair {
                        return self.refresh_worker(r.worker);
                    }
                }
                w.figures.failed[task] += 1;
                w.success.record(now, false, half_life);
                if w.breaker.fail(now, &self.config) && w.alive() {
                    self.open_breaker(r.worker, out);
                }
            }
            // Overtaken: it would have taken at least this long. Leaving it out would make the
            // task look ever faster, and hedge ever more.
            AttemptOutcome::Cancelled if t.hedged => figures.attempt_took(now, seconds),
            AttemptOutcome::Rejected => {
                w.figures.completed[task] += 1;
                w.moved = now;
            }
            AttemptOutcome::Busy | AttemptOutcome::Cancelled => {}
        }
        self.refresh_worker(r.worker);
    }

    /// Decides what becomes of a request after one of its attempts ended.
    fn after_end(&mut self, slot: u32, r: &Running, outcome: AttemptOutcome, out: &mut Vec<Action>) {
        let worker = WorkerKey(r.worker);
        let attempt = AttemptId { ticket: self.tickets[slot].id, number: r.number };
        match outcome {
            AttemptOutcome::Success => return self.finish(slot, Verdict::Success { attempt, worker }, out),
            AttemptOutcome::Rejected => return self.finish(slot, Verdict::Rejected { attempt, worker }, out),
            AttemptOutcome::Busy | AttemptOutcome::Cancelled => {
                if let Some(w) = self.fleet.get_mut(r.worker) {
                    w.paused_until = self.now + self.config.busy_pause;
                }
                self.refresh_worker(r.worker);
            }
            _ => {}
        }
        let t = &mut self.tickets[slot];
        t.failed_on(r.worker);
        t.look_at = super::Time::NEVER;
        let charged = !matches!(outcome, AttemptOutcome::Busy | AttemptOutcome::Cancelled);
        if t.in_flight() > 0 {
            // The other attempt may still succeed; if it is late, or once it is, it gets company again.
            if !charged || t.retries < self.config.max_retries {
                t.retries += u32::from(charged);
                t.hedged = false;
                t.look_at = self.now;
            }
            self.timers.set(slot, t);
            return;
        }
        if charged && t.retries >= self.config.max_retries {
            return self.fail(slot, ProblemCode::AttemptsSpent, None, out);
        }
        self.queue.enter(t);
        if charged {
            let retries = t.retries;
            t.retries += 1;
            t.next_kind = DispatchKind::Retry;
            out.push(Action::Rerouted { ticket: t.id, from: worker, outcome });
            if outcome == AttemptOutcome::ConnectionLost {
                // Whoever is gone can't be overloaded: at once, and whatever the budget says.
                self.budget.take();
                t.has_token = true;
                t.phase = Phase::Queued;
                self.queue.push(slot, t);
            } else {
                t.phase = Phase::BackingOff;
                t.look_at = self.now + super::retry::back_off(retries, self.rng.unit(), &self.config);
            }
        } else {
            t.next_kind = DispatchKind::Again;
            t.phase = Phase::Queued;
            self.queue.push(slot, t);
        }
        self.timers.set(slot, &self.tickets[slot]);
    }

    /// A back-off is over: the request queues again, as soon as the retry budget allows.
    pub(super) fn resume(&mut self, slot: u32) {
        let t = &mut self.tickets[slot];
        t.phase = Phase::Parked;
        t.look_at = super::Time::NEVER;
        self.parked.set(slot, (t.order, t.sequence));
        self.timers.set(slot, t);
    }

    /// Answers a request, once and for all; what still runs of it is cancelled.
    fn finish(&mut self, slot: u32, verdict: Verdict, out: &mut Vec<Action>) {
        loop {
            let Some(lane) = self.tickets[slot].running().next().map(|(lane, _)| lane) else { break };
            if let Some(r) = self.take_attempt(slot, lane, EndedBy::Scheduler, out) {
                let outcome = match verdict {
                    Verdict::Failure { code: ProblemCode::DeadlineExceeded, .. } => AttemptOutcome::Timeout,
                    _ => AttemptOutcome::Cancelled,
                };
                self.note_end(slot, &r, outcome, None, out);
            }
        }
        let t = &mut self.tickets[slot];
        if t.phase != Phase::Running {
            self.queue.leave(slot, t);
        }
        if std::mem::take(&mut t.has_token) {
            self.budget.give_back();
        }
        self.parked.remove(slot);
        self.timers.remove(slot);
        self.bytes -= t.bytes;
        let latency = self.now.since(t.arrival);
        let answer = Answer {
            ticket: t.id,
            verdict,
            task: t.task,
            priority: t.priority,
            latency,
            queue_time: if t.dispatched == 0 { latency } else { t.last_start.since(t.arrival) },
            retries: t.dispatched.saturating_sub(1),
            attempts: self.tickets.remove(slot),
        };
        let counters = &mut self.stats.counters;
        counters.total_requests += 1;
        match verdict {
            Verdict::Success { .. } => {
                counters.successful_requests += 1;
                self.stats.ok.add(self.now, 1);
                let figures = &mut self.stats.tasks[answer.task.index()];
                figures.done.add(self.now, 1);
                figures.latency.record(self.now, latency.as_secs_f64());
            }
            Verdict::Failure { code: ProblemCode::Cancelled, .. } => counters.cancelled_requests += 1,
            // Bad input is its client's error, not the fleet's.
            Verdict::Rejected { .. } => counters.failed_requests += 1,
            Verdict::Failure { .. } => {
                counters.failed_requests += 1;
                self.stats.failed.add(self.now, 1);
            }
        }
        out.push(Action::Answer(Box::new(answer)));
    }
}

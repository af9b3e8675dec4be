//! Who decides: the scheduler, or one of the policies that load balancers usually have.
//!
//! The rivals choose a worker the moment a request arrives and have no queue of their own. They get
//! what such proxies have: health by heartbeat, deadlines, three retries at once, time-outs of ten seconds.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use aiq::protocol::{AttemptOutcome, ProblemCode, WorkerState};
use aiq::scheduler::*;

use super::scenario::Rng;

pub(super) trait Policy {
    fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Action>);
    fn next_wakeup(&self) -> Option<Time>;
}

impl Policy for Scheduler {
    fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        Scheduler::handle(self, now, event, out);
    }

    fn next_wakeup(&self) -> Option<Time> {
        Scheduler::next_wakeup(self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    RoundRobin,
    LeastConnections,
    /// The better of two at random by peak-sensitive moving average of latency times connections
    /// (Finagle's).
    PeakEwma,
}

#[derive(Clone)]
struct Peer {
    able: PerTask<bool>,
    up: bool,
    seen: Time,
    connections: u32,
    ewma: f64,
    at: Time,
}

struct Call {
    submission: Submission,
    arrival: Time,
    attempt: u32,
    worker: usize,
    started: Time,
    gives_up: Time,
}

pub(super) struct Rival {
    kind: Kind,
    rng: Rng,
    peers: Vec<Peer>,
    calls: HashMap<TicketId, Call>,
    timers: BTreeSet<(Time, TicketId)>,
    turn: usize,
}

impl Rival {
    const TIMEOUT: Duration = Duration::from_secs(10);
    /// Decay of the moving average.
    const TAU: f64 = 10.0;

    pub(super) fn new(kind: Kind, seed: u64) -> Self {
        let (peers, calls, timers) = (Vec::new(), HashMap::new(), BTreeSet::new());
        Self { kind, rng: Rng(seed), peers, calls, timers, turn: 0 }
    }

    fn choose(&mut self, now: Time, task: usize, not: Option<usize>) -> Option<usize> {
        let usable = |p: &Peer| p.up && p.able[task] && now.since(p.seen) < Duration::from_secs(5);
        let n = self.peers.len();
        let ok = |peers: &[Peer], i: usize| usable(&peers[i]) && Some(i) != not;
        match self.kind {
            Kind::RoundRobin => {
                let found = (1..=n).map(|k| (self.turn + k) % n.max(1)).find(|&i| ok(&self.peers, i));
                self.turn = found.unwrap_or(self.turn);
                found
            }
            Kind::LeastConnections => {
                let start = self.rng.below(n);
                let all = (0..n).map(|k| (start + k) % n).filter(|&i| ok(&self.peers, i));
                all.min_by_key(|&i| self.peers[i].connections)
            }
            Kind::PeakEwma => {
                let mut two = [None; 2];
                for place in &mut two {
                    *place = (0..20).map(|_| self.rng.below(n)).find(|&i| i < n && ok(&self.peers, i));
                }
                let load = |i: &usize| {
                    let p = &self.peers[*i];
                    let faded = p.ewma * (-now.secs_since(p.at) / Self::TAU).exp();
                    faded * f64::from(p.connections + 1)
                };
                let found = two.into_iter().flatten().min_by(|a, b| load(a).total_cmp(&load(b)));
                found.or_else(|| (0..n).find(|&i| ok(&self.peers, i)))
            }
        }
        .or_else(|| not.filter(|&i| usable(&self.peers[i])))
    }

    fn send(&mut self, now: Time, mut call: Call, not: Option<usize>, out: &mut Vec<Action>) {
        let s = call.submission;
        let Some(worker) = self.choose(now, s.task.index(), not) else {
            return Self::answer(now, &call, Verdict::Failure { code: ProblemCode::NoWorker, retry_after: None }, out);
        };
        call.attempt += 1;
        (call.worker, call.started) = (worker, now);
        call.gives_up = (now + Self::TIMEOUT).min(s.deadline);
        self.peers[worker].connections += 1;
        self.timers.insert((call.gives_up, s.ticket));
        let kind = if call.attempt == 1 { DispatchKind::First } else { DispatchKind::Retry };
        out.push(Action::Dispatch(Dispatch {
            attempt: AttemptId { ticket: s.ticket, number: call.attempt },
            worker: WorkerKey(worker as u32),
            kind,
            budget: s.deadline.since(now),
            timeout: call.gives_up.since(now),
        }));
        self.calls.insert(s.ticket, call);
    }

    fn answer(now: Time, call: &Call, verdict: Verdict, out: &mut Vec<Action>) {
        let s = call.submission;
        out.push(Action::Answer(Box::new(Answer {
            ticket: s.ticket,
            verdict,
            task: s.task,
            priority: s.priority,
            latency: now.since(call.arrival),
            queue_time: Duration::ZERO,
            retries: call.attempt.saturating_sub(1),
            attempts: Vec::new(),
        })));
    }

    /// An attempt is over; takes the call from its worker.
    fn take(&mut self, now: Time, ticket: TicketId) -> Option<Call> {
        let call = self.calls.remove(&ticket)?;
        self.timers.remove(&(call.gives_up, ticket));
        let peer = &mut self.peers[call.worker];
        peer.connections -= 1;
        let took = now.secs_since(call.started);
        let weight = (-now.secs_since(peer.at) / Self::TAU).exp();
        peer.ewma = if took > peer.ewma { took } else { peer.ewma * weight + took * (1.0 - weight) };
        peer.at = now;
        Some(call)
    }

    fn failed(&mut self, now: Time, call: Call, out: &mut Vec<Action>) {
        if now >= call.submission.deadline {
            let code = ProblemCode::DeadlineExceeded;
            Self::answer(now, &call, Verdict::Failure { code, retry_after: None }, out);
        } else if call.attempt > 3 {
            let code = ProblemCode::AttemptsSpent;
            Self::answer(now, &call, Verdict::Failure { code, retry_after: None }, out);
        } else {
            let not = call.worker;
            self.send(now, call, Some(not), out);
        }
    }

    fn cancel(call: &Call, out: &mut Vec<Action>) {
        let attempt = AttemptId { ticket: call.submission.ticket, number: call.attempt };
        out.push(Action::CancelAttempt { attempt, worker: WorkerKey(call.worker as u32) });
    }
}

impl Policy for Rival {
    fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        while let Some(&(due, ticket)) = self.timers.first().filter(|t| t.0 <= now) {
            self.timers.remove(&(due, ticket));
            if let Some(call) = self.take(now, ticket) {
                Self::cancel(&call, out);
                self.failed(now, call, out);
            }
        }
        match event {
            Event::Submitted(submission) => {
                let zero = Time::ZERO;
                let call = Call { submission, arrival: now, attempt: 0, worker: 0, started: zero, gives_up: zero };
                self.send(now, call, None, out);
            }
            Event::Cancelled { ticket } => {
                if let Some(call) = self.take(now, ticket) {
                    Self::cancel(&call, out);
                    let code = ProblemCode::Cancelled;
                    Self::answer(now, &call, Verdict::Failure { code, retry_after: None }, out);
                }
            }
            Event::AttemptEnded { attempt, outcome, .. } => {
                if self.calls.get(&attempt.ticket).is_none_or(|c| c.attempt != attempt.number) {
                    return;
                }
                let Some(call) = self.take(now, attempt.ticket) else { return };
                let worker = WorkerKey(call.worker as u32);
                match outcome {
                    AttemptOutcome::Success => Self::answer(now, &call, Verdict::Success { attempt, worker }, out),
                    AttemptOutcome::Rejected => Self::answer(now, &call, Verdict::Rejected { attempt, worker }, out),
                    _ => self.failed(now, call, out),
                }
            }
            Event::WorkerJoined { spec, .. } => self.peers.push(Peer {
                able: spec.abilities.map(|a| a != Ability::None),
                up: true,
                seen: now,
                connections: 0,
                ewma: 0.0,
                at: now,
            }),
            Event::WorkerReported { worker, report } => {
                let peer = &mut self.peers[worker.0 as usize];
                peer.seen = now;
                peer.up = report.state == WorkerState::Ready;
            }
            _ => {}
        }
    }

    fn next_wakeup(&self) -> Option<Time> {
        self.timers.first().map(|t| t.0)
    }
}

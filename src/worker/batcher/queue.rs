//! What waits for the model, and which of it runs next. Pure: no clock, no thread, no model.
//!
//! One queue for each task, in the order of a virtual deadline: `min(deadline, arrival + {high 0,
//! normal 2 s, low 8 s})`, as in the coordinator. A batch begins with the most urgent request and
//! takes others of its task, as long as that is worth it and nobody's deadline is put at risk. Lengths may
//! differ: nothing is padded, and what is much longer than is worth it for a batch is in one by itself.

use std::time::{Duration, Instant};

use super::cost::CostModel;
use crate::protocol::{Priority, ServiceTime, TaskType};

/// Something that waits.
#[derive(Debug)]
pub(super) struct Entry<T> {
    /// Its place in no order: a name to cancel it by.
    pub(super) id: u64,
    /// What to do with it.
    pub(super) task: TaskType,
    /// When it came.
    pub(super) arrived: Instant,
    /// When it is of no use any more.
    pub(super) deadline: Instant,
    /// How urgent it is.
    pub(super) priority: Priority,
    /// What it costs.
    pub(super) units: usize,
    /// What is to be computed, and for whom.
    pub(super) payload: T,
}

impl<T> Entry<T> {
    /// The entry with something else to be computed, and what there was.
    pub(super) fn exchange<U>(self, payload: U) -> (Entry<U>, T) {
        let Self { id, task, arrived, deadline, priority, units, payload: old } = self;
        (Entry { id, task, arrived, deadline, priority, units, payload }, old)
    }

    fn virtual_deadline(&self) -> Instant {
        let allowance = match self.priority {
            Priority::High => Duration::ZERO,
            Priority::Normal => Duration::from_secs(2),
            Priority::Low => Duration::from_secs(8),
        };
        self.deadline.min(self.arrived + allowance)
    }
}

/// Limits of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Most requests in it.
    pub(super) max_batch: usize,
    /// Longest wait for a fuller one.
    pub(super) max_delay: Duration,
}

/// What the inference thread does next.
#[derive(Debug)]
pub(super) enum Plan<T> {
    /// There is nothing to do.
    Idle,
    /// Wait until then for a fuller batch, unless something arrives.
    Wait(Instant),
    /// Compute this; all of one task, never empty.
    Run(Vec<Entry<T>>),
}

/// The queues of all tasks, and what their batches cost.
#[derive(Debug)]
pub(super) struct Queue<T> {
    limits: Limits,
    lanes: [Lane<T>; TaskType::ALL.len()],
}

#[derive(Debug)]
struct Lane<T> {
    /// Most urgent first.
    waiting: Vec<Entry<T>>,
    cost: CostModel,
    /// Sizes of the last two batches: how many requests tend to be there together.
    recent: [usize; 2],
    returning: Returning,
}

/// How many requests tend to arrive at once after a batch was answered: clients that ask again when they
/// have their answer do.
#[derive(Debug, Default)]
struct Returning {
    /// When the last batch was answered, and how many were in it.
    answered: Option<(Instant, usize)>,
    /// How many arrived shortly after it.
    seen: u32,
    /// The first and the last of them.
    came: Option<(Instant, Instant)>,
    /// What share of those who were answered does as a rule.
    usual: f64,
}

impl<T> Queue<T> {
    pub(super) fn new(limits: Limits) -> Self {
        let lane = || Lane {
            waiting: Vec::new(),
            cost: CostModel::default(),
            recent: [0; 2],
            returning: Returning::default(),
        };
        Self { limits, lanes: std::array::from_fn(|_| lane()) }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting.len()).sum()
    }

    /// What each task takes, of those that were ever done.
    pub(super) fn service_times(&self) -> Vec<ServiceTime> {
        let known = |task: TaskType| self.lanes[task.index()].cost.service_time(task, self.limits.max_batch);
        TaskType::ALL.into_iter().filter_map(known).collect()
    }

    pub(super) fn push(&mut self, entry: Entry<T>) {
        let Lane { waiting, cost, returning, .. } = &mut self.lanes[entry.task.index()];
        returning.arrived(entry.arrived, self.limits.at_once(cost));
        let key = entry.virtual_deadline();
        let place = waiting.partition_point(|other| other.virtual_deadline() <= key);
        waiting.insert(place, entry);
    }

    /// Takes out what is not wanted any more, where it has not been started.
    pub(super) fn cancel(&mut self, task: TaskType, id: u64) -> Option<Entry<T>> {
        let waiting = &mut self.lanes[task.index()].waiting;
        let place = waiting.iter().position(|entry| entry.id == id)?;
        Some(waiting.remove(place))
    }

    /// Takes out everything that waits.
    pub(super) fn take_all(&mut self) -> Vec<Entry<T>> {
        self.lanes.iter_mut().flat_map(|lane| lane.waiting.drain(..)).collect()
    }

    /// Takes in what a batch cost.
    pub(super) fn observe(&mut self, task: TaskType, units: usize, requests: usize, seconds: f64) {
        self.lanes[task.index()].cost.observe(units, requests, seconds);
    }

    /// Takes in that a batch of so many requests is about to be answered.
    pub(super) fn answered(&mut self, task: TaskType, requests: usize, now: Instant) {
        self.lanes[task.index()].returning.answered(now, requests);
    }

    /// What to do now that the model is free. What is past its deadline is dropped on the way.
    pub(super) fn plan(&mut self, now: Instant) -> Plan<T> {
        for lane in &mut self.lanes {
            lane.waiting.retain(|entry| entry.deadline > now);
        }
        let others = self.len();
        let most_urgent = self
            .lanes
            .iter_mut()
            .filter(|lane| !lane.waiting.is_empty())
            .min_by_key(|lane| lane.waiting[0].virtual_deadline());
        let Some(lane) = most_urgent else { return Plan::Idle };
        // Waiting for a fuller batch while other work waits would leave the model idle for nothing.
        if others == lane.waiting.len()
            && let Some(until) = lane.worth_waiting(self.limits, now)
        {
            return Plan::Wait(until);
        }
        Plan::Run(lane.take_batch(self.limits, now))
    }
}

impl<T> Lane<T> {
    /// Until when a fuller batch is worth waiting for: only if lately more requests than are here came
    /// together, and no longer than a larger batch can save; or if those who were just answered are
    /// about to ask again.
    fn worth_waiting(&self, limits: Limits, now: Instant) -> Option<Instant> {
        let slack = self.waiting.iter().map(|entry| entry.deadline.saturating_duration_since(now)).min()?;
        let (waiting, gain) = (self.waiting.len(), gain(&self.cost));
        let company = || {
            let likely = self.recent.into_iter().max().unwrap_or(0).min(limits.max_batch);
            let oldest = self.waiting.iter().map(|entry| entry.arrived).min()?;
            let missing = likely.saturating_sub(waiting);
            (missing > 0).then(|| oldest + limits.max_delay.min(slack / 4).min(worth(missing, waiting, gain)))
        };
        let returning = || {
            let until = self.returning.expected(now, waiting, limits.at_once(&self.cost), gain)?;
            (waiting < limits.max_batch).then(|| until.min(now + slack / 4))
        };
        [company(), returning()].into_iter().flatten().filter(|until| *until > now).max()
    }

    fn take_batch(&mut self, limits: Limits, now: Instant) -> Vec<Entry<T>> {
        let most_units = self.cost.worthwhile_units();
        let (mut units, mut slack) = (0, f64::INFINITY);
        let mut batch = Vec::new();
        let mut left = Vec::with_capacity(self.waiting.len());
        for entry in self.waiting.drain(..) {
            let slack_with = slack.min(entry.deadline.saturating_duration_since(now).as_secs_f64());
            let units_with = units + entry.units;
            let in_time = || self.cost.predict(units_with).is_none_or(|seconds| seconds <= slack_with / 2.0);
            let fits = batch.len() < limits.max_batch && units_with as f64 <= most_units;
            if batch.is_empty() || (fits && in_time()) {
                (units, slack) = (units_with, slack_with);
                batch.push(entry);
            } else {
                left.push(entry);
            }
        }
        self.waiting = left;
        self.recent = [batch.len(), self.recent[0]];
        batch
    }
}

/// What a request saves that joins a batch.
fn gain(cost: &CostModel) -> Duration {
    Duration::try_from_secs_f64(cost.fixed()).unwrap_or_default()
}

/// How long it is worth to wait for those who are missing: each of them saves `gain`, each who waits loses the wait.
fn worth(missing: usize, waiting: usize, gain: Duration) -> Duration {
    /// How much more must be saved than is lost: they may not come.
    const MORE: f64 = 1.5;
    gain.mul_f64((missing as f64 / (MORE * waiting.max(1) as f64)).min(1.0))
}

impl Limits {
    /// How soon after its batch was answered a client asks again that is worth waiting for.
    fn at_once(self, cost: &CostModel) -> Duration {
        self.max_delay.min(gain(cost) / 4)
    }
}

impl Returning {
    /// Weight of a new batch.
    const WEIGHT: f64 = 0.25;
    /// The next of them should come no later than this many of those before came apart.
    const APART: u32 = 4;

    fn answered(&mut self, now: Instant, requests: usize) {
        if let Some((_, before)) = self.answered.replace((now, requests.max(1))) {
            self.usual += Self::WEIGHT * (f64::from(self.seen) / before as f64 - self.usual);
        }
        (self.seen, self.came) = (0, None);
    }

    fn arrived(&mut self, now: Instant, at_once: Duration) {
        if self.answered.is_some_and(|(at, _)| now.saturating_duration_since(at) <= at_once) {
            self.seen += 1;
            let (first, _) = self.came.unwrap_or((now, now));
            self.came = Some((first, now));
        }
    }

    /// Until when to wait for the others, where that is worth it.
    fn expected(&self, now: Instant, waiting: usize, at_once: Duration, gain: Duration) -> Option<Instant> {
        let (answered, requests) = self.answered?;
        let missing = ((self.usual * requests as f64).round() - f64::from(self.seen)).max(0.0) as usize;
        let (most, worth) = (answered + at_once, worth(missing, waiting, gain));
        let (soon, late) = match self.came {
            Some((first, last)) if self.seen > 1 => {
                let apart = last.saturating_duration_since(first) / (self.seen - 1);
                // What goes through busy processes comes in lumps: the next may take as long again as this one did.
                let lump = last.saturating_duration_since(answered).min(worth);
                (last + Self::APART * apart, last + (Self::APART * apart).max(lump))
            }
            _ => (most, most),
        };
        (missing > 0 && soon.min(most).saturating_duration_since(now) <= worth).then_some(late.min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: TaskType = TaskType::TextClassification;
    const IMAGE: TaskType = TaskType::ImageClassification;
    const MS: Duration = Duration::from_millis(1);

    struct Bench {
        queue: Queue<()>,
        start: Instant,
        next: u64,
    }

    impl Bench {
        fn new() -> Self {
            let limits = Limits { max_batch: 8, max_delay: 5 * MS };
            Self { queue: Queue::new(limits), start: Instant::now(), next: 0 }
        }

        fn push(&mut self, task: TaskType, priority: Priority, units: usize, timeout: Duration) -> u64 {
            self.next += 1;
            let (id, arrived) = (self.next, self.start + self.next as u32 * Duration::from_micros(1));
            self.queue.push(Entry { id, task, arrived, deadline: arrived + timeout, priority, units, payload: () });
            id
        }

        fn normal(&mut self, units: usize) -> u64 {
            self.push(TEXT, Priority::Normal, units, Duration::from_secs(30))
        }

        fn run(&mut self, after: Duration) -> Vec<u64> {
            match self.queue.plan(self.start + after) {
                Plan::Run(batch) => batch.into_iter().map(|entry| entry.id).collect(),
                other => panic!("nothing runs: {other:?}"),
            }
        }
    }

    #[test]
    fn a_lone_request_starts_at_once() {
        let mut bench = Bench::new();
        assert!(matches!(bench.queue.plan(bench.start), Plan::Idle));
        let id = bench.normal(8);
        assert_eq!(bench.run(MS), [id]);
        let id = bench.normal(8);
        assert_eq!(bench.run(MS), [id]);
    }

    #[test]
    fn high_goes_first_and_low_last_but_not_for_ever() {
        let mut bench = Bench::new();
        bench.queue.limits.max_batch = 1;
        let low = bench.push(TEXT, Priority::Low, 8, Duration::from_mins(1));
        let normal = bench.normal(8);
        let high = bench.push(TEXT, Priority::High, 8, Duration::from_mins(1));
        bench.start += Duration::from_secs(9);
        let late = bench.push(TEXT, Priority::Normal, 8, Duration::from_mins(1));
        let order: Vec<u64> = (0..4).flat_map(|_| bench.run(20 * MS)).collect();
        assert_eq!(order, [high, normal, low, late]);
    }

    #[test]
    fn tasks_are_not_mixed_and_the_most_urgent_goes_first() {
        let mut bench = Bench::new();
        let a = bench.normal(8);
        let b = bench.push(IMAGE, Priority::High, 1, Duration::from_secs(30));
        let c = bench.normal(8);
        assert_eq!(bench.run(MS), [b]);
        assert_eq!(bench.run(MS), [a, c]);
    }

    #[test]
    fn what_is_past_its_deadline_is_not_started() {
        let mut bench = Bench::new();
        bench.push(TEXT, Priority::Normal, 8, 10 * MS);
        let id = bench.normal(8);
        assert_eq!(bench.run(11 * MS), [id]);
        assert_eq!(bench.queue.len(), 0);
    }

    #[test]
    fn what_is_cancelled_is_gone() {
        let mut bench = Bench::new();
        let a = bench.normal(8);
        let b = bench.normal(8);
        assert!(bench.queue.cancel(TEXT, a).is_some());
        assert!(bench.queue.cancel(TEXT, a).is_none());
        assert_eq!(bench.run(MS), [b]);
    }

    #[test]
    fn long_texts_do_not_hold_up_short_ones() {
        let mut bench = Bench::new();
        for units in [10, 40, 160] {
            bench.queue.observe(TEXT, units, 1, 0.002 + 0.001 * units as f64);
        }
        let short = bench.normal(8);
        let long = bench.normal(500);
        let medium = bench.normal(24);
        assert_eq!(bench.run(MS), [short, medium]);
        assert_eq!(bench.run(20 * MS), [long]);
    }

    #[test]
    fn a_batch_fits_in_half_of_the_tightest_slack() {
        let mut bench = Bench::new();
        // 10 ms and no more for each unit: nothing but the deadline speaks against large batches.
        for units in [1, 2, 4, 8] {
            bench.queue.observe(TEXT, units, units, 0.010 * units as f64 + 0.1);
        }
        let ids: Vec<u64> = (0..8).map(|_| bench.push(TEXT, Priority::Normal, 1, 300 * MS)).collect();
        let batch = bench.run(MS);
        assert!(batch.len() > 1 && batch.len() < 8, "{batch:?}");
        assert_eq!(batch, ids[..batch.len()]);
    }

    #[test]
    fn a_batch_stops_where_it_gains_nothing() {
        let mut bench = Bench::new();
        for units in [16, 32, 64, 128, 16, 32] {
            bench.queue.observe(TEXT, units, 1, 0.001 * units as f64);
        }
        for _ in 0..8 {
            bench.normal(64);
        }
        assert!(bench.run(MS).len() <= 2);
    }

    #[test]
    fn it_waits_for_company_only_where_company_is_likely_and_pays() {
        let mut bench = Bench::new();
        for units in [1, 2, 4, 8] {
            bench.queue.observe(TEXT, units, units, 0.003);
        }
        for _ in 0..4 {
            bench.normal(1);
        }
        assert_eq!(bench.run(MS).len(), 4);
        let id = bench.normal(1);
        let Plan::Wait(until) = bench.queue.plan(bench.start) else { panic!("it does not wait") };
        assert!(until > bench.start + MS && until <= bench.start + 4 * MS, "the gain bounds the wait");
        // Other work never waits for it, and the wait ends.
        bench.push(IMAGE, Priority::Low, 1, Duration::from_secs(30));
        assert_eq!(bench.run(Duration::ZERO), [id]);
    }

    #[test]
    fn a_tight_deadline_shortens_the_wait() {
        let mut bench = Bench::new();
        for units in [1, 2, 4, 8] {
            bench.queue.observe(TEXT, units, units, 0.005);
        }
        for _ in 0..4 {
            bench.normal(1);
        }
        bench.run(MS);
        bench.push(TEXT, Priority::Normal, 1, 4 * MS);
        let Plan::Wait(until) = bench.queue.plan(bench.start) else { panic!("it does not wait") };
        assert!(until <= bench.start + 2 * MS);
    }

    /// Batch sizes, once it has settled, of clients that ask again `think` after each answer; half of them
    /// first come while the others are computed. A batch takes 5 ms at any size.
    /// They come back in lumps of so many.
    fn closed_loop(clients: u64, think: Duration, lump: u32) -> Vec<usize> {
        let limits = Limits { max_batch: 32, max_delay: 5 * MS };
        let (mut queue, mut now) = (Queue::new(limits), Instant::now());
        for units in [1, 4] {
            queue.observe(TEXT, units, units, 0.005);
        }
        let mut coming: Vec<(Instant, u64)> =
            (0..clients).map(|id| (now + if id % 2 == 0 { Duration::ZERO } else { 2 * MS }, id)).collect();
        let mut sizes = Vec::new();
        let come = |queue: &mut Queue<()>, coming: &mut Vec<(Instant, u64)>, now: Instant| {
            coming.sort();
            let here = coming.partition_point(|(at, _)| *at <= now);
            for (arrived, id) in coming.drain(..here) {
                let (deadline, priority) = (arrived + Duration::from_secs(30), Priority::Normal);
                queue.push(Entry { id, task: TEXT, arrived, deadline, priority, units: 1, payload: () });
            }
        };
        while sizes.len() < 200 {
            come(&mut queue, &mut coming, now);
            let next = coming.first().map(|(at, _)| *at);
            match queue.plan(now) {
                Plan::Idle => now = next.expect("all wait for an answer, and nothing runs"),
                Plan::Wait(until) => now = next.map_or(until, |next| next.min(until)),
                Plan::Run(batch) => {
                    now += 5 * MS;
                    come(&mut queue, &mut coming, now);
                    queue.observe(TEXT, batch.len(), batch.len(), 0.005);
                    queue.answered(TEXT, batch.len(), now);
                    sizes.push(batch.len());
                    // One after the other, as a network has it.
                    let spread = |i: u32| now + think + i / lump * lump * Duration::from_micros(20);
                    coming.extend((0..).zip(batch).map(|(i, entry)| (spread(i), entry.id)));
                }
            }
        }
        sizes.split_off(100)
    }

    #[test]
    fn clients_that_ask_again_at_once_come_together() {
        for clients in [2, 3, 8, 21, 32] {
            for lump in [1, 4, 10] {
                let sizes = closed_loop(clients, Duration::from_micros(300), lump);
                // One who comes alone and long after the others is not worth the wait of all.
                let least = if lump == 1 { clients } else { clients - clients / 10 };
                assert!(sizes.iter().all(|&size| size as u64 >= least), "{clients} in lumps of {lump}: {sizes:?}");
            }
        }
    }

    /// Requests that come evenly are not held up for what would come anyway.
    #[test]
    fn an_even_stream_is_not_taken_for_clients_that_return() {
        let mut returning = Returning::default();
        let (start, gain, at_once) = (Instant::now(), 5 * MS, 1250 * MS / 1000);
        // One a millisecond: five wait after a batch, one or two come in the next 1.25 ms.
        for batch in 0..40 {
            let answered = start + batch * gain;
            returning.answered(answered, 5);
            assert_eq!(returning.expected(answered, 5, at_once, gain), None, "after {batch} batches");
            for i in 1..=5 {
                returning.arrived(answered + i * MS, at_once);
            }
        }
    }
}

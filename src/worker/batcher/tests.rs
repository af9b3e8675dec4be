//! The batcher with a model that does as it is told: what runs together, what never runs, and what
//! becomes of the neighbours of a bad input. Nothing here waits for time to pass.

use std::sync::mpsc;

use super::*;
use crate::cli::WorkerArgs;
use crate::protocol::{Capability, FaultSettings, InferRequest, ModelRef, ModelSource, Scores, WorkerId};
use crate::worker::backend::Effort;

const TEXT: TaskType = TaskType::TextClassification;
const LONG: Duration = Duration::from_mins(1);

/// Tells of each batch, and computes it only once it is allowed to. An input is its answer; `poison`
/// panics, `bad` fails, `spoil` fails its whole batch.
struct Puppet {
    began: mpsc::Sender<Vec<&'static str>>,
    allowed: Mutex<mpsc::Receiver<()>>,
    warm_ups: Vec<Vec<&'static str>>,
}

impl Backend for Puppet {
    type Prepared = &'static str;

    fn effort(&self, _request: &InferRequest) -> Effort {
        Effort::Trivial
    }

    fn prepare(&self, _request: &InferRequest) -> Result<&'static str, Problem> {
        Ok("")
    }

    fn units(&self, _prepared: &&'static str) -> usize {
        1
    }

    fn run(&self, task: TaskType, batch: &[&'static str]) -> Vec<Result<TaskResult, String>> {
        self.began.send(batch.to_vec()).unwrap();
        self.allowed.lock().unwrap().recv().unwrap();
        assert!(!batch.contains(&"poison"), "poisoned");
        let spoilt = batch.contains(&"spoil");
        let answer = |input: &&'static str| match *input {
            "bad" => Err("bad input".to_owned()),
            _ if spoilt => Err("spoilt".to_owned()),
            text => Ok(TaskResult {
                prediction: text.to_owned(),
                confidence: 1.0,
                similarities: None,
                worker_id: WorkerId::try_new("w").unwrap(),
                task_type: task,
                model_info: "puppet".to_owned(),
                scores: Scores::default(),
                degraded: false,
                model: ModelRef { id: "puppet".to_owned(), revision: None, source: ModelSource::Noop },
            }),
        };
        batch.iter().map(answer).collect()
    }

    fn capabilities(&self) -> Vec<Capability> {
        Vec::new()
    }

    fn warm_ups(&self) -> Vec<(TaskType, Vec<&'static str>)> {
        self.warm_ups.iter().map(|batch| (TEXT, batch.clone())).collect()
    }
}

struct Stage {
    batcher: Batcher<Puppet>,
    began: mpsc::Receiver<Vec<&'static str>>,
    allow: mpsc::Sender<()>,
    faults: Arc<Faults>,
    meter: Arc<Meter>,
    warm: Arc<Notify>,
}

impl Stage {
    fn new() -> Self {
        Self::warming(Vec::new())
    }

    fn warming(warm_ups: Vec<Vec<&'static str>>) -> Self {
        let config = WorkerConfig::load(WorkerArgs { max_batch: Some(8), ..WorkerArgs::default() }).unwrap();
        let (began_tx, began) = mpsc::channel();
        let (allow, allowed) = mpsc::channel();
        let puppet = Arc::new(Puppet { began: began_tx, allowed: Mutex::new(allowed), warm_ups });
        let faults = Arc::new(Faults::new(FaultSettings::default(), 0));
        let meter = Arc::new(Meter::new());
        let warm = Arc::new(Notify::new());
        let batcher = Batcher::start(&config, puppet, Arc::clone(&faults), Arc::clone(&meter), Arc::clone(&warm));
        let batcher = batcher.unwrap();
        Self { batcher, began, allow, faults, meter, warm }
    }

    fn submit(&self, prepared: &'static str) -> Ticket<Puppet> {
        self.submit_until(prepared, Instant::now() + LONG)
    }

    fn submit_until(&self, prepared: &'static str, deadline: Instant) -> Ticket<Puppet> {
        self.batcher.submit(Submission { task: TEXT, priority: Priority::Normal, deadline, prepared })
    }

    /// Occupies the model, so that what is submitted next forms one batch.
    fn occupied(&self) -> Ticket<Puppet> {
        let first = self.submit("first");
        assert_eq!(self.began.recv().unwrap(), ["first"]);
        first
    }

    /// Lets the next `n` batches be computed.
    fn allow(&self, n: usize) {
        (0..n).for_each(|_| self.allow.send(()).unwrap());
    }
}

fn prediction(reply: Reply) -> String {
    reply.unwrap().answer.prediction
}

#[tokio::test]
async fn what_arrives_while_the_model_is_busy_runs_together() {
    let stage = Stage::new();
    let first = stage.occupied();
    let second = stage.submit("second");
    let third = stage.submit("third");
    assert_eq!(stage.batcher.queue_depth(), 2);
    stage.allow(2);
    assert_eq!(prediction(first.answer().await), "first");
    let computed = second.answer().await.unwrap();
    assert_eq!((computed.answer.prediction.as_str(), computed.batch_size), ("second", 2));
    assert_eq!(prediction(third.answer().await), "third");
    assert_eq!(stage.began.recv().unwrap(), ["second", "third"]);
    assert_eq!(stage.batcher.service_times()[0].task, TEXT);
}

#[tokio::test]
async fn a_warm_up_shows_what_a_batch_costs_and_makes_way_for_work() {
    let stage = Stage::warming(vec![vec!["alone"], vec!["a", "b"]]);
    assert_eq!(stage.began.recv().unwrap(), ["alone"]);
    let work = stage.submit("work");
    stage.allow(2);
    assert_eq!(stage.began.recv().unwrap(), ["alone"], "once for the caches, once to be timed");
    assert_eq!(stage.began.recv().unwrap(), ["work"], "no more often while work waits");
    stage.allow(1 + WARM_UP_RUNS);
    work.answer().await.unwrap();
    tokio::time::timeout(LONG, stage.warm.notified()).await.expect("nobody is told that the model is warm");
    let measured: Vec<_> = stage.began.try_iter().collect();
    assert!((1..=WARM_UP_RUNS).contains(&measured.len()), "{measured:?}");
    assert!(measured.iter().all(|batch| *batch == ["a", "b"]), "{measured:?}");
    assert_eq!(stage.batcher.service_times()[0].task, TEXT);
}

#[tokio::test]
async fn a_request_whose_client_left_is_never_computed() {
    let stage = Stage::new();
    let first = stage.occupied();
    let left = stage.submit("left");
    let stays = stage.submit("stays");
    drop(left);
    assert_eq!(stage.batcher.queue_depth(), 1);
    stage.allow(2);
    first.answer().await.unwrap();
    stays.answer().await.unwrap();
    assert_eq!(stage.began.recv().unwrap(), ["stays"]);
}

#[tokio::test]
async fn a_request_that_is_late_is_never_computed() {
    let stage = Stage::new();
    let first = stage.occupied();
    let late = stage.submit_until("late", Instant::now());
    let stays = stage.submit("stays");
    stage.allow(2);
    first.answer().await.unwrap();
    stays.answer().await.unwrap();
    assert_eq!(late.answer().await.unwrap_err().code, ProblemCode::DeadlineExceeded);
    assert_eq!(stage.began.recv().unwrap(), ["stays"]);
}

#[tokio::test]
async fn the_neighbours_of_an_input_that_panics_the_model_are_answered() {
    let stage = Stage::new();
    let first = stage.occupied();
    let tickets = ["a", "poison", "b", "c"].map(|input| stage.submit(input));
    stage.allow(20);
    first.answer().await.unwrap();
    let [a, poison, b, c] = tickets;
    assert_eq!(prediction(a.answer().await), "a");
    assert_eq!(poison.answer().await.unwrap_err().code, ProblemCode::InferenceFailed);
    assert_eq!(prediction(b.answer().await), "b");
    assert_eq!(prediction(c.answer().await), "c");
    assert_eq!(stage.began.recv().unwrap(), ["a", "poison"]);
    // The thread lives on.
    assert_eq!(prediction(stage.submit("next").answer().await), "next");
}

#[tokio::test]
async fn an_input_that_spoils_its_batch_spoils_only_itself() {
    let stage = Stage::new();
    let first = stage.occupied();
    let tickets = ["a", "b", "spoil", "c"].map(|input| stage.submit(input));
    stage.allow(20);
    first.answer().await.unwrap();
    let [a, b, spoil, c] = tickets;
    assert_eq!(prediction(a.answer().await), "a");
    assert_eq!(prediction(b.answer().await), "b");
    assert_eq!(spoil.answer().await.unwrap_err().code, ProblemCode::InferenceFailed);
    assert_eq!(prediction(c.answer().await), "c");
}

#[tokio::test]
async fn an_input_that_fails_alone_costs_no_second_run() {
    let stage = Stage::new();
    let first = stage.occupied();
    let tickets = ["a", "bad"].map(|input| stage.submit(input));
    stage.allow(2);
    first.answer().await.unwrap();
    let [a, bad] = tickets;
    assert_eq!(prediction(a.answer().await), "a");
    assert_eq!(bad.answer().await.unwrap_err().detail, "bad input");
}

#[tokio::test]
async fn a_hung_model_stands_still_until_the_hang_is_switched_off() {
    let stage = Stage::new();
    stage.faults.set(FaultSettings { hang: true, ..FaultSettings::default() });
    let stuck = stage.submit("stuck");
    stage.allow(1);
    while stage.meter.progress() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(stage.began.try_recv().is_err(), "it computes while it hangs");
    assert_eq!(stage.meter.progress(), 1);
    stage.faults.set(FaultSettings::default());
    assert_eq!(prediction(stuck.answer().await), "stuck");
}

#[tokio::test]
async fn a_drain_hands_back_what_waits_and_finishes_what_runs() {
    let stage = Stage::new();
    let first = stage.occupied();
    let waits = [stage.submit("a"), stage.submit("b")];
    stage.batcher.hand_back();
    assert_eq!(stage.batcher.queue_depth(), 0);
    for ticket in waits {
        assert_eq!(ticket.answer().await.unwrap_err().code, ProblemCode::Unavailable);
    }
    assert_eq!(stage.submit("late").answer().await.unwrap_err().code, ProblemCode::Unavailable);
    stage.batcher.take_again();
    let again = stage.submit("again");
    stage.allow(2);
    assert_eq!(prediction(first.answer().await), "first");
    assert_eq!(prediction(again.answer().await), "again");
    assert_eq!(stage.began.recv().unwrap(), ["again"]);
}

//! Fleets that never ran, for the screens of the tests. Every figure is made up here and nowhere else.

use std::time::Duration;

use crossterm::event::{Event as TerminalEvent, KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Size;

use crate::client::Feed;
use crate::monitor::model::{Model, Setup};
use crate::monitor::msg::{Effect, Msg};
use crate::monitor::update::update;
use crate::monitor::view::view;
use crate::monitor::{Fleet, Glyphs, Hands, Look};
use crate::palette::Colour;
use crate::protocol::{
    Attempt, AttemptOutcome, BreakerState, ByPriority, Capability, Counters, Event, EventKind, FaultSettings,
    LatencySummary, ModelRef, ModelSource, ModelState, Priority, ProblemCode, QueueStats, RequestId, RunState,
    ServiceTime, Snapshot, Status, TaskStats, TaskStatus, TaskType, WorkerAction, WorkerDetail, WorkerId, WorkerState,
};

pub(super) const SMALL: Size = Size { width: 80, height: 24 };
pub(super) const LARGE: Size = Size { width: 160, height: 45 };

pub(super) fn id(name: &str) -> WorkerId {
    WorkerId::try_new(name).unwrap()
}

pub(super) fn latency(count: u64, p50: f64) -> LatencySummary {
    if count == 0 {
        return LatencySummary::default();
    }
    LatencySummary { count, mean: p50 * 1.12, p50, p95: p50 * 2.1, p99: p50 * 3.4, max: p50 * 5.0 }
}

fn capability(task: TaskType, model: &str, file: &str, specialised: bool) -> Capability {
    Capability {
        task,
        model_info: format!("{model} (mini)"),
        model: ModelRef { id: file.into(), revision: Some("3fa9c1d27b".into()), source: ModelSource::Embedded },
        degraded: true,
        specialised,
        state: ModelState::Ready,
    }
}

/// A worker, ready and idle.
pub(super) fn worker(number: usize) -> WorkerDetail {
    let kind = (number - 1) % 3;
    let capabilities = vec![
        capability(TaskType::TextClassification, "DistilBERT", "distilbert-mini-sst2", kind == 0),
        capability(TaskType::ImageClassification, "MobileNetV2", "mobilenet-mini", kind == 1),
        capability(TaskType::ClipTextSimilarity, "CLIP-ViT-B/32", "clip-mini", kind == 2),
        capability(TaskType::ClipTextToImage, "CLIP-ViT-B/32", "clip-mini", kind == 2),
    ];
    WorkerDetail {
        worker_id: id(&format!("worker-{number}")),
        url: format!("http://127.0.0.1:{}", 8000 + number),
        state: WorkerState::Ready,
        healthy: true,
        suspect: false,
        reason: String::new(),
        breaker: BreakerState::Closed,
        in_flight: 0,
        credits: 8,
        queue_depth: 0,
        completed: 0,
        failed: 0,
        success_rate: 1.0,
        score: 100.0,
        throughput: 0.0,
        latency: LatencySummary::default(),
        rtt: 0.0,
        service_times: Vec::new(),
        tasks: Vec::new(),
        mean_batch_size: 0.0,
        capabilities,
        capacity: 64,
        last_seen: 0.2,
        uptime: 71.0,
        pid: Some(4100 + number as u32),
        restarts: 0,
        rss_bytes: 212 << 20,
        version: "0.1.0".into(),
        faults: FaultSettings::default(),
        fault_injection: true,
        managed: true,
    }
}

/// A worker with work.
pub(super) fn busy(number: usize) -> WorkerDetail {
    let n = number as u64;
    let tasks = TaskType::ALL.map(|task| TaskStats {
        task,
        completed: 1200 / n + 37 * task.index() as u64,
        failed: task.index() as u64 % 2,
        p50: 0.012 * (1.0 + task.index() as f64),
        p99: 0.045 * (1.0 + task.index() as f64),
    });
    let service = |task: TaskType| {
        let seconds = 0.004 * (1.0 + task.index() as f64);
        ServiceTime { task, seconds, fixed: 0.002, per_item: seconds, max_batch: 32 }
    };
    WorkerDetail {
        in_flight: 3 + number as u32,
        queue_depth: 1,
        completed: 4200 * n,
        failed: 2 * n,
        success_rate: 0.998,
        score: 97.3 - 8.0 * (number as f64 - 1.0),
        throughput: 184.0 / (n as f64 + 1.0),
        latency: latency(900, 0.062 * n as f64),
        rtt: 0.0008,
        service_times: TaskType::ALL.map(service).to_vec(),
        tasks: tasks.to_vec(),
        mean_batch_size: 3.2,
        ..worker(number)
    }
}

/// What the coordinator would say of these workers, with nothing to do.
pub(super) fn idle(workers: Vec<WorkerDetail>) -> Snapshot {
    let healthy = workers.iter().filter(|w| w.healthy).count() as u64;
    let able = |task| workers.iter().filter(|w| w.healthy && w.capabilities.iter().any(|c| c.task == task)).count();
    let tasks = TaskType::ALL.map(|task| TaskStatus {
        task,
        workers: able(task) as u32,
        full_size: 0,
        throughput: 0.0,
        latency: LatencySummary::default(),
    });
    let total = workers.len() as u64;
    Snapshot {
        status: Status {
            status: RunState::Ready,
            version: "0.1.0".into(),
            uptime: 71.6,
            total_workers: total,
            healthy_workers: healthy,
            queue_size: 0,
            active_tasks: 0,
            throughput: 0.0,
            error_rate: 0.0,
            latency: LatencySummary::default(),
            tasks: tasks.to_vec(),
            durability: "memory".into(),
            stats: Counters::default(),
        },
        queue: QueueStats {
            queue_size: 0,
            active_tasks: 0,
            total_workers: total,
            healthy_workers: healthy,
            busy_workers: 0,
            stats: Counters::default(),
            queue_capacity: 10_000,
            queued_by_priority: ByPriority::default(),
            queued_by_task: Vec::new(),
            oldest_age: 0.0,
            wait: LatencySummary::default(),
            stored_results: 0,
        },
        workers,
    }
}

/// The same under load; `phase` makes the figures move from one snapshot to the next.
pub(super) fn loaded(workers: Vec<WorkerDetail>, phase: usize) -> Snapshot {
    let wave = (phase as f64 / 7.0).sin().mul_add(0.5, 0.5);
    let mut snapshot = idle(workers);
    let (high, normal, low) = (2 + (wave * 6.0) as u64, (wave * 90.0) as u64, 20 + phase as u64 % 13);
    let queued = high + normal + low;
    let stats = Counters {
        total_requests: 12_345 + 180 * phase as u64,
        successful_requests: 12_290 + 179 * phase as u64,
        failed_requests: 37,
        queue_high_watermark: 140,
        rejected_requests: 4,
        cancelled_requests: 1,
        attempts: 13_002,
        retries: 214,
        hedges: 61,
    };
    let status = &mut snapshot.status;
    status.throughput = wave.mul_add(60.0, 150.0);
    status.error_rate = 0.003;
    status.latency = latency(9_000, wave.mul_add(0.05, 0.06));
    status.queue_size = queued;
    status.active_tasks = 15;
    status.stats = stats;
    for task in &mut status.tasks {
        task.throughput = status.throughput * [0.5, 0.25, 0.15, 0.1][task.task.index()];
        task.latency = latency(2_000, 0.06);
    }
    let queue = &mut snapshot.queue;
    queue.queue_size = queued;
    queue.active_tasks = 15;
    queue.busy_workers = queue.healthy_workers;
    queue.stats = stats;
    queue.queued_by_priority = ByPriority { high, normal, low };
    queue.oldest_age = 0.42;
    snapshot
}

/// A dashboard and the hands at its keys.
pub(super) struct Bench {
    pub(super) model: Model,
    pub(super) effects: Vec<Effect>,
    at: Duration,
    seq: u64,
}

impl Bench {
    pub(super) fn new(size: Size) -> Self {
        Self::with(size, |_| {})
    }

    pub(super) fn with(size: Size, change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup {
            url: "http://127.0.0.1:8000".into(),
            hands: Hands::Operate,
            fleet: Fleet::Elsewhere,
            look: Look { colour: Colour::Ansi, glyphs: Glyphs::Unicode },
        };
        change(&mut setup);
        Self { model: Model::new(setup, size), effects: Vec::new(), at: Duration::ZERO, seq: 1 }
    }

    /// Three workers under load for a minute, with some events.
    pub(super) fn under_load(size: Size) -> Self {
        let mut bench = Self::new(size);
        bench.connect();
        for phase in 0..60 {
            bench.snapshot(loaded(vec![busy(1), busy(2), busy(3)], phase));
            bench.pass(1.0);
        }
        bench.history();
        bench.snapshot(loaded(vec![busy(1), busy(2), busy(3)], 60));
        bench.pass(0.4);
        bench
    }

    /// Three workers with nothing to do.
    pub(super) fn at_rest(size: Size) -> Self {
        let mut bench = Self::new(size);
        bench.connect();
        bench.snapshot(idle(vec![worker(1), worker(2), worker(3)]));
        bench.pass(0.4);
        bench
    }

    pub(super) fn tell(&mut self, msg: Msg) -> &mut Self {
        let effects = update(&mut self.model, self.at, msg);
        self.effects.extend(effects);
        self
    }

    pub(super) fn connect(&mut self) -> &mut Self {
        self.tell(Msg::Feed(Feed::Connected))
    }

    pub(super) fn snapshot(&mut self, snapshot: Snapshot) -> &mut Self {
        self.event(EventKind::Snapshot(Box::new(snapshot)))
    }

    pub(super) fn event(&mut self, kind: EventKind) -> &mut Self {
        self.seq += 1;
        // Half past two in the afternoon, and the seconds of the bench.
        let at_ms = 52_200_000 + self.at.as_millis() as u64;
        self.tell(Msg::Feed(Feed::Event(Box::new(Event { seq: self.seq, at_ms, kind }))))
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, seconds: f64) -> &mut Self {
        self.at += Duration::from_secs_f64(seconds);
        self.tell(Msg::Tick)
    }

    pub(super) fn key(&mut self, code: KeyCode) -> &mut Self {
        self.tell(Msg::Terminal(TerminalEvent::Key(KeyEvent::new(code, KeyModifiers::NONE))))
    }

    /// Presses the keys of a text.
    pub(super) fn keys(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            self.key(KeyCode::Char(c));
        }
        self
    }

    pub(super) fn lose(&mut self, retry_seconds: u64, attempt: u32) -> &mut Self {
        let reason = "can't reach http://127.0.0.1:8000: Connection refused (os error 111)".to_owned();
        let retry_in = Duration::from_secs(retry_seconds);
        self.tell(Msg::Feed(Feed::Lost { reason, retry_in, attempt }))
    }

    /// One of each kind of event.
    pub(super) fn history(&mut self) -> &mut Self {
        let request = |n: u32| RequestId::try_new(format!("0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a{n:02x}")).unwrap();
        let attempt = |name: &str, outcome, seconds| Attempt { worker: id(name), outcome, seconds };
        self.event(EventKind::WorkerJoined { worker: id("worker-3") });
        self.event(EventKind::RequestFinished {
            request_id: request(1),
            task: TaskType::TextClassification,
            priority: Priority::Normal,
            worker: id("worker-1"),
            latency: 0.062,
            queue_time: 0.011,
            attempts: vec![attempt("worker-1", AttemptOutcome::Success, 0.051)],
        });
        self.event(EventKind::Operator { worker: id("worker-2"), action: WorkerAction::Kill });
        self.event(EventKind::WorkerState {
            worker: id("worker-2"),
            from: WorkerState::Ready,
            to: WorkerState::Killed,
            reason: "killed by an operator".into(),
        });
        self.event(EventKind::RequestRerouted {
            request_id: request(2),
            task: TaskType::ImageClassification,
            from: id("worker-2"),
            outcome: AttemptOutcome::ConnectionLost,
        });
        self.event(EventKind::Breaker { worker: id("worker-3"), state: BreakerState::Open });
        self.event(EventKind::RequestFailed {
            request_id: request(3),
            task: TaskType::ClipTextToImage,
            priority: Priority::High,
            code: ProblemCode::AttemptsSpent,
            latency: 3.21,
            attempts: vec![
                attempt("worker-2", AttemptOutcome::ConnectionLost, 0.2),
                attempt("worker-3", AttemptOutcome::Timeout, 2.4),
                attempt("worker-1", AttemptOutcome::Failed, 0.61),
            ],
        });
        self.event(EventKind::RequestFinished {
            request_id: request(2),
            task: TaskType::ImageClassification,
            priority: Priority::High,
            worker: id("worker-1"),
            latency: 0.412,
            queue_time: 0.041,
            attempts: vec![
                attempt("worker-2", AttemptOutcome::ConnectionLost, 0.102),
                attempt("worker-1", AttemptOutcome::Success, 0.264),
            ],
        })
    }

    pub(super) fn buffer(&self) -> Buffer {
        let Size { width, height } = self.model.size;
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view(&self.model, frame)).unwrap();
        terminal.backend().buffer().clone()
    }

    /// The screen as text.
    pub(super) fn screen(&self) -> String {
        text_of(&self.buffer())
    }

    /// The line of the screen that holds a text.
    pub(super) fn line(&self, text: &str) -> String {
        let screen = self.screen();
        screen.lines().find(|l| l.contains(text)).unwrap_or_else(|| panic!("no {text:?} on\n{screen}")).to_owned()
    }
}

/// A buffer as text: what a wide character covers is left out.
pub(super) fn text_of(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in buffer.area.top()..buffer.area.bottom() {
        let mut line = String::new();
        let mut x = buffer.area.left();
        while x < buffer.area.right() {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += crate::monitor::text::width(symbol).max(1) as u16;
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

//! A coordinator that does nothing but hear what workers say and tell them what to do.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt};

use crate::support::PATIENCE;

/// What a worker did.
#[derive(Debug)]
pub(super) enum Heard {
    /// It registered.
    Registered(Value),
    /// It opened its control stream.
    Listens,
    /// It sent a heartbeat.
    Beat(Value),
    /// It left.
    Left,
}

pub(super) struct Coordinator {
    pub(super) url: String,
    heard: mpsc::Receiver<Heard>,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    tell: Mutex<mpsc::Sender<Heard>>,
    commands: broadcast::Sender<String>,
    knows: AtomicBool,
}

impl Shared {
    fn hear(&self, heard: Heard) {
        // A test that has heard enough has ended.
        let _ = self.tell.lock().unwrap().send(heard);
    }
}

impl Coordinator {
    pub(super) fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub(super) fn start_at(address: SocketAddr) -> Self {
        let (tell, heard) = mpsc::channel();
        let shared = Arc::new(Shared {
            tell: Mutex::new(tell),
            commands: broadcast::Sender::new(16),
            knows: AtomicBool::new(false),
        });
        let router = Router::new()
            .route("/workers", post(register))
            .route("/workers/worker-1", delete(async |State(s): State<Arc<Shared>>| s.hear(Heard::Left)))
            .route("/workers/worker-1/heartbeat", post(heartbeat))
            .route("/workers/worker-1/control", get(control))
            .with_state(Arc::clone(&shared));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url, heard, shared, _runtime: runtime }
    }

    /// Waits for something that a worker does; what comes before it is passed over.
    pub(super) fn hear(&self, what: &str, wanted: impl Fn(&Heard) -> bool) -> Heard {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let heard = self.heard.recv_timeout(left).unwrap_or_else(|_| panic!("not heard: {what}"));
            if wanted(&heard) {
                return heard;
            }
        }
    }

    /// Waits for such a heartbeat.
    pub(super) fn heartbeat(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        match self.hear("such a heartbeat", |heard| matches!(heard, Heard::Beat(beat) if wanted(beat))) {
            Heard::Beat(beat) => beat,
            _ => unreachable!(),
        }
    }

    /// Sends a command down the control stream, once that is open.
    pub(super) fn command(&self, command: &Value) {
        while self.shared.commands.receiver_count() == 0 {
            self.hear("it listens", |heard| matches!(heard, Heard::Listens));
        }
        self.shared.commands.send(command.to_string()).unwrap();
    }

    /// As if it had been restarted.
    pub(super) fn forget(&self) {
        self.shared.knows.store(false, Ordering::SeqCst);
    }
}

async fn register(State(shared): State<Arc<Shared>>, Json(worker): Json<Value>) -> Json<Value> {
    shared.knows.store(true, Ordering::SeqCst);
    let id = worker["worker_id"].clone();
    shared.hear(Heard::Registered(worker));
    Json(json!({"worker_id": id, "heartbeat_ms": 200, "lease_ms": 5000}))
}

async fn heartbeat(State(shared): State<Arc<Shared>>, Json(beat): Json<Value>) -> Json<Value> {
    let registered = shared.knows.load(Ordering::SeqCst);
    shared.hear(Heard::Beat(beat));
    Json(json!({"registered": registered}))
}

async fn control(State(shared): State<Arc<Shared>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let commands = BroadcastStream::new(shared.commands.subscribe());
    shared.hear(Heard::Listens);
    Sse::new(commands.filter_map(Result::ok).map(|command| Ok(Event::default().data(command))))
}

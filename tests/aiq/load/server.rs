//! A bare server that answers as a coordinator does, keeps a log, and misbehaves when told to. So what
//! the load tool reports can be held against what really happened.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

/// How the server behaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Manners {
    /// After so many requests, everything waits for so long, once.
    pub(super) stall: Option<(u64, Duration)>,
    /// Every how many requests something odd is done.
    pub(super) odd_every: u64,
    pub(super) oddity: Oddity,
    /// Most requests that are answered in a second; others wait.
    pub(super) capacity: Option<f64>,
}

/// What is odd about every n-th answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Oddity {
    #[default]
    None,
    QueueFull,
    ForeignError,
    NotJson,
    OtherId,
    FirstIdAgain,
    OtherTask,
    Silence,
    HangUp,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    /// How often each id came.
    pub(super) ids: HashMap<String, u64>,
    pub(super) tasks: HashMap<String, u64>,
    pub(super) acts: Vec<String>,
    count: u64,
    first_id: Option<String>,
    stalled_until: Option<Instant>,
    next_free: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Shared {
    manners: Manners,
    log: Arc<Mutex<Log>>,
}

/// A running server; it ends with the test's process.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: String,
    log: Arc<Mutex<Log>>,
}

impl Server {
    pub(super) fn start(manners: Manners) -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let shared = Shared { manners, log: Arc::clone(&log) };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let app = Router::new()
                    .route("/infer", post(infer))
                    .route("/workers", get(workers))
                    .route("/workers/{worker}/{action}", post(act))
                    .route("/status", get(status))
                    .with_state(shared);
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, app).await.unwrap();
            });
        });
        Self { url, log }
    }

    pub(super) fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }
}

fn answer(id: &str, task: &str) -> Value {
    json!({
        "request_id": id,
        "result": {
            "prediction": "POSITIVE", "confidence": 0.9, "worker_id": "worker-1", "task_type": task,
            "model_info": "none", "scores": {"POSITIVE": 0.9, "NEGATIVE": 0.1}, "degraded": false,
            "model": {"id": "none", "source": "noop"},
        },
        "latency": 0.001, "retry_count": 0, "queue_time": 0.0002, "inference_time": 0.0005, "batch_size": 1,
        "attempts": [{"worker": "worker-1", "outcome": "success", "seconds": 0.0007}],
    })
}

fn problem(status: u16, code: &str) -> Response {
    let body = json!({
        "type": format!("urn:aiq:problem:{code}"), "title": "No", "status": status, "detail": "not now",
        "code": code, "retryable": true,
    });
    let headers = [("content-type", "application/problem+json")];
    (StatusCode::from_u16(status).unwrap(), headers, body.to_string()).into_response()
}

async fn infer(State(shared): State<Shared>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap();
    let (id, task) =
        (request["request_id"].as_str().unwrap().to_owned(), request["task_type"].as_str().unwrap().to_owned());
    let (odd, first_id, wait_until) = {
        let mut log = shared.log.lock().unwrap();
        log.count += 1;
        *log.ids.entry(id.clone()).or_default() += 1;
        *log.tasks.entry(task.clone()).or_default() += 1;
        let first = log.first_id.get_or_insert_with(|| id.clone()).clone();
        if let Some((after, length)) = shared.manners.stall
            && log.count == after
        {
            log.stalled_until = Some(Instant::now() + length);
        }
        let mut wait = log.stalled_until;
        if let Some(capacity) = shared.manners.capacity {
            let at = log.next_free.map_or_else(Instant::now, |t| t.max(Instant::now()));
            log.next_free = Some(at + Duration::from_secs_f64(1.0 / capacity));
            wait = Some(at);
        }
        let every = shared.manners.odd_every;
        (every > 0 && log.count.is_multiple_of(every), first, wait)
    };
    if let Some(until) = wait_until {
        tokio::time::sleep_until(until.into()).await;
    }
    let oddity = if odd { shared.manners.oddity } else { Oddity::None };
    let json = |value: Value| ([("content-type", "application/json")], value.to_string()).into_response();
    match oddity {
        Oddity::None => json(answer(&id, &task)),
        Oddity::QueueFull => problem(429, "queue_full"),
        Oddity::ForeignError => (StatusCode::IM_A_TEAPOT, "short and stout").into_response(),
        Oddity::NotJson => "hello".into_response(),
        Oddity::OtherId => json(answer("somebody-elses", &task)),
        Oddity::FirstIdAgain => json(answer(&first_id, &task)),
        Oddity::OtherTask => {
            let other = if task == "image_classification" { "text_classification" } else { "image_classification" };
            json(answer(&id, other))
        }
        Oddity::Silence => std::future::pending().await,
        Oddity::HangUp => {
            // A body that breaks off: the connection is reset in the middle of the answer.
            let parts = futures_util::stream::iter([
                Ok(Bytes::from_static(b"{\"request_id\":")),
                Err(std::io::Error::other("on purpose")),
            ]);
            axum::body::Body::from_stream(parts).into_response()
        }
    }
}

async fn status() -> Response {
    (StatusCode::NOT_FOUND, "this is no coordinator").into_response()
}

async fn workers() -> Response {
    status().await
}

async fn act(
    State(shared): State<Shared>,
    axum::extract::Path((worker, action)): axum::extract::Path<(String, String)>,
) -> Response {
    shared.log.lock().unwrap().acts.push(format!("{action} {worker}"));
    problem(404, "worker_unknown")
}

//! A worker made for a test: registers, sends heartbeats, holds its control stream, and answers
//! `/infer`, or a work stream, as it is told to. Plain threads and sockets, so that it can break in
//! every way.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{PATIENCE, post, send};

/// What a fake worker does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Conduct {
    /// Answers it.
    Serve,
    /// Holds it until [`Fake::let_go`].
    Hold,
    /// Closes the connection without a word.
    Drop,
    /// Answers with this status and body.
    Say(u16, Value),
}

/// One request as the worker got it.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

#[derive(Debug)]
struct Shared {
    id: String,
    url: String,
    state: Mutex<State>,
    changed: Condvar,
    gone: AtomicBool,
    /// Whether it has a work stream, and how many were opened.
    streams: bool,
    opened: AtomicU64,
    held: AtomicU64,
    /// Requests whose connection the coordinator closed before they were answered.
    abandoned: AtomicU64,
}

#[derive(Debug)]
struct State {
    conduct: Conduct,
    /// Done first, one for each request.
    script: VecDeque<Conduct>,
    life: &'static str,
    got: Vec<Got>,
    let_go: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Fake {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Value>,
    coordinator: String,
}

impl Fake {
    /// A worker that serves `tasks`, registered and sending heartbeats; it knows no work stream.
    pub(crate) fn join(coordinator: &str, id: &str, tasks: &[&str]) -> Self {
        let fake = Self::listen(coordinator, id, false);
        fake.register(tasks);
        fake
    }

    /// The same with a work stream.
    pub(crate) fn join_with_stream(coordinator: &str, id: &str, tasks: &[&str]) -> Self {
        let fake = Self::listen(coordinator, id, true);
        fake.register(tasks);
        fake
    }

    fn listen(coordinator: &str, id: &str, streams: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state =
            State { conduct: Conduct::Serve, script: VecDeque::new(), life: "ready", got: Vec::new(), let_go: false };
        let shared = Arc::new(Shared {
            id: id.to_owned(),
            url,
            state: Mutex::new(state),
            changed: Condvar::new(),
            gone: AtomicBool::new(false),
            streams,
            opened: AtomicU64::new(0),
            held: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.gone.load(Ordering::Acquire) {
                    break;
                }
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || connection(&serving, stream));
            }
        });
        let (_, commands) = mpsc::channel();
        Self { shared, commands, coordinator: coordinator.to_owned() }
    }

    fn register(&self, tasks: &[&str]) {
        let reply = post(&format!("{}/workers", self.coordinator), self.registration(tasks).to_string());
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        assert_eq!(reply.json()["worker_id"], self.shared.id.as_str());
        self.beat(1, tasks);
        let (shared, coordinator) = (Arc::clone(&self.shared), self.coordinator.clone());
        let tasks: Vec<String> = tasks.iter().map(ToString::to_string).collect();
        std::thread::spawn(move || {
            let mut seq = 1;
            while !shared.gone.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(300));
                seq += 1;
                let tasks: Vec<&str> = tasks.iter().map(String::as_str).collect();
                let _ = beat(&shared, &coordinator, seq, &tasks);
            }
        });
    }

    fn beat(&self, seq: u64, tasks: &[&str]) {
        beat(&self.shared, &self.coordinator, seq, tasks).unwrap();
    }

    fn registration(&self, tasks: &[&str]) -> Value {
        json!({
            "worker_id": self.shared.id, "url": self.shared.url, "capabilities": capabilities(tasks), "capacity": 64,
            "state": "ready", "version": "test", "fault_injection": true,
        })
    }

    /// Opens the control stream; commands then come with [`Self::command`].
    pub(crate) fn open_control(&mut self) {
        let (sender, commands) = mpsc::channel();
        let url = format!("{}/workers/{}/control", self.coordinator, self.shared.id);
        let (opened, ready) = mpsc::channel();
        std::thread::spawn(move || {
            let address = url.strip_prefix("http://").unwrap();
            let (host, path) = address.split_once('/').unwrap();
            let mut stream = TcpStream::connect(host).unwrap();
            write!(stream, "GET /{path} HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if line.starts_with(':') {
                    let _ = opened.send(());
                } else if let Some(data) = line.strip_prefix("data: ")
                    && sender.send(serde_json::from_str(data).unwrap()).is_err()
                {
                    return;
                }
            }
        });
        ready.recv_timeout(PATIENCE).unwrap();
        self.commands = commands;
    }

    /// The next command on the control stream.
    pub(crate) fn command(&self) -> Value {
        self.commands.recv_timeout(PATIENCE).unwrap()
    }

    /// What it does with requests from now on.
    pub(crate) fn conduct(&self, conduct: Conduct) {
        self.shared.state.lock().unwrap().conduct = conduct;
    }

    /// What it does with the next requests, before that.
    pub(crate) fn script(&self, conducts: impl IntoIterator<Item = Conduct>) {
        self.shared.state.lock().unwrap().script.extend(conducts);
    }

    /// Drops what is left of the script.
    pub(crate) fn forget_script(&self) {
        self.shared.state.lock().unwrap().script.clear();
    }

    /// Where its serving process is in its life, as it says with its next heartbeat.
    pub(crate) fn live(&self, state: &'static str) {
        self.shared.state.lock().unwrap().life = state;
    }

    /// Answers what it holds.
    pub(crate) fn let_go(&self) {
        self.shared.state.lock().unwrap().let_go = true;
        self.shared.changed.notify_all();
    }

    /// What it got so far.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.shared.state.lock().unwrap().got.clone()
    }

    /// How many requests it holds.
    pub(crate) fn held(&self) -> u64 {
        self.shared.held.load(Ordering::Acquire)
    }

    /// How many work streams were opened to it.
    pub(crate) fn streams_opened(&self) -> u64 {
        self.shared.opened.load(Ordering::Acquire)
    }

    /// How many held requests the coordinator gave up.
    pub(crate) fn abandoned(&self) -> u64 {
        self.shared.abandoned.load(Ordering::Acquire)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::Release);
        self.let_go();
    }
}

fn capabilities(tasks: &[&str]) -> Value {
    let one = |task: &&str| {
        json!({"task": task, "model_info": "Fake", "model": {"id": "fake", "source": "noop"}, "degraded": false,
               "specialised": true, "state": {"state": "ready"}})
    };
    tasks.iter().map(one).collect()
}

fn beat(shared: &Shared, coordinator: &str, seq: u64, tasks: &[&str]) -> Result<(), ureq::Error> {
    let life = shared.state.lock().unwrap().life;
    let body = json!({
        "seq": seq, "state": life, "report_age_ms": 0, "in_flight": [], "queue_depth": 0, "progress": seq,
        "service_times": [], "mean_batch_size": 1.0, "capabilities": capabilities(tasks), "restarts": 0,
        "rss_bytes": 0, "faults": {}, "fault_injection": true,
    });
    let url = format!("{coordinator}/workers/{}/heartbeat", shared.id);
    send("POST", &url, &[("content-type", "application/json")], body.to_string().as_bytes()).map(drop)
}

fn connection(shared: &Shared, stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some((line, got)) = read_request(&mut reader) {
        if line.starts_with("GET /health") {
            respond(&mut stream, 200, &health(shared));
            continue;
        }
        if line.starts_with("GET /infer/stream") {
            if shared.streams {
                return frames(shared, reader, stream);
            }
            respond(&mut stream, 404, &json!({"code": "not_found"}));
            continue;
        }
        let conduct = {
            let mut state = shared.state.lock().unwrap();
            state.got.push(got.clone());
            state.script.pop_front().unwrap_or_else(|| state.conduct.clone())
        };
        match conduct {
            Conduct::Drop => return,
            Conduct::Say(status, body) => respond(&mut stream, status, &body),
            Conduct::Hold => {
                if !hold(shared, &stream) {
                    return;
                }
                respond(&mut stream, 200, &result(shared, &got));
            }
            Conduct::Serve => respond(&mut stream, 200, &result(shared, &got)),
        }
    }
}

/// A work stream, one frame after the other: length, kind, number, and the rest. What is held is
/// answered once it is let go and the next frame has come.
fn frames(shared: &Shared, mut reader: BufReader<TcpStream>, mut stream: TcpStream) {
    stream.write_all(b"HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: aiq-work/1\r\n\r\n").unwrap();
    shared.opened.fetch_add(1, Ordering::AcqRel);
    let mut held: Vec<(u64, Got)> = Vec::new();
    let mut head = [0; 13];
    while reader.read_exact(&mut head).is_ok() {
        let length = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        let number = u64::from_be_bytes(head[5..].try_into().unwrap());
        let mut rest = vec![0; length - 9];
        reader.read_exact(&mut rest).unwrap();
        if head[4] == 2 {
            held.retain(|(n, _)| *n != number);
            shared.held.store(held.len() as u64, Ordering::Release);
            shared.abandoned.fetch_add(1, Ordering::AcqRel);
            continue;
        }
        let (budget, priority) = (u32::from_be_bytes(rest[..4].try_into().unwrap()), rest[4]);
        let body_at = 6 + rest[5] as usize;
        let headers = vec![
            ("x-request-id".to_owned(), String::from_utf8(rest[6..body_at].to_vec()).unwrap()),
            ("x-aiq-deadline-ms".to_owned(), budget.to_string()),
            ("x-aiq-priority".to_owned(), ["high", "normal", "low"][priority as usize].to_owned()),
        ];
        let got = Got { headers, body: rest[body_at..].to_vec() };
        let (conduct, let_go) = {
            let mut state = shared.state.lock().unwrap();
            state.got.push(got.clone());
            (state.script.pop_front().unwrap_or_else(|| state.conduct.clone()), state.let_go)
        };
        match conduct {
            Conduct::Drop => return,
            Conduct::Say(_, problem) => frame(&mut stream, 4, number, problem.to_string().as_bytes()),
            Conduct::Hold => held.push((number, got)),
            Conduct::Serve => answer_frame(shared, &mut stream, number, &got),
        }
        if let_go {
            held.drain(..).for_each(|(number, got)| answer_frame(shared, &mut stream, number, &got));
        }
        shared.held.store(held.len() as u64, Ordering::Release);
    }
}

fn answer_frame(shared: &Shared, stream: &mut TcpStream, number: u64, got: &Got) {
    let (queued, computed, batch) = (0.001_f64.to_be_bytes(), 0.002_f64.to_be_bytes(), 1_u32.to_be_bytes());
    let result = result(shared, got)["result"].to_string();
    frame(stream, 3, number, &[&queued[..], &computed, &batch, result.as_bytes()].concat());
}

fn frame(stream: &mut TcpStream, kind: u8, number: u64, rest: &[u8]) {
    let length = (9 + rest.len()) as u32;
    let bytes = [&length.to_be_bytes()[..], &[kind], &number.to_be_bytes(), rest].concat();
    let _ = stream.write_all(&bytes);
}

/// Waits until it is let go; false where the coordinator closed the connection first.
fn hold(shared: &Shared, stream: &TcpStream) -> bool {
    shared.held.fetch_add(1, Ordering::AcqRel);
    let mut kept = true;
    stream.set_nonblocking(true).unwrap();
    let mut state = shared.state.lock().unwrap();
    while !state.let_go && kept {
        state = shared.changed.wait_timeout(state, Duration::from_millis(10)).unwrap().0;
        let mut byte = [0];
        kept = !matches!(stream.peek(&mut byte), Ok(0));
    }
    stream.set_nonblocking(false).unwrap();
    shared.held.fetch_sub(1, Ordering::AcqRel);
    if !kept {
        shared.abandoned.fetch_add(1, Ordering::AcqRel);
    }
    kept
}

fn health(shared: &Shared) -> Value {
    json!({
        "status": "ok", "worker_id": shared.id, "state": "ready", "degraded": false,
        "capabilities": capabilities(&["text_classification"]), "capacity": 8, "in_flight": 0, "queue_depth": 0,
        "progress": 0, "completed": 0, "failed": 0, "mean_batch_size": 0.0, "service_times": [], "faults": {},
        "fault_injection": false, "uptime": 1.0, "version": "test",
    })
}

fn result(shared: &Shared, got: &Got) -> Value {
    let request: Value = serde_json::from_slice(&got.body).unwrap();
    json!({
        "request_id": got.header("x-request-id"),
        "result": {"prediction": "POSITIVE", "confidence": 0.9, "worker_id": shared.id,
                   "task_type": request["task_type"], "model_info": "Fake", "scores": {"POSITIVE": 0.9, "NEGATIVE": 0.1},
                   "model": {"id": "fake", "source": "noop"}},
        "latency": 99.0, "retry_count": 99, "queue_time": 0.001, "inference_time": 0.002, "batch_size": 1,
    })
}

fn respond(stream: &mut TcpStream, status: u16, body: &Value) {
    let body = body.to_string();
    let kind = if status == 200 { "application/json" } else { "application/problem+json" };
    let head = format!("HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, Got)> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(n, _)| n == "content-length").map_or(0, |(_, v)| v.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((line, Got { headers, body }))
}

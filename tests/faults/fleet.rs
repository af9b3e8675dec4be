//! A fleet whose every process a test can break, and the coordinator's account of it.

use std::io::{BufRead, BufReader};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{Process, eventually, get, send};

/// A model that takes 20 ms a request, asleep: what is measured is the fleet, not how fast this machine
/// computes and how busy it is. Faults may be set later.
pub(crate) const STEADY: &[&str] = &["--models", "noop:20ms", "--max-batch", "1", "--slow-factor", "1"];

/// With this many seconds of network before each request, so that every worker holds some at any time.
pub(crate) const fn distant(seconds: &'static str) -> [&'static str; 10] {
    [
        "--models",
        "noop:1ms",
        "--crash-probability",
        "0",
        "--timeout-probability",
        "0",
        "--network-delay-min",
        seconds,
        "--network-delay-max",
        seconds,
    ]
}

/// A twentieth of a second of it.
pub(crate) const DISTANT: &[&str] = &distant("0.05");

/// The real models of the binary.
pub(crate) const REAL: &[&str] = &["--models", "embedded", "--threads", "1"];

/// A coordinator and its workers, `worker-1` first.
pub(crate) struct Fleet {
    pub(crate) coordinator: Process,
    pub(crate) workers: Vec<Process>,
}

impl Fleet {
    /// So many workers that can do everything, each with these flags.
    pub(crate) fn start(workers: usize, flags: &[&str]) -> Self {
        let mut fleet =
            Self { coordinator: Process::serve(&["serve-coordinator", "--port", "0"]), workers: Vec::new() };
        for n in 1..=workers {
            let worker = fleet.worker_process(n, flags);
            fleet.workers.push(worker);
        }
        fleet.all_serve();
        fleet
    }

    /// A process for `worker-n`.
    pub(crate) fn worker_process(&self, n: usize, flags: &[&str]) -> Process {
        let id = format!("worker-{n}");
        let url = &self.coordinator.url;
        let args = ["serve-worker", "--port", "0", "--id", &id, "--speciality", "all", "--coordinator", url];
        Process::serve(&[&args[..], flags].concat())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.coordinator.url)
    }

    /// Waits until every worker serves.
    pub(crate) fn all_serve(&self) {
        eventually("every worker serves", || (self.queue()["healthy_workers"] == self.workers.len()).then_some(()));
    }

    /// `GET /queue/stats`.
    pub(crate) fn queue(&self) -> Value {
        get(&self.url("/queue/stats")).json()
    }

    /// One of the coordinator's counters.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.queue()["stats"][name].as_u64().unwrap_or_else(|| panic!("no counter {name}"))
    }

    /// Waits until so many requests more than `before` have succeeded: the load is well under way.
    pub(crate) fn wait_for_answers(&self, before: u64, more: u64) {
        eventually("the load is under way", || (self.counter("successful_requests") >= before + more).then_some(()));
    }

    /// What the coordinator knows of `worker-n`.
    pub(crate) fn worker(&self, n: usize) -> Value {
        get(&self.url(&format!("/workers/worker-{n}"))).json()
    }

    /// Sends a signal to the serving process of `worker-n`.
    pub(crate) fn signal_serving(&self, n: usize, signal: Signal) {
        let pid = self.worker(n)["pid"].as_i64().unwrap();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    /// Sets the faults of `worker-n`, and waits until they are in force.
    pub(crate) fn set_faults(&self, n: usize, faults: &Value) {
        self.order_faults(n, faults);
        let health = format!("{}/health", self.workers[n - 1].url);
        eventually("the faults are in force", || {
            let now = get(&health).json()["faults"].clone();
            faults.as_object().unwrap().iter().all(|(name, value)| now[name] == *value).then_some(())
        });
    }

    /// The same without waiting, for a worker that may be gone at once.
    pub(crate) fn order_faults(&self, n: usize, faults: &Value) {
        let json = [("content-type", "application/json")];
        let url = self.url(&format!("/workers/worker-{n}/faults"));
        let reply = send("PUT", &url, &json, faults.to_string().as_bytes()).unwrap();
        assert!(reply.status < 300, "{}", reply.json());
    }

    /// Follows the coordinator's events from now on.
    pub(crate) fn events(&self) -> Events {
        let response = ureq::get(&self.url("/events")).call().unwrap();
        let mut lines = BufReader::new(response.into_body().into_reader()).lines();
        // The stream begins with a snapshot: once that is here, nothing is missed.
        while !lines.next().unwrap().unwrap().starts_with("data:") {}
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(event) = line.strip_prefix("data:").and_then(|d| serde_json::from_str::<Value>(d).ok())
                    && event["event"] != "snapshot"
                {
                    log.lock().unwrap().push(event);
                }
            }
        });
        Events(seen)
    }
}

/// Events so far; the reader ends with the coordinator.
pub(crate) struct Events(Arc<Mutex<Vec<Value>>>);

impl Events {
    /// Those of one kind.
    pub(crate) fn of(&self, kind: &str) -> Vec<Value> {
        self.0.lock().unwrap().iter().filter(|e| e["event"] == kind).cloned().collect()
    }
}

/// Milliseconds since the epoch, as events have them.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Resident memory of a process, MiB.
pub(crate) fn resident_mib(process: &Process) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

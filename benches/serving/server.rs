//! The servers that are compared, as real processes that are gone when they are dropped.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::wrk::{self, Run};

/// What is measured.
pub(crate) enum Kind {
    /// `aiq up` with three workers whose model does nothing.
    Aiq,
    /// HAProxy before three bare servers.
    Haproxy,
    /// One bare server, no hop.
    Bare,
    /// mosec with three workers, in this Python.
    Mosec(String),
}

impl Kind {
    pub(crate) fn all(mosec: Option<&str>, batch: bool) -> Vec<Self> {
        let mut all = if batch { vec![Self::Aiq] } else { vec![Self::Aiq, Self::Haproxy, Self::Bare] };
        all.extend(mosec.map(|python| Self::Mosec(python.to_owned())));
        all
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Aiq => "aiq",
            Self::Haproxy => "haproxy",
            Self::Bare => "bare",
            Self::Mosec(_) => "mosec",
        }
    }
}

/// A running one.
pub(crate) struct Server {
    processes: Vec<Child>,
    port: u16,
    dir: tempfile::TempDir,
}

impl Server {
    /// Starts it and waits for its first right answer; `None` where it can't be had.
    pub(crate) fn start(kind: &Kind, batch: bool) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self { processes: Vec::new(), port: free_port(), dir };
        match kind {
            Kind::Aiq => server.start_fleet(batch),
            Kind::Bare => server.start_bare(server.port),
            Kind::Haproxy => server.start_proxy()?,
            Kind::Mosec(python) => {
                let app = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/serving/mosec_app.py");
                let port = server.port.to_string();
                let args = [app, "--address", "127.0.0.1", "--port", &port, "--log-level", "warning"];
                server.spawn(Command::new(python).args(args).env("BATCH", if batch { "1" } else { "" }))?;
            }
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if answers(server.port) {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Loads it for so many seconds.
    pub(crate) fn load(&self, connections: u32, seconds: u32) -> Run {
        let before = self.cpu();
        let (answers, took, p50, p99, errors) = wrk::run(&self.url(), connections, seconds);
        let cpu = self.cpu() - before;
        Run { rate: answers / took, p50_ms: p50 / 1e3, p99_ms: p99 / 1e3, cpu_us: cpu * 1e6 / answers.max(1.0), errors }
    }

    fn start_fleet(&mut self, batch: bool) {
        let models = if batch { "noop:5ms" } else { "noop" };
        let mut command = Command::new(env!("CARGO_BIN_EXE_aiq"));
        command.args(["up", "--models", models, "--port", "0"]).current_dir(self.dir.path());
        if batch {
            command.env("AIQ_MAX_BATCH", "16");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut fleet = command.spawn().expect("aiq starts");
        let mut lines = BufReader::new(fleet.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        self.processes.push(fleet);
        // What runs where: the coordinator is named before the workers.
        let url = lines.find_map(|line| Some(line.split_once("http://127.0.0.1:")?.1.to_owned()));
        let digits: String = url.expect("it says where it listens").chars().take_while(char::is_ascii_digit).collect();
        self.port = digits.parse().expect("a port");
        // Read on, so that it never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
    }

    fn start_bare(&mut self, port: u16) {
        let myself = std::env::current_exe().expect("this program");
        self.spawn(Command::new(myself).env("BARE_PORT", port.to_string())).expect("the bare server starts");
    }

    fn start_proxy(&mut self) -> Option<()> {
        let mut config = format!(
            "global\n  maxconn 8000\n  nbthread 2\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
             timeout server 60s\n  http-reuse always\nfrontend f\n  bind 127.0.0.1:{} backlog 4096\n  default_backend b\n\
             backend b\n  balance leastconn\n",
            self.port
        );
        for number in 1..=3 {
            let port = free_port();
            self.start_bare(port);
            let _ = writeln!(config, "  server w{number} 127.0.0.1:{port}");
        }
        let file = self.dir.path().join("haproxy.cfg");
        std::fs::write(&file, config).expect("the configuration can be written");
        self.spawn(Command::new("haproxy").arg("-db").arg("-f").arg(file))
    }

    fn spawn(&mut self, command: &mut Command) -> Option<()> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        self.processes.push(child);
        Some(())
    }

    /// Seconds of CPU that all of its processes, and theirs, have used.
    fn cpu(&self) -> f64 {
        let mut open: Vec<u32> = self.processes.iter().map(Child::id).collect();
        let mut ticks = 0.0;
        while let Some(pid) = open.pop() {
            let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
            ticks += fields[11].parse::<f64>().unwrap_or(0.0) + fields[12].parse::<f64>().unwrap_or(0.0);
            for thread in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
                open.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            }
        }
        // The kernel counts in hundredths of a second on every Linux that people run.
        ticks / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let pid = nix::unistd::Pid::from_raw(process.id() as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(8);
        for process in &mut self.processes {
            while Instant::now() < deadline && matches!(process.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// Whether a request gets its answer.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let body = r#"{"task_type":"text_classification","data":"x"}"#;
        let head = "POST /infer HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len())?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        reader.read_to_string(&mut String::new())?;
        Ok(line.contains(" 200"))
    };
    ask().unwrap_or(false)
}

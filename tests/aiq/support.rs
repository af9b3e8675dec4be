//! What the whole-process tests share: real aiq processes that are gone when a test ends, plain HTTP
//! that knows nothing of our types, and waiting for a state with a bound.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything: machines are shared and slow, a hang must still end.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A running aiq process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// Where it listens, for a server.
    pub(crate) url: String,
    /// Its working directory, with its logs.
    pub(crate) dir: TempDir,
}

/// A command of the built binary, in a folder of its own, with none of the caller's settings.
pub(crate) fn aiq(args: &[&str]) -> (Command, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_aiq"));
    command.args(args).current_dir(dir.path()).env_clear().env("HOME", dir.path());
    (command, dir)
}

impl Process {
    /// Starts a server and waits until it says where it listens.
    pub(crate) fn serve(args: &[&str]) -> Self {
        Self::serve_with(args, &[])
    }

    /// The same, with environment variables.
    pub(crate) fn serve_with(args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut process = Self::start_with(args, env);
        process.url = process.line_after("listening on ");
        process
    }

    /// Starts any command; its standard output can be read with [`Self::line_after`].
    pub(crate) fn start_with(args: &[&str], env: &[(&str, &str)]) -> Self {
        let (mut command, dir) = aiq(args);
        command.envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tx, lines) = mpsc::channel();
        // Reads to the end, so that the process never blocks on a full pipe.
        std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(tx.send(line))));
        Self { child, lines, url: String::new(), dir }
    }

    /// Waits for a line that holds `marker`, and returns what stands behind it.
    pub(crate) fn line_after(&self, marker: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no line with \"{marker}\""));
            if let Some((_, rest)) = line.split_once(marker) {
                return rest.trim().to_owned();
            }
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the process ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

/// A request with a body (or none) and headers.
pub(crate) fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply, ureq::Error> {
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build(),
    );
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = agent.run(request.body(body).unwrap())?;
    let (parts, body) = response.into_parts();
    let mut bytes = Vec::new();
    body.into_reader().read_to_end(&mut bytes)?;
    Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body: bytes })
}

pub(crate) fn get(url: &str) -> Reply {
    send("GET", url, &[], &[]).unwrap()
}

/// Posts text as JSON.
pub(crate) fn post(url: &str, json: impl AsRef<str>) -> Reply {
    send("POST", url, &[("content-type", "application/json")], json.as_ref().as_bytes()).unwrap()
}

/// Asks again and again until there is an answer. For states that can only be asked for.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! One process of the fleet: started, listened to, stopped.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Whether the children's messages go to the terminal; a screen over it needs silence.
pub(super) type Voice = Arc<AtomicBool>;

/// A process of the fleet, and how to start it again.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) name: String,
    args: Vec<String>,
    voice: Voice,
    child: Option<Child>,
    started: Instant,
    failures: u32,
}

/// How a process ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was asked to, or had no more to do.
    InOrder,
    /// It died.
    Died(String),
}

impl Process {
    /// First pause before a dead process is started again; it doubles up to [`Self::PAUSE_MAX`].
    const PAUSE_MIN: Duration = Duration::from_millis(200);
    const PAUSE_MAX: Duration = Duration::from_secs(30);
    /// A process that lived this long is taken for sound again.
    const SOUND_AFTER: Duration = Duration::from_secs(30);
    /// Longest line of a child that is passed on.
    const MAX_LINE: usize = 4096;

    pub(super) fn new(name: &str, args: Vec<String>, voice: Voice) -> Self {
        let name = name.to_owned();
        Self { name, args, voice, child: None, started: Instant::now(), failures: 0 }
    }

    /// Starts it. What it prints on standard output is watched for `listening on URL`; the receiver
    /// tells the address. What it prints on standard error is passed on under its name.
    pub(super) fn start(&mut self) -> anyhow::Result<watch::Receiver<Option<String>>> {
        let program = std::env::current_exe().context("can't find the aiq program itself")?;
        let mut command = std::process::Command::new(program);
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        crate::process::tie(&mut command);
        let mut child =
            Command::from(command).kill_on_drop(true).spawn().with_context(|| format!("can't start {}", self.name))?;
        let (tell, listening) = watch::channel(None);
        if let Some(out) = child.stdout.take() {
            tokio::spawn(each_line(out, move |line| {
                if let Some(url) = line.strip_prefix("listening on ") {
                    tell.send_replace(Some(url.to_owned()));
                }
            }));
        }
        if let Some(err) = child.stderr.take() {
            let (name, voice) = (self.name.clone(), Arc::clone(&self.voice));
            tokio::spawn(each_line(err, move |line| {
                if voice.load(Ordering::Relaxed) {
                    eprintln!("{name}: {}", line.strip_prefix("aiq: ").unwrap_or(line));
                }
            }));
        }
        self.started = Instant::now();
        self.child = Some(child);
        Ok(listening)
    }

    /// Waits for its end; for ever where it does not run. Cancel-safe.
    pub(super) async fn ended(&mut self) -> End {
        let Some(child) = &mut self.child else { return std::future::pending().await };
        let status = child.wait().await;
        self.child = None;
        match status {
            Ok(status) if status.success() => End::InOrder,
            Ok(status) => End::Died(describe(status)),
            Err(e) => End::Died(e.to_string()),
        }
    }

    /// How long to wait before it is started again.
    pub(super) fn pause(&mut self) -> Duration {
        self.failures = if self.started.elapsed() > Self::SOUND_AFTER { 0 } else { self.failures.saturating_add(1) };
        Self::PAUSE_MIN.saturating_mul(1 << self.failures.min(10)).min(Self::PAUSE_MAX)
    }

    /// Asks it to stop.
    pub(super) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Makes it stop.
    pub(super) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    pub(super) fn runs(&self) -> bool {
        self.child.is_some()
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.as_ref().and_then(Child::id) {
            // An error means that it is gone, which is what was wanted.
            let _ = kill(Pid::from_raw(pid as i32), signal);
        }
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal().map(Signal::try_from), status.code()) {
        (Some(Ok(signal)), _) => format!("ended by {signal}"),
        (_, Some(code)) => format!("ended with exit code {code}"),
        _ => "ended".to_owned(),
    }
}

async fn each_line(source: impl AsyncRead + Unpin, mut tell: impl FnMut(&str)) {
    let mut reader = BufReader::new(source);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                line.truncate(Process::MAX_LINE);
                tell(String::from_utf8_lossy(&line).trim_end());
            }
        }
    }
}

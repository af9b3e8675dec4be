//! The processes of a fleet as one: started in order, watched, stopped in order.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::watch;

use super::child::{End, Process, Voice};
use crate::cli::{LogLevel, UpArgs};
use crate::client::{Client, ClientConfig, ClientError};
use crate::config::Access;
use crate::protocol::WorkerDetail;

/// A coordinator and its workers.
#[derive(Debug)]
pub(super) struct Fleet {
    args: UpArgs,
    voice: Voice,
    url: String,
    coordinator: Process,
    workers: Vec<Process>,
}

impl Fleet {
    /// While starting, how often the coordinator is asked whether the workers are there. Starting is
    /// a matter of moments and has no stream to wait on yet.
    const ASK_EVERY: Duration = Duration::from_millis(20);

    pub(super) fn new(args: &UpArgs) -> Self {
        let voice: Voice = Arc::new(AtomicBool::new(true));
        let mut flags = shared_flags(args);
        flags.extend(["--port".into(), args.port.to_string()]);
        let flags = std::iter::once("serve-coordinator".to_owned()).chain(flags).collect();
        Self {
            coordinator: Process::new("coordinator", flags, Arc::clone(&voice)),
            args: args.clone(),
            voice,
            url: String::new(),
            workers: Vec::new(),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Starts everything and waits until every worker is ready.
    pub(super) async fn start(&mut self) -> anyhow::Result<Vec<WorkerDetail>> {
        self.check_ports()?;
        let mut listening = self.coordinator.start()?;
        tokio::select! {
            url = address(&mut listening) => self.url = url?,
            end = self.coordinator.ended() => bail!("the coordinator did not start: it {}", reason(end)),
        }
        for n in 1..=self.args.workers {
            let mut worker = Process::new(&format!("worker-{n}"), self.worker_flags(n), Arc::clone(&self.voice));
            worker.start()?;
            self.workers.push(worker);
        }
        let token = Access::for_tool(None, &[])?;
        let client = Client::try_new(&ClientConfig { token, ..ClientConfig::new(self.url.as_str()) })?;
        let everybody = usize::from(self.args.workers);
        tokio::select! {
            workers = all_ready(&client, everybody) => Ok(workers?),
            (name, end) = first_end(&mut self.coordinator, &mut self.workers) => {
                bail!("{name} did not start: it {}", reason(end))
            }
        }
    }

    /// Says which port is taken before anything is started, rather than after half of it is.
    fn check_ports(&self) -> anyhow::Result<()> {
        let first = self.args.port;
        if first == 0 {
            return Ok(());
        }
        let Some(last) = first.checked_add(self.args.workers) else {
            bail!("--port {first} leaves no ports for {} workers; they take the ones after it", self.args.workers);
        };
        let host = self.args.host.unwrap_or(IpAddr::from([127, 0, 0, 1]));
        for port in first..=last {
            if let Err(error) = std::net::TcpListener::bind((host, port)) {
                bail!(
                    "can't listen on {host}:{port} ({error}); the fleet takes ports {first} to {last}, choose others with --port"
                );
            }
        }
        Ok(())
    }

    fn worker_flags(&self, n: u16) -> Vec<String> {
        let args = &self.args;
        let port = if args.port == 0 { 0 } else { args.port.saturating_add(n) };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = args.threads.map_or_else(|| cores.div_ceil(usize::from(args.workers)), usize::from);
        let mut flags = vec!["serve-worker".to_owned()];
        flags.extend(shared_flags(args));
        let pairs = [
            ("--id", format!("worker-{n}")),
            ("--port", port.to_string()),
            ("--coordinator", self.url.clone()),
            ("--models", args.models.clone()),
            ("--threads", threads.to_string()),
        ];
        flags.extend(pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        // One worker alone is meant for everything.
        if args.workers == 1 {
            flags.extend(["--speciality".to_owned(), "all".to_owned()]);
        }
        for (flag, value) in
            [("--precision", args.precision.map(|p| value_name(&p))), ("--device", args.device.map(|d| value_name(&d)))]
        {
            flags.extend(value.into_iter().flat_map(|v| [flag.to_owned(), v]));
        }
        if args.faults {
            flags.push("--faults".to_owned());
        }
        flags
    }

    /// Keeps the fleet running until `stop`: starts again what dies without being told to.
    pub(super) async fn watch(&mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let (name, end) = tokio::select! {
                () = &mut stop => return,
                ended = first_end(&mut self.coordinator, &mut self.workers) => ended,
            };
            if end == End::InOrder && name != "coordinator" {
                self.say(&format!("{name} has stopped; the others go on"));
                continue;
            }
            if end == End::InOrder {
                self.say("the coordinator has stopped; so does the fleet");
                return;
            }
            let process = std::iter::once(&mut self.coordinator).chain(&mut self.workers).find(|p| p.name == name);
            let Some(process) = process else { continue };
            let pause = process.pause();
            let text = format!("{name} {}; starting it again in {:.1} s", reason(end), pause.as_secs_f64());
            if self.voice.load(Ordering::Relaxed) {
                eprintln!("{text}");
            }
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(pause) => {}
            }
            if let Err(error) = process.start() {
                eprintln!("{error:#}");
            }
        }
    }

    /// Stops everything in good order: the coordinator first, which lets the workers finish what it
    /// has accepted. At `hurry` (a second signal) everything is killed.
    pub(super) async fn stop(&mut self, hurry: impl Future<Output = ()>) {
        tokio::pin!(hurry);
        let in_order = async {
            self.coordinator.terminate();
            while self.coordinator.runs() {
                self.coordinator.ended().await;
            }
            for worker in &self.workers {
                worker.terminate();
            }
            for worker in &mut self.workers {
                while worker.runs() {
                    worker.ended().await;
                }
            }
        };
        tokio::select! {
            () = in_order => return,
            () = &mut hurry => {}
        }
        for process in std::iter::once(&mut self.coordinator).chain(&mut self.workers) {
            process.kill();
            while process.runs() {
                process.ended().await;
            }
        }
    }

    /// A screen takes the terminal: the children's messages are in their logs.
    pub(super) fn hush(&self) {
        self.voice.store(false, Ordering::Relaxed);
    }

    /// The terminal is free again.
    pub(super) fn speak(&self) {
        self.voice.store(true, Ordering::Relaxed);
    }

    fn say(&self, text: &str) {
        if self.voice.load(Ordering::Relaxed) {
            eprintln!("{text}");
        }
    }
}

/// Flags that every process of the fleet gets.
fn shared_flags(args: &UpArgs) -> Vec<String> {
    let host = args.host.unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let mut flags = vec!["--host".to_owned(), host.to_string()];
    if let Some(dir) = &args.log.log_dir {
        flags.extend(["--log-dir".to_owned(), dir.display().to_string()]);
    }
    if let Some(level) = args.log.log_level {
        flags.extend(["--log-level".to_owned(), value_name::<LogLevel>(&level)]);
    }
    if let Some(files) = args.log.log_files {
        flags.extend(["--log-files".to_owned(), files.to_string()]);
    }
    if args.insecure {
        flags.push("--insecure".to_owned());
    }
    flags
}

fn value_name<T: clap::ValueEnum>(value: &T) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

fn reason(end: End) -> String {
    match end {
        End::InOrder => "stopped".to_owned(),
        End::Died(how) => how,
    }
}

async fn address(listening: &mut watch::Receiver<Option<String>>) -> anyhow::Result<String> {
    match listening.wait_for(Option::is_some).await {
        Ok(url) => Ok(url.clone().unwrap_or_default()),
        // Its output ended: so has it, and the caller's other branch tells how.
        Err(_) => std::future::pending().await,
    }
}

async fn all_ready(client: &Client, everybody: usize) -> anyhow::Result<Vec<WorkerDetail>> {
    loop {
        match client.workers().await {
            Ok(workers) if workers.iter().filter(|w| w.healthy).count() >= everybody => return Ok(workers),
            Ok(_) | Err(ClientError::Unreachable { .. }) => tokio::time::sleep(Fleet::ASK_EVERY).await,
            Err(other) => return Err(other).context("can't ask the coordinator for its workers"),
        }
    }
}

/// The first process to end, and how. Cancel-safe.
async fn first_end(coordinator: &mut Process, workers: &mut [Process]) -> (String, End) {
    let ends = std::iter::once(coordinator).chain(workers).map(|process| {
        Box::pin(async {
            let end = process.ended().await;
            (process.name.clone(), end)
        })
    });
    futures_util::future::select_all(ends).await.0
}

//! A session: everything around one or more runs against a target. It finds the target, watches and
//! disturbs the fleet, listens for signals, shows progress, and has the report made.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow};
use http::header::HeaderValue;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::engine::{self, Run, Target};
use super::inputs::Inputs;
use super::live::{self, Followed, Scene};
use super::look::Look;
use super::observe::{Identity, Marks, Observer};
use super::progress;
use super::record::Record;
use super::report::{Facts, Host, Report, build, rate};
use super::search::Search;
use super::settings::Settings;
use super::trial::Trial;
use crate::cli::LoadArgs;
use crate::client::{Client, ClientConfig};
use crate::config::{Access, Scope};
use crate::palette::Colour;

/// A target and what is to be done to it.
#[derive(Debug)]
pub(super) struct Session {
    settings: Settings,
    inputs: Arc<Inputs>,
    client: Client,
    target: Target,
    identity: Identity,
    baseline: Option<Report>,
    cancel: CancellationToken,
}

/// A run and what was seen beside it.
struct Ran {
    record: Record,
    marks: Marks,
    started: String,
}

/// How long a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// As planned.
    ToTheEnd,
    /// Until it is plain that it breaks its objectives: a trial whose queue grows would take long to
    /// show what is known already, and the fleet longer to recover.
    WhileThereIsHope,
}

impl Session {
    /// Time between the order to begin and the first request, so that nothing is late at once.
    const HEAD_START: Duration = Duration::from_millis(50);
    /// Longest wait for the fleet to come to rest between trials.
    const REST: Duration = Duration::from_secs(15);
    /// Longest wait for the coordinator to count what was given up.
    const SETTLE: Duration = Duration::from_secs(1);
    /// Files that this process needs beside its connections.
    const OTHER_FILES: u64 = 64;
    /// Queue depths that may wait for the engine.
    const QUEUED: usize = 16;

    /// Finds the target.
    ///
    /// # Errors
    /// Where it can't be reached, or the baseline or the token can't be read.
    pub(super) async fn open(args: &LoadArgs, settings: Settings) -> anyhow::Result<Self> {
        let baseline = match &settings.baseline {
            None => None,
            Some(path) => {
                let text =
                    std::fs::read(path).with_context(|| format!("can't read the baseline {}", path.display()))?;
                let report = serde_json::from_slice::<Report>(&text)
                    .with_context(|| format!("{} is not a report of `aiq load -o json`", path.display()))?;
                Some(report)
            }
        };
        // Killing and reviving workers is an operator's.
        let faults = !args.kill.is_empty() || !args.revive.is_empty();
        let wanted: Vec<Scope> = [Scope::Submit].into_iter().chain(faults.then_some(Scope::Admin)).collect();
        let token = Access::for_tool(args.target.token_file.as_deref(), &wanted)?;
        let client = Client::try_new(&ClientConfig { token: token.clone(), ..ClientConfig::new(&args.target.url) })?;
        let target = target(&client, token.as_deref()).await?;
        let identity = Identity::of(&client).await.with_context(|| {
            format!(
                "no run without a target; `aiq up` starts a fleet on this machine, --url names another ({})",
                client.url()
            )
        })?;
        let inputs = Arc::new(Inputs::try_new(&settings)?);
        raise_file_limit(settings.max_in_flight as u64 + Self::OTHER_FILES);
        Ok(Self { settings, inputs, client, target, identity, baseline, cancel: CancellationToken::new() })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes the run, or the trials, and the report.
    ///
    /// # Errors
    /// Where the engine can't be started or the terminal fails.
    pub(super) async fn run(&self) -> anyhow::Result<Report> {
        let signals = tokio::spawn(end_on_signal(self.cancel.clone()));
        let report = if self.settings.find_max.is_some() { self.search().await } else { self.single().await };
        signals.abort();
        report
    }

    async fn single(&self) -> anyhow::Result<Report> {
        let ran = self.one(&self.settings, Vec::new(), Patience::ToTheEnd).await?;
        Ok(self.report(&self.settings, ran, None).await)
    }

    async fn report(&self, settings: &Settings, ran: Ran, search: Option<Search>) -> Report {
        // What this client gave up a moment ago, the coordinator may not have counted yet.
        let _ = tokio::time::timeout(Self::SETTLE, self.rest()).await;
        let counters = Identity::of(&self.client).await.ok().and_then(|identity| identity.counters());
        build(Facts {
            settings,
            record: ran.record,
            target: self.client.url(),
            identity: &self.identity,
            // Over several trials the sum would be compared with the last one's.
            counters: counters.filter(|_| search.is_none()),
            started: ran.started,
            host: host(),
            interrupted: self.cancel.is_cancelled(),
            marks: ran.marks.all(),
            baseline: self.baseline.as_ref(),
            search,
        })
    }

    /// One run, with its observers and its view.
    async fn one(&self, settings: &Settings, notes: Vec<String>, patience: Patience) -> anyhow::Result<Ran> {
        let (looks, seen) = watch::channel(Look::default());
        let (queued, depths) = mpsc::channel(Self::QUEUED);
        let start = Instant::now() + Self::HEAD_START;
        let zero = start + Duration::from_secs_f64(settings.shape.lead);
        let marks = Marks::default();
        let end = CancellationToken::new();
        let stop = self.cancel.child_token();
        let run = Run {
            settings: Arc::new(settings.clone()),
            inputs: Arc::clone(&self.inputs),
            target: self.target.clone(),
            start,
            cancel: stop.clone(),
            looks,
            queued: depths,
        };
        let observer = Observer {
            client: self.client.clone(),
            zero,
            faults: settings.faults.clone(),
            marks: marks.clone(),
            queued,
        };
        // A target that has no /status may still have workers to kill; if not, the report says so.
        let watched = self.identity.status.is_some() || !settings.faults.is_empty();
        let observing = watched.then(|| tokio::spawn(observer.run()));
        let cutting = (patience == Patience::WhileThereIsHope)
            .then(|| tokio::spawn(cut_when_hopeless(settings.clone(), seen.clone(), stop)));
        let followed = Followed { looks: seen, marks: marks.clone(), cancel: self.cancel.clone(), end: end.clone() };
        let shown = tokio::spawn(self.show(settings, notes, followed));
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let record = engine::make(run).await;
        end.cancel();
        if let Some(cutting) = cutting {
            cutting.abort();
        }
        if let Some(observing) = observing {
            observing.abort();
        }
        shown.await??;
        if !self.cancel.is_cancelled() {
            marks.note_unreached(&settings.faults);
        }
        Ok(Ran { record: record?, marks, started })
    }

    /// The live view, or lines.
    fn show(
        &self,
        settings: &Settings,
        notes: Vec<String>,
        followed: Followed,
    ) -> impl Future<Output = std::io::Result<()>> + Send + 'static {
        let live = settings.live_view && live::possible();
        let title =
            if self.settings.find_max.is_some() { format!("{:>8} ", rate(settings.rate)) } else { String::new() };
        let scene = Scene {
            target: self.client.url().to_owned(),
            what: settings.describe(),
            shape: settings.shape.clone(),
            requests: settings.requests,
            look: Look::default(),
            marks: Vec::new(),
            notes,
            ending: false,
            colour: Colour::of_terminal(settings.theme),
        };
        async move {
            if live {
                live::show(scene, followed).await
            } else {
                progress::lines(followed.looks, title, followed.end).await;
                Ok(())
            }
        }
    }

    /// Trials, until the search is over.
    async fn search(&self) -> anyhow::Result<Report> {
        let range = self.settings.find_max.ok_or_else(|| anyhow!("no range to search"))?;
        let mut search = Search::new(range);
        let mut best: Option<(Settings, Ran)> = None;
        let mut last = None;
        while let Some(rate) = search.next() {
            self.rest().await;
            let settings = self.settings.at_rate(rate);
            let notes = search.trials.iter().map(|t| format!(" {}", t.line())).collect();
            let ran = self.one(&settings, notes, Patience::WhileThereIsHope).await?;
            if self.cancel.is_cancelled() {
                last = Some((settings, ran));
                break;
            }
            let trial = Trial::judge(&settings, &ran.record);
            if !(settings.live_view && live::possible()) {
                eprintln!("{}", trial.line());
            }
            let held = trial.held;
            search.trials.push(trial);
            if held && best.as_ref().is_none_or(|(b, _)| settings.rate >= b.rate) {
                best = Some((settings, ran));
            } else {
                last = Some((settings, ran));
            }
        }
        // The report is of the best trial, or of the one that shows why there is none.
        let answer = search.best;
        let chosen = best.filter(|(s, _)| answer.is_some_and(|rate| (s.rate - rate).abs() < 1e-6 * rate)).or(last);
        let (settings, ran) = chosen.ok_or_else(|| anyhow!("the search ended without a trial"))?;
        Ok(self.report(&settings, ran, Some(search)).await)
    }

    /// Waits until the fleet has nothing left of the trial before.
    async fn rest(&self) {
        if self.identity.status.is_none() {
            return;
        }
        let idle = async {
            loop {
                match self.client.queue_stats().await {
                    Ok(stats) if stats.queue_size + stats.active_tasks > 0 => {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    _ => return,
                }
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(Self::REST, idle) => {}
            () = self.cancel.cancelled() => {}
        }
    }
}

/// Ends a trial that is lost: many are not sent, or half of the answers of the last ten seconds took
/// several times what the objectives allow.
async fn cut_when_hopeless(settings: Settings, mut looks: watch::Receiver<Look>, stop: CancellationToken) {
    const SECONDS: f64 = 2.0;
    const TIMES: f64 = 4.0;
    let allowed = settings.mix.tasks().map(|task| settings.good_within(task)).fold(0.0, f64::max);
    while looks.changed().await.is_ok() {
        let look = looks.borrow_and_update().clone();
        let slow = look.recent[0].is_some_and(|p50| p50 > TIMES * allowed);
        let broken = look.slos.iter().any(|slo| !slo.held);
        if look.at > SECONDS && broken && (slow || look.counts.not_sent > 0) {
            return stop.cancel();
        }
    }
}

async fn target(client: &Client, token: Option<&str>) -> anyhow::Result<Target> {
    let uri: http::Uri = client.url().parse()?;
    let authority = uri.authority().ok_or_else(|| anyhow!("\"{}\" has no host", client.url()))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(80);
    let addresses: Vec<_> =
        tokio::net::lookup_host((host, port)).await.with_context(|| format!("can't find the host {host}"))?.collect();
    // The first that takes a connection; the load then goes to that one alone.
    let mut last = None;
    for address in addresses {
        match tokio::time::timeout(Duration::from_secs(5), tokio::net::TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                return Ok(Target {
                    address,
                    host: HeaderValue::from_str(authority.as_str())?,
                    authorization: token.map(|t| HeaderValue::from_str(&format!("Bearer {t}"))).transpose()?,
                });
            }
            Ok(Err(e)) => last = Some(e.to_string()),
            Err(_) => last = Some("no answer within 5 s".to_owned()),
        }
    }
    Err(anyhow!(
        "can't reach {}: {}; `aiq up` starts a fleet on this machine, --url names another",
        client.url(),
        last.unwrap_or_else(|| "the name has no address".to_owned())
    ))
}

/// Each connection is a file; where the hard limit is lower still, the report says what it cost.
fn raise_file_limit(wanted: u64) {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < wanted
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard);
    }
}

/// The first interrupt ends the run in good order, the second at once.
async fn end_on_signal(cancel: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return;
    };
    for _ in 0..2 {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
        if cancel.is_cancelled() {
            live::leave();
            std::process::exit(130);
        }
        cancel.cancel();
    }
}

fn host() -> Host {
    Host {
        name: std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned()),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
    }
}

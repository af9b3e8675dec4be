//! The supervisor: a worker's small parent process. Starts the serving process, restarts it when it
//! dies, kills and revives it when told to, and speaks for it to the coordinator.
//!
//! It owns the worker's state and its port. It loads no model and answers no request, so that it
//! stays small and alive whatever the serving process does. How the life of that process goes is
//! decided in `life`; talking to the coordinator is `control`'s.

mod child;
mod life;
mod port;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::control::Link;
use super::pipe::{self, Order, Report, Said};
use crate::config::WorkerConfig;
use crate::process::StopSignals;
use crate::protocol::{ControlCommand, FaultSettings, WorkerState};
use crate::telemetry::{self, TaskLog};
use child::{Child, News};
use life::{Life, Start};
use port::Port;

/// What the supervisor knows of its worker, for the coordinator.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Where the serving process is in its life.
    pub(super) state: WorkerState,
    /// Its process id, while there is one.
    pub(super) pid: Option<u32>,
    /// How often it was started again.
    pub(super) restarts: u32,
    /// What it last said.
    pub(super) report: Report,
    /// When it said so, or was started.
    pub(super) reported: Instant,
    /// Faults in force.
    pub(super) faults: FaultSettings,
    /// Grows when the coordinator should know at once.
    pub(super) urgent: u64,
}

/// Runs a worker until it is told to stop.
pub(super) fn run(config: WorkerConfig) -> anyhow::Result<ExitCode> {
    let _log = telemetry::init(&config.log, &format!("{}-supervisor", config.id), TaskLog::None)?;
    // One thread: there is little to do, and the child ends with the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let mut signals = StopSignals::new()?;
        Supervisor::new(config)?.run(&mut signals).await
    });
    runtime.shutdown_background();
    outcome
}

/// Tells a person that something is not as it should be.
pub(super) fn tell(message: &str) {
    tracing::warn!(message, "told");
    eprintln!("aiq: {message}");
}

struct Supervisor {
    config: Arc<WorkerConfig>,
    port: Port,
    life: Life,
    child: Option<Child>,
    served: bool,
    view: watch::Sender<View>,
    commands: mpsc::Receiver<ControlCommand>,
    link: Option<(Link, JoinHandle<()>)>,
}

impl Supervisor {
    fn new(config: WorkerConfig) -> anyhow::Result<Self> {
        let port = Port::take(config.listen)?;
        let config = Arc::new(config);
        let now = Instant::now();
        let view = watch::Sender::new(View {
            state: WorkerState::Starting,
            pid: None,
            restarts: 0,
            report: Report::none(WorkerState::Starting),
            reported: now,
            faults: config.faults.clone(),
            urgent: 0,
        });
        let (send, commands) = mpsc::channel(16);
        let link = Link::try_new(&config, port.address(), view.subscribe(), send)?;
        let link = link.map(|link| (link.clone(), tokio::spawn(link.hold())));
        Ok(Self { config, port, life: Life::new(now), child: None, served: false, view, commands, link })
    }

    async fn run(mut self, signals: &mut StopSignals) -> anyhow::Result<ExitCode> {
        loop {
            let again_at = self.life.again_at();
            tokio::select! {
                () = signals.next() => return Ok(self.stop(signals).await),
                news = next_news(&mut self.child) => self.heard(news)?,
                Some(command) = self.commands.recv() => self.obey(command).await,
                () = at(again_at) => self.start().await,
            }
        }
    }

    /// Starts the serving process.
    async fn start(&mut self) {
        let starts = self.life.starts();
        match Child::start() {
            Ok(mut child) => {
                let order = Order::Start(pipe::Start {
                    listen: self.port.address(),
                    faults: self.view.borrow().faults.clone(),
                    life: starts,
                    draining: self.life.is_draining(),
                });
                // Where it can't be told, it is ending, which is the next news.
                if let Err(error) = child.order(&order).await {
                    tracing::warn!(%error, "the serving process can't be told to start");
                }
                tracing::info!(pid = child.pid, life = starts, "started the serving process");
                self.life.started(Instant::now());
                self.child = Some(child);
                self.publish_new_process();
            }
            Err(error) => {
                let pause = self.life.died(Instant::now());
                tell(&format!("can't start the serving process: {error}; trying again in {}", seconds(pause)));
                self.publish_new_process();
            }
        }
    }

    fn heard(&mut self, news: News) -> anyhow::Result<()> {
        match news {
            News::Said(Said::Report(report)) => self.reported(report),
            News::Said(Said::Failed(reason)) if !self.served => bail!(reason),
            News::Said(Said::Failed(reason)) => tell(&format!("{}: {reason}", self.config.id)),
            News::Ended(how) => {
                self.child = None;
                let pause = self.life.died(Instant::now());
                let id = &self.config.id;
                tell(&format!("the serving process of {id} {how}; starting it again in {}", seconds(pause)));
                self.publish_new_process();
            }
        }
        Ok(())
    }

    fn reported(&mut self, report: Report) {
        // One that was told to drain before its models were there says nothing of them; what it can
        // do then shows that it has them.
        if report.state == WorkerState::Ready || !report.capabilities.is_empty() {
            self.life.ready();
            if !self.served {
                self.served = true;
                // Whoever started us may not care to listen.
                let _ = writeln!(std::io::stdout(), "listening on http://{}", self.port.address());
            }
        }
        let state = self.life.state();
        self.view.send_modify(|view| {
            let learned = view.report.service_times.len() != report.service_times.len();
            if view.state != state || view.report.capabilities != report.capabilities || learned {
                view.urgent += 1;
            }
            view.state = state;
            view.report = report;
            view.reported = Instant::now();
        });
    }

    /// Tells of a process that was started or is gone.
    fn publish_new_process(&self) {
        let (state, pid) = (self.life.state(), self.child.as_ref().map(|child| child.pid));
        self.view.send_modify(|view| {
            // What it could do it will most likely be able to do again.
            let capabilities = std::mem::take(&mut view.report.capabilities);
            view.report = Report { capabilities, ..Report::none(state) };
            view.state = state;
            view.pid = pid;
            view.restarts = self.life.starts().saturating_sub(1);
            view.reported = Instant::now();
            view.urgent += 1;
        });
    }

    async fn obey(&mut self, command: ControlCommand) {
        tracing::info!(?command, "told by the coordinator");
        match command {
            ControlCommand::Kill => {
                if let Some(child) = self.child.take() {
                    child.kill().await;
                }
                self.life.killed();
                self.publish_new_process();
            }
            ControlCommand::Revive => {
                if self.life.revive() == Start::Yes {
                    self.start().await;
                } else {
                    self.order(Order::Resume).await;
                }
            }
            ControlCommand::Drain => self.drain().await,
            ControlCommand::Resume => {
                self.life.resume();
                self.order(Order::Resume).await;
            }
            ControlCommand::SetFaults { faults } => self.set_faults(faults).await,
        }
    }

    async fn drain(&mut self) {
        self.life.drain();
        self.order(Order::Drain).await;
    }

    async fn set_faults(&mut self, faults: FaultSettings) {
        if !self.config.fault_injection {
            tell(
                "the coordinator asked for faults; they are refused, because fault injection was not switched on here (--faults)",
            );
            return;
        }
        if let Err(problem) = faults.validate() {
            tell(&format!("the coordinator asked for faults that make no sense: {}", problem.detail));
            return;
        }
        self.view.send_modify(|view| {
            view.faults = faults.clone();
            view.urgent += 1;
        });
        self.order(Order::SetFaults(faults)).await;
    }

    /// Gives an order to the serving process, where there is one, and tells of the state after it.
    async fn order(&mut self, order: Order) {
        let state = self.life.state();
        self.view.send_modify(|view| {
            view.urgent += u64::from(view.state != state);
            view.state = state;
        });
        if let Some(child) = &mut self.child
            && let Err(error) = child.order(&order).await
        {
            tracing::warn!(%error, ?order, "the serving process does not take an order");
        }
    }

    /// Finishes what is held, leaves the coordinator, ends. A second signal ends it at once.
    async fn stop(mut self, signals: &mut StopSignals) -> ExitCode {
        let drained = tokio::select! {
            drained = tokio::time::timeout(self.config.drain_timeout, self.drained()) => drained.is_ok(),
            () = signals.next() => return ExitCode::FAILURE,
        };
        if !drained {
            let left = self.view.borrow().report.in_flight.len();
            let limit = seconds(self.config.drain_timeout);
            tell(&format!("{left} requests were not finished within {limit} and are given up"));
        }
        let leave = async {
            if let Some((link, holding)) = self.link.take() {
                holding.abort();
                link.leave().await;
            }
            if let Some(child) = &mut self.child {
                // It ends by itself once its connections are closed.
                let _ = child.order(&Order::Stop).await;
                while !matches!(child.news().await, News::Ended(_)) {}
            }
        };
        let patience = WorkerConfig::LEAVE_TIMEOUT + WorkerConfig::STOP_TIMEOUT * 2;
        tokio::select! {
            _ = tokio::time::timeout(patience, leave) => {}
            () = signals.next() => return ExitCode::FAILURE,
        }
        ExitCode::SUCCESS
    }

    /// Drains, and waits until nothing is held. An operator may still end a process that hangs, or its
    /// faults; what would give it new work comes too late.
    async fn drained(&mut self) {
        self.drain().await;
        while self.child.is_some() {
            tokio::select! {
                news = next_news(&mut self.child) => match news {
                    News::Said(Said::Report(report)) => {
                        let done = report.state == WorkerState::Draining && report.in_flight.is_empty();
                        self.reported(report);
                        if done {
                            return;
                        }
                    }
                    News::Said(Said::Failed(_)) => {}
                    News::Ended(_) => self.child = None,
                },
                Some(command) = self.commands.recv() => match command {
                    ControlCommand::Kill | ControlCommand::SetFaults { .. } => self.obey(command).await,
                    ControlCommand::Revive | ControlCommand::Drain | ControlCommand::Resume => {}
                },
            }
        }
    }
}

async fn next_news(child: &mut Option<Child>) -> News {
    match child {
        Some(child) => child.news().await,
        None => std::future::pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

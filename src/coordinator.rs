//! The coordinator: takes requests in, has the scheduler decide, and carries out what it decides.
//!
//! [`core`] owns the scheduler and the requests in flight; [`membership`] and [`health`] know the
//! workers; [`dispatch`] is the way to them; [`store`] keeps outcomes; [`events`] and [`metrics`] tell
//! what happens; [`api`] is the HTTP side. This file wires them up and runs them to their end.

mod api;
mod app;
mod core;
mod dispatch;
mod events;
mod health;
mod membership;
mod metrics;
mod store;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::app::App;
use self::core::Core;
use self::events::Events;
use self::store::{Bounds, Memory};
use crate::cli::CoordinatorArgs;
use crate::config::CoordinatorConfig;
use crate::protocol::RunState;
use crate::telemetry::{self, TaskLog};

/// Connections get this long to end after the last answer.
const CLOSE_TIME: Duration = Duration::from_secs(2);

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(CoordinatorConfig::BACKLOG)
}

/// Runs it to its end.
///
/// # Errors
/// What it could not do, for a person.
pub async fn run(args: CoordinatorArgs) -> anyhow::Result<ExitCode> {
    let config = Arc::new(CoordinatorConfig::load(args)?);
    let _log = telemetry::init(&config.log, "coordinator", TaskLog::Written)?;
    let mut signals = Signals::new()?;
    let listener = bind(config.listen).with_context(|| format!("can't listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    let app = assemble(&config);
    let core = &app.core;
    tokio::spawn(Arc::clone(core).run_timer());
    tokio::spawn(Arc::clone(core).run_inbox());
    tokio::spawn(Arc::clone(&app).run_snapshots());
    tokio::spawn(health::run(Arc::clone(core)));
    for url in &config.static_workers {
        tokio::spawn(health::introduce(Arc::clone(core), url.clone()));
    }
    core.set_run_state(RunState::Ready);
    let stop = CancellationToken::new();
    let server = tokio::spawn(api::server::serve(listener, Arc::clone(&app), stop.clone()));
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), open = config.access.is_open(), "listening");
    announce(&format!("listening on http://{address}"));

    signals.next().await;
    tracing::info!(live = core.live(), "shutting down");
    let ended = tokio::select! {
        ended = wind_down(&app, stop, server) => ended,
        () = signals.next() => {
            tracing::warn!(live = core.live(), "told twice; ending at once");
            return Ok(ExitCode::FAILURE);
        }
    };
    tracing::info!(unanswered = ended, "ended");
    Ok(ExitCode::SUCCESS)
}

fn assemble(config: &Arc<CoordinatorConfig>) -> Arc<App> {
    let events = Arc::new(Events::new());
    let store =
        Memory::new(Bounds { count: config.result_capacity, bytes: config.result_bytes, ttl: config.result_ttl });
    let core = Core::new(Arc::clone(config), Arc::clone(&events), Arc::new(store));
    let (refused, closing) = (metrics::Refused::default(), CancellationToken::new());
    let room = api::Room::new(config.scheduler.queue_bytes);
    Arc::new(App { core, events, config: Arc::clone(config), refused, room, closing })
}

/// Refuses what is new, finishes what runs within its time, closes connections. Returns how many
/// requests were left unanswered.
async fn wind_down(app: &App, stop: CancellationToken, server: tokio::task::JoinHandle<()>) -> usize {
    app.core.set_run_state(RunState::Draining);
    let _ = tokio::time::timeout(app.config.drain_timeout, app.core.all_answered()).await;
    let unanswered = app.core.live();
    stop.cancel();
    app.closing.cancel();
    let _ = tokio::time::timeout(CLOSE_TIME, server).await;
    unanswered
}

/// The one line on standard output, for whoever started this with port 0. Nobody reading it is no
/// reason not to serve.
fn announce(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// SIGTERM and SIGINT: each of them means stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

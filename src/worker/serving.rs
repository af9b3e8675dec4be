//! The serving process: the supervisor's child. Loads models, listens, and tells the supervisor how
//! it is.
//!
//! Owns the process's threads and its end of the pipe. It never restarts anything and knows no
//! coordinator. When the supervisor is gone, so is this process.

use std::io::{BufRead, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::api;
use super::backend::{Backend, Models};
use super::core::{Core, Draining};
use super::faults::Faults;
use super::pipe::{self, Order, Said, Start};
use crate::config::WorkerConfig;
use crate::telemetry::{self, TaskLog};

/// Serves until the supervisor says stop, or is gone.
pub(super) fn run(config: WorkerConfig) -> ExitCode {
    let outcome = prepare_and_serve(config);
    if let Err(error) = &outcome {
        tracing::error!(error = format!("{error:#}"), "the serving process can't go on");
        // The supervisor tells the person; two voices would only confuse.
        if let Ok(line) = pipe::line(&Said::Failed(format!("{error:#}"))) {
            let _ = std::io::stdout().write_all(&line);
        }
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn prepare_and_serve(config: WorkerConfig) -> anyhow::Result<()> {
    // SIGKILL, so that even a stopped process ends with its supervisor.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .context("can't ask for a signal on the supervisor's death")?;
    let mut stdin = std::io::stdin().lock();
    let first = next_order(&mut stdin).context("this process is started by a worker's supervisor; run serve-worker")?;
    drop(stdin);
    let Some(Order::Start(start)) = first else { return Ok(()) };
    let _log = telemetry::init(&config.log, config.id.as_str(), TaskLog::None)?;
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(%panic, "a panic");
        eprintln!("aiq: a panic, which is a bug: {panic}");
    }));
    // One thread moves bytes, the models have their own. With a second one every request would wake both in turn.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(WorkerConfig::prepare_threads() + 2)
        .enable_all()
        .build()?;
    let loading = config.clone();
    let outcome = runtime.block_on(serve(config, start, move || Models::load(&loading)));
    // Not waited for: what still runs then is of no use to anyone.
    runtime.shutdown_background();
    outcome
}

async fn serve<B: Backend>(
    config: WorkerConfig,
    start: Start,
    load: impl FnOnce() -> anyhow::Result<B> + Send + 'static,
) -> anyhow::Result<()> {
    let listener = api::bind(start.listen).with_context(|| format!("can't listen on {}", start.listen))?;
    let core = Arc::new(Core::new(config, Faults::new(start.faults, start.life)));
    core.set_draining(if start.draining { Draining::Yes } else { Draining::No });
    let server = api::Server::start(listener, Arc::clone(&core));
    let mut orders = read_orders()?;
    let loading = tokio::task::spawn_blocking({
        let core = Arc::clone(&core);
        move || core.ready(load()?).context("can't start the inference thread")
    });
    tokio::pin!(loading);
    let mut loaded = false;
    let mut clock = tokio::time::interval(WorkerConfig::REPORT_INTERVAL);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stdout = tokio::io::stdout();
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            () = core.changed.notified() => {}
            outcome = &mut loading, if !loaded => {
                outcome.context("loading the models ended in a panic")??;
                loaded = true;
            }
            order = orders.recv() => match order {
                Some(Order::Drain) => core.set_draining(Draining::Yes),
                Some(Order::Resume) => core.set_draining(Draining::No),
                Some(Order::SetFaults(faults)) => core.faults.set(faults),
                Some(Order::Start(_)) => tracing::warn!("told to start twice"),
                Some(Order::Stop) | None => break,
            },
        }
        stdout.write_all(&pipe::line(&Said::Report(core.report()))?).await?;
        stdout.flush().await?;
    }
    server.stop(WorkerConfig::STOP_TIMEOUT).await;
    Ok(())
}

/// Reads orders on a thread of its own, so that the supervisor's end is noticed whatever the rest of
/// this process does.
fn read_orders() -> anyhow::Result<mpsc::Receiver<Order>> {
    let (tell, orders) = mpsc::channel(16);
    let read = move || {
        let mut stdin = std::io::stdin().lock();
        while let Ok(Some(order)) = next_order(&mut stdin) {
            if tell.blocking_send(order).is_err() {
                return;
            }
        }
        // The pipe ended without a stop: the supervisor is gone.
        drop(tell);
        std::thread::sleep(WorkerConfig::STOP_TIMEOUT);
        std::process::exit(1);
    };
    std::thread::Builder::new().name("orders".to_owned()).spawn(read).context("can't start a thread")?;
    Ok(orders)
}

fn next_order(source: &mut impl BufRead) -> Result<Option<Order>, pipe::PipeError> {
    let mut line = Vec::new();
    source.take(pipe::MAX_LINE as u64).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

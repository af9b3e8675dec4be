//! `aiq up`: a whole fleet on this machine in one command.
//!
//! Starts a coordinator and its workers as real processes, waits until they serve, says what runs
//! where, passes signals on and leaves no process behind. What a crashed worker needs is done by its
//! own supervisor; this module restarts only a whole process that died without being told to.

mod child;
mod fleet;
mod report;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::cli::{Theme, UpArgs};
use crate::monitor;
use crate::process::StopSignals;
use fleet::Fleet;

/// Loading the small models takes well under a second; a slow disk or a busy machine gets this long.
const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// Runs a fleet until it is told to stop.
///
/// # Errors
/// What kept the fleet from starting.
pub async fn run(args: UpArgs) -> anyhow::Result<ExitCode> {
    let mut signals = StopSignals::new()?;
    let started = Instant::now();
    let mut fleet = Fleet::new(&args);
    let ready = tokio::select! {
        ready = tokio::time::timeout(READY_TIMEOUT, fleet.start()) => {
            ready.unwrap_or_else(|_| Err(anyhow::anyhow!("the fleet was not ready after {} s; see the logs", READY_TIMEOUT.as_secs())))
        }
        () = signals.next() => Err(anyhow::anyhow!("interrupted while starting")),
    };
    let workers = match ready {
        Ok(workers) => workers,
        Err(error) => {
            fleet.stop(signals.next()).await;
            return Err(error);
        }
    };
    let text = report::ready(&args, fleet.url(), &workers, started.elapsed());
    if args.monitor {
        watch_on_screen(&mut fleet, args.theme, &mut signals).await?;
    } else {
        std::io::stdout().write_all(text.as_bytes()).context("can't print what runs where")?;
        fleet.watch(signals.next()).await;
    }
    eprintln!("stopping the fleet …");
    fleet.stop(signals.next()).await;
    Ok(ExitCode::SUCCESS)
}

/// Opens the dashboard over the running fleet. Where the person quits it and lets the fleet run on,
/// it runs until a signal.
async fn watch_on_screen(fleet: &mut Fleet, theme: Theme, signals: &mut StopSignals) -> anyhow::Result<()> {
    fleet.hush();
    let url = fleet.url().to_owned();
    let left = {
        let screen = monitor::over_own_fleet(&url, theme);
        tokio::pin!(screen);
        tokio::select! {
            left = &mut screen => left?,
            () = fleet.watch(std::future::pending()) => monitor::Left::StopFleet,
        }
    };
    fleet.speak();
    if left == monitor::Left::KeepFleet {
        eprintln!("the fleet runs on at {url}; Ctrl-C stops it");
        fleet.watch(signals.next()).await;
    }
    Ok(())
}

//! `aiq load`: a load generator that tells the truth.
//!
//! Reading order: [`settings`] is what was asked for, `schedule` the pure iterator of arrivals that
//! comes of it, `engine` what sends them and judges the answers, `record` what is written down,
//! `report` what is printed. `observe` asks the coordinator and carries out faults, `search` is
//! `--find-max`, `live` the screen.
//!
//! It knows the coordinator only through `client` and `protocol`. It does not start a fleet, and it
//! never retries: a request that fails has failed.

mod compare;
mod draws;
mod engine;
mod hist;
mod inputs;
mod live;
mod look;
mod mix;
mod observe;
mod outcome;
mod plan;
mod progress;
mod record;
mod report;
mod schedule;
#[cfg(test)]
mod schema;
mod search;
mod session;
mod settings;
mod slo;
mod trial;
mod verdict;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

pub use report::Report;

use crate::cli::{LoadArgs, LoadOutput};
use inputs::Inputs;
use session::Session;
use settings::Settings;

/// Status of a run whose flags are wrong, as clap has it.
const USAGE: u8 = 2;

/// Runs it to its end.
///
/// # Errors
/// What it could not do, for a person.
pub async fn run(args: LoadArgs) -> anyhow::Result<ExitCode> {
    let settings = match Settings::try_new(&args) {
        Ok(settings) => settings,
        Err(error) => {
            writeln!(std::io::stderr(), "error: {error}\n\nFor more information, try 'aiq load --help'.")?;
            return Ok(ExitCode::from(USAGE));
        }
    };
    if settings.plan {
        let inputs = Inputs::try_new(&settings)?;
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        plan::write(&mut out, &settings, &inputs)?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let session = Session::open(&args, settings).await?;
    let report = session.run().await?;
    publish(session.settings(), &report)?;
    Ok(ExitCode::from(report.status()))
}

/// Writes the report where it was asked for.
fn publish(settings: &Settings, report: &Report) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let Some(path) = &settings.output_file else {
        out.write_all(report.write(settings.output)?.as_bytes())?;
        return Ok(());
    };
    std::fs::write(path, report.write(settings.output)?).with_context(|| format!("can't write {}", path.display()))?;
    out.write_all(report.write(LoadOutput::Text)?.as_bytes())?;
    Ok(())
}

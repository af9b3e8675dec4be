//! `aiq health`: whether a coordinator or a worker is ready, as an exit code. For container health
//! checks and scripts, where no curl is at hand.

use std::io::Write;
use std::process::ExitCode;

use http::{Method, StatusCode};

use crate::cli::HealthArgs;
use crate::client::{Client, ClientConfig};
use crate::protocol::{Problem, routes};

/// Asks once: 0 where it is ready, 1 where it is not, with the reason.
///
/// # Errors
/// Where nobody answers.
pub async fn run(args: HealthArgs) -> anyhow::Result<ExitCode> {
    let config = ClientConfig { timeout: args.timeout.0, ..ClientConfig::new(args.who.unwrap_or(args.url)) };
    let client = Client::try_new(&config)?;
    let mut answer = client.send(Method::GET, routes::READYZ, None).await?;
    // Whoever speaks the base contract alone has no such route, and says how it is under another.
    if answer.status == StatusCode::NOT_FOUND {
        answer = client.send(Method::GET, routes::HEALTH, None).await?;
    }
    if answer.status.is_success() {
        writeln!(std::io::stdout(), "ready")?;
        return Ok(ExitCode::SUCCESS);
    }
    let problem = serde_json::from_slice::<Problem>(&answer.body).map(|p| p.detail);
    let reason = problem.unwrap_or_else(|_| format!("status {}", answer.status));
    writeln!(std::io::stdout(), "not ready: {reason}")?;
    Ok(ExitCode::FAILURE)
}

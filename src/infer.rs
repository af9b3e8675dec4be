//! `aiq infer`: one request from the command line, its answer printed for a person or as JSON.

mod answer;
mod input;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::InferArgs;
use crate::client::{Client, ClientConfig, ClientError};
use crate::config::{Access, Scope, Span};
use crate::protocol::InferRequest;

/// Sends one request.
///
/// # Errors
/// What the input lacks, or why there is no answer.
pub async fn run(args: InferArgs) -> anyhow::Result<ExitCode> {
    let mut request = input::request(&args.task)?;
    request.options.top_k = Some(args.top_k);
    request.priority = Some(args.priority);
    request.timeout_ms = Some(budget_ms(args.timeout)?);
    request.validate()?;
    let client = Client::try_new(&ClientConfig {
        url: args.target.url.clone(),
        token: Access::for_tool(args.target.token_file.as_deref(), &[Scope::Submit])?,
        // The coordinator keeps the budget; this only ends a wait for one that does not answer.
        timeout: args.timeout.0 + Duration::from_secs(5),
    })?;
    let mut out = std::io::stdout().lock();
    match client.infer(&request).await {
        Ok(response) if args.json => writeln!(out, "{}", serde_json::to_string_pretty(&response)?)?,
        Ok(response) => {
            let text = answer::text(&response, answer::Bars::for_terminal(out.is_terminal()));
            out.write_all(text.as_bytes())?;
        }
        Err(ClientError::Problem(problem)) if args.json => {
            writeln!(out, "{}", serde_json::to_string_pretty(&problem)?)?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error @ ClientError::Unreachable { .. }) => {
            return Err(anyhow::Error::new(error)
                .context("no fleet answers; start one with `aiq up`, or name another with --url"));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn budget_ms(timeout: Span) -> anyhow::Result<u64> {
    let (ms, most) = (timeout.0.as_millis() as u64, InferRequest::MAX_TIMEOUT_MS);
    let right = || format!("--timeout is {timeout}; it must be 1ms to {}", Span(Duration::from_millis(most)));
    (1..=most).contains(&ms).then_some(ms).with_context(right)
}

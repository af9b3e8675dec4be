//! `aiq health`.

use clap::Args;

use crate::config::Span;

/// Flags of `aiq health`.
#[derive(Clone, Debug, Args)]
pub struct HealthArgs {
    /// A coordinator or a worker; wins over --url
    #[arg(value_name = "URL")]
    pub who: Option<String>,
    /// A coordinator or a worker
    #[arg(long, env = "AIQ_URL", default_value = "http://127.0.0.1:8000", value_name = "URL")]
    pub url: String,
    /// How long to wait for the answer
    #[arg(long, default_value = "3s", value_name = "TIME")]
    pub timeout: Span,
}

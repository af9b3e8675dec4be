//! `aiq serve-coordinator`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::{LogArgs, TokenArgs};
use crate::config::Span;

/// Flags of the coordinator; in the file, the section `[coordinator]`.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CoordinatorArgs {
    /// Configuration file (TOML)
    #[arg(long, env = "AIQ_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, env = "AIQ_HOST", value_name = "IP")]
    pub host: Option<IpAddr>,
    /// Port to listen on; 0 takes a free one and prints it [default: 8000]
    #[arg(short, long, env = "AIQ_PORT", value_name = "PORT")]
    pub port: Option<u16>,
    /// A worker that does not register itself (may be given several times)
    #[arg(long = "worker", env = "AIQ_WORKERS", value_name = "URL", value_delimiter = ',')]
    #[serde(rename = "workers")]
    pub workers: Vec<String>,
    /// Most requests that wait [default: 10000]
    #[arg(long, env = "AIQ_QUEUE_CAPACITY", value_name = "N")]
    pub queue_capacity: Option<u32>,
    /// Most bytes of waiting requests, MiB [default: 256]
    #[arg(long, env = "AIQ_QUEUE_MIB", value_name = "MIB")]
    pub queue_mib: Option<u32>,
    /// Time budget of a request that names none [default: 30s]
    #[arg(long, env = "AIQ_REQUEST_TIMEOUT", value_name = "TIME")]
    pub request_timeout: Option<Span>,
    /// Attempts after the first that fails [default: 3]
    #[arg(long, env = "AIQ_MAX_RETRIES", value_name = "N")]
    pub max_retries: Option<u32>,
    /// How long the result of an async request is kept [default: 24h]
    #[arg(long, env = "AIQ_RESULT_TTL", value_name = "TIME")]
    pub result_ttl: Option<Span>,
    /// Most results kept; the oldest go first [default: 10000]
    #[arg(long, env = "AIQ_RESULT_CAPACITY", value_name = "N")]
    pub result_capacity: Option<u32>,
    /// How often each worker's /health is asked [default: 10s]
    #[arg(long, env = "AIQ_HEALTH_INTERVAL", value_name = "TIME")]
    pub health_interval: Option<Span>,
    /// Most connections at once [default: 10000]
    #[arg(long, env = "AIQ_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: Option<u32>,
    /// How long running requests may take to finish after SIGTERM [default: 25s]
    #[arg(long, env = "AIQ_DRAIN_TIMEOUT", value_name = "TIME")]
    pub drain_timeout: Option<Span>,
    /// Who may call.
    #[command(flatten)]
    #[serde(skip)]
    pub token: TokenArgs,
    /// Where logs go.
    #[command(flatten)]
    #[serde(skip)]
    pub log: LogArgs,
}

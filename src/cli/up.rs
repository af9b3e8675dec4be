//! `aiq up`.

use std::net::IpAddr;

use clap::Args;

use super::{Device, LogArgs, Precision, Theme};

/// Flags of `aiq up`.
#[derive(Clone, Debug, Default, Args)]
pub struct UpArgs {
    /// Workers to start
    #[arg(short, long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,
    /// Port of the coordinator; workers take the ones after it (0: free ones for all)
    #[arg(short, long, env = "AIQ_PORT", default_value_t = 8000, value_name = "PORT")]
    pub port: u16,
    /// Address that everything listens on
    #[arg(long, env = "AIQ_HOST", default_value = "127.0.0.1", value_name = "IP")]
    pub host: Option<IpAddr>,
    /// Open the dashboard when the fleet is ready
    #[arg(short, long)]
    pub monitor: bool,
    /// With --monitor: what the terminal's background is: auto (what COLORFGBG says, or dark), dark or light
    #[arg(long, env = "AIQ_THEME", value_enum, default_value_t, hide_possible_values = true)]
    pub theme: Theme,
    /// Workers inject faults: 2 % crashes, 3 % time-outs, 0.1–0.8 s network delay
    #[arg(long)]
    pub faults: bool,
    /// Where models come from: auto, hub, embedded, noop, or a folder
    #[arg(long, env = "AIQ_MODELS", default_value = "auto", value_name = "SOURCE")]
    pub models: String,
    /// What models compute with
    #[arg(long, env = "AIQ_PRECISION", value_name = "PRECISION")]
    pub precision: Option<Precision>,
    /// Where models compute
    #[arg(long, env = "AIQ_DEVICE", value_name = "DEVICE")]
    pub device: Option<Device>,
    /// Threads of each worker's model [default: the machine's cores, shared fairly]
    #[arg(long, env = "AIQ_THREADS", value_name = "N")]
    pub threads: Option<u16>,
    /// Allow an address other than loopback without tokens
    #[arg(long)]
    pub insecure: bool,
    /// Where logs go.
    #[command(flatten)]
    pub log: LogArgs,
}

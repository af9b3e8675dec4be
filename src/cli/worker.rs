//! `aiq serve-worker`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::{LogArgs, TokenArgs};
use crate::config::Span;
use crate::protocol::CrashScope;

/// What a worker is meant for: it loads the full-size model of this, if that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speciality {
    /// DistilBERT: text_classification.
    Text,
    /// MobileNetV2: image_classification.
    Image,
    /// CLIP: clip_text_similarity and clip_text_to_image.
    Clip,
    /// Everything.
    All,
}

/// What the models compute with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    Fp32,
    /// 8-bit weights: faster, at a small loss of accuracy that the model cards state.
    Int8,
}

/// Where the models compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// A GPU where aiq was built for one and finds it, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU; needs a build with `--features cuda`.
    Cuda,
    /// A Mac's GPU; needs a build with `--features metal`.
    Metal,
}

/// Flags of a worker; in the file, the section `[worker]`.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct WorkerArgs {
    /// Configuration file (TOML)
    #[arg(long, env = "AIQ_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// The worker's name [default: worker-1]
    #[arg(long, env = "WORKER_ID", value_name = "NAME")]
    pub id: Option<String>,
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, env = "AIQ_HOST", value_name = "IP")]
    pub host: Option<IpAddr>,
    /// Port to listen on; 0 takes a free one [default: 8001]
    #[arg(short, long, env = "PORT", value_name = "PORT")]
    pub port: Option<u16>,
    /// The coordinator to register with [default: http://127.0.0.1:8000]
    #[arg(long, env = "AIQ_COORDINATOR", value_name = "URL")]
    pub coordinator: Option<String>,
    /// Serve without a coordinator
    #[arg(long, env = "AIQ_STANDALONE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", conflicts_with = "coordinator")]
    pub standalone: Option<bool>,
    /// How the coordinator reaches this worker [default: http://HOST:PORT]
    #[arg(long, env = "AIQ_ADVERTISE", value_name = "URL")]
    pub advertise: Option<String>,
    /// What it is meant for, comma-separated; every worker can do everything with the small models
    /// [default: by the number in its name: 1 text, 2 image, 3 clip, 4 text …; else all]
    #[arg(long, env = "AIQ_SPECIALITY", value_name = "TASKS", value_delimiter = ',')]
    pub speciality: Option<Vec<Speciality>>,
    /// Where models come from: auto, hub, embedded, noop (answers at once, for measuring), or a folder
    /// [default: auto]
    #[arg(long, env = "AIQ_MODELS", value_name = "SOURCE")]
    pub models: Option<String>,
    /// What models compute with [default: fp32]
    #[arg(long, env = "AIQ_PRECISION", value_name = "PRECISION")]
    pub precision: Option<Precision>,
    /// Where models compute [default: auto]
    #[arg(long, env = "AIQ_DEVICE", value_name = "DEVICE")]
    pub device: Option<Device>,
    /// Threads of the model [default: the machine's cores]
    #[arg(long, env = "AIQ_THREADS", value_name = "N")]
    pub threads: Option<u16>,
    /// Most requests held at once, waiting and running [default: 64]
    #[arg(long, env = "AIQ_CAPACITY", value_name = "N")]
    pub capacity: Option<u32>,
    /// Most requests in one batch [default: 32]
    #[arg(long, env = "AIQ_MAX_BATCH", value_name = "N")]
    pub max_batch: Option<u32>,
    /// Longest wait for a fuller batch while the model is free [default: 5ms]
    #[arg(long, env = "AIQ_MAX_DELAY", value_name = "TIME")]
    pub max_delay: Option<Span>,
    /// How long running requests may take to finish after SIGTERM [default: 25s]
    #[arg(long, env = "AIQ_DRAIN_TIMEOUT", value_name = "TIME")]
    pub drain_timeout: Option<Span>,
    /// Faults to inject.
    #[command(flatten)]
    pub faults: FaultArgs,
    /// Who may call.
    #[command(flatten)]
    #[serde(skip)]
    pub token: TokenArgs,
    /// Where logs go.
    #[command(flatten)]
    #[serde(skip)]
    pub log: LogArgs,
    /// Run the serving process itself, under a supervisor (used by the supervisor).
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub serving_process: bool,
}

/// Faults that a worker injects into its own work. Off unless one of these is given.
#[derive(Clone, Copy, Debug, Default, Args, Deserialize)]
#[command(next_help_heading = "Fault injection (off unless one of these is given)")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FaultArgs {
    /// Switch fault injection on, with the base settings below
    #[arg(long, env = "AIQ_FAULTS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub faults: Option<bool>,
    /// Share of requests that crash [default once on: 0.02]
    #[arg(long, env = "CRASH_PROBABILITY", value_name = "P")]
    pub crash_probability: Option<f64>,
    /// What a crash takes with it [default: request]
    #[arg(long, env = "AIQ_CRASH_SCOPE", value_name = "SCOPE")]
    pub crash_scope: Option<CrashScope>,
    /// Share of requests that are never answered [default once on: 0.03]
    #[arg(long, env = "TIMEOUT_PROBABILITY", value_name = "P")]
    pub timeout_probability: Option<f64>,
    /// Least added network delay, seconds [default once on: 0.1]
    #[arg(long, env = "NETWORK_DELAY_MIN", value_name = "SECONDS")]
    pub network_delay_min: Option<f64>,
    /// Most added network delay, seconds [default once on: 0.8]
    #[arg(long, env = "NETWORK_DELAY_MAX", value_name = "SECONDS")]
    pub network_delay_max: Option<f64>,
    /// The model takes this many times as long [default: 1]
    #[arg(long, env = "AIQ_SLOW_FACTOR", value_name = "X")]
    pub slow_factor: Option<f64>,
    /// The model hangs
    #[arg(long, env = "AIQ_HANG", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub hang: Option<bool>,
    /// Seed of the faults, so that a run repeats
    #[arg(long, env = "AIQ_FAULT_SEED", value_name = "N")]
    pub fault_seed: Option<u64>,
}

//! Flags that several commands have in common.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Deserialize;

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what is odd.
    Warn,
    /// And what happens.
    #[default]
    Info,
    /// And why.
    Debug,
    /// Everything.
    Trace,
}

/// Where logs go.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[command(next_help_heading = "Logs")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogArgs {
    /// Folder of the JSON log files, one a day for each process [default: logs]
    #[arg(long, env = "AIQ_LOG_DIR", value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// How much is logged [default: info]
    #[arg(long, env = "AIQ_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// Daily files kept for each process; older ones are removed [default: 7]
    #[arg(long, env = "AIQ_LOG_FILES", value_name = "N")]
    pub log_files: Option<u16>,
}

/// Who may call.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[command(next_help_heading = "Access")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TokenArgs {
    /// File with access tokens, one a line: `SCOPE TOKEN`, where SCOPE is submit, worker or admin.
    /// The variable AIQ_TOKEN holds one token with every scope instead
    #[arg(long, env = "AIQ_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Allow an address other than loopback without tokens
    #[arg(long, env = "AIQ_INSECURE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub insecure: Option<bool>,
}

/// Which coordinator a tool talks to. People put this last, also behind a command of a command: hence `global`.
#[derive(Clone, Debug, Args)]
pub struct TargetArgs {
    /// The coordinator
    #[arg(long, global = true, env = "AIQ_URL", default_value = "http://127.0.0.1:8000", value_name = "URL")]
    pub url: String,
    /// File with the access token (its first line, or the best of `SCOPE TOKEN` lines); or AIQ_TOKEN
    #[arg(long, global = true, env = "AIQ_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// What the background of the terminal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Theme {
    /// Light if COLORFGBG says so, else dark
    #[default]
    Auto,
    /// Dark
    Dark,
    /// Light
    Light,
}

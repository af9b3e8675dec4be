//! Configuration: defaults < file < environment < flags, merged and checked into one struct for
//! each role, which is then passed whole.
//!
//! Every bound of the program is a field or a constant here, with its reason. clap has already put
//! the environment under the flags; this module puts the file under both.

mod access;
mod coordinator;
mod file;
mod scheduler;
mod span;
mod worker;

pub use access::{Access, Scope, Token};
pub use coordinator::CoordinatorConfig;
pub use file::File;
pub use scheduler::SchedulerConfig;
pub use span::Span;
pub use worker::{ModelsFrom, WorkerConfig};

use std::path::PathBuf;

use crate::cli::{LogArgs, LogLevel};

/// What is wrong with a configuration, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file can't be read.
    #[error("can't read {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {message}")]
    BadFile {
        /// Which.
        path: PathBuf,
        /// What is wrong, with its place.
        message: String,
    },
    /// A value is out of range or of the wrong form.
    #[error("{name} is {value}; it must be {right}")]
    BadValue {
        /// The flag.
        name: &'static str,
        /// What it was.
        value: String,
        /// What would do.
        right: String,
    },
    /// Listening to the world without a token.
    #[error(
        "listening on {host} lets anyone who reaches it use this fleet; give tokens (--token-file or AIQ_TOKEN), or --insecure to allow it"
    )]
    OpenToTheWorld {
        /// The address.
        host: std::net::IpAddr,
    },
}

/// Where logs go and how many are kept.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Folder of the daily files.
    pub dir: PathBuf,
    /// How much is logged.
    pub level: LogLevel,
    /// Daily files kept for each process.
    pub files: u16,
}

impl LogConfig {
    /// Daily files kept for each process: a week.
    pub const DEFAULT_FILES: u16 = 7;

    /// Merges flags over the file's section.
    pub fn merge(flags: LogArgs, file: LogArgs) -> Self {
        Self {
            dir: flags.log_dir.or(file.log_dir).unwrap_or_else(|| "logs".into()),
            level: flags.log_level.or(file.log_level).unwrap_or_default(),
            files: flags.log_files.or(file.log_files).unwrap_or(Self::DEFAULT_FILES).max(1),
        }
    }
}

/// Checks that a number lies in a range.
fn in_range<T: PartialOrd + std::fmt::Display + Copy>(
    name: &'static str,
    value: T,
    range: std::ops::RangeInclusive<T>,
) -> Result<T, ConfigError> {
    if range.contains(&value) {
        Ok(value)
    } else {
        let right = format!("{} to {}", range.start(), range.end());
        Err(ConfigError::BadValue { name, value: value.to_string(), right })
    }
}

/// Checks an `http://HOST[:PORT]` address and takes a trailing slash away.
fn http_url(name: &'static str, url: &str) -> Result<String, ConfigError> {
    let bad = || ConfigError::BadValue {
        name,
        value: format!("\"{url}\""),
        right: "http://HOST:PORT, without a path".to_owned(),
    };
    let trimmed = url.trim_end_matches('/');
    let uri: http::Uri = trimmed.parse().map_err(|_| bad())?;
    let plain = uri.scheme_str() == Some("http") && uri.host().is_some() && matches!(uri.path(), "" | "/");
    if plain && uri.query().is_none() { Ok(trimmed.to_owned()) } else { Err(bad()) }
}

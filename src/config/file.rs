//! The configuration file: TOML with a section for each role.

use std::path::Path;

use serde::Deserialize;

use super::ConfigError;
use crate::cli::{CoordinatorArgs, LogArgs, TokenArgs, WorkerArgs};

/// A configuration file. Keys are the flags' names; an unknown key is an error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// `[coordinator]`
    pub coordinator: CoordinatorArgs,
    /// `[worker]`, and `[worker.faults]` in it
    pub worker: WorkerArgs,
    /// `[log]`
    pub log: LogArgs,
    /// `[access]`
    pub access: TokenArgs,
}

impl File {
    /// Largest file that is read, in bytes.
    const MAX_BYTES: u64 = 1 << 20;

    /// Reads the file where one is named.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] and [`ConfigError::BadFile`], the latter with line and column.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let bad = |message| ConfigError::BadFile { path: path.to_owned(), message };
        if std::fs::metadata(path).map_err(unreadable)?.len() > Self::MAX_BYTES {
            return Err(bad(format!("is over {} bytes; a configuration file is small", Self::MAX_BYTES)));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        toml::from_str(&text).map_err(|e| bad(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<File, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aiq.toml");
        std::fs::write(&path, text).unwrap();
        File::load(Some(&path))
    }

    #[test]
    fn sections_are_the_flags() {
        let file = load(
            "[coordinator]\nqueue-capacity = 5\nresult-ttl = \"1h\"\n[worker]\nid = \"w\"\n[worker.faults]\nfaults = true\n[log]\nlog-dir = \"l\"\n",
        )
        .unwrap();
        assert_eq!(file.coordinator.queue_capacity, Some(5));
        assert_eq!(file.worker.id.as_deref(), Some("w"));
        assert_eq!(file.worker.faults.faults, Some(true));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let message = load("[coordinator]\nqueue-capacty = 5\n").unwrap_err().to_string();
        assert!(message.contains("queue-capacty"), "{message}");
    }
}

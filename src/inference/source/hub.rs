//! Full-size models from the Hugging Face hub, or a mirror of it, through its cache on disk.
//!
//! `hf-hub` does the transfers (redirects, resuming, the cache's layout, which is shared with Python's). It does not look
//! at what arrived; that is done here: a file's etag is the SHA-256 of a large file and git's SHA-1 of a small one, and a
//! file that does not match is deleted. Everything blocks; call it on a thread of its own.

mod checksum;
mod config;

use std::net::{TcpStream, ToSocketAddrs as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

pub(in crate::inference) use self::checksum::Checksum;
pub use self::config::HubConfig;
use super::{Files, WEIGHTS};
use crate::inference::registry::HubModel;

/// How long a connection to the hub may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a broken transfer is taken up again, from where it broke.
const RESUMES: usize = 5;

/// Why a model can't be had from the hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// It is not in the cache, and the network may not be used.
    #[error("{model} is not in the cache {cache}, and HF_HUB_OFFLINE is set")]
    Offline {
        /// Which model.
        model: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// No connection.
    #[error("the hub {endpoint} can't be reached: {reason}")]
    Unreachable {
        /// Which hub.
        endpoint: String,
        /// What the system said.
        reason: String,
    },
    /// The hub refused, or a transfer broke too often.
    #[error("{what} from {endpoint}: {reason}")]
    Transfer {
        /// Which file or question.
        what: String,
        /// Which hub.
        endpoint: String,
        /// What happened.
        reason: String,
    },
    /// No revision that is known has the weights as safetensors.
    #[error("{model} has no {WEIGHTS} at {revisions}")]
    NoWeights {
        /// Which model.
        model: String,
        /// Where it was looked for.
        revisions: String,
    },
    /// What arrived is not what the hub says it is.
    #[error("{file} does not match its checksum {checksum} and was deleted; try again, or distrust {endpoint}")]
    WrongChecksum {
        /// Which file.
        file: String,
        /// What it should be.
        checksum: String,
        /// Where it came from.
        endpoint: String,
    },
    /// The hub gives no checksum that is known.
    #[error("{endpoint} gives the etag \"{etag}\" for {file}, which is no checksum: SHA-256 or git's SHA-1")]
    NoChecksum {
        /// Which file.
        file: String,
        /// What it gives.
        etag: String,
        /// Which hub.
        endpoint: String,
    },
    /// A downloaded file can't be read back.
    #[error("can't read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Bytes of a model that have arrived, and bytes in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Arrived.
    pub done: u64,
    /// In all.
    pub total: u64,
}

/// A hub and its cache.
#[derive(Clone, Debug)]
pub struct Hub {
    config: HubConfig,
}

impl Hub {
    /// A hub; nothing is asked of it yet.
    pub fn new(config: HubConfig) -> Self {
        Self { config }
    }

    /// A model that is in the cache already, whole.
    pub fn cached(&self, model: &HubModel) -> Option<Files> {
        model.revisions.iter().find_map(|revision| {
            let repo = Cache::new(self.config.cache.clone()).repo(repo_of(model, revision));
            let snapshot = repo.get(WEIGHTS)?.parent()?.to_owned();
            let whole = model.files.iter().all(|file| snapshot.join(file).is_file());
            let commit = snapshot.file_name()?.to_string_lossy().into_owned();
            whole.then(|| Files::snapshot(&snapshot, model.repository, &commit))
        })
    }

    /// Fetches a model into the cache, all that is not there yet; `report` hears of it every now and then.
    pub fn fetch(&self, model: &HubModel, report: &dyn Fn(Transferred)) -> Result<Files, HubError> {
        if self.config.offline {
            let (model, cache) = (model.repository.to_owned(), self.config.cache.clone());
            return Err(HubError::Offline { model, cache });
        }
        self.reach()?;
        // hf-hub asserts some things about what a server says, and a server may say anything.
        catch_unwind(AssertUnwindSafe(|| self.transfer(model, report))).unwrap_or_else(|_| {
            let reason = "its answers are not those of a hub".to_owned();
            Err(HubError::Transfer { what: model.repository.to_owned(), endpoint: self.endpoint(), reason })
        })
    }

    /// Checks the files of a cached model against their checksums; what doesn't match is deleted.
    pub fn verify(&self, files: &Files, model: &HubModel) -> Result<usize, HubError> {
        let mut checked = 0;
        let Some(snapshot) = files.path() else { return Ok(0) };
        for file in model.files.iter().chain(model.optional_files) {
            let path = snapshot.join(file);
            // The cache names a file's content by its etag.
            let Ok(blob) = std::fs::canonicalize(&path) else { continue };
            let name = blob.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if let Some(checksum) = Checksum::parse(&name) {
                self.check(file, &path, &checksum)?;
                checked += 1;
            }
        }
        Ok(checked)
    }

    fn endpoint(&self) -> String {
        self.config.endpoint.clone()
    }

    /// Fails soon where there is no network. With a proxy only that can be reached, and it will tell.
    fn reach(&self) -> Result<(), HubError> {
        if self.config.proxied {
            return Ok(());
        }
        let unreachable = |reason: String| HubError::Unreachable { endpoint: self.endpoint(), reason };
        let uri: http::Uri = self.config.endpoint.parse().map_err(|error| unreachable(format!("{error}")))?;
        let host = uri.host().ok_or_else(|| unreachable("there is no host in it".to_owned()))?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let addresses =
            (host.trim_matches(['[', ']']), port).to_socket_addrs().map_err(|error| unreachable(error.to_string()))?;
        let mut last = "its name has no address".to_owned();
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
        }
        Err(unreachable(last))
    }

    fn transfer(&self, model: &HubModel, report: &dyn Fn(Transferred)) -> Result<Files, HubError> {
        let builder = ApiBuilder::from_cache(Cache::new(self.config.cache.clone()))
            .with_endpoint(self.endpoint())
            .with_progress(false)
            .with_retries(RESUMES)
            .with_user_agent("aiq", env!("CARGO_PKG_VERSION"));
        let builder = match &self.config.token {
            Some(token) => builder.with_token(Some(token.clone())),
            None => builder,
        };
        let api = builder.build().map_err(|error| self.failed("a client", &error))?;
        let (repo, present) = self.revision_with_weights(&api, model)?;
        let files: Vec<&str> = model
            .files
            .iter()
            .copied()
            .chain(model.optional_files.iter().copied().filter(|file| present.iter().any(|known| known == file)))
            .collect();
        let mut wanted = Vec::with_capacity(files.len());
        for file in files {
            let metadata = api.metadata(&repo.url(file)).map_err(|error| self.failed(file, &error))?;
            let etag = metadata.etag().to_owned();
            let checksum = Checksum::parse(&etag).ok_or_else(|| HubError::NoChecksum {
                file: file.to_owned(),
                etag: etag.chars().take(80).collect(),
                endpoint: self.endpoint(),
            })?;
            // It becomes the name of a folder.
            if !metadata.commit_hash().bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(self.failed(file, &"the commit is no hexadecimal number"));
            }
            wanted.push((file, checksum, metadata.size() as u64));
        }
        let total = wanted.iter().map(|(_, _, size)| size).sum();
        let mut before = 0;
        let mut snapshot = None;
        for (file, checksum, size) in wanted {
            let meter = Meter { report, before, done: 0, total };
            let path = repo.download_with_progress(file, meter).map_err(|error| self.failed(file, &error))?;
            self.check(file, &path, &checksum)?;
            before += size;
            report(Transferred { done: before, total });
            if file == WEIGHTS {
                snapshot = path.parent().map(Path::to_owned);
            }
        }
        let snapshot = snapshot.ok_or_else(|| Self::no_weights(model))?;
        let commit = snapshot.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Files::snapshot(&snapshot, model.repository, &commit))
    }

    /// The first revision that has safetensors, and the files it has.
    fn revision_with_weights(&self, api: &Api, model: &HubModel) -> Result<(ApiRepo, Vec<String>), HubError> {
        let mut failure = None;
        for revision in model.revisions {
            let repo = api.repo(repo_of(model, revision));
            match repo.info() {
                Ok(info) => {
                    let files: Vec<String> = info.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
                    if files.iter().any(|file| file == WEIGHTS) {
                        return Ok((repo, files));
                    }
                }
                Err(error) => failure = Some(self.failed(&format!("{} at {revision}", model.repository), &error)),
            }
        }
        Err(failure.unwrap_or_else(|| Self::no_weights(model)))
    }

    fn check(&self, file: &str, path: &Path, checksum: &Checksum) -> Result<(), HubError> {
        let read = |source| HubError::Read { path: path.to_owned(), source };
        if checksum.matches(path).map_err(read)? {
            return Ok(());
        }
        // The content, and the link to it in the snapshot.
        if let Ok(blob) = std::fs::canonicalize(path) {
            std::fs::remove_file(blob).map_err(read)?;
        }
        let _ = std::fs::remove_file(path);
        let (file, checksum) = (file.to_owned(), checksum.to_string());
        Err(HubError::WrongChecksum { file, checksum, endpoint: self.endpoint() })
    }

    fn failed(&self, what: &str, reason: &dyn std::fmt::Display) -> HubError {
        HubError::Transfer { what: what.to_owned(), endpoint: self.endpoint(), reason: reason.to_string() }
    }

    fn no_weights(model: &HubModel) -> HubError {
        HubError::NoWeights { model: model.repository.to_owned(), revisions: model.revisions.join(" or ") }
    }
}

fn repo_of(model: &HubModel, revision: &str) -> Repo {
    Repo::with_revision(model.repository.to_owned(), RepoType::Model, revision.to_owned())
}

/// Tells how far the whole model is, from how far one file is.
struct Meter<'a> {
    report: &'a dyn Fn(Transferred),
    before: u64,
    done: u64,
    total: u64,
}

impl Progress for Meter<'_> {
    fn init(&mut self, _size: usize, _file: &str) {
        // Said again when a broken transfer is taken up; what had arrived is then the first update.
        self.done = 0;
    }

    fn update(&mut self, bytes: usize) {
        self.done += bytes as u64;
        (self.report)(Transferred { done: self.before + self.done, total: self.total });
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests;

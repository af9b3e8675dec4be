//! The coordinator's configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{Access, ConfigError, File, LogConfig, SchedulerConfig, http_url, in_range};
use crate::cli::CoordinatorArgs;

/// Everything the coordinator needs to know, checked.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Workers that do not register themselves.
    pub static_workers: Vec<String>,
    /// Parameters of the pure core.
    pub scheduler: SchedulerConfig,
    /// How long the result of an async request is kept.
    pub result_ttl: Duration,
    /// Most results kept.
    pub result_capacity: usize,
    /// Most bytes of results kept.
    pub result_bytes: usize,
    /// How often each worker's `/health` is asked.
    pub health_interval: Duration,
    /// Most connections at once.
    pub max_connections: usize,
    /// How long running requests may take to finish after SIGTERM.
    pub drain_timeout: Duration,
    /// Who may call.
    pub access: Access,
    /// Where logs go.
    pub log: LogConfig,
}

impl CoordinatorConfig {
    /// Default port.
    pub const DEFAULT_PORT: u16 = 8000;
    /// Largest request body, in bytes: an 8 MiB picture as base64, with room for the rest.
    pub const MAX_BODY_BYTES: usize = 12 << 20;
    /// Most bytes of results kept: what 10 000 answers of the largest usual size take.
    pub const RESULT_BYTES: usize = 64 << 20;
    /// A client that does not send its header in this time is cut off; it is also how long a connection
    /// may stay idle between requests. Longer than our own client keeps one, so that it closes first.
    pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
    /// A client that does not send its body in this time is cut off.
    pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
    /// Connections that the kernel holds until they are taken in (it may hold fewer: `somaxconn`). With 128, the
    /// usual number, a burst of clients finds no room, and those that don't try again a second later.
    pub const BACKLOG: u32 = 4096;
    /// Most workers.
    pub const MAX_WORKERS: usize = 1024;
    /// Most readers of the event stream.
    pub const MAX_EVENT_READERS: usize = 64;
    /// Events that a slow reader may fall behind before it misses some.
    pub const EVENT_BUFFER: usize = 4096;
    /// Longest long-poll of a result.
    pub const MAX_RESULT_WAIT: Duration = Duration::from_mins(1);

    /// Connections that each of the threads that schedule serves as well, before further threads take a share.
    pub const CONNECTIONS_EACH: usize = 128;

    /// Threads that schedule and serve: one for two cores, as the others have workers and clients to run. A second one on
    /// two cores costs a tenth of the throughput.
    pub fn threads() -> usize {
        (cores() / 2).max(1)
    }

    /// Most further threads, for crowds of connections: one on each of the other cores.
    pub fn crowd_threads() -> usize {
        cores() - Self::threads()
    }

    /// Merges flags (with the environment already in them) over the file, and checks it all.
    ///
    /// # Errors
    /// The first thing that is wrong, with what would be right.
    pub fn load(flags: CoordinatorArgs) -> Result<Self, ConfigError> {
        let file = File::load(flags.config.as_deref())?;
        let f = file.coordinator;
        let defaults = SchedulerConfig::default();
        let host = flags.host.or(f.host).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let port = flags.port.or(f.port).unwrap_or(Self::DEFAULT_PORT);
        let workers = if flags.workers.is_empty() { f.workers } else { flags.workers };
        let span = |flag: Option<super::Span>, file: Option<super::Span>, default: Duration| {
            flag.or(file).map_or(default, |s| s.0)
        };
        let queue_mib = flags.queue_mib.or(f.queue_mib).unwrap_or((defaults.queue_bytes >> 20) as u32);
        let scheduler = SchedulerConfig {
            queue_capacity: in_range(
                "--queue-capacity",
                flags.queue_capacity.or(f.queue_capacity).unwrap_or(defaults.queue_capacity as u32),
                1..=1_000_000,
            )? as usize,
            queue_bytes: (in_range("--queue-mib", queue_mib, 1..=65_536)? as usize) << 20,
            default_timeout: Duration::from_millis(in_range(
                "--request-timeout in milliseconds",
                span(flags.request_timeout, f.request_timeout, defaults.default_timeout).as_millis() as u64,
                1..=crate::protocol::InferRequest::MAX_TIMEOUT_MS,
            )?),
            max_retries: in_range(
                "--max-retries",
                flags.max_retries.or(f.max_retries).unwrap_or(defaults.max_retries),
                0..=10,
            )?,
            ..defaults
        };
        Ok(Self {
            listen: SocketAddr::new(host, port),
            static_workers: workers.iter().map(|url| http_url("--worker", url)).collect::<Result<_, _>>()?,
            scheduler,
            result_ttl: span(flags.result_ttl, f.result_ttl, Duration::from_hours(24)),
            result_capacity: in_range(
                "--result-capacity",
                flags.result_capacity.or(f.result_capacity).unwrap_or(10_000),
                1..=1_000_000,
            )? as usize,
            result_bytes: Self::RESULT_BYTES,
            health_interval: Duration::from_millis(in_range(
                "--health-interval in milliseconds",
                span(flags.health_interval, f.health_interval, Duration::from_secs(10)).as_millis() as u64,
                100..=3_600_000,
            )?),
            max_connections: in_range(
                "--max-connections",
                flags.max_connections.or(f.max_connections).unwrap_or(10_000),
                1..=1_000_000,
            )? as usize,
            drain_timeout: span(flags.drain_timeout, f.drain_timeout, Duration::from_secs(25)),
            access: Access::load(&flags.token, &file.access, host)?,
            log: LogConfig::merge(flags.log, file.log),
        })
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_contract() {
        let c = CoordinatorConfig::load(CoordinatorArgs::default()).unwrap();
        assert_eq!(c.listen.to_string(), "127.0.0.1:8000");
        assert_eq!(c.scheduler, SchedulerConfig::default());
    }

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aiq.toml");
        std::fs::write(&path, "[coordinator]\nport = 9\nqueue-capacity = 7\n").unwrap();
        let flags = CoordinatorArgs { config: Some(path), port: Some(10), ..CoordinatorArgs::default() };
        let c = CoordinatorConfig::load(flags).unwrap();
        assert_eq!((c.listen.port(), c.scheduler.queue_capacity), (10, 7));
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let flags = CoordinatorArgs { queue_capacity: Some(0), ..CoordinatorArgs::default() };
        assert!(CoordinatorConfig::load(flags).unwrap_err().to_string().contains("--queue-capacity"));
        let flags = CoordinatorArgs { workers: vec!["ftp://x".into()], ..CoordinatorArgs::default() };
        assert!(CoordinatorConfig::load(flags).unwrap_err().to_string().contains("--worker"));
    }
}

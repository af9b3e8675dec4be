//! A worker's configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::{Access, ConfigError, CoordinatorConfig, File, LogConfig, http_url, in_range};
use crate::cli::{Device, FaultArgs, Precision, Speciality, WorkerArgs};
use crate::protocol::{FaultSettings, TaskType, WorkerId};

/// Where models come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelsFrom {
    /// The hub (its cache first) in the background, embedded until then or for good.
    Auto,
    /// The hub alone.
    Hub,
    /// What is compiled in.
    Embedded,
    /// No model: answers each batch after so long, for measuring the path to it.
    Noop(Duration),
    /// A folder in the hub's layout.
    Folder(PathBuf),
}

impl ModelsFrom {
    /// Longest time of a no-op model's batch.
    const MAX_NOOP: Duration = Duration::from_mins(1);

    /// Reads `auto`, `hub`, `embedded`, `noop`, `noop:TIME`, or a folder that exists.
    ///
    /// # Errors
    /// [`ConfigError::BadValue`] where it is neither.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Ok(match text {
            "auto" => Self::Auto,
            "hub" => Self::Hub,
            "embedded" => Self::Embedded,
            "noop" => Self::Noop(Duration::ZERO),
            dir if std::path::Path::new(dir).is_dir() => Self::Folder(dir.into()),
            _ => match text.strip_prefix("noop:").and_then(|time| humantime::parse_duration(time).ok()) {
                Some(time) if time <= Self::MAX_NOOP => Self::Noop(time),
                _ => {
                    return Err(ConfigError::BadValue {
                        name: "--models",
                        value: format!("\"{text}\""),
                        right: "auto, hub, embedded, noop, noop:TIME (such as noop:5ms, at most 60s), or a folder that exists"
                            .to_owned(),
                    });
                }
            },
        })
    }
}

/// Everything a worker needs to know, checked.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Its name.
    pub id: WorkerId,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The coordinator, unless it stands alone.
    pub coordinator: Option<String>,
    /// How the coordinator reaches it, where that is not the address it listens on.
    pub advertise: Option<String>,
    /// The tasks it loads full-size models for.
    pub speciality: Vec<TaskType>,
    /// Where models come from.
    pub models: ModelsFrom,
    /// What models compute with.
    pub precision: Precision,
    /// Where models compute.
    pub device: Device,
    /// Threads of the model.
    pub threads: usize,
    /// Most requests held at once.
    pub capacity: usize,
    /// Most requests in one batch.
    pub max_batch: usize,
    /// Longest wait for a fuller batch.
    pub max_delay: Duration,
    /// How long running requests may take to finish after SIGTERM.
    pub drain_timeout: Duration,
    /// Faults to inject from the start.
    pub faults: FaultSettings,
    /// Whether faults may be set from outside: only where they were asked for.
    pub fault_injection: bool,
    /// Who may call.
    pub access: Access,
    /// Where logs go.
    pub log: LogConfig,
}

impl WorkerConfig {
    /// Default port.
    pub const DEFAULT_PORT: u16 = 8001;
    /// Name of a worker that was given none.
    pub const DEFAULT_ID: &'static str = "worker-1";
    /// Where a worker looks for the coordinator.
    pub const DEFAULT_COORDINATOR: &'static str = "http://127.0.0.1:8000";
    /// First pause before a crashed serving process is started again.
    pub const RESTART_MIN: Duration = Duration::from_millis(200);
    /// Longest pause before a crashed serving process is started again.
    pub const RESTART_MAX: Duration = Duration::from_secs(30);
    /// A serving process that lived this long is taken for sound again: the pause starts over.
    pub const RESTART_RESET: Duration = Duration::from_mins(1);
    /// First pause before the coordinator is dialled again.
    pub const RECONNECT_MIN: Duration = Duration::from_millis(100);
    /// Longest pause before the coordinator is dialled again.
    pub const RECONNECT_MAX: Duration = Duration::from_secs(2);
    /// Longest wait for an answer of the coordinator: its lease on us is about as long.
    pub const LINK_TIMEOUT: Duration = Duration::from_secs(3);
    /// Shortest and longest pause between heartbeats, whatever the coordinator asks for.
    pub const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
    /// See [`Self::HEARTBEAT_MIN`].
    pub const HEARTBEAT_MAX: Duration = Duration::from_secs(10);
    /// How often the serving process reports to its supervisor: twice for each heartbeat.
    pub const REPORT_INTERVAL: Duration = Duration::from_millis(500);
    /// Longest wait for the serving process to take an order; its pipe is full only if it is stopped.
    pub const ORDER_TIMEOUT: Duration = Duration::from_secs(1);
    /// Longest wait for connections to close after the last request.
    pub const STOP_TIMEOUT: Duration = Duration::from_secs(1);
    /// Longest wait for the coordinator to hear that we leave.
    pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
    /// Largest request body, in bytes: what a coordinator may send on.
    pub const MAX_BODY_BYTES: usize = CoordinatorConfig::MAX_BODY_BYTES;
    /// A caller that does not send its body in this time is cut off.
    pub const BODY_TIMEOUT: Duration = CoordinatorConfig::BODY_TIMEOUT;
    /// A connection that sends no head for this long is closed: longer than clients keep idle ones, so
    /// that none is closed just as a request comes.
    pub const HEADER_TIMEOUT: Duration = Duration::from_mins(1);
    /// Of a body that is refused, this much is still read, so that its sender sees the refusal.
    pub const DISCARDED_BYTES: usize = 64 << 20;
    /// And no longer than this.
    pub const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
    /// Most connections at once: twice the largest capacity.
    pub const MAX_CONNECTIONS: usize = 8192;
    /// Connections that wait to be accepted.
    pub const BACKLOG: u32 = 1024;
    /// Pause after a connection could not be accepted.
    pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
    /// Most threads that prepare inputs.
    const MAX_PREPARE_THREADS: usize = 8;

    /// Threads that prepare inputs (decode pictures, make tokens) beside the model's.
    pub fn prepare_threads() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from).min(Self::MAX_PREPARE_THREADS)
    }

    /// Merges flags (with the environment already in them) over the file, and checks it all.
    ///
    /// # Errors
    /// The first thing that is wrong, with what would be right.
    pub fn load(flags: WorkerArgs) -> Result<Self, ConfigError> {
        let file = File::load(flags.config.as_deref())?;
        let f = file.worker;
        let id_text = flags.id.or(f.id).unwrap_or_else(|| Self::DEFAULT_ID.to_owned());
        let id = WorkerId::try_new(&id_text).map_err(|p| ConfigError::BadValue {
            name: "--id",
            value: format!("\"{id_text}\""),
            right: p.detail,
        })?;
        let host = flags.host.or(f.host).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let port = flags.port.or(f.port).unwrap_or(Self::DEFAULT_PORT);
        let standalone = flags.standalone.or(f.standalone).unwrap_or(false);
        let coordinator = flags.coordinator.or(f.coordinator).unwrap_or_else(|| Self::DEFAULT_COORDINATOR.to_owned());
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u16;
        let (faults, fault_injection) = merge_faults(flags.faults, f.faults)?;
        let max_delay = flags.max_delay.or(f.max_delay).map_or(Duration::from_millis(5), |s| s.0);
        Ok(Self {
            listen: SocketAddr::new(host, port),
            coordinator: if standalone { None } else { Some(http_url("--coordinator", &coordinator)?) },
            advertise: flags.advertise.or(f.advertise).map(|u| http_url("--advertise", &u)).transpose()?,
            speciality: speciality(flags.speciality.or(f.speciality), &id),
            models: ModelsFrom::parse(flags.models.or(f.models).as_deref().unwrap_or("auto"))?,
            precision: flags.precision.or(f.precision).unwrap_or_default(),
            device: flags.device.or(f.device).unwrap_or_default(),
            threads: in_range("--threads", flags.threads.or(f.threads).unwrap_or(cores), 1..=256)? as usize,
            capacity: in_range("--capacity", flags.capacity.or(f.capacity).unwrap_or(64), 1..=4096)? as usize,
            max_batch: in_range("--max-batch", flags.max_batch.or(f.max_batch).unwrap_or(32), 1..=256)? as usize,
            max_delay: Duration::from_millis(in_range(
                "--max-delay in milliseconds",
                max_delay.as_millis() as u64,
                0..=1000,
            )?),
            drain_timeout: flags.drain_timeout.or(f.drain_timeout).map_or(Duration::from_secs(25), |s| s.0),
            faults,
            fault_injection,
            access: Access::load(&flags.token, &file.access, host)?,
            log: LogConfig::merge(flags.log, file.log),
            id,
        })
    }
}

/// The tasks of the named specialities; without any, those that go with the number in the name:
/// 1 text, 2 image, 3 CLIP, and so on round. A name without a number means everything.
fn speciality(named: Option<Vec<Speciality>>, id: &WorkerId) -> Vec<TaskType> {
    let digits: String = id.as_str().chars().rev().take_while(char::is_ascii_digit).collect();
    let number = digits.chars().rev().collect::<String>().parse::<u64>().ok();
    let by_number = || match number {
        Some(n) => vec![[Speciality::Clip, Speciality::Text, Speciality::Image][(n % 3) as usize]],
        None => vec![Speciality::All],
    };
    let named = named.filter(|n| !n.is_empty()).unwrap_or_else(by_number);
    let wanted = |task: &TaskType| {
        named.iter().any(|s| match s {
            Speciality::Text => *task == TaskType::TextClassification,
            Speciality::Image => *task == TaskType::ImageClassification,
            Speciality::Clip => matches!(task, TaskType::ClipTextSimilarity | TaskType::ClipTextToImage),
            Speciality::All => true,
        })
    };
    TaskType::ALL.into_iter().filter(wanted).collect()
}

/// The faults, and whether any was asked for. Asking for one switches all of the base settings on;
/// what only slows or hangs (`--slow-factor`, `--hang`) brings nothing else with it.
fn merge_faults(flags: FaultArgs, file: FaultArgs) -> Result<(FaultSettings, bool), ConfigError> {
    let crash = flags.crash_probability.or(file.crash_probability);
    let timeout = flags.timeout_probability.or(file.timeout_probability);
    let min = flags.network_delay_min.or(file.network_delay_min);
    let max = flags.network_delay_max.or(file.network_delay_max);
    let slow = flags.slow_factor.or(file.slow_factor);
    let hang = flags.hang.or(file.hang);
    let asked = flags.faults.or(file.faults);
    let base_named = crash.is_some() || timeout.is_some() || min.is_some() || max.is_some();
    let on = asked.unwrap_or(base_named || slow.is_some() || hang.is_some());
    if !on {
        return Ok((FaultSettings::default(), false));
    }
    let base = if asked == Some(true) || base_named { FaultSettings::base() } else { FaultSettings::default() };
    let faults = FaultSettings {
        crash_probability: crash.unwrap_or(base.crash_probability),
        crash_scope: flags.crash_scope.or(file.crash_scope).unwrap_or_default(),
        timeout_probability: timeout.unwrap_or(base.timeout_probability),
        network_delay_min: min.unwrap_or_else(|| max.map_or(base.network_delay_min, |m| m.min(base.network_delay_min))),
        network_delay_max: max.unwrap_or_else(|| min.map_or(base.network_delay_max, |m| m.max(base.network_delay_max))),
        slow_factor: slow.unwrap_or(1.0),
        hang: hang.unwrap_or(false),
        seed: flags.fault_seed.or(file.fault_seed),
    };
    faults.validate().map_err(|p| ConfigError::BadValue {
        name: "fault injection",
        value: "out of range".to_owned(),
        right: p.detail,
    })?;
    Ok((faults, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_contract() {
        let c = WorkerConfig::load(WorkerArgs::default()).unwrap();
        assert_eq!(c.id.as_str(), "worker-1");
        assert_eq!(c.listen.to_string(), "127.0.0.1:8001");
        assert_eq!(c.speciality, [TaskType::TextClassification]);
        assert!(!c.fault_injection);
        assert!(!c.faults.any());
    }

    #[test]
    fn a_model_that_does_nothing_may_take_its_time() {
        assert_eq!(ModelsFrom::parse("noop").unwrap(), ModelsFrom::Noop(Duration::ZERO));
        assert_eq!(ModelsFrom::parse("noop:5ms").unwrap(), ModelsFrom::Noop(Duration::from_millis(5)));
        for wrong in ["noop:", "noop:5", "noop:2min", "nop"] {
            assert!(ModelsFrom::parse(wrong).unwrap_err().to_string().contains("noop:TIME"), "{wrong}");
        }
    }

    #[test]
    fn speciality_follows_the_number() {
        let of = |name: &str| speciality(None, &WorkerId::try_new(name).unwrap());
        assert_eq!(of("worker-2"), [TaskType::ImageClassification]);
        assert_eq!(of("worker-3"), [TaskType::ClipTextSimilarity, TaskType::ClipTextToImage]);
        assert_eq!(of("worker-10"), [TaskType::TextClassification]);
        assert_eq!(of("gpu"), TaskType::ALL);
    }

    #[test]
    fn one_fault_variable_switches_the_base_settings_on() {
        let flags = FaultArgs { crash_probability: Some(0.5), ..FaultArgs::default() };
        let (faults, on) = merge_faults(flags, FaultArgs::default()).unwrap();
        assert!(on);
        assert_eq!(faults, FaultSettings { crash_probability: 0.5, ..FaultSettings::base() });
    }

    #[test]
    fn slowness_brings_nothing_else() {
        let flags = FaultArgs { slow_factor: Some(10.0), ..FaultArgs::default() };
        let (faults, _) = merge_faults(flags, FaultArgs::default()).unwrap();
        assert_eq!(faults, FaultSettings { slow_factor: 10.0, ..FaultSettings::default() });
    }

    #[test]
    fn bad_values_are_named() {
        let load = |flags| WorkerConfig::load(flags).unwrap_err().to_string();
        assert!(load(WorkerArgs { models: Some("nowhere".into()), ..WorkerArgs::default() }).contains("--models"));
        assert!(load(WorkerArgs { id: Some("a b".into()), ..WorkerArgs::default() }).contains("--id"));
        assert!(load(WorkerArgs { threads: Some(0), ..WorkerArgs::default() }).contains("--threads"));
    }
}

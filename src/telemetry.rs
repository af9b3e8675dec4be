//! Logs: structured JSON through tracing-appender, daily files, bounded in number; and
//! `task_operations.log` with one line for each finished task.
//!
//! Nothing of a request's body is ever logged. Nothing is written to standard output or standard
//! error here: the terminal belongs to people, and to the screens.

mod bounded;
mod gathered;
pub mod prometheus;

use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter};

use self::gathered::{Gathered, Record, Writing};
use crate::cli::LogLevel;
use crate::config::LogConfig;
use crate::protocol::json::{self, key};
use crate::protocol::{AttemptOutcome, Priority, ProblemCode, RequestId, TaskType, WorkerId};

/// Where finished tasks are written, in the process that finishes them. They are too many for a
/// subscriber's general machinery.
static TASKS: OnceLock<Gathered<TaskRecord>> = OnceLock::new();
/// Lines waiting to be written; beyond that they are dropped and counted, never waited for.
const BUFFERED_LINES: usize = 64 * 1024;

/// Keeps the writing threads alive; what is buffered is written when it is dropped.
#[derive(Debug)]
#[must_use = "logs stop when this is dropped"]
pub struct LogGuard {
    _main: WorkerGuard,
    _tasks: Option<Writing<TaskRecord>>,
}

/// Why logging can't start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The folder can't be used.
    #[error("can't write logs to {dir}: {reason}; choose another folder with --log-dir")]
    Folder {
        /// Which.
        dir: String,
        /// Why.
        reason: String,
    },
    /// Logging was started before.
    #[error("logging was started twice in one process")]
    Twice,
}

/// Starts logging to `DIR/NAME.log.DATE`, and the task log to `DIR/task_operations.log` where this
/// process is one that finishes tasks (the coordinator).
///
/// # Errors
/// [`LogError`] where the folder can't be written.
pub fn init(config: &LogConfig, name: &str, tasks: TaskLog) -> Result<LogGuard, LogError> {
    let (main, main_guard) = daily(config, name)?;
    let level = match config.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Libraries are quieter than we are: their debug output is not about the fleet.
    let ours = filter::Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("aiq", level);
    let main = json_layer(main).with_filter(ours);
    tracing_subscriber::registry().with(main).try_init().map_err(|_| LogError::Twice)?;
    let writing = match tasks {
        TaskLog::None => None,
        TaskLog::Written => {
            let (lines, writing) = task_file(&config.dir)?;
            TASKS.set(lines).map_err(|_| LogError::Twice)?;
            Some(writing)
        }
    };
    Ok(LogGuard { _main: main_guard, _tasks: writing })
}

/// Whether this process writes the task log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskLog {
    /// It finishes no tasks.
    None,
    /// It does.
    Written,
}

/// One finished task, and a line of the task log: `{"timestamp":"2026-01-31T12:00:00.123456Z","request_id":…}`.
#[derive(Debug)]
pub struct TaskRecord {
    /// When it finished; `timestamp` in the line.
    pub at: SystemTime,
    /// Its id.
    pub request_id: RequestId,
    /// What it was; `task_type`.
    pub task: TaskType,
    /// How urgent.
    pub priority: Priority,
    /// Who answered, or tried last; `worker_id`.
    pub worker: Option<WorkerId>,
    /// Seconds since it was accepted.
    pub latency: f64,
    /// Seconds until a worker got it.
    pub queue_time: f64,
    /// Attempts beyond the first.
    pub retry_count: u32,
    /// The problem's code where it failed; `success` in the line where it did not.
    pub outcome: Option<ProblemCode>,
    /// How the last attempt ended; not in the line where there was none.
    pub last_attempt: Option<AttemptOutcome>,
}

/// Writes one line of the task log, soon.
pub fn task_finished(record: TaskRecord) {
    if let Some(log) = TASKS.get() {
        log.push(record);
    }
}

impl Record for TaskRecord {
    fn write(&self, lines: &mut Vec<u8>) {
        json::put(lines, "{\"timestamp\":");
        json::put_plain(lines, humantime::format_rfc3339_micros(self.at));
        json::put(lines, key!("request_id"));
        json::put_text(lines, self.request_id.as_str());
        json::put(lines, key!("task_type"));
        json::put_name(lines, self.task.as_str());
        json::put(lines, key!("priority"));
        json::put_name(lines, self.priority.as_str());
        json::put(lines, key!("worker_id"));
        match &self.worker {
            Some(worker) => json::put_name(lines, worker.as_str()),
            None => json::put(lines, "null"),
        }
        json::put(lines, key!("latency"));
        json::put_value(lines, &self.latency);
        json::put(lines, key!("queue_time"));
        json::put_value(lines, &self.queue_time);
        json::put(lines, key!("retry_count"));
        json::put_value(lines, &self.retry_count);
        json::put(lines, key!("outcome"));
        match &self.outcome {
            Some(code) => json::put_value(lines, code),
            None => json::put_name(lines, "success"),
        }
        if let Some(outcome) = self.last_attempt {
            json::put(lines, key!("last_attempt"));
            json::put_name(lines, outcome.as_str());
        }
        json::put(lines, "}\n");
    }
}

fn json_layer<S>(writer: NonBlocking) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(writer)
}

fn daily(config: &LogConfig, name: &str) -> Result<(NonBlocking, WorkerGuard), LogError> {
    std::fs::create_dir_all(&config.dir).map_err(|e| folder_error(&config.dir, &e))?;
    let appender = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        // Old files are found by how their names begin: worker-1 must not find those of worker-10.
        .filename_prefix(format!("{name}.log"))
        .max_log_files(config.files as usize)
        .build(&config.dir)
        .map_err(|e| folder_error(&config.dir, &e))?;
    Ok(NonBlockingBuilder::default().buffered_lines_limit(BUFFERED_LINES).lossy(true).finish(appender))
}

/// The task log has one fixed name, for people's scripts; it is cut off by size, not by day.
fn task_file(dir: &Path) -> Result<(Gathered<TaskRecord>, Writing<TaskRecord>), LogError> {
    let file = bounded::BoundedFile::open(dir.join("task_operations.log"));
    file.and_then(Gathered::to).map_err(|e| folder_error(dir, &e))
}

fn folder_error(dir: &Path, error: &dyn std::fmt::Display) -> LogError {
    LogError::Folder { dir: dir.display().to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_task_is_one_line_of_json() {
        let record = TaskRecord {
            at: SystemTime::UNIX_EPOCH,
            request_id: r#"a"b"#.parse().unwrap(),
            task: TaskType::TextClassification,
            priority: Priority::High,
            worker: None,
            latency: 0.25,
            queue_time: 0.125,
            retry_count: 1,
            outcome: Some(ProblemCode::DeadlineExceeded),
            last_attempt: Some(AttemptOutcome::Timeout),
        };
        let mut line = Vec::new();
        record.write(&mut line);
        assert_eq!(line.split(|b| *b == b'\n').count(), 2, "one line, and its end");
        let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let right = serde_json::json!({
            "timestamp": "1970-01-01T00:00:00.000000Z", "request_id": "a\"b", "task_type": "text_classification",
            "priority": "high", "worker_id": null, "latency": 0.25, "queue_time": 0.125, "retry_count": 1,
            "outcome": "deadline_exceeded", "last_attempt": "timeout",
        });
        assert_eq!(read, right);
    }

    #[test]
    fn no_process_removes_the_logs_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let old = |name: &str| dir.path().join(format!("{name}.log.2026-01-01"));
        let names = ["worker-1", "worker-1-supervisor", "worker-10"];
        for name in names {
            std::fs::write(old(name), "").unwrap();
        }
        let config = LogConfig { dir: dir.path().to_owned(), level: LogLevel::Info, files: 1 };
        drop(daily(&config, "worker-1").unwrap());
        assert_eq!(names.map(|name| old(name).exists()), [false, true, true]);
    }
}

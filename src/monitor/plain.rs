//! The dashboard without a screen: one snapshot as text or as JSON, or one JSON line a second.

use std::fmt::Write as _;
use std::io::Write;

use super::app::fetch;
use super::health::Health;
use super::model::{load, model_name};
use super::text::{self, NOTHING, Side, age, cell, count, latency_of, percent, rate, uptime, width};
use super::theme::Badge;
use super::view::detail::fault_words;
use super::view::workers::start_command;
use crate::client::{Client, ClientConfig, Feed};
use crate::protocol::{EventKind, Snapshot, WorkerDetail};

/// Prints one snapshot as text.
pub(super) async fn once(config: &ClientConfig) -> anyhow::Result<()> {
    let client = Client::try_new(config)?;
    let snapshot = fetch(&client).await?;
    write(&page(&snapshot, client.url()))
}

/// Prints one snapshot as JSON.
pub(super) async fn json(config: &ClientConfig) -> anyhow::Result<()> {
    let snapshot = fetch(&Client::try_new(config)?).await?;
    write(&format!("{}\n", serde_json::to_string_pretty(&snapshot)?))
}

/// Prints a snapshot a line, for ever; what interrupts them goes to standard error.
pub(super) async fn json_lines(config: &ClientConfig) -> anyhow::Result<()> {
    let client = Client::try_new(config)?;
    let mut feed = client.events();
    loop {
        match feed.next().await {
            Feed::Event(event) => {
                if let EventKind::Snapshot(snapshot) = event.kind {
                    write(&format!("{}\n", serde_json::to_string(&snapshot)?))?;
                }
            }
            Feed::Lost { reason, retry_in, attempt } => {
                eprintln!("aiq: attempt {attempt}: {reason}; again in {:.1} s", retry_in.as_secs_f64());
            }
            Feed::Connected | Feed::Missed(_) => {}
        }
    }
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A snapshot as text. What workers say of themselves may hold anything, so control characters are
/// taken out before they reach somebody's terminal.
pub(crate) fn page(snapshot: &Snapshot, url: &str) -> String {
    let Snapshot { status, queue, workers } = snapshot;
    let health = Health::of(snapshot);
    let mut out = String::new();
    let mut line = |text: String| {
        let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(out, "{}", clean.trim_end());
    };
    line(format!("aiq {}  {url}  up {}", status.version, uptime(status.uptime)));
    line(format!("{} {}  {}", health.level.badge().sign, health.level.badge().word, health.reasons.join(" · ")));
    line(format!(
        "workers {}/{} up  queue {}/{}  in-flight {}  {} req/s  p50 {}  p99 {}  err {}",
        status.healthy_workers,
        status.total_workers,
        count(queue.queue_size),
        count(queue.queue_capacity),
        count(queue.active_tasks),
        rate(status.throughput),
        latency_of(status.latency.count, status.latency.p50),
        latency_of(status.latency.count, status.latency.p99),
        percent(status.error_rate),
    ));
    let stats = &status.stats;
    line(format!(
        "requests {}  answered {}  failed {}  refused {}  cancelled {}  retries {}  hedges {}",
        stats.total_requests,
        stats.successful_requests,
        stats.failed_requests,
        stats.rejected_requests,
        stats.cancelled_requests,
        stats.retries,
        stats.hedges
    ));
    line(String::new());
    if workers.is_empty() {
        line(format!("No workers have registered. Start one with:  {}", start_command(url)));
        return out;
    }
    let heading = ["NAME", "STATE", "LOAD", "LAT", "P99", "SCORE", "INFL", "REQ/S", "DONE", "ERR", "SEEN", "MODEL"];
    let rows: Vec<[String; 12]> = std::iter::once(heading.map(str::to_owned)).chain(workers.iter().map(row)).collect();
    let widths: [usize; 12] = std::array::from_fn(|i| rows.iter().map(|r| width(&r[i])).max().unwrap_or(0));
    for row in &rows {
        let side = |i: usize| if matches!(i, 0 | 1 | 11) { Side::Left } else { Side::Right };
        let cells: Vec<String> = (0..row.len()).map(|i| cell(&row[i], widths[i], side(i))).collect();
        line(cells.join("  "));
    }
    for worker in workers.iter().filter(|w| w.faults.any()) {
        line(format!("faults on {}: {}", worker.worker_id, fault_words(&worker.faults)));
    }
    line(String::new());
    for task in &status.tasks {
        let latency = latency_of(task.latency.count, task.latency.p99);
        let name = cell(task.task.as_str(), 20, Side::Left);
        let by = text::plural(task.workers.into(), "worker");
        let full =
            if task.full_size < task.workers { format!(" ({} full-size)", task.full_size) } else { String::new() };
        line(format!("{name}  {by}{full}  {} req/s  p99 {latency}", rate(task.throughput)));
    }
    out
}

fn row(worker: &WorkerDetail) -> [String; 12] {
    let badge = Badge::of(worker, None);
    let latency = &worker.latency;
    [
        worker.worker_id.to_string(),
        format!("{} {}", badge.sign, badge.word),
        load(worker).map_or_else(|| NOTHING.to_owned(), percent),
        latency_of(latency.count, latency.mean),
        latency_of(latency.count, latency.p99),
        format!("{:.1}", worker.score),
        format!("{}/{}", worker.in_flight, worker.credits),
        rate(worker.throughput),
        count(worker.completed),
        count(worker.failed),
        age(worker.last_seen),
        model_name(worker),
    ]
}

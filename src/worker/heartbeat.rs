//! A worker's heartbeat: once a second, and at once when something changed that matters.

use std::time::{Duration, Instant, SystemTime};

use http::Method;
use tokio::sync::watch;
use tokio::time::{Instant as TokioInstant, sleep_until};

use super::supervisor::View;
use crate::client::Client;
use crate::config::WorkerConfig;
use crate::protocol::{Heartbeat, HeartbeatReply, RegisterReply, routes};

/// Where the sequence of heartbeats is, over all registrations of this process.
#[derive(Debug)]
pub(super) struct Pulse {
    view: watch::Receiver<View>,
    seq: u64,
    beats: u64,
}

impl Pulse {
    /// The sequence begins at the time, so that a supervisor which replaces another goes on above it.
    pub(super) fn new(view: watch::Receiver<View>) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { view, seq: since.as_millis() as u64, beats: 0 }
    }

    /// Heartbeats that were answered.
    pub(super) fn beats(&self) -> u64 {
        self.beats
    }

    fn heartbeat(&mut self, config: &WorkerConfig) -> Heartbeat {
        self.seq += 1;
        let view = self.view.borrow_and_update();
        heartbeat(&view, config, self.seq, Instant::now())
    }
}

/// Sends heartbeats until the registration is void or the coordinator does not answer; returns why.
pub(super) async fn beat(client: &Client, config: &WorkerConfig, reply: &RegisterReply, pulse: &mut Pulse) -> String {
    let path = routes::worker(routes::WORKER_HEARTBEAT, &config.id);
    let every =
        Duration::from_millis(reply.heartbeat_ms).clamp(WorkerConfig::HEARTBEAT_MIN, WorkerConfig::HEARTBEAT_MAX);
    loop {
        let sent = TokioInstant::now();
        let urgent = pulse.view.borrow().urgent;
        let heartbeat = pulse.heartbeat(config);
        match client.call::<_, HeartbeatReply>(Method::POST, &path, Some(&heartbeat)).await {
            Err(error) => return error.to_string(),
            Ok(HeartbeatReply { registered: false }) => return "the coordinator does not know this worker".to_owned(),
            Ok(HeartbeatReply { registered: true }) => pulse.beats += 1,
        }
        tokio::select! {
            () = sleep_until(sent + every) => {}
            changed = pulse.view.wait_for(|view| view.urgent != urgent) => {
                if changed.is_err() {
                    return "the supervisor is ending".to_owned();
                }
            }
        }
    }
}

/// What a heartbeat says of a worker.
fn heartbeat(view: &View, config: &WorkerConfig, seq: u64, now: Instant) -> Heartbeat {
    let report = &view.report;
    Heartbeat {
        seq,
        state: view.state,
        report_age_ms: now.saturating_duration_since(view.reported).as_millis() as u64,
        in_flight: report.in_flight.clone(),
        queue_depth: report.queue_depth,
        progress: report.progress,
        service_times: report.service_times.clone(),
        mean_batch_size: report.mean_batch_size,
        capabilities: report.capabilities.clone(),
        pid: view.pid,
        restarts: view.restarts,
        rss_bytes: report.rss_bytes,
        faults: view.faults.clone(),
        fault_injection: config.fault_injection,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::WorkerArgs;
    use crate::protocol::{FaultSettings, WorkerState};
    use crate::worker::pipe::Report;

    #[test]
    fn it_says_how_long_the_serving_process_has_been_silent() {
        let config = WorkerConfig::load(WorkerArgs::default()).unwrap();
        let now = Instant::now();
        let view = View {
            state: WorkerState::Ready,
            pid: Some(7),
            restarts: 2,
            report: Report { progress: 9, ..Report::none(WorkerState::Ready) },
            reported: now,
            faults: FaultSettings::default(),
            urgent: 0,
        };
        let later = heartbeat(&view, &config, 1, now + Duration::from_millis(2500));
        assert_eq!((later.report_age_ms, later.progress, later.restarts, later.pid), (2500, 9, 2, Some(7)));
    }

    #[test]
    fn the_sequence_goes_on_above_that_of_an_earlier_process() {
        let config = WorkerConfig::load(WorkerArgs::default()).unwrap();
        let view = watch::Sender::new(View {
            state: WorkerState::Ready,
            pid: None,
            restarts: 0,
            report: Report::none(WorkerState::Ready),
            reported: Instant::now(),
            faults: FaultSettings::default(),
            urgent: 0,
        });
        let mut pulse = Pulse::new(view.subscribe());
        let first = pulse.heartbeat(&config).seq;
        assert_eq!(pulse.heartbeat(&config).seq, first + 1);
        // A second of heartbeats never takes a thousand numbers.
        assert!(first > 1_700_000_000_000);
    }
}

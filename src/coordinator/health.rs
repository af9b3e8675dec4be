//! The active check: each worker's `/health`, asked from outside, beside what it says of itself; and
//! the workers that never register themselves and are known by this alone.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::core::Core;
use super::dispatch::Link;
use crate::protocol::{Heartbeat, RegisterWorker, WorkerHealth, WorkerState};
use crate::scheduler::{Check, Event, Liveness, WorkerKey, WorkerReport};

/// A check that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often a static worker is asked that was not reached yet.
const FIRST_CONTACT: Duration = Duration::from_millis(500);

/// Checks every member in turn, for ever.
pub(crate) async fn run(core: Arc<Core>) {
    let mut every = tokio::time::interval(core.config.health_interval);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        for (key, link, alive) in due(&core) {
            tokio::spawn(check(Arc::clone(&core), key, link, alive));
        }
    }
}

/// Pauses before each look at a worker whose control stream ended.
const LOOK_IN: [Duration; 3] = [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(500)];

/// Makes contact with a worker that does not register itself, then leaves it to the checks.
pub(crate) async fn introduce(core: Arc<Core>, url: String) {
    let Some(link) = Link::new(&url, core.config.access.own_token()) else { return };
    let mut complained = false;
    loop {
        match ask(&link).await {
            Ok(health) => match core.join(registration(&url, &health), Liveness::ActiveCheck) {
                Ok(_) => break,
                Err(problem) => tracing::warn!(url, %problem, "static worker not taken in"),
            },
            Err(reason) if !complained => {
                complained = true;
                tracing::warn!(url, reason, "static worker not reached; trying on");
            }
            Err(_) => {}
        }
        tokio::time::sleep(FIRST_CONTACT).await;
    }
    // The first good answer makes it healthy.
    let met = due(&core).into_iter().filter(|(key, ..)| {
        core.lock().members.get(*key).is_some_and(|m| m.registration.url == url && m.alive == Liveness::ActiveCheck)
    });
    for (key, link, alive) in met {
        check(Arc::clone(&core), key, link, alive).await;
    }
}

/// Asks a worker whose control stream ended whether it is still there: a few times, for a serving
/// process outlives its supervisor by a moment. One that is there keeps its lease; one that nothing
/// listens for is lost.
pub(crate) async fn look_in(core: Arc<Core>, worker: WorkerKey) {
    let Some(link) = core.lock().members.link(worker) else { return };
    for pause in LOOK_IN {
        tokio::time::sleep(pause).await;
        let gone = tokio::time::timeout(TIMEOUT, link.health()).await.is_ok_and(|answer| answer.is_err());
        let state = core.lock();
        // It may have come back, or another may have its place.
        if !state.members.get(worker).is_some_and(|m| m.control.is_none() && Arc::ptr_eq(&m.link, &link)) {
            return;
        }
        if gone {
            return core.tell(state, Event::WorkerStateChanged { worker, state: WorkerState::Lost });
        }
    }
}

/// Whom to ask: everybody who should be able to answer.
fn due(core: &Core) -> Vec<(WorkerKey, Arc<Link>, Liveness)> {
    let state = core.lock();
    let now = core.now();
    let serves = |key| {
        let known = state.scheduler.worker(now, key).map(|w| w.state);
        matches!(known, Some(WorkerState::Ready | WorkerState::Draining))
    };
    let ask = |(key, m): (WorkerKey, &super::membership::Member)| {
        (m.alive == Liveness::ActiveCheck || serves(key)).then(|| (key, Arc::clone(&m.link), m.alive))
    };
    state.members.iter().filter_map(ask).collect()
}

async fn check(core: Arc<Core>, worker: WorkerKey, link: Arc<Link>, alive: Liveness) {
    let health = ask(&link).await;
    let state = core.lock();
    // The place may have been taken by another meanwhile.
    if !state.members.link(worker).is_some_and(|now| Arc::ptr_eq(&now, &link)) {
        return;
    }
    let check = if health.is_ok() { Check::Passed } else { Check::Failed };
    if let Err(reason) = &health {
        let worker = state.members.name(worker).map(ToString::to_string);
        tracing::warn!(worker, reason, "health check failed");
    }
    core.tell(state, Event::WorkerChecked { worker, check });
    if let (Ok(health), Liveness::ActiveCheck) = (health, alive) {
        let mut state = core.lock();
        let Some(member) = state.members.get_mut(worker) else { return };
        let beat = beat(member.beat.as_ref().map_or(1, |b| b.seq + 1), &health);
        let report = WorkerReport { in_flight: health.in_flight, ..WorkerReport::from_heartbeat(&beat) };
        member.beat = Some(beat);
        core.tell(state, Event::WorkerReported { worker, report: Box::new(report) });
    }
}

async fn ask(link: &Link) -> Result<WorkerHealth, String> {
    let answer = tokio::time::timeout(TIMEOUT, link.health()).await;
    let (status, body) =
        answer.map_err(|_| format!("no answer within {} s", TIMEOUT.as_secs()))?.map_err(|e| e.to_string())?;
    read(status, &body)
}

fn read(status: StatusCode, body: &[u8]) -> Result<WorkerHealth, String> {
    // A worker that starts or drains says so with 503 and the same body.
    if !status.is_success() && status != StatusCode::SERVICE_UNAVAILABLE {
        return Err(format!("it answered {status}"));
    }
    serde_json::from_slice(body).map_err(|e| format!("its health is not one: {e}"))
}

fn registration(url: &str, health: &WorkerHealth) -> RegisterWorker {
    RegisterWorker {
        worker_id: health.worker_id.clone(),
        url: url.to_owned(),
        capabilities: health.capabilities.clone(),
        capacity: health.capacity,
        state: health.state,
        version: health.version.clone(),
        pid: None,
        faults: health.faults.clone(),
        fault_injection: health.fault_injection,
    }
}

/// What a heartbeat would have said.
fn beat(seq: u64, health: &WorkerHealth) -> Heartbeat {
    Heartbeat {
        seq,
        state: health.state,
        report_age_ms: 0,
        in_flight: Vec::new(),
        queue_depth: health.queue_depth,
        progress: health.progress,
        service_times: health.service_times.clone(),
        mean_batch_size: health.mean_batch_size,
        capabilities: health.capabilities.clone(),
        pid: None,
        restarts: 0,
        rss_bytes: 0,
        faults: health.faults.clone(),
        fault_injection: health.fault_injection,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loading_worker_is_alive_and_a_stranger_is_not() {
        let health = br#"{"status":"starting","worker_id":"w","state":"starting","degraded":false,"capabilities":[],
            "capacity":1,"in_flight":0,"queue_depth":0,"progress":0,"completed":0,"failed":0,"mean_batch_size":0,
            "service_times":[],"faults":{},"fault_injection":false,"uptime":0,"version":"x"}"#;
        assert_eq!(read(StatusCode::SERVICE_UNAVAILABLE, &health[..]).unwrap().worker_id.as_str(), "w");
        assert!(read(StatusCode::OK, b"<html>").unwrap_err().contains("not one"));
        assert!(read(StatusCode::NOT_FOUND, b"").unwrap_err().contains("404"));
    }
}

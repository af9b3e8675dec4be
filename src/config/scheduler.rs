//! Parameters of the pure scheduler, each with its reason.

use std::time::Duration;

/// Parameters of the pure scheduler. Times are durations; the clock comes in as an argument.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerConfig {
    /// Most requests that wait.
    pub queue_capacity: usize,
    /// Most bytes of requests that are not answered yet (a running one is kept, to be sent again).
    pub queue_bytes: usize,
    /// Time budget of a request that names none.
    pub default_timeout: Duration,
    /// Most workers.
    pub max_workers: usize,

    /// How long a request of high, normal and low priority may be overtaken by later ones. Zero,
    /// two and eight seconds: what waits is ordered by arrival plus this, so low priority is slow
    /// but never starves.
    pub patience: [Duration; 3],
    /// How long a request waits for a full-size model where a fallback model is free.
    pub fallback_after: Duration,

    /// Attempts after the first.
    pub max_retries: u32,
    /// First back-off; it doubles with each retry, and the wait is drawn evenly below it.
    pub backoff_base: Duration,
    /// Longest back-off.
    pub backoff_max: Duration,
    /// Retries and hedges in flight at once, as a share of all attempts in flight. A fifth bounds
    /// what a failing fleet has to carry beside its real work.
    pub retry_budget: f64,
    /// Retries and hedges that are always allowed, so that a quiet fleet can retry at all.
    pub retry_budget_min: usize,
    /// Shortest time-out of an attempt; 3 · p99 above it.
    pub attempt_timeout_min: Duration,
    /// Longest time-out of an attempt, unless the model itself takes longer; also the time-out of a
    /// task that nothing is known of.
    pub attempt_timeout_max: Duration,

    /// Hedges as a share of attempts: over this, a slow attempt is waited for.
    pub hedge_share: f64,
    /// Attempts of a task that must have been seen before its 95th percentile is trusted. Twenty tell it roughly, and the
    /// share of hedges is bounded anyhow; with a hundred, what comes twice a second has no hedges for most of a minute.
    pub hedge_min_samples: u64,
    /// No attempt is hedged sooner: under this a second one costs more than it can save.
    pub hedge_min: Duration,

    /// Failures in a row that open a worker's breaker. Three would trip falsely every 80 s under 5 %
    /// random faults.
    pub breaker_failures: u32,
    /// Success share under which a breaker opens.
    pub breaker_success: f64,
    /// Attempts in [`Self::breaker_window`] before that share is judged.
    pub breaker_min_attempts: u32,
    /// Window of that share.
    pub breaker_window: Duration,
    /// How long a breaker stays open the first time; it doubles with each time in a row.
    pub breaker_open: Duration,
    /// Longest time that a breaker stays open.
    pub breaker_open_max: Duration,

    /// Half-life of a worker's success share.
    pub success_half_life: Duration,
    /// How long a worker that comes back beside others is eased in.
    pub slow_start: Duration,
    /// How much more than one round trip's worth of work a worker holds, so that it never idles. Round trips differ: with
    /// 0.1 to 0.8 s, a quarter more than their mean leaves a fleet that is nine tenths busy idle too often (simulated: 95 %
    /// of answers within 4 s, and within 1.3 s with half more).
    pub credit_slack: f64,
    /// A worker that said it is busy, or handed work back, gets nothing new for this long.
    pub busy_pause: Duration,

    /// How often workers send heartbeats.
    pub heartbeat: Duration,
    /// Without a heartbeat for this long it is suspect and gets nothing new. A little under three seconds, so
    /// that one that stops is out of rotation within them, whenever its last heartbeat was.
    pub suspect_after: Duration,
    /// A worker's lease: without a heartbeat for this long it is lost.
    pub lease: Duration,
    /// With work in flight and no progress for this long (or 3 · p99, if that is longer) a worker is suspect.
    pub stall_after: Duration,
}

impl SchedulerConfig {
    /// Attempts of one request that are recorded in its answer; later ones replace the last.
    pub const MAX_ATTEMPT_RECORDS: usize = 32;
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            queue_capacity: 10_000,
            queue_bytes: 256 << 20,
            default_timeout: Duration::from_millis(crate::protocol::InferRequest::DEFAULT_TIMEOUT_MS),
            max_workers: super::CoordinatorConfig::MAX_WORKERS,
            patience: [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(8)],
            fallback_after: Duration::from_secs(2),
            max_retries: 3,
            backoff_base: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            retry_budget: 0.2,
            retry_budget_min: 3,
            attempt_timeout_min: Duration::from_secs(1),
            attempt_timeout_max: Duration::from_secs(10),
            hedge_share: 0.08,
            hedge_min_samples: 20,
            hedge_min: Duration::from_millis(10),
            breaker_failures: 5,
            breaker_success: 0.6,
            breaker_min_attempts: 20,
            breaker_window: Duration::from_secs(10),
            breaker_open: Duration::from_secs(1),
            breaker_open_max: Duration::from_secs(30),
            success_half_life: Duration::from_secs(30),
            slow_start: Duration::from_secs(5),
            credit_slack: 1.5,
            busy_pause: Duration::from_millis(50),
            heartbeat: Duration::from_secs(1),
            suspect_after: Duration::from_millis(2800),
            lease: Duration::from_secs(5),
            stall_after: Duration::from_secs(2),
        }
    }
}

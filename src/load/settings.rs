//! The load's settings: flags, checked and completed, as one struct that is passed whole.

mod read;

use std::path::PathBuf;
use std::time::Duration;

use self::read::{faults, form_of, positive, range, share};
use super::mix::{Mix, MixError};
use super::report::{rate, seconds};
use super::schedule::{Arrivals, Bursts, Mixed, Picks, Shape};
use super::slo::{Slo, SloError};
use crate::cli::{LoadArgs, LoadArrivals, LoadOutput, LoadPattern, Theme};
use crate::protocol::{InferRequest, Priority, TaskType, WorkerAction, WorkerId};

/// What is wrong with the flags; ends with status 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    /// A mix.
    #[error(transparent)]
    Mix(#[from] MixError),
    /// An objective.
    #[error(transparent)]
    Slo(#[from] SloError),
    /// Any other flag.
    #[error("{flag} {wrong}")]
    Flag {
        /// Which.
        flag: &'static str,
        /// What is wrong, and what would be right.
        wrong: String,
    },
}

/// Who decides when the next request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loop {
    /// The schedule.
    Open,
    /// The answers: so many clients, each waiting for its own.
    Closed {
        /// How many clients.
        clients: usize,
    },
}

/// A fault on the timeline.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) worker: WorkerId,
    pub(super) action: WorkerAction,
    /// From the beginning of the measured part.
    pub(super) at: Duration,
}

/// Where `--find-max` searches. Requests a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Everything a run needs to know, checked.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) pattern: LoadPattern,
    pub(super) how: Loop,
    pub(super) arrivals: LoadArrivals,
    pub(super) shape: Shape,
    /// Requests a second that the shape was made from; 0 where it has none.
    pub(super) rate: f64,
    /// Most requests in the measured part.
    pub(super) requests: Option<u64>,
    pub(super) mix: Mix,
    pub(super) seed: u64,
    pub(super) timeout: Duration,
    pub(super) priority: Option<Priority>,
    pub(super) max_in_flight: usize,
    pub(super) slos: Vec<Slo>,
    pub(super) check: bool,
    pub(super) find_max: Option<Range>,
    pub(super) baseline: Option<PathBuf>,
    /// Share by which a number may be worse than the baseline's.
    pub(super) tolerance: f64,
    /// In order of time.
    pub(super) faults: Vec<Fault>,
    pub(super) output: LoadOutput,
    pub(super) output_file: Option<PathBuf>,
    pub(super) live_view: bool,
    /// What the terminal's background is.
    pub(super) theme: Theme,
    pub(super) plan: bool,
}

impl Settings {
    /// Longest run: the timeline keeps a row a second.
    const MAX_LENGTH: f64 = 86_400.0;
    /// Highest rate and largest spike: beyond what one client can send.
    const MAX_RATE: f64 = 1e6;
    /// Most connections at once.
    const MAX_IN_FLIGHT: usize = 60_000;
    /// Most faults on a timeline.
    const MAX_FAULTS: usize = 64;
    const DEFAULT_REQUESTS: u64 = 10;
    const DEFAULT_BURST_SIZE: u32 = 200;
    const DEFAULT_BURST_EVERY: f64 = 5.0;
    const DEFAULT_BASE_RATE: f64 = 20.0;
    /// One trial of `--find-max`: long enough for p99 at 50/s, short enough for ten of them.
    const DEFAULT_TRIAL: f64 = 8.0;

    /// Checks the flags.
    ///
    /// # Errors
    /// [`UsageError`] for the first flag that is wrong.
    pub(super) fn try_new(args: &LoadArgs) -> Result<Self, UsageError> {
        let pattern = pattern(args);
        check_combination(args, pattern)?;
        let find_max = args.find_max.as_deref().map(range).transpose()?;
        let seed = args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
        let rate = positive("--rate", args.rate, Self::MAX_RATE)?;
        let default_rate = if pattern == LoadPattern::Mixed { 100.0 } else { 50.0 };
        let rate = find_max.map(|r| r.low).or(rate).unwrap_or(default_rate);
        let length = positive("--duration", args.duration.map(|s| s.0.as_secs_f64()), Self::MAX_LENGTH)?;
        let length = match (length, pattern) {
            (Some(length), _) => length,
            (None, _) if find_max.is_some() => Self::DEFAULT_TRIAL,
            // So many requests, however long they take.
            (None, LoadPattern::Sustained) if args.requests.is_some() => Self::MAX_LENGTH,
            (None, LoadPattern::Mixed) => 60.0,
            (None, _) => 30.0,
        };
        let how = match args.concurrency {
            None => Loop::Open,
            Some(clients @ 1..=Self::MAX_IN_FLIGHT) => Loop::Closed { clients },
            Some(n) => return wrong("--concurrency", format!("is {n}; it must be 1 to {}", Self::MAX_IN_FLIGHT)),
        };
        let ramp = args.ramp.map_or(0.0, |s| s.0.as_secs_f64());
        let warmup = args.warmup.map_or(if find_max.is_some() { 1.0 } else { 0.0 }, |s| s.0.as_secs_f64());
        if ramp + warmup > Self::MAX_LENGTH {
            return wrong("--ramp", format!("and --warmup are over {} s together", Self::MAX_LENGTH));
        }
        let requests = match args.requests {
            Some(0) => return wrong("--requests", "is 0; it must be at least 1".to_owned()),
            None if pattern == LoadPattern::Simple => Some(Self::DEFAULT_REQUESTS),
            n => n,
        };
        let shape = base_shape(args, &Basis { pattern, rate, length, requests, seed })?;
        let timeout = args.timeout.0;
        let most = Duration::from_millis(InferRequest::MAX_TIMEOUT_MS);
        if timeout < Duration::from_millis(1) || timeout > most {
            return wrong("--timeout", format!("is {}; it must be 1ms to {} s", args.timeout, most.as_secs()));
        }
        if !(1..=Self::MAX_IN_FLIGHT).contains(&args.max_in_flight) {
            let n = args.max_in_flight;
            return wrong("--max-in-flight", format!("is {n}; it must be 1 to {}", Self::MAX_IN_FLIGHT));
        }
        let mut slos = args.slo.iter().map(|s| s.parse()).collect::<Result<Vec<Slo>, _>>()?;
        if find_max.is_some() && slos.is_empty() {
            slos = vec!["p99<500ms".parse()?, "error_rate<1%".parse()?];
        }
        let faults = faults(args)?;
        let length = shape.length();
        if let Some(late) = faults.iter().find(|f| pattern != LoadPattern::Simple && f.at.as_secs_f64() >= length) {
            let (what, at) = (late.action.as_str(), seconds(late.at.as_secs_f64()));
            return wrong("--kill", format!("or --revive: {what} at {at} is after the end, {}", seconds(length)));
        }
        let output_file = args.output_file.clone();
        Ok(Self {
            pattern,
            how,
            arrivals: args.arrivals,
            shape: shape.after_lead_in(ramp, warmup),
            rate: if matches!(how, Loop::Closed { .. }) || pattern == LoadPattern::Simple { 0.0 } else { rate },
            requests,
            mix: args.mix.parse()?,
            seed,
            timeout,
            priority: args.priority,
            max_in_flight: args.concurrency.unwrap_or(args.max_in_flight),
            slos,
            check: args.check,
            find_max,
            baseline: args.baseline.clone(),
            tolerance: share("--tolerance", &args.tolerance)?,
            faults,
            output: args.output.or_else(|| form_of(output_file.as_ref()?)).unwrap_or(LoadOutput::Text),
            output_file,
            live_view: !args.no_tui,
            theme: args.theme,
            plan: args.plan,
        })
    }

    /// The same load at another rate: one trial of `--find-max`.
    pub(super) fn at_rate(&self, rate: f64) -> Self {
        let length = self.shape.length() - self.shape.lead;
        let shape = Shape::sustained(rate, length).after_lead_in(0.0, self.shape.lead);
        Self { rate, shape, find_max: None, ..self.clone() }
    }

    /// What the load does, in words.
    pub(super) fn describe(&self) -> String {
        let measured = self.shape.length() - self.shape.lead;
        let until = match self.requests {
            Some(n) if measured >= Self::MAX_LENGTH => format!("until {n} requests were sent"),
            Some(n) => format!("for {} or {n} requests", seconds(measured)),
            None => format!("for {}", seconds(measured)),
        };
        let what = match (self.pattern, self.how) {
            (_, Loop::Closed { clients }) => format!("{clients} clients, each waiting for its answer, {until}"),
            (LoadPattern::Simple, _) => return format!("{} requests at once", self.requests.unwrap_or(0)),
            (LoadPattern::Sustained, _) => format!("{} {until}", rate(self.rate)),
            (LoadPattern::Mixed, _) => {
                format!("quiet, ramp, burst and sustained phases up to {} {until}", rate(self.rate))
            }
            (LoadPattern::Burst, _) => {
                let base = self.shape.phases.last().map_or(0.0, |p| p.to);
                let spike = self.shape.spikes.first().map_or(0, |s| s.size);
                let every = self.shape.spikes.first().map_or(0.0, |s| s.at - self.shape.lead);
                format!("{} and {spike} at once every {} {until}", rate(base), seconds(every))
            }
        };
        if self.shape.lead > 0.0 { format!("{what}, after {} of lead-in", seconds(self.shape.lead)) } else { what }
    }

    /// What to send, without times.
    pub(super) fn picks(&self, inputs: [usize; 4]) -> Picks {
        let picks = Picks::new(self.seed, &self.mix, inputs);
        if self.pattern == LoadPattern::Simple { picks.in_turns() } else { picks }
    }

    /// The schedule.
    pub(super) fn schedule(&self, inputs: [usize; 4]) -> Arrivals {
        Arrivals::new(&self.shape, self.seed, self.arrivals, self.picks(inputs), self.requests)
    }

    /// The latency, seconds, that an answer of this task must keep to count as good: the loosest
    /// objective's, or the time-out.
    pub(super) fn good_within(&self, task: TaskType) -> f64 {
        let limits = self.slos.iter().filter_map(|slo| slo.latency_limit(task));
        limits.reduce(f64::max).unwrap_or(self.timeout.as_secs_f64())
    }
}

fn wrong<T>(flag: &'static str, wrong: String) -> Result<T, UsageError> {
    Err(UsageError::Flag { flag, wrong })
}

fn pattern(args: &LoadArgs) -> LoadPattern {
    let bursts = args.burst_size.is_some() || args.burst_every.is_some() || args.base_rate.is_some();
    let held = args.rate.is_some()
        || args.duration.is_some()
        || args.concurrency.is_some()
        || args.find_max.is_some()
        || args.ramp.is_some()
        || args.warmup.is_some();
    args.pattern.unwrap_or(match (bursts, held) {
        (true, _) => LoadPattern::Burst,
        (false, true) => LoadPattern::Sustained,
        (false, false) => LoadPattern::Simple,
    })
}

/// Flags that would be ignored are refused: an ignored flag is a wrong conclusion later.
fn check_combination(args: &LoadArgs, pattern: LoadPattern) -> Result<(), UsageError> {
    let bursts = pattern == LoadPattern::Burst;
    let simple = pattern == LoadPattern::Simple;
    let steady = pattern == LoadPattern::Sustained;
    let burst_size = bursts || pattern == LoadPattern::Mixed;
    let refusals = [
        ("--rate", args.rate.is_some() && bursts, "means nothing to burst; give --base-rate and --burst-size"),
        ("--rate", args.rate.is_some() && simple, "means nothing to simple, which sends at once; use sustained"),
        ("--duration", args.duration.is_some() && simple, "means nothing to simple, which sends at once"),
        ("--ramp", args.ramp.is_some() && simple, "means nothing to simple, which sends at once"),
        ("--warmup", args.warmup.is_some() && simple, "means nothing to simple, which sends at once"),
        ("--burst-size", args.burst_size.is_some() && !burst_size, "belongs to the patterns burst and mixed"),
        ("--burst-every", args.burst_every.is_some() && !bursts, "belongs to the pattern burst"),
        ("--base-rate", args.base_rate.is_some() && !bursts, "belongs to the pattern burst"),
        (
            "--concurrency",
            args.concurrency.is_some() && !steady,
            "is a closed loop, which has no pattern but sustained",
        ),
        (
            "--warmup",
            args.warmup.is_some() && args.concurrency.is_some(),
            "needs an open load; leave --concurrency out",
        ),
        ("--find-max", args.find_max.is_some() && !steady, "holds one rate after the other: its pattern is sustained"),
        ("--find-max", args.find_max.is_some() && args.rate.is_some(), "chooses the rate itself; leave --rate out"),
        (
            "--find-max",
            args.find_max.is_some() && args.requests.is_some(),
            "has trials of --duration; leave --requests out",
        ),
        ("--find-max", args.find_max.is_some() && args.ramp.is_some(), "has no ramp; --warmup comes before each trial"),
        (
            "--find-max",
            args.find_max.is_some() && !(args.kill.is_empty() && args.revive.is_empty()),
            "needs a fleet that stays the same; leave --kill and --revive out",
        ),
        (
            "--baseline",
            args.baseline.is_some() && args.find_max.is_some(),
            "compares single runs; leave --find-max out",
        ),
        (
            "--plan",
            args.plan && args.concurrency.is_some(),
            "shows when requests are due; a closed loop has no such times",
        ),
    ];
    match refusals.into_iter().find(|(_, refused, _)| *refused) {
        Some((flag, _, why)) => wrong(flag, why.to_owned()),
        None => Ok(()),
    }
}

/// What a shape is made from, beside the burst flags.
struct Basis {
    pattern: LoadPattern,
    rate: f64,
    length: f64,
    requests: Option<u64>,
    seed: u64,
}

fn base_shape(args: &LoadArgs, basis: &Basis) -> Result<Shape, UsageError> {
    let Basis { rate, length, .. } = *basis;
    let most = Settings::MAX_RATE as u32;
    if let Some(n) = args.burst_size
        && !(1..=most).contains(&n)
    {
        return wrong("--burst-size", format!("is {n}; it must be 1 to {most}"));
    }
    Ok(match basis.pattern {
        LoadPattern::Simple => {
            let n = basis.requests.unwrap_or(Settings::DEFAULT_REQUESTS);
            if n > u64::from(most) {
                return wrong("--requests", format!("is {n}; at once at most {most} are sent"));
            }
            Shape::simple(n as u32)
        }
        LoadPattern::Sustained => Shape::sustained(rate, length),
        LoadPattern::Mixed => {
            let burst_size = args.burst_size.unwrap_or_else(|| (rate.ceil() as u32).max(1));
            Mixed { peak: rate, length, burst_size, seed: basis.seed }.shape()
        }
        LoadPattern::Burst => {
            let every = positive("--burst-every", args.burst_every.map(|s| s.0.as_secs_f64()), Settings::MAX_LENGTH)?;
            let every = every.unwrap_or(Settings::DEFAULT_BURST_EVERY);
            if every >= length || length / every > Settings::MAX_LENGTH {
                let text = "leaves no spike, or too many, within --duration; the first comes after one interval";
                return wrong("--burst-every", text.to_owned());
            }
            let base_rate = match args.base_rate {
                Some(rate) if !(0.0..=Settings::MAX_RATE).contains(&rate) => {
                    return wrong("--base-rate", format!("is {rate}; it must be 0 to {}", Settings::MAX_RATE));
                }
                rate => rate.unwrap_or(Settings::DEFAULT_BASE_RATE),
            };
            let size = args.burst_size.unwrap_or(Settings::DEFAULT_BURST_SIZE);
            Shape::burst(Bursts { size, every, base_rate }, length)
        }
    })
}

#[cfg(test)]
mod tests;

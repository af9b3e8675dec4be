//! Reads single flags of `aiq load`: numbers in bounds, shares, ranges, faults on the timeline.

use std::path::Path;

use super::{Fault, Range, Settings, UsageError, wrong};
use crate::cli::{LoadArgs, LoadOutput};
use crate::config::Span;
use crate::protocol::{WorkerAction, WorkerId};

/// A number over 0 and at most `most`, where one was given.
pub(super) fn positive(flag: &'static str, value: Option<f64>, most: f64) -> Result<Option<f64>, UsageError> {
    match value {
        Some(v) if !(v > 0.0 && v <= most) => wrong(flag, format!("is {v}; it must be over 0 and at most {most}")),
        v => Ok(v),
    }
}

/// A share written as `10%` or `0.1`.
pub(super) fn share(flag: &'static str, text: &str) -> Result<f64, UsageError> {
    let value = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|v| v / 100.0),
        None => text.trim().parse::<f64>(),
    };
    match value {
        Ok(v) if (0.0..=10.0).contains(&v) => Ok(v),
        _ => wrong(flag, format!("is \"{text}\"; write a share such as 10% or 0.1")),
    }
}

/// The rates LOW..HIGH to search between, requests a second.
pub(super) fn range(text: &str) -> Result<Range, UsageError> {
    let read = || {
        let (low, high) = text.split_once("..")?;
        let range = Range { low: low.trim().parse().ok()?, high: high.trim().parse().ok()? };
        (range.low > 0.0 && range.low < range.high && range.high <= Settings::MAX_RATE).then_some(range)
    };
    read().map_or_else(|| wrong("--find-max", format!("is \"{text}\"; write LOW..HIGH, such as 50..2000")), Ok)
}

/// What happens to which worker when, in the order of time.
pub(super) fn faults(args: &LoadArgs) -> Result<Vec<Fault>, UsageError> {
    let read = |flag: &'static str, action: WorkerAction, text: &String| {
        let parts = text.split_once('@').and_then(|(worker, at)| {
            let at = at.parse::<Span>().ok()?.0;
            (at.as_secs_f64() <= Settings::MAX_LENGTH).then_some(())?;
            Some(Fault { worker: WorkerId::try_new(worker).ok()?, action, at })
        });
        parts.map_or_else(|| wrong(flag, format!("is \"{text}\"; write WORKER@TIME, such as worker-1@10s")), Ok)
    };
    let kills = args.kill.iter().map(|text| read("--kill", WorkerAction::Kill, text));
    let revivals = args.revive.iter().map(|text| read("--revive", WorkerAction::Revive, text));
    let mut faults = kills.chain(revivals).collect::<Result<Vec<_>, _>>()?;
    if faults.len() > Settings::MAX_FAULTS {
        return wrong("--kill", format!("and --revive name {} faults; at most {}", faults.len(), Settings::MAX_FAULTS));
    }
    faults.sort_by_key(|fault| fault.at);
    Ok(faults)
}

/// The form of report that a file's name asks for.
pub(super) fn form_of(path: &Path) -> Option<LoadOutput> {
    match path.extension()?.to_str()? {
        "json" => Some(LoadOutput::Json),
        "csv" => Some(LoadOutput::Csv),
        "md" => Some(LoadOutput::Md),
        "html" | "htm" => Some(LoadOutput::Html),
        _ => None,
    }
}

//! Counts and latencies over the last seconds and the last minute, in fixed memory.

mod least;
mod rolling;
mod totals;

pub(super) use least::Least;
pub(super) use rolling::{Ring, Rolling};
pub(super) use totals::{KnownAttempts, Stats, TaskFigures};

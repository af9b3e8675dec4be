//! Counts and latencies over the last seconds and the last minute, in fixed memory.

mod rolling;
mod totals;

pub(super) use rolling::{Ring, Rolling};
pub(super) use totals::{Stats, TaskFigures};

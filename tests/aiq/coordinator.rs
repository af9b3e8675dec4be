//! The coordinator as its clients, workers and operators meet it: the real binary, with workers made
//! here that behave as each test needs.

mod answers;
mod fake;
mod fleet;
mod metrics;
mod refusals;
mod streams;

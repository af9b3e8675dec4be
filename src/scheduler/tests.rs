//! The scheduler as a whole, event by event.

mod admission;
mod breakers;
mod driver;
mod failures;
mod hedging;
mod invariants;
mod membership;
mod order;

//! The scheduler as a whole, event by event.

mod driver;
mod order;

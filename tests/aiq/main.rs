//! What crosses processes: real binaries, real sockets, real signals. And the rules of the house.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on should say where")]

mod answers;
mod command_line;
mod contract;
mod coordinator;
mod fleet;
mod house;
mod load;
mod monitor;
mod sim;
mod support;
mod worker;

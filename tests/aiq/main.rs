//! What crosses processes: real binaries, real sockets, real signals. And the rules of the house.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on should say where")]

mod coordinator;
mod house;
#[allow(dead_code, reason = "each topic takes what it needs")]
mod support;
mod worker;

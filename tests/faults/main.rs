//! The promises of a fleet in trouble, each kept by real processes that are broken by real signals,
//! real sockets and real load. One module a promise.
//!
//! `cargo test --test faults` runs a short form: what is exact is asserted (nothing lost, one answer
//! each, out of rotation, no failed request), and figures that depend on a quiet machine are printed.
//! `just faults` runs the long form, where the promised figures are asserted as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on should say where")]
#![allow(clippy::print_stdout, reason = "every test prints its figures")]

mod base_faults;
mod connections;
mod drain;
mod fail_fast;
mod fleet;
mod freeze;
mod inputs;
mod kill;
mod load;
mod one_id;
mod overload;
mod slow;
#[path = "../aiq/support.rs"]
#[allow(dead_code, reason = "the other whole-process tests need more of it")]
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Tests that measure would measure each other: one at a time. Each may open as many files as the
/// system lets it, and so may the processes that it starts.
fn alone() -> MutexGuard<'static, ()> {
    static STAGE: Mutex<()> = Mutex::new(());
    let stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    setrlimit(Resource::RLIMIT_NOFILE, open_files(), open_files()).unwrap();
    stage
}

/// How many files a process may open.
fn open_files() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).unwrap().1
}

/// Whether promised figures are asserted, at full length.
fn full() -> bool {
    std::env::var("AIQ_FAULT_TESTS").is_ok_and(|form| form == "full")
}

/// How long a load lasts, in the short form and in the full one.
fn seconds(short: u64, long: u64) -> u64 {
    if full() { long } else { short }
}

/// A promised figure: printed always, asserted in the full form.
fn promise(what: &str, holds: bool) {
    println!("  {} {what}", if holds { "holds: " } else { "BROKEN:" });
    assert!(holds || !full(), "{what}");
}

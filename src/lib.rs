//! aiq: a fleet of AI inference workers and the terminal tools to operate it, in one binary.
//!
//! The modules in reading order: [`cli`] and [`config`] are what a person may say, and the checked
//! structs that come of it. [`protocol`] is every shape that crosses a socket. [`client`] is a typed
//! HTTP client of a coordinator, [`telemetry`] the logs, [`inference`] the models. [`coordinator`] and
//! [`worker`] are the two servers. [`monitor`], [`load`], [`infer`], [`health`] and [`up`] are the tools, and [`palette`] the colours of their screens.
//! [`commands`] ties each command to its part.
//!
//! Imports run one way: `protocol` ← `client`, `inference`, `scheduler` ← `coordinator`, `worker`,
//! `monitor`, `load` ← `up`, `main`; a test holds this. See `docs/architecture.md`.

mod by_number;
pub mod cli;
pub mod client;
pub mod commands;
pub mod config;
pub mod coordinator;
pub mod health;
pub mod infer;
pub mod inference;
pub mod load;
pub mod models;
pub mod monitor;
pub mod palette;
pub mod process;
pub mod protocol;
pub mod scheduler;
pub mod telemetry;
pub mod up;
pub mod worker;

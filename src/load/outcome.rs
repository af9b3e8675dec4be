//! How a request ended, as one of a fixed number of classes.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schedule::Arrival;
use crate::protocol::{Attempt, InferResponse, ProblemCode};

/// What kind of failure a class is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The server said that it has no room now (429, 503): the right thing to do under overload.
    Refused,
    /// The server or the connection failed.
    Failed,
    /// No answer in time.
    TimedOut,
    /// An answer, and not the right one.
    Wrong,
}

/// Why a request got no right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// The server said so.
    Problem(ProblemCode),
    /// An error that is not aiq's, by its status.
    NotAiq(u16),
    /// A success whose body can't be read.
    Unreadable,
    /// No connection.
    ConnectFailed,
    /// This machine has no more files or ports for connections.
    ClientLimit,
    /// The connection broke before the answer was whole.
    ConnectionLost,
    /// The client gave up.
    TimedOut,
    /// The answer carries an id that was never sent.
    WrongId,
    /// The answer carries the id of another request, which had its answer already.
    DuplicateId,
    /// The answer is to another task.
    WrongTask,
    /// A plain input, and not its label (`--check`).
    WrongAnswer,
}

impl Class {
    pub(super) fn group(self) -> Group {
        match self {
            Self::Problem(ProblemCode::DeadlineExceeded) | Self::TimedOut => Group::TimedOut,
            Self::Problem(code) if matches!(code.status(), 429 | 503) => Group::Refused,
            Self::NotAiq(429 | 503) => Group::Refused,
            Self::Problem(_)
            | Self::NotAiq(_)
            | Self::Unreadable
            | Self::ConnectFailed
            | Self::ClientLimit
            | Self::ConnectionLost => Group::Failed,
            Self::WrongId | Self::DuplicateId | Self::WrongTask | Self::WrongAnswer => Group::Wrong,
        }
    }

    /// A stable word for programs.
    pub(super) fn name(self) -> String {
        match self {
            Self::Problem(code) => code.as_str(),
            Self::NotAiq(status) => format!("http_{status}"),
            Self::Unreadable => "unreadable_answer".to_owned(),
            Self::ConnectFailed => "connect_failed".to_owned(),
            Self::ClientLimit => "client_limit".to_owned(),
            Self::ConnectionLost => "connection_lost".to_owned(),
            Self::TimedOut => "timed_out".to_owned(),
            Self::WrongId => "wrong_id".to_owned(),
            Self::DuplicateId => "duplicate_id".to_owned(),
            Self::WrongTask => "wrong_task".to_owned(),
            Self::WrongAnswer => "wrong_answer".to_owned(),
        }
    }
}

/// A failure, with what is known of it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) class: Class,
    /// For a person; the first of each class is shown.
    pub(super) detail: String,
    /// What the server tried, where it says so.
    pub(super) attempts: Vec<Attempt>,
}

impl Failure {
    pub(super) fn new(class: Class, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into(), attempts: Vec::new() }
    }
}

/// A request and its end.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) arrival: Arrival,
    /// The intended instant.
    pub(super) due: Instant,
    /// When it was given to a connection; `None` where there never was one.
    pub(super) sent: Option<Instant>,
    pub(super) ended: Instant,
    pub(super) end: Result<Box<InferResponse>, Failure>,
}

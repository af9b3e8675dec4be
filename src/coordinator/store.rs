//! Where accepted jobs and their outcomes are kept: the seam between the coordinator and durability.
//!
//! A store answers three questions: may this job be promised (`accept`, awaited before the 202), is
//! this outcome the first (`complete`, a compare-and-set, awaited before the outcome is visible), and
//! what became of it (`get`). Which requests are in flight, and who waits for them, is not its
//! business. [`Memory`] forgets with the process; a journal goes behind the same trait.

mod memory;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::protocol::{Problem, RequestId};

pub(crate) use memory::{Bounds, Memory};

/// How a request ended: the body of its answer, or why there is none.
pub(crate) type Outcome = Result<Bytes, Problem>;

/// What a payload is recognised by: SHA-256 of task, data and options.
pub(crate) type Fingerprint = [u8; 32];

/// A job that is about to be promised.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "read by stores that outlive the process")]
pub(crate) struct Job {
    /// Its id.
    pub(crate) id: RequestId,
    /// The request as it was received; what a store that outlives the process runs again.
    pub(crate) body: Bytes,
    /// What its payload is recognised by.
    pub(crate) fingerprint: Fingerprint,
}

/// A job that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    /// How.
    pub(crate) outcome: Arc<Outcome>,
    /// What its payload is recognised by.
    pub(crate) fingerprint: Fingerprint,
}

impl Finished {
    /// Whether the same request may not be run again: it was answered, or would fail again.
    pub(crate) fn is_final(&self) -> bool {
        self.outcome.as_ref().as_ref().err().is_none_or(|problem| !problem.retryable)
    }
}

/// What is known under an id.
#[derive(Clone, Debug)]
pub(crate) enum Lookup {
    /// Nothing: it never was, or it has not ended, or it is long forgotten.
    Unknown,
    /// It ended, and the outcome was kept for its time.
    Expired,
    /// It ended.
    Finished(Finished),
}

/// Why a store can't keep its promise.
#[derive(Debug, thiserror::Error)]
#[error("the store can't keep it: {reason}")]
pub(crate) struct StoreError {
    /// What went wrong.
    pub(crate) reason: String,
}

/// A store. Its futures own what they need, so that they can be finished by any task.
pub(crate) trait Store: fmt::Debug + Send + Sync {
    /// How outcomes survive, for `/status`: `memory` is lost with the process.
    fn durability(&self) -> &'static str;

    /// Keeps a job before it is promised to anybody.
    fn accept(&self, job: Job) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Keeps an outcome unless there is one already: the first that is final stays.
    fn complete(&self, id: RequestId, finished: Finished) -> BoxFuture<'static, Result<(), StoreError>>;

    /// What became of a job.
    fn get(&self, id: &RequestId) -> BoxFuture<'static, Result<Lookup, StoreError>>;

    /// Outcomes kept now.
    fn len(&self) -> usize;
}

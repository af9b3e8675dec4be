//! The way to the workers: a stream for many small requests, connections for large ones and for workers
//! that have no stream, and what came back.

mod exchange;
mod link;
mod reply;
mod stream;

pub(crate) use link::{Link, Sent};
pub(crate) use reply::Reply;
pub(crate) use stream::{End, Stream, Unanswered};

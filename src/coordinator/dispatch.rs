//! The way to the workers: connections that are kept, and what came back over them.

mod link;
mod reply;

pub(crate) use link::Link;
pub(crate) use reply::Reply;

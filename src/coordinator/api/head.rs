//! The headers that a submission may have, found in one pass: looking each of them up hashes its name.

use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};

use crate::protocol::routes;

/// See the module. Of a header that was sent twice, the first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head<'a> {
    pub(super) content_type: Option<&'a HeaderValue>,
    pub(super) content_encoding: Option<&'a HeaderValue>,
    /// What the header says, which hyper holds the body to.
    pub(super) content_length: Option<u64>,
    pub(super) request_id: Option<&'a HeaderValue>,
    pub(super) priority: Option<&'a HeaderValue>,
    pub(super) deadline: Option<&'a HeaderValue>,
}

impl<'a> Head<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            let place = if *name == CONTENT_LENGTH {
                found.content_length =
                    found.content_length.or_else(|| value.to_str().ok().and_then(|length| length.parse().ok()));
                continue;
            } else if *name == CONTENT_TYPE {
                &mut found.content_type
            } else if *name == CONTENT_ENCODING {
                &mut found.content_encoding
            } else if *name == routes::X_REQUEST_ID {
                &mut found.request_id
            } else if *name == routes::X_AIQ_PRIORITY {
                &mut found.priority
            } else if *name == routes::X_AIQ_DEADLINE_MS {
                &mut found.deadline
            } else {
                continue;
            };
            place.get_or_insert(value);
        }
        found
    }
}

/// A header's value as text.
pub(super) fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("(not text)")
}

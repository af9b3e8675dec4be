//! Submissions that never became requests: counted by why.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::protocol::ProblemCode;

/// Every reason there is for refusing a submission before the scheduler has seen it.
const CODES: [ProblemCode; 11] = [
    ProblemCode::MalformedJson,
    ProblemCode::InvalidField,
    ProblemCode::UnknownTaskType,
    ProblemCode::EmptyData,
    ProblemCode::BodyTooLarge,
    ProblemCode::UnsupportedMediaType,
    ProblemCode::RequestTimeout,
    ProblemCode::RequestIdConflict,
    ProblemCode::DeadlineExceeded,
    ProblemCode::QueueFull,
    ProblemCode::Unavailable,
];

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Refused([AtomicU64; CODES.len()]);

impl Refused {
    /// Counts one.
    pub(crate) fn note(&self, code: ProblemCode) {
        let at = CODES.iter().position(|c| *c == code).unwrap_or(CODES.len() - 1);
        self.0[at].fetch_add(1, Ordering::Relaxed);
    }

    /// How many, by code.
    pub(super) fn counts(&self) -> impl Iterator<Item = (String, u64)> {
        CODES.iter().zip(&self.0).map(|(code, count)| (code.as_str(), count.load(Ordering::Relaxed)))
    }

    /// Those that were refused because the queue was full.
    pub(crate) fn queue_full(&self) -> u64 {
        self.0[9].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_count() {
        let refused = Refused::default();
        refused.note(ProblemCode::QueueFull);
        refused.note(ProblemCode::EmptyData);
        assert_eq!(refused.queue_full(), 1);
        let counted: Vec<_> = refused.counts().filter(|(_, n)| *n > 0).map(|(code, _)| code).collect();
        assert_eq!(counted, ["empty_data", "queue_full"]);
    }
}

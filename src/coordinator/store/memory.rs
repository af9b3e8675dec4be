//! Outcomes in memory: bounded in number and bytes, kept for their time, the oldest going first.
//!
//! Ids of what has gone are remembered for a while, so that a late reader hears "expired" (410)
//! rather than "unknown" (404); they are bounded in number too.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::ready;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::{Finished, Job, Lookup, Store, StoreError};
use crate::protocol::RequestId;

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Most outcomes.
    pub(crate) count: usize,
    /// Most bytes of outcomes.
    pub(crate) bytes: usize,
    /// How long each is kept.
    pub(crate) ttl: Duration,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Memory {
    bounds: Bounds,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<RequestId, Entry>,
    /// Ids by the time at which they ended; each has an entry.
    by_age: VecDeque<(Instant, RequestId)>,
    bytes: usize,
    gone: HashSet<RequestId>,
    gone_by_age: VecDeque<RequestId>,
}

#[derive(Debug)]
struct Entry {
    finished: Finished,
    bytes: usize,
}

impl Memory {
    /// What an entry takes beside its body: map, queue, ids.
    const OVERHEAD: usize = 256;

    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, kept: Mutex::default() }
    }

    fn lock(&self, now: Instant) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.make_room(&self.bounds, now);
        kept
    }

    fn complete_at(&self, now: Instant, id: RequestId, finished: Finished) {
        let body = match &*finished.outcome {
            Ok(body) => body.len(),
            Err(problem) => problem.detail.len() + problem.attempts.len() * 64,
        };
        let bytes = body + 2 * id.as_str().len() + Self::OVERHEAD;
        let mut guard = self.lock(now);
        let kept = &mut *guard;
        if let Some(entry) = kept.entries.get_mut(&id) {
            if entry.finished.is_final() {
                return;
            }
            kept.bytes = kept.bytes - entry.bytes + bytes;
            *entry = Entry { finished, bytes };
        } else {
            kept.bytes += bytes;
            kept.by_age.push_back((now, id.clone()));
            kept.entries.insert(id, Entry { finished, bytes });
        }
        kept.make_room(&self.bounds, now);
    }

    fn get_at(&self, now: Instant, id: &RequestId) -> Lookup {
        let kept = self.lock(now);
        match kept.entries.get(id) {
            Some(entry) => Lookup::Finished(entry.finished.clone()),
            None if kept.gone.contains(id) => Lookup::Expired,
            None => Lookup::Unknown,
        }
    }
}

impl Kept {
    /// Lets go of what is too old or too much.
    fn make_room(&mut self, bounds: &Bounds, now: Instant) {
        while let Some((ended, _)) = self.by_age.front() {
            let expired = now.saturating_duration_since(*ended) >= bounds.ttl;
            if !expired && self.entries.len() <= bounds.count && self.bytes <= bounds.bytes {
                break;
            }
            let Some((_, id)) = self.by_age.pop_front() else { break };
            if let Some(entry) = self.entries.remove(&id) {
                self.bytes -= entry.bytes;
            }
            if self.gone.insert(id.clone()) {
                self.gone_by_age.push_back(id);
            }
            if self.gone_by_age.len() > bounds.count
                && let Some(oldest) = self.gone_by_age.pop_front()
            {
                self.gone.remove(&oldest);
            }
        }
    }
}

impl Store for Memory {
    fn durability(&self) -> &'static str {
        "memory"
    }

    fn accept(&self, _: Job) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }

    fn complete(&self, id: RequestId, finished: Finished) -> BoxFuture<'static, Result<(), StoreError>> {
        self.complete_at(Instant::now(), id, finished);
        Box::pin(ready(Ok(())))
    }

    fn get(&self, id: &RequestId) -> BoxFuture<'static, Result<Lookup, StoreError>> {
        Box::pin(ready(Ok(self.get_at(Instant::now(), id))))
    }

    fn len(&self) -> usize {
        self.lock(Instant::now()).entries.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::protocol::{Problem, ProblemCode};

    fn store(count: usize, bytes: usize) -> Memory {
        Memory::new(Bounds { count, bytes, ttl: Duration::from_mins(1) })
    }

    fn id(n: usize) -> RequestId {
        RequestId::try_new(format!("r-{n}")).unwrap()
    }

    fn finished(body: &[u8]) -> Finished {
        Finished { outcome: Arc::new(Ok(Bytes::copy_from_slice(body))), fingerprint: [0; 32] }
    }

    fn body(lookup: Lookup) -> Option<Bytes> {
        match lookup {
            Lookup::Finished(f) => f.outcome.as_ref().clone().ok(),
            Lookup::Expired | Lookup::Unknown => None,
        }
    }

    #[test]
    fn the_first_outcome_stays() {
        let (s, now) = (store(10, 1 << 20), Instant::now());
        assert!(matches!(s.get_at(now, &id(1)), Lookup::Unknown));
        s.complete_at(now, id(1), finished(b"first"));
        s.complete_at(now, id(1), finished(b"second"));
        assert_eq!(body(s.get_at(now, &id(1))).unwrap(), "first");
    }

    #[test]
    fn a_failure_that_may_be_tried_again_gives_way_to_what_came_of_it() {
        let (s, now) = (store(10, 1 << 20), Instant::now());
        let failed = Arc::new(Err(Problem::new(ProblemCode::AttemptsSpent, "all failed")));
        s.complete_at(now, id(1), Finished { outcome: failed, fingerprint: [0; 32] });
        s.complete_at(now, id(1), finished(b"at last"));
        assert_eq!(body(s.get_at(now, &id(1))).unwrap(), "at last");
        assert_eq!(s.lock(now).bytes, 7 + 2 * 3 + Memory::OVERHEAD);
    }

    #[test]
    fn after_its_time_it_is_expired_and_not_unknown() {
        let (s, now) = (store(10, 1 << 20), Instant::now());
        s.complete_at(now, id(1), finished(b"x"));
        assert!(body(s.get_at(now + Duration::from_secs(59), &id(1))).is_some());
        assert!(matches!(s.get_at(now + Duration::from_mins(1), &id(1)), Lookup::Expired));
        s.complete_at(now + Duration::from_secs(61), id(1), finished(b"again"));
        assert_eq!(body(s.get_at(now + Duration::from_secs(62), &id(1))).unwrap(), "again");
    }

    #[test]
    fn count_and_bytes_are_bounded_and_so_are_the_ids_of_what_has_gone() {
        let (s, now) = (store(10, 8 * 1024), Instant::now());
        for n in 0..100 {
            s.complete_at(now, id(n), finished(b"x"));
        }
        assert!(body(s.get_at(now, &id(99))).is_some());
        assert!(matches!(s.get_at(now, &id(85)), Lookup::Expired));
        assert!(matches!(s.get_at(now, &id(1)), Lookup::Unknown), "forgotten altogether");
        let counts = |kept: &Kept| (kept.entries.len(), kept.gone.len(), kept.gone_by_age.len());
        assert_eq!(counts(&s.lock(now)), (10, 10, 10));
        s.complete_at(now, id(200), finished(&[b'x'; 7000]));
        let kept = s.lock(now);
        assert!(kept.bytes <= 8 * 1024 && kept.entries.len() < 10);
    }
}

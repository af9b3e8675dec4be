//! The event stream's source: numbers what happens and hands it to every reader.
//!
//! Bounded on both sides: at most `MAX_EVENT_READERS` readers, and a reader that falls more than
//! `EVENT_BUFFER` events behind misses some, which it sees by the gap in `seq`. With nobody reading,
//! an event costs its number and nothing else.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;

use crate::config::CoordinatorConfig;
use crate::protocol::{Event, EventKind};

/// Where events go in and readers come from.
#[derive(Debug)]
pub(crate) struct Events {
    /// The number of the last event; held while one is sent, so that order and numbers agree.
    last: Mutex<u64>,
    sender: broadcast::Sender<Arc<Event>>,
    readers: Arc<AtomicUsize>,
}

/// One reader's end.
#[derive(Debug)]
pub(crate) struct Reader {
    receiver: broadcast::Receiver<Arc<Event>>,
    /// The number of the last event before this reader came.
    pub(crate) last_seq: u64,
    readers: Arc<AtomicUsize>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reader {
    /// The next event; `None` when the coordinator ends. What was missed shows in the numbers.
    pub(crate) async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Another event, if there is one already.
    pub(crate) fn ready(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.receiver.try_recv() {
                Ok(event) => return Some(event),
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => return None,
            }
        }
    }
}

impl Events {
    pub(crate) fn new() -> Self {
        let (sender, _) = broadcast::channel(CoordinatorConfig::EVENT_BUFFER);
        Self { last: Mutex::new(0), sender, readers: Arc::default() }
    }

    /// Whether anybody reads: what is costly to make can be left out otherwise.
    pub(crate) fn is_read(&self) -> bool {
        self.readers.load(Ordering::Relaxed) > 0
    }

    /// Publishes what `make` makes, which is not called while nobody reads.
    pub(crate) fn publish(&self, make: impl FnOnce() -> EventKind) {
        let kind = self.is_read().then(make);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        if let Some(kind) = kind {
            // An error means that the last reader left just now.
            let _ = self.sender.send(Arc::new(Event { seq: *last, at_ms: now_ms(), kind }));
        }
    }

    /// A new reader, or `None` when there are as many as there may be.
    pub(crate) fn subscribe(&self) -> Option<Reader> {
        let most = CoordinatorConfig::MAX_EVENT_READERS;
        let room = |n| (n < most).then_some(n + 1);
        self.readers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Reader { receiver: self.sender.subscribe(), last_seq: *last, readers: Arc::clone(&self.readers) })
    }

    /// How many read now.
    pub(crate) fn readers(&self) -> usize {
        self.readers.load(Ordering::Relaxed)
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::WorkerId;

    fn joined() -> EventKind {
        EventKind::WorkerJoined { worker: WorkerId::try_new("w").unwrap() }
    }

    #[tokio::test]
    async fn numbers_go_on_without_readers_and_gaps_show_what_a_slow_one_missed() {
        let events = Events::new();
        events.publish(|| unreachable!("nobody reads"));
        let mut reader = events.subscribe().unwrap();
        assert_eq!(reader.last_seq, 1);
        for _ in 0..CoordinatorConfig::EVENT_BUFFER + 10 {
            events.publish(joined);
        }
        assert_eq!(reader.next().await.unwrap().seq, 12, "ten were dropped");
        assert_eq!(reader.ready().unwrap().seq, 13);
        while reader.ready().is_some() {}
        events.publish(joined);
        assert!(reader.next().await.is_some());
        assert!(reader.ready().is_none());
    }

    #[test]
    fn readers_are_counted_and_bounded() {
        let events = Events::new();
        let all: Vec<_> = (0..CoordinatorConfig::MAX_EVENT_READERS).map(|_| events.subscribe().unwrap()).collect();
        assert!(events.subscribe().is_none());
        drop(all);
        assert_eq!(events.readers(), 0);
        assert!(events.subscribe().is_some());
    }
}

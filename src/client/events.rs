//! The coordinator's event stream, held open: it reconnects with back-off and says what was missed.

use std::time::Duration;

use super::{Client, JsonEvents};
use crate::protocol::{Event, EventKind, routes};

/// What the stream tells its reader.
#[derive(Debug)]
pub enum Feed {
    /// The connection stands; a snapshot follows.
    Connected,
    /// Something happened.
    Event(Box<Event>),
    /// Events that were dropped because this reader was slow, or that happened while it was away.
    Missed(u64),
    /// The connection is gone; another attempt follows after the pause.
    Lost {
        /// Why.
        reason: String,
        /// How long until the next attempt.
        retry_in: Duration,
        /// Attempts that have failed in a row.
        attempt: u32,
    },
}

/// Reads events for ever. Dropping it closes the connection.
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    source: Option<JsonEvents<Event>>,
    last_seq: Option<u64>,
    held: Option<Box<Event>>,
    failures: u32,
    pause: Duration,
}

impl EventStream {
    /// First pause after a failure.
    const BACKOFF_MIN: Duration = Duration::from_millis(250);
    /// Longest pause after a failure.
    const BACKOFF_MAX: Duration = Duration::from_secs(5);
    /// Snapshots come each second; silence this long means that the connection is dead.
    const SILENCE: Duration = Duration::from_secs(5);

    pub(super) fn new(client: Client) -> Self {
        Self { client, source: None, last_seq: None, held: None, failures: 0, pause: Duration::ZERO }
    }

    /// The next thing to know. Safe to drop and call again (cancel-safe), as in a `select!`.
    pub async fn next(&mut self) -> Feed {
        if let Some(event) = self.held.take() {
            return Feed::Event(event);
        }
        let Some(source) = &mut self.source else { return self.connect().await };
        match tokio::time::timeout(Self::SILENCE, source.next()).await {
            Ok(Some(Ok(event))) => self.received(event),
            Ok(Some(Err(reason))) => self.lost(reason),
            Ok(None) => self.lost("the coordinator closed the stream".to_owned()),
            Err(_) => self.lost(format!("nothing heard for {} s", Self::SILENCE.as_secs())),
        }
    }

    async fn connect(&mut self) -> Feed {
        tokio::time::sleep(self.pause).await;
        match self.client.stream(routes::EVENTS).await {
            Ok(source) => {
                self.source = Some(source);
                Feed::Connected
            }
            Err(e) => self.lost(e.to_string()),
        }
    }

    fn received(&mut self, event: Event) -> Feed {
        self.failures = 0;
        // A stream's first snapshot carries the number of the last event before it, so that the
        // next one follows on; a lower number means that the coordinator is another process now.
        let snapshot = matches!(event.kind, EventKind::Snapshot(_));
        let missed = match self.last_seq {
            Some(last) if event.seq > last + 1 => event.seq - last - 1,
            _ => 0,
        };
        self.last_seq = Some(event.seq);
        if missed > 0 && !(snapshot && self.last_seq.is_none()) {
            self.held = Some(Box::new(event));
            return Feed::Missed(missed);
        }
        Feed::Event(Box::new(event))
    }

    fn lost(&mut self, reason: String) -> Feed {
        self.source = None;
        self.failures = self.failures.saturating_add(1);
        let doubled = Self::BACKOFF_MIN.saturating_mul(1 << (self.failures - 1).min(8));
        self.pause = doubled.min(Self::BACKOFF_MAX);
        Feed::Lost { reason, retry_in: self.pause, attempt: self.failures }
    }
}

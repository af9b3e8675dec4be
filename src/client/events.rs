//! The coordinator's event stream, held open: it reconnects with back-off and says what was missed.

use std::time::Duration;

use super::{Client, JsonEvents};
use crate::protocol::{Event, routes};

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

    /// The next thing to know. No event is lost when this is dropped before it is done, but a pause or a
    /// connection under way begins again at the next call; hold the future across turns of a `select!`.
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
        // A lower number than the last means that the coordinator is another process now.
        let missed = self.last_seq.map_or(0, |last| event.seq.saturating_sub(last + 1));
        self.last_seq = Some(event.seq);
        if missed > 0 {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::ClientConfig;

    fn joined(seq: u64) -> String {
        format!("data: {{\"seq\":{seq},\"at_ms\":0,\"event\":\"worker_joined\",\"worker\":\"w\"}}\n\n")
    }

    /// A server whose n-th connection sends the n-th text as an event stream and closes.
    async fn server(texts: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for text in texts {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let _ = socket.read(&mut head).await.unwrap();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                socket.write_all(format!("{head}{text}").as_bytes()).await.unwrap();
            }
        });
        url
    }

    #[tokio::test]
    async fn a_gap_is_told_and_a_broken_stream_is_opened_again() {
        let first = format!(": keep-alive\n\n{}{}", joined(7), joined(10));
        let url = server(vec![first, joined(12)]).await;
        let mut stream = crate::client::Client::try_new(&ClientConfig::new(url)).unwrap().events();
        assert!(matches!(stream.next().await, Feed::Connected));
        assert!(matches!(stream.next().await, Feed::Event(e) if e.seq == 7));
        assert!(matches!(stream.next().await, Feed::Missed(2)));
        assert!(matches!(stream.next().await, Feed::Event(e) if e.seq == 10));
        assert!(matches!(stream.next().await, Feed::Lost { attempt: 1, .. }));
        assert!(matches!(stream.next().await, Feed::Connected));
        // What happened while it was away counts as missed.
        assert!(matches!(stream.next().await, Feed::Missed(1)));
        assert!(matches!(stream.next().await, Feed::Event(e) if e.seq == 12));
    }
}

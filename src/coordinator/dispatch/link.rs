//! The way to one worker: which of its two ways a request takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;

use super::exchange::{Exchanges, LinkError, Peer};
use super::{End, Reply, Stream};
use crate::coordinator::core::Work;
use crate::scheduler::AttemptId;

/// The way to one worker.
#[derive(Debug)]
pub(crate) struct Link {
    peer: Arc<Peer>,
    exchanges: Exchanges,
    stream: Mutex<Slot>,
}

/// Its stream.
#[derive(Debug)]
enum Slot {
    /// None yet, or the last one has ended.
    None,
    /// This one, opening or open.
    Some(Arc<Stream>),
    /// The worker has none; asked again at this time.
    Refused(Instant),
}

/// How a request went out.
#[derive(Debug)]
pub(crate) enum Sent {
    /// On the stream, under this number.
    OnStream(Arc<Stream>, u64),
    /// The same, on a stream that is new: whoever sent it runs it.
    OnNewStream(Arc<Stream>, u64),
    /// Not at all: it goes by an exchange of its own.
    Alone,
}

impl Link {
    /// Larger bodies go alone: on the stream, small ones would wait behind them.
    const MAX_SHARED_BYTES: usize = 64 << 10;
    /// A worker that refused a stream is not asked again for this long.
    const REFUSAL_TIME: Duration = Duration::from_secs(30);

    /// The way to `http://HOST[:PORT]`, with the token that this coordinator sends. `None` where the
    /// address or the token can't be one.
    pub(crate) fn new(url: &str, token: Option<&str>) -> Option<Self> {
        let peer = Arc::new(Peer::new(url, token)?);
        Some(Self { exchanges: Exchanges::new(Arc::clone(&peer)), peer, stream: Mutex::new(Slot::None) })
    }

    /// Sends a request on the worker's stream, if it is one for it and there is, or may be, one.
    pub(crate) fn send(&self, attempt: AttemptId, work: &Arc<Work>, budget: Duration) -> Sent {
        if work.body.len() > Self::MAX_SHARED_BYTES {
            return Sent::Alone;
        }
        let mut slot = self.slot();
        match &*slot {
            Slot::Some(stream) => {
                if let Some(number) = stream.send(attempt, work, budget) {
                    return Sent::OnStream(Arc::clone(stream), number);
                }
            }
            Slot::Refused(until) if Instant::now() < *until => return Sent::Alone,
            Slot::Refused(_) | Slot::None => {}
        }
        let stream = Arc::new(Stream::new());
        let Some(number) = stream.send(attempt, work, budget) else { return Sent::Alone };
        *slot = Slot::Some(Arc::clone(&stream));
        Sent::OnNewStream(stream, number)
    }

    /// Runs a new stream to its end; what comes back goes to `deliver`, what is left without an answer
    /// is in the end.
    pub(crate) async fn run(&self, stream: &Arc<Stream>, deliver: impl FnMut(Vec<(AttemptId, Reply)>)) -> End {
        let end = stream.run(&self.peer, deliver).await;
        let mut slot = self.slot();
        if matches!(&*slot, Slot::Some(current) if Arc::ptr_eq(current, stream)) {
            *slot = match end {
                End::Refused(_) => Slot::Refused(Instant::now() + Self::REFUSAL_TIME),
                End::Broken(..) => Slot::None,
            };
        }
        end
    }

    /// Gives up the stream: its worker is gone, even if the connection does not show it.
    pub(crate) fn hang_up(&self) {
        if let Slot::Some(stream) = std::mem::replace(&mut *self.slot(), Slot::None) {
            stream.close();
        }
    }

    /// Sends a request in an exchange of its own and reads what comes of it.
    pub(crate) async fn infer(&self, work: &Work, budget: Duration) -> Reply {
        self.exchanges.infer(work, budget).await
    }

    /// Asks for the worker's health over a connection of its own: whether it takes new ones is part of
    /// the question.
    pub(crate) async fn health(&self) -> Result<(StatusCode, Bytes), LinkError> {
        self.exchanges.health().await
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! One worker's work stream ([`crate::protocol::work`]): many requests over one connection.
//!
//! Sending appends a frame to what is to be written; one task writes whatever has gathered and reads
//! whatever has come, so that a busy worker costs a system call for many requests. Keeps no time: the
//! scheduler cancels what takes too long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Reply;
use super::exchange::{LinkError, Peer, broken};
use crate::by_number::ByNumber;
use crate::coordinator::core::Work;
use crate::protocol::routes;
use crate::protocol::work::{FromWorker, WORK_PROTOCOL, put_cancel, put_request};
use crate::scheduler::AttemptId;

/// See the module.
#[derive(Debug)]
pub(crate) struct Stream {
    state: Mutex<State>,
    /// There is something to write.
    wake: Notify,
    /// It was given up, whatever its connection is at.
    over: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    /// Frames to be written.
    out: BytesMut,
    /// Sent and not answered, by number.
    waiting: ByNumber<Unanswered>,
    last: u64,
    /// Takes nothing more.
    closed: bool,
}

/// A request that has no answer yet.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) attempt: AttemptId,
    pub(crate) work: Arc<Work>,
    pub(crate) budget: Duration,
}

/// How a stream ended, with what is left without an answer.
#[derive(Debug)]
pub(crate) enum End {
    /// The worker has no such stream; nothing was sent.
    Refused(Vec<Unanswered>),
    /// The connection broke, or never was.
    Broken(String, Vec<Unanswered>),
}

/// The worker does not know this protocol.
struct Refused;

impl Stream {
    /// Read at once.
    const READ_BYTES: usize = 64 << 10;
    /// Most that may wait to be written to a worker that does not read: more than all of a large
    /// worker's credit.
    const MAX_UNWRITTEN: usize = 32 << 20;

    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), wake: Notify::new(), over: CancellationToken::new() }
    }

    /// Sends a request; its number, by which it can be cancelled, or `None` where the stream is over.
    pub(super) fn send(&self, attempt: AttemptId, work: &Arc<Work>, budget: Duration) -> Option<u64> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.last += 1;
        let number = state.last;
        let budget_ms = u32::try_from(budget.as_millis()).unwrap_or(u32::MAX).max(1);
        put_request(&mut state.out, number, budget_ms, work.priority, &work.id, &work.body);
        state.waiting.insert(number, Unanswered { attempt, work: Arc::clone(work), budget });
        self.written(state);
        Some(number)
    }

    /// Withdraws a request; nothing is said of it any more.
    pub(crate) fn cancel(&self, number: u64) {
        let mut state = self.lock();
        if state.waiting.remove(number).is_some() && !state.closed {
            put_cancel(&mut state.out, number);
            self.written(state);
        }
    }

    /// Ends it.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.over.cancel();
    }

    fn written(&self, mut state: MutexGuard<'_, State>) {
        if state.out.len() > Self::MAX_UNWRITTEN {
            state.closed = true;
            self.over.cancel();
        }
        drop(state);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects, and carries frames both ways until that is over.
    pub(super) async fn run(&self, peer: &Peer, deliver: impl FnMut(Vec<(AttemptId, Reply)>)) -> End {
        let reason = tokio::select! {
            carried = self.carry(peer, deliver) => match carried {
                Ok(Refused) => return End::Refused(self.give_up()),
                Err(reason) => reason,
            },
            () = self.over.cancelled() => "the connection was given up".to_owned(),
        };
        End::Broken(reason, self.give_up())
    }

    async fn carry(&self, peer: &Peer, deliver: impl FnMut(Vec<(AttemptId, Reply)>)) -> Result<Refused, String> {
        let opened = tokio::time::timeout(Peer::CONNECT_TIME, open(peer)).await;
        let opened = opened.map_err(|_| format!("no answer within {} s", Peer::CONNECT_TIME.as_secs()))?;
        let Some((connection, read)) = opened.map_err(|e| e.0)? else { return Ok(Refused) };
        let (reading, writing) = connection.into_split();
        Err(tokio::select! {
            reason = self.read(reading, read, deliver) => reason,
            reason = self.write(writing) => reason,
        })
    }

    fn give_up(&self) -> Vec<Unanswered> {
        let mut state = self.lock();
        state.closed = true;
        state.out = BytesMut::new();
        std::mem::take(&mut state.waiting).into_values().collect()
    }

    async fn write(&self, mut to: tokio::net::tcp::OwnedWriteHalf) -> String {
        let mut frames = BytesMut::new();
        loop {
            frames.clear();
            std::mem::swap(&mut frames, &mut self.lock().out);
            if frames.is_empty() {
                self.wake.notified().await;
                // After all others that are ready: what they send shares this write.
                tokio::task::yield_now().await;
            } else if let Err(e) = to.write_all(&frames).await {
                return format!("the connection broke: {e}");
            }
        }
    }

    async fn read(
        &self,
        mut from: tokio::net::tcp::OwnedReadHalf,
        read: Bytes,
        mut deliver: impl FnMut(Vec<(AttemptId, Reply)>),
    ) -> String {
        let mut buffer = BytesMut::with_capacity(Self::READ_BYTES);
        buffer.extend_from_slice(&read);
        loop {
            let mut frames = Vec::new();
            let fault = loop {
                match FromWorker::take(&mut buffer) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break None,
                    Err(fault) => break Some(fault),
                }
            };
            if !frames.is_empty() {
                deliver(self.match_up(frames));
            }
            if let Some(fault) = fault {
                return format!("it sent {fault}");
            }
            buffer.reserve(Self::READ_BYTES);
            match from.read_buf(&mut buffer).await {
                Ok(0) => return "the connection broke: the worker closed it".to_owned(),
                Ok(_) => {}
                Err(e) => return format!("the connection broke: {e}"),
            }
        }
    }

    /// Finds the attempts that frames belong to; those of withdrawn ones are thrown away.
    fn match_up(&self, frames: Vec<FromWorker>) -> Vec<(AttemptId, Reply)> {
        let mut state = self.lock();
        let known: Vec<_> = frames
            .into_iter()
            .filter_map(|frame| {
                let (FromWorker::Answer { number, .. } | FromWorker::Problem { number, .. }) = frame;
                Some((state.waiting.remove(number)?, frame))
            })
            .collect();
        drop(state);
        known.into_iter().map(|(of, frame)| (of.attempt, Reply::from_frame(frame, of.work.task))).collect()
    }
}

/// The connection, and what was read of it beyond the answer to the upgrade; `None` where the worker
/// does not know this protocol.
async fn open(peer: &Peer) -> Result<Option<(TcpStream, Bytes)>, LinkError> {
    let (mut sender, driver) = http1::handshake(peer.connect().await?).await.map_err(|e| broken(&e))?;
    tokio::spawn(driver.with_upgrades());
    let mut request = peer.request(Method::GET, routes::INFER_STREAM, Bytes::new());
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    request.headers_mut().insert(UPGRADE, HeaderValue::from_static(WORK_PROTOCOL));
    let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(None);
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|e| broken(&e))?;
    let foreign = |_| LinkError("the connection can't be taken over".to_owned());
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(foreign)?;
    Ok(Some((parts.io.into_inner(), parts.read_buf)))
}

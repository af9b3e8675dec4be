//! Plain exchanges with one worker: HTTP/1.1, kept alive, one request at a time on each connection.
//!
//! Keeps no time: the scheduler cancels an attempt that takes too long, and dropping it closes its
//! connection, which tells the worker to stop as well.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Reply;
use crate::coordinator::core::Work;
use crate::protocol::routes;
use crate::protocol::work::MAX_FRAME;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LinkError(pub(super) String);

/// Where a worker is, and how to speak to it.
#[derive(Debug)]
pub(super) struct Peer {
    /// `HOST:PORT`.
    authority: String,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
}

impl Peer {
    /// Longest wait for a connection.
    pub(super) const CONNECT_TIME: Duration = Duration::from_secs(2);

    /// The worker at `http://HOST[:PORT]`, with the token that this coordinator sends. `None` where the
    /// address or the token can't be one.
    pub(super) fn new(url: &str, token: Option<&str>) -> Option<Self> {
        let uri: http::Uri = url.parse().ok()?;
        let host = uri.host()?;
        Some(Self {
            authority: format!("{host}:{}", uri.port_u16().unwrap_or(80)),
            host: HeaderValue::from_str(uri.authority()?.as_str()).ok()?,
            authorization: token.map(|t| HeaderValue::from_str(&format!("Bearer {t}"))).transpose().ok()?,
        })
    }

    /// A request to it.
    pub(super) fn request(&self, method: Method, path: &'static str, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = http::Uri::from_static(path);
        request.headers_mut().insert(HOST, self.host.clone());
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        request
    }

    /// A new connection to it.
    pub(super) async fn connect(&self) -> Result<TokioIo<TcpStream>, LinkError> {
        let connecting = tokio::time::timeout(Self::CONNECT_TIME, TcpStream::connect(&self.authority)).await;
        let stream = match connecting {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return Err(LinkError(format!("can't connect to {}: {e}", self.authority))),
            Err(_) => {
                let seconds = Self::CONNECT_TIME.as_secs();
                return Err(LinkError(format!("no connection to {} within {seconds} s", self.authority)));
            }
        };
        stream.set_nodelay(true).map_err(|e| LinkError(e.to_string()))?;
        Ok(TokioIo::new(stream))
    }
}

/// Connections to one worker.
#[derive(Debug)]
pub(super) struct Exchanges {
    peer: Arc<Peer>,
    /// Connections without a request, the one used last on top.
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: SendRequest<Full<Bytes>>,
    since: Instant,
}

impl Exchanges {
    /// Connections that are kept without a request: a full credit of a large worker.
    const MAX_IDLE: usize = 256;
    /// An idle connection is not used after this long: workers close theirs after ten seconds, and one
    /// that is closed just as a request goes out would cost that request an attempt.
    const IDLE_TIME: Duration = Duration::from_secs(5);
    /// Largest answer: a thousand labels fit many times over.
    const MAX_ANSWER_BYTES: usize = MAX_FRAME;

    pub(super) fn new(peer: Arc<Peer>) -> Self {
        Self { peer, idle: Mutex::default() }
    }

    /// Sends a request and reads what comes of it.
    pub(super) async fn infer(&self, work: &Work, budget: Duration) -> Reply {
        let Ok(id) = HeaderValue::from_str(work.id.as_str()) else { return Reply::Lost("unusable id".to_owned()) };
        let mut request = self.peer.request(Method::POST, routes::INFER, work.body.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(routes::X_REQUEST_ID, id);
        let left = HeaderValue::from((budget.as_millis() as u64).max(1));
        headers.insert(routes::X_AIQ_DEADLINE_MS, left);
        let priority = HeaderValue::from_static(work.priority.as_str());
        headers.insert(routes::X_AIQ_PRIORITY, priority);
        match self.exchange(request).await {
            Ok((status, body)) => Reply::read(status, &body, work.task),
            Err(e) => Reply::Lost(e.0),
        }
    }

    /// Asks for the worker's health over a connection of its own: whether it takes new ones is part of
    /// the question.
    pub(super) async fn health(&self) -> Result<(StatusCode, Bytes), LinkError> {
        let mut connection = self.connect().await?;
        let response = connection.send_request(self.peer.request(Method::GET, routes::HEALTH, Bytes::new())).await;
        Self::read(response.map_err(|e| broken(&e))?).await
    }

    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), LinkError> {
        while let Some(mut connection) = self.take_idle() {
            // It may still be putting away its last answer, or be closed without having noticed.
            if connection.ready().await.is_err() {
                continue;
            }
            match connection.try_send_request(request).await {
                Ok(response) => return self.read_and_keep(response, connection).await,
                Err(mut error) => match error.take_message() {
                    // The worker had closed it before anything was sent: nobody's failure.
                    Some(unsent) => request = unsent,
                    None => return Err(broken(error.error())),
                },
            }
        }
        let mut connection = self.connect().await?;
        let response = connection.send_request(request).await.map_err(|e| broken(&e))?;
        self.read_and_keep(response, connection).await
    }

    async fn read_and_keep(
        &self,
        response: Response<Incoming>,
        connection: SendRequest<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), LinkError> {
        let answer = Self::read(response).await?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < Self::MAX_IDLE && !connection.is_closed() {
            idle.push(Idle { connection, since: Instant::now() });
        }
        Ok(answer)
    }

    async fn read(response: Response<Incoming>) -> Result<(StatusCode, Bytes), LinkError> {
        let status = response.status();
        let body = Limited::new(response.into_body(), Self::MAX_ANSWER_BYTES).collect().await;
        body.map(|b| (status, b.to_bytes())).map_err(|e| LinkError(format!("its answer broke off: {e}")))
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Idle { connection, since }) = idle.pop() {
            if since.elapsed() >= Self::IDLE_TIME {
                // Those below are older still.
                idle.clear();
                return None;
            }
            if !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, LinkError> {
        let (connection, driver) = http1::handshake(self.peer.connect().await?).await.map_err(|e| broken(&e))?;
        // Ends with the connection, which ends with its `SendRequest`.
        tokio::spawn(driver);
        Ok(connection)
    }
}

/// An error of HTTP, by what is at the bottom of it.
pub(super) fn broken(error: &hyper::Error) -> LinkError {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    LinkError(format!("the connection broke: {innermost}"))
}

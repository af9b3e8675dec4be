//! A typed HTTP client of a coordinator (and of a worker's `/health`), and its reconnecting event
//! stream.
//!
//! Used by the monitor, the load tool, `aiq infer`, `aiq up`, and by workers that talk to their
//! coordinator. It retries nothing by itself: whoever calls knows whether that is right. The
//! coordinator's dispatch to workers is not here; it has needs of its own.

mod events;
mod sse;

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use events::{EventStream, Feed};
pub use sse::JsonEvents;

use crate::protocol::{
    Accepted, FaultSettings, InferRequest, InferResponse, Problem, QueueStats, RequestId, Status, WorkerAction,
    WorkerActionReply, WorkerDetail, WorkerHealth, WorkerId, Workers, WorkersPerformance, routes,
};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is not one.
    #[error("\"{url}\" is not an address; write http://HOST:PORT")]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// A token with characters that no header may have.
    #[error("the access token has characters that an HTTP header can't carry")]
    BadToken,
    /// Nobody answers there, or the connection broke.
    #[error("can't reach {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// No whole answer within the time.
    #[error("no answer from {url} within {seconds:.1} s")]
    Timeout {
        /// Where.
        url: String,
        /// How long it was waited for.
        seconds: f64,
    },
    /// The server says no, and why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// Something answers that does not speak this protocol.
    #[error("{url} answered {status} with something that is not aiq's: {reason}")]
    Foreign {
        /// Where.
        url: String,
        /// With which status.
        status: u16,
        /// What was odd.
        reason: String,
    },
}

impl ClientError {
    /// The server's problem, where it sent one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(p) => Some(p),
            _ => None,
        }
    }
}

/// The state of an async request's result.
#[derive(Clone, Debug, PartialEq)]
pub enum ResultState {
    /// Here it is.
    Ready(Box<InferResponse>),
    /// Not yet.
    Pending(Accepted),
}

/// How to talk to a server.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `http://HOST:PORT`.
    pub url: String,
    /// Bearer token.
    pub token: Option<String>,
    /// Longest wait for a whole answer. Streams are not bound by it.
    pub timeout: Duration,
}

impl ClientConfig {
    /// A client without a token, with ten seconds for each call.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), token: None, timeout: Duration::from_secs(10) }
    }
}

/// A client of one server. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: HyperClient<HttpConnector, Full<Bytes>>,
    url: String,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, at most [`Client::MAX_ANSWER_BYTES`].
    pub body: Bytes,
}

impl Client {
    /// Largest answer that is read, in bytes: a listing of a thousand workers fits.
    pub const MAX_ANSWER_BYTES: usize = 16 << 20;
    /// Longest wait for a connection.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// Idle connections are closed before common servers do it.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

    /// Makes a client; nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`] and [`ClientError::BadToken`].
    pub fn try_new(config: &ClientConfig) -> Result<Self, ClientError> {
        let bad_url = || ClientError::BadUrl { url: config.url.clone() };
        let url = config.url.trim_end_matches('/').to_owned();
        let uri: http::Uri = url.parse().map_err(|_| bad_url())?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(bad_url());
        }
        let header = |token: &String| HeaderValue::from_str(&format!("Bearer {token}"));
        let authorization = config.token.as_ref().map(header).transpose().map_err(|_| ClientError::BadToken)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Self::CONNECT_TIMEOUT));
        let http = HyperClient::builder(TokioExecutor::new())
            .pool_idle_timeout(Self::IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { http, url, authorization, timeout: config.timeout })
    }

    /// Where it talks to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Submits a request and waits for its result.
    pub async fn infer(&self, request: &InferRequest) -> Result<InferResponse, ClientError> {
        self.call(Method::POST, routes::INFER, Some(request)).await
    }

    /// Submits a request; its result is to be fetched with [`Self::result`].
    pub async fn infer_async(&self, request: &InferRequest) -> Result<Accepted, ClientError> {
        self.call(Method::POST, routes::INFER_ASYNC, Some(request)).await
    }

    /// The result of an async request, waiting up to `wait` for it (within the client's time-out).
    pub async fn result(&self, id: &RequestId, wait: Option<Duration>) -> Result<ResultState, ClientError> {
        let mut path = routes::result(id);
        if let Some(wait) = wait {
            path = format!("{path}?wait={}", wait.as_secs_f64());
        }
        let answer = self.send(Method::GET, &path, None).await?;
        if answer.status == StatusCode::ACCEPTED {
            self.read(&answer).map(ResultState::Pending)
        } else {
            self.read(&answer).map(|r| ResultState::Ready(Box::new(r)))
        }
    }

    /// System summary.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get(routes::STATUS).await
    }

    /// Queue and worker statistics.
    pub async fn queue_stats(&self) -> Result<QueueStats, ClientError> {
        self.get(routes::QUEUE_STATS).await
    }

    /// Per-worker performance.
    pub async fn performance(&self) -> Result<WorkersPerformance, ClientError> {
        self.get(routes::WORKERS_PERFORMANCE).await
    }

    /// Every worker.
    pub async fn workers(&self) -> Result<Vec<WorkerDetail>, ClientError> {
        self.get::<Workers>(routes::WORKERS).await.map(|w| w.workers)
    }

    /// Kill, revive, drain or resume a worker.
    pub async fn act(&self, worker: &WorkerId, action: WorkerAction) -> Result<WorkerActionReply, ClientError> {
        let path = routes::worker(routes::WORKER_ACTION, worker).replace("{action}", action.as_str());
        self.call(Method::POST, &path, None::<&()>).await
    }

    /// Sets the faults that a worker injects.
    pub async fn set_faults(&self, worker: &WorkerId, faults: &FaultSettings) -> Result<WorkerDetail, ClientError> {
        self.call(Method::PUT, &routes::worker(routes::WORKER_FAULTS, worker), Some(faults)).await
    }

    /// A worker's own health (when the client was made with a worker's address).
    pub async fn health(&self) -> Result<WorkerHealth, ClientError> {
        self.get(routes::HEALTH).await
    }

    /// Whether the coordinator says that it is ready.
    pub async fn ready(&self) -> Result<bool, ClientError> {
        Ok(self.send(Method::GET, routes::READYZ, None).await?.status.is_success())
    }

    /// The event stream; it connects when it is first read, and again whenever it breaks.
    pub fn events(&self) -> EventStream {
        EventStream::new(self.clone())
    }

    /// Gets and reads JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, None::<&()>).await
    }

    /// Sends JSON (or nothing) and reads JSON.
    ///
    /// # Errors
    /// [`ClientError::Problem`] where the server refuses, the others where there is no proper answer.
    pub async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, ClientError> {
        let body = body.map(serde_json::to_vec).transpose().map_err(|e| ClientError::Foreign {
            url: self.url.clone(),
            status: 0,
            reason: format!("the request can't be written as JSON: {e}"),
        })?;
        let answer = self.send(method, path, body.map(Bytes::from)).await?;
        self.read(&answer)
    }

    /// Sends a request and reads the whole answer, whatever its status.
    pub async fn send(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Answer, ClientError> {
        let exchange = async {
            let response = self.open(method, path, body).await?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, Self::MAX_ANSWER_BYTES)
                .collect()
                .await
                .map_err(|e| self.unreachable(format!("the answer broke off: {e}")))?;
            Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(self.timeout, exchange).await.map_err(|_| self.timed_out())?
    }

    /// Opens a stream of server-sent events whose data is JSON.
    pub async fn stream<T: DeserializeOwned>(&self, path: &str) -> Result<JsonEvents<T>, ClientError> {
        let response = tokio::time::timeout(self.timeout, self.open(Method::GET, path, None))
            .await
            .map_err(|_| self.timed_out())??;
        if response.status().is_success() {
            return Ok(JsonEvents::new(response.into_body()));
        }
        let status = response.status();
        let body = Limited::new(response.into_body(), Self::MAX_ANSWER_BYTES).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Err(self.refusal(status, &body))
    }

    async fn open(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|_| ClientError::BadUrl { url: format!("{}{path}", self.url) })?;
        self.http.request(request).await.map_err(|e| self.unreachable(root_cause(&e)))
    }

    fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, ClientError> {
        if !answer.status.is_success() {
            return Err(self.refusal(answer.status, &answer.body));
        }
        serde_json::from_slice(&answer.body).map_err(|e| self.foreign(answer.status, e.to_string()))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ClientError {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => ClientError::Problem(Box::new(problem)),
            Err(_) => self.foreign(status, "an error without problem details".to_owned()),
        }
    }

    fn unreachable(&self, reason: String) -> ClientError {
        ClientError::Unreachable { url: self.url.clone(), reason }
    }

    fn timed_out(&self) -> ClientError {
        ClientError::Timeout { url: self.url.clone(), seconds: self.timeout.as_secs_f64() }
    }

    fn foreign(&self, status: StatusCode, reason: String) -> ClientError {
        ClientError::Foreign { url: self.url.clone(), status: status.as_u16(), reason }
    }
}

/// The innermost message of an error: "connection refused" rather than "client error (Connect)".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for bad in ["", "localhost:8000", "https://x", "http://"] {
            assert!(matches!(Client::try_new(&ClientConfig::new(bad)), Err(ClientError::BadUrl { .. })), "{bad}");
        }
        assert_eq!(Client::try_new(&ClientConfig::new("http://h:1/")).unwrap().url(), "http://h:1");
    }

    #[tokio::test]
    async fn nobody_there_is_said_plainly() {
        // A port that was free a moment ago and that nothing listens on.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = Client::try_new(&ClientConfig::new(format!("http://127.0.0.1:{port}"))).unwrap();
        let message = client.status().await.unwrap_err().to_string();
        assert!(message.contains("can't reach") && message.contains("refused"), "{message}");
    }
}

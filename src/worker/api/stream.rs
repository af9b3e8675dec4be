//! The work stream's end at the worker ([`crate::protocol::work`]): many requests over one connection.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::BytesMut;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::answer::problem;
use super::authorise;
use super::listen::Life;
use crate::inference::kernels::{wake_at_once, wake_in_turn};
use crate::protocol::work::{ToWorker, WORK_PROTOCOL, put_answer, put_problem};
use crate::protocol::{InferRequest, Problem, ProblemCode};
use crate::worker::backend::Backend;
use crate::worker::batcher::{Computed, Reply};
use crate::worker::core::{Core, InFlight};

/// Read at once.
const READ_BYTES: usize = 64 << 10;
/// Requests in a read, on average, from which on there is a crowd of them, and up to which there is none any more.
const CROWD: f64 = 2.5;
const NO_CROWD: f64 = 1.5;
/// No more is read while so much waits to be written, to a coordinator that does not read.
const MAX_UNWRITTEN: usize = 32 << 20;

/// `GET /infer/stream`: takes the connection over for frames.
pub(super) async fn open<B: Backend>(
    State(core): State<Arc<Core<B>>>,
    Extension(life): Extension<Life>,
    request: Request,
) -> Response {
    if let Err(refusal) = authorise(&core, request.headers()) {
        return problem(&refusal);
    }
    if request.headers().get(UPGRADE).is_none_or(|p| p.as_bytes() != WORK_PROTOCOL.as_bytes()) {
        let right =
            format!("this is a work stream; ask for it with `Connection: upgrade` and `Upgrade: {WORK_PROTOCOL}`");
        let mut response = problem(&Problem::new(ProblemCode::InvalidField, right));
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static(WORK_PROTOCOL));
        return response;
    }
    let upgrade = hyper::upgrade::on(request);
    life.connections.spawn(async move {
        match upgrade.await {
            Ok(connection) => {
                if let Err(reason) = Stream::new(core).serve(connection, life.stop).await {
                    tracing::debug!(reason, "a work stream ended");
                }
            }
            Err(error) => tracing::debug!(%error, "a work stream did not open"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(WORK_PROTOCOL));
    response
}

/// An open one, all of it in one task: what is worked on waits for the model, not for a thread.
struct Stream<B: Backend> {
    core: Arc<Core<B>>,
    in_flight: InFlight<B>,
    /// Frames to be written.
    out: BytesMut,
    /// A result as JSON, on its way into a frame.
    json: Vec<u8>,
    /// Requests in a read, on average.
    together: f64,
}

impl<B: Backend> Stream<B> {
    fn new(core: Arc<Core<B>>) -> Self {
        let in_flight = InFlight::new(Arc::clone(&core));
        Self { core, in_flight, out: BytesMut::new(), json: Vec::new(), together: 0.0 }
    }

    /// Serves it to its end: the other side's, or this worker's, once what is worked on is answered.
    async fn serve(mut self, connection: Upgraded, stop: CancellationToken) -> Result<(), String> {
        let foreign = |_| "the connection can't be taken over".to_owned();
        let parts = connection.downcast::<TokioIo<TcpStream>>().map_err(foreign)?;
        let (mut from, mut to) = parts.io.into_inner().into_split();
        let mut read = BytesMut::from(&parts.read_buf[..]);
        self.take_all(&mut read)?;
        let mut stopping = false;
        while !(stopping && self.in_flight.is_empty() && self.out.is_empty()) {
            read.reserve(READ_BYTES);
            // Written is what has gathered, when there is nothing else to do.
            tokio::select! {
                biased;
                (number, reply) = self.in_flight.next() => self.answer(number, reply),
                bytes = from.read_buf(&mut read), if !stopping && self.out.len() <= MAX_UNWRITTEN => {
                    if bytes.map_err(|e| e.to_string())? == 0 {
                        return Ok(());
                    }
                    self.take_all(&mut read)?;
                }
                bytes = to.write_buf(&mut self.out), if !self.out.is_empty() => {
                    bytes.map_err(|e| e.to_string())?;
                }
                () = stop.cancelled(), if !stopping => stopping = true,
            }
        }
        Ok(())
    }

    fn take_all(&mut self, read: &mut BytesMut) -> Result<(), String> {
        let mut requests = 0;
        while let Some(frame) = ToWorker::take(read).map_err(|fault| format!("it sent {fault}"))? {
            requests += u32::from(matches!(frame, ToWorker::Request { .. }));
            self.take(frame);
        }
        self.came_together(requests);
        Ok(())
    }

    /// Where a crowd is on its way, this thread would wake up for the first few and keep the coordinator, which may be on
    /// the same processor, from sending the others. One that comes alone is taken at once.
    fn came_together(&mut self, requests: u32) {
        self.together += (f64::from(requests) - self.together) / 16.0;
        if self.together >= CROWD {
            wake_in_turn();
        } else if self.together <= NO_CROWD {
            wake_at_once();
        }
    }

    fn take(&mut self, frame: ToWorker) {
        match frame {
            ToWorker::Request { number, budget_ms, priority, id, body } => {
                let taken = self.core.admits().and_then(|()| InferRequest::from_json(&body)).and_then(|request| {
                    let request = InferRequest { priority: Some(priority), ..request };
                    self.in_flight.take(number, request, id.clone(), Duration::from_millis(budget_ms.into()))
                });
                if let Err(refusal) = taken {
                    self.answer(number, Err(refusal.for_request(Some(&id))));
                }
            }
            ToWorker::Cancel { number } => self.in_flight.cancel(number),
        }
    }

    fn answer(&mut self, number: u64, reply: Reply) {
        match reply {
            Ok(Computed { answer, waited, took, batch_size, .. }) => {
                self.json.clear();
                answer.put_json(&mut self.json);
                let (waited, took) = (waited.as_secs_f64(), took.as_secs_f64());
                put_answer(&mut self.out, number, waited, took, batch_size as u32, &self.json);
            }
            Err(refusal) => {
                put_problem(&mut self.out, number, &serde_json::to_vec(&refusal).unwrap_or_default());
            }
        }
    }
}

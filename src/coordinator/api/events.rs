//! `GET /events`: the event stream, server-sent events whose data is an `Event` as JSON.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use axum::http::header::{CACHE_CONTROL, HeaderValue};
use bytes::Bytes;
use futures_util::stream;

use super::reply::{Answer, text};
use crate::config::CoordinatorConfig;
use crate::coordinator::app::App;
use crate::coordinator::events::Reader;
use crate::protocol::{Event, Problem, ProblemCode, routes};

/// What happens, as it happens: a snapshot first and each second, single happenings between them.
#[utoipa::path(get, path = routes::EVENTS, tag = "fleet",
    responses((status = 200, description = "Server-sent events; each one's data is an Event as JSON.",
               body = Event, content_type = "text/event-stream"),
              (status = 503, description = "Too many readers.", body = Problem, content_type = Problem::MEDIA_TYPE)))]
pub(super) async fn events(State(app): State<Arc<App>>) -> Answer {
    let Some(reader) = app.events.subscribe() else {
        let detail = format!("{} readers follow the events already", CoordinatorConfig::MAX_EVENT_READERS);
        return Err(Problem::new(ProblemCode::Unavailable, detail).with_retry_after(5.0).into());
    };
    let first = app.first_snapshot(reader.last_seq);
    let following = Following { app, reader, first: Some(first), sent: Instant::now() };
    Ok(sse(Body::from_stream(stream::unfold(following, Following::next))))
}

/// A reader's stream.
struct Following {
    app: Arc<App>,
    reader: Reader,
    first: Option<Event>,
    /// When the last piece went out.
    sent: Instant,
}

impl Following {
    /// Least time between two pieces of a busy stream: what happens meanwhile goes out in one, so that a
    /// thousand events a second cost their reader, and us, fifty wake-ups.
    const GATHER: Duration = Duration::from_millis(20);
    /// Largest piece, about; the rest follows in the next one.
    const MOST: usize = 64 << 10;

    async fn next(mut self) -> Option<(Result<Bytes, std::convert::Infallible>, Self)> {
        let mut piece = Vec::with_capacity(512);
        if let Some(event) = self.first.take() {
            write_frame(&mut piece, Some(event.seq), &event);
        } else {
            let closing = self.app.closing.clone();
            let gathered = async {
                let event = self.reader.next().await?;
                tokio::time::sleep_until((self.sent + Self::GATHER).into()).await;
                write_frame(&mut piece, Some(event.seq), &*event);
                while piece.len() < Self::MOST
                    && let Some(event) = self.reader.ready()
                {
                    write_frame(&mut piece, Some(event.seq), &*event);
                }
                Some(())
            };
            tokio::select! {
                done = gathered => done?,
                () = closing.cancelled() => return None,
            }
        }
        self.sent = Instant::now();
        Some((Ok(piece.into()), self))
    }
}

/// One server-sent event.
pub(super) fn data_frame<T: serde::Serialize>(id: Option<u64>, data: &T) -> Bytes {
    let mut out = Vec::with_capacity(256);
    write_frame(&mut out, id, data);
    out.into()
}

/// Adds a server-sent event. JSON has no line breaks of its own, so that one `data` line holds it.
fn write_frame<T: serde::Serialize>(out: &mut Vec<u8>, id: Option<u64>, data: &T) {
    if let Some(id) = id {
        out.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    out.extend_from_slice(b"data: ");
    // Writing our own types to memory can't fail.
    let _ = serde_json::to_writer(&mut *out, data);
    out.extend_from_slice(b"\n\n");
}

/// A comment, which readers pass over: it shows both sides that the connection stands.
pub(super) const KEEP_ALIVE: Bytes = Bytes::from_static(b": here\n\n");
/// How often one is sent on a quiet stream.
pub(super) const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(2);

/// An event-stream response.
pub(super) fn sse(body: Body) -> Response<Body> {
    let mut response = text("text/event-stream", body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

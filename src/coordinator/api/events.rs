//! `GET /events`: the event stream, server-sent events whose data is an `Event` as JSON.

use std::sync::Arc;
use std::time::Duration;

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
    Ok(sse(Body::from_stream(stream::unfold((app, reader, Some(first)), next))))
}

async fn next(
    (app, mut reader, first): (Arc<App>, Reader, Option<Event>),
) -> Option<(Result<Bytes, std::convert::Infallible>, (Arc<App>, Reader, Option<Event>))> {
    let frame = if let Some(event) = first {
        frame(&event)
    } else {
        tokio::select! {
            event = reader.next() => frame(&*event?),
            () = app.closing.cancelled() => return None,
        }
    };
    Some((Ok(frame), (app, reader, None)))
}

fn frame(event: &Event) -> Bytes {
    data_frame(Some(event.seq), event)
}

/// One server-sent event. JSON has no line breaks of its own, so that one `data` line holds it.
pub(super) fn data_frame<T: serde::Serialize>(id: Option<u64>, data: &T) -> Bytes {
    let mut out = Vec::with_capacity(256);
    if let Some(id) = id {
        out.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    out.extend_from_slice(b"data: ");
    // Writing our own types to memory can't fail.
    let _ = serde_json::to_writer(&mut out, data);
    out.extend_from_slice(b"\n\n");
    out.into()
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

//! Reads request bodies within their bounds: media type, size, time.

use std::task::Poll;
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, HttpBody};
use axum::http::Request;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::head::Head;
use crate::config::CoordinatorConfig;
use crate::protocol::{Problem, ProblemCode};

/// Most bytes of a refused body that are read and thrown away, so that a client which writes first and
/// reads later gets to see why: closing at once would reset its connection and lose the answer.
const DISCARD_BYTES: usize = 64 << 20;
/// Longest time that this is done for.
const DISCARD_TIME: Duration = Duration::from_secs(2);
/// Largest body of an operator's or worker's call: a registration with all its capabilities is small.
const MAX_CONTROL_BYTES: usize = 1 << 20;

/// Room for bodies on their way in, all together: else many clients that send large ones slowly would
/// take any amount of memory before the scheduler has seen a single request.
#[derive(Debug)]
pub(crate) struct Room {
    kib: Semaphore,
}

impl Room {
    /// Bodies up to this size need no room: as many as there may be connections take 160 MiB.
    const SMALL_BYTES: u64 = 16 << 10;

    /// Room for this many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { kib: Semaphore::new((bytes >> 10).max(CoordinatorConfig::MAX_BODY_BYTES >> 10)) }
    }

    /// Takes room for a body of this length (the largest there may be, where it is not told).
    fn take(&self, length: Option<u64>) -> Result<Option<SemaphorePermit<'_>>, Problem> {
        let bytes = length.unwrap_or(CoordinatorConfig::MAX_BODY_BYTES as u64);
        if bytes <= Self::SMALL_BYTES {
            return Ok(None);
        }
        let full = "too many large bodies are on their way in";
        let room = self.kib.try_acquire_many(bytes.div_ceil(1024) as u32);
        room.map(Some).map_err(|_| Problem::new(ProblemCode::QueueFull, full).with_retry_after(1.0))
    }
}

/// A request's body, as the server has it or in axum's box.
pub(super) trait RequestBody: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static {}

impl<B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static> RequestBody for B {}

/// Bodies up to this size are copied out of what was read: where they wait, a buffer of eight KiB or more would wait
/// with each of them.
const COPIED_BYTES: usize = 16 << 10;

/// Reads a body to its end. A large one that comes in a piece stays that piece.
async fn collect(body: impl HttpBody<Data = Bytes, Error = BoxError>) -> Result<Bytes, BoxError> {
    let mut body = std::pin::pin!(body);
    let mut all = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if all.is_empty() {
            all = data;
            continue;
        }
        if more.is_empty() {
            more.extend_from_slice(&all);
        }
        more.extend_from_slice(&data);
    }
    Ok(match more.len() {
        0 if all.len() <= COPIED_BYTES => Bytes::copy_from_slice(&all),
        0 => all,
        _ => more.freeze(),
    })
}

/// Reads the body of a submission. Where it is refused, the rest is still to come: [`or_discard`].
pub(super) async fn read_submission(
    room: &Room,
    head: &Head<'_>,
    body: &mut impl RequestBody,
) -> Result<Bytes, Problem> {
    let length = head.content_length;
    // What is over the limit is refused for that, and needs no room.
    let room = length.is_none_or(|l| l <= CoordinatorConfig::MAX_BODY_BYTES as u64).then(|| room.take(length));
    let _held = room.transpose()?;
    read(head, body, CoordinatorConfig::MAX_BODY_BYTES).await
}

/// Reads and parses the JSON body of an operator's or worker's call.
pub(super) async fn read_json<T: DeserializeOwned>(request: Request<Body>) -> Result<T, Problem> {
    let (parts, mut body) = request.into_parts();
    let json = or_discard(read(&Head::of(&parts.headers), &mut body, MAX_CONTROL_BYTES).await, body)?;
    serde_json::from_slice(&json).map_err(|e| Problem::from_json_error(&e))
}

/// What came of a body; where it was refused, what its client still sends is thrown away.
pub(super) fn or_discard<T>(result: Result<T, Problem>, body: impl RequestBody) -> Result<T, Problem> {
    if result.is_err() {
        discard(body);
    }
    result
}

/// Throws away what a client still sends after it was refused.
pub(super) fn discard(body: impl RequestBody) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(async move {
        let mut body = std::pin::pin!(Limited::new(body, DISCARD_BYTES));
        let all = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = tokio::time::timeout(DISCARD_TIME, all).await;
    });
}

async fn read(head: &Head<'_>, body: &mut impl RequestBody, most: usize) -> Result<Bytes, Problem> {
    check(head, most)?;
    let mut collecting = std::pin::pin!(collect(Limited::new(body, most)));
    // A small body came with its head: no timer is needed to have it.
    let at_once = std::future::poll_fn(|cx| Poll::Ready(collecting.as_mut().poll(cx))).await;
    let collected = match at_once {
        Poll::Ready(collected) => Ok(collected),
        // In a box, so that a timer takes no place in the future of each request.
        Poll::Pending => Box::pin(tokio::time::timeout(CoordinatorConfig::BODY_TIMEOUT, collecting)).await,
    };
    match collected {
        Ok(Ok(collected)) => Ok(collected),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large(None, most)),
        Ok(Err(e)) => Err(Problem::new(ProblemCode::MalformedJson, format!("the body broke off: {e}"))),
        Err(_) => Err(Problem::new(
            ProblemCode::RequestTimeout,
            format!("the body did not arrive within {} s", CoordinatorConfig::BODY_TIMEOUT.as_secs()),
        )),
    }
}

fn check(head: &Head<'_>, most: usize) -> Result<(), Problem> {
    if let Some(value) = head.content_type
        && !is_json(value.as_bytes())
    {
        let sent = String::from_utf8_lossy(value.as_bytes());
        let sent: String = sent.chars().take(64).collect();
        return Err(Problem::new(
            ProblemCode::UnsupportedMediaType,
            format!("the Content-Type is \"{sent}\"; send application/json"),
        ));
    }
    if head.content_encoding.is_some_and(|e| !e.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(
            ProblemCode::UnsupportedMediaType,
            "the body has a Content-Encoding; send it without",
        ));
    }
    match head.content_length {
        Some(length) if length > most as u64 => Err(too_large(Some(length), most)),
        _ => Ok(()),
    }
}

/// `application/json` or anything `+json`, with or without parameters, in any case.
fn is_json(value: &[u8]) -> bool {
    let end = value.iter().position(|&b| b == b';').unwrap_or(value.len());
    let essence = value.get(..end).unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/json")
        || essence.len() > 5 && essence[essence.len() - 5..].eq_ignore_ascii_case(b"+json")
}

fn too_large(length: Option<u64>, most: usize) -> Problem {
    let detail = match length {
        Some(length) => format!("the body has {length} bytes; at most {most} are accepted"),
        None => format!("the body has more than the {most} bytes that are accepted"),
    };
    Problem::new(ProblemCode::BodyTooLarge, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_media_type() {
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
            assert!(is_json(good.as_bytes()), "{good}");
        }
        for bad in ["", "text/plain", "application/x-www-form-urlencoded", "json", "+json"] {
            assert!(!is_json(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn large_bodies_share_a_room_and_small_ones_need_none() {
        let room = Room::new(16 << 20);
        let first = room.take(Some(10 << 20)).unwrap();
        assert_eq!(room.take(Some(10 << 20)).unwrap_err().code, ProblemCode::QueueFull);
        assert_eq!(room.take(None).unwrap_err().code, ProblemCode::QueueFull);
        assert!(room.take(Some(1000)).unwrap().is_none());
        drop(first);
        assert!(room.take(None).unwrap().is_some());
    }

    #[tokio::test]
    async fn bodies_are_whole_in_however_many_pieces_they_come() {
        for (piece, pieces) in [(0, 1), (10, 1), (10, 3), (COPIED_BYTES + 1, 1), (COPIED_BYTES, 2)] {
            let text: Vec<u8> = (0..piece * pieces).map(|i| b'a' + (i % 23) as u8).collect();
            let chunks: Vec<_> = text.chunks(piece.max(1)).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect();
            let mut body = Body::from_stream(futures_util::stream::iter(chunks));
            assert_eq!(read(&Head::default(), &mut body, 1 << 20).await.unwrap(), text, "{pieces} pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn a_body_without_a_length_is_cut_off_at_the_limit() {
        let chunks = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 1 << 16])));
        let refused = read(&Head::default(), &mut Body::from_stream(chunks), 1 << 20).await.unwrap_err();
        assert_eq!(refused.code, ProblemCode::BodyTooLarge);
    }
}

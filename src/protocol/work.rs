//! The work stream: requests to a worker and their answers, many at a time over one connection.
//!
//! A coordinator opens it with `GET /infer/stream` and `Upgrade: aiq-work/1` (RFC 9110, 7.8). After the
//! 101 both sides send frames. Requests that wait at the same moment leave in one write and answers
//! come back in any order, so that a busy fleet pays for a hop once for many requests. A worker
//! without it is sent `POST /infer`, one request an exchange.
//!
//! | frame | | bytes, in network order |
//! | --- | --- | --- |
//! | every one | | length of what follows: u32; kind: u8; the request's number: u64 |
//! | 1 request | to the worker | remaining budget in ms: u32; priority: u8; length of the id: u8; id; JSON body |
//! | 2 cancel | to the worker | |
//! | 3 answer | to the coordinator | `queue_time` and `inference_time` in seconds: f64, f64; `batch_size`: u32; JSON of `result` |
//! | 4 problem | to the coordinator | problem details as JSON (RFC 9457) |
//!
//! Numbers are the coordinator's and used once on a stream. What is cancelled is not answered, or was
//! answered already. The end of the connection cancels everything on it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Priority, RequestId};

/// The protocol's name in the `Upgrade` header.
pub const WORK_PROTOCOL: &str = "aiq-work/1";

/// Longest frame: the largest answer of a worker many times over, and far more than the requests that
/// are worth sharing a connection.
pub const MAX_FRAME: usize = 4 << 20;

/// What a coordinator says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToWorker {
    /// Answer this.
    Request {
        /// Its number.
        number: u64,
        /// What is left of its time, in milliseconds.
        budget_ms: u32,
        /// How urgent it is.
        priority: Priority,
        /// Its id.
        id: RequestId,
        /// The body as the client sent it.
        body: Bytes,
    },
    /// This is not wanted any more.
    Cancel {
        /// Its number.
        number: u64,
    },
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq)]
pub enum FromWorker {
    /// The model answered.
    Answer {
        /// The request's number.
        number: u64,
        /// Seconds in the worker's queue.
        queue_time: f64,
        /// Seconds that its batch was computed.
        inference_time: f64,
        /// Requests in that batch.
        batch_size: u32,
        /// JSON of a [`super::TaskResult`].
        result: Bytes,
    },
    /// It did not.
    Problem {
        /// The request's number.
        number: u64,
        /// JSON of a [`super::Problem`].
        problem: Bytes,
    },
}

/// What is wrong with a frame; nothing after it can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Its length is beyond [`MAX_FRAME`].
    #[error("a frame of {0} bytes; at most {MAX_FRAME} are accepted")]
    TooLong(usize),
    /// It ends before its fields do.
    #[error("a frame that is too short for its kind")]
    Truncated,
    /// Its kind is unknown, or the other side's.
    #[error("a frame of the kind {0}, which this side does not take")]
    Kind(u8),
    /// A field of it is out of range.
    #[error("a frame with {0}")]
    Field(&'static str),
}

const REQUEST: u8 = 1;
const CANCEL: u8 = 2;
const ANSWER: u8 = 3;
const PROBLEM: u8 = 4;
/// Frames up to this size are copied out of what was read: a frame that shared its memory would make
/// the next read allocate anew.
const COPIED: usize = 8 << 10;
/// Length, kind and number.
const HEAD: usize = 4 + 1 + 8;

/// Writes a request.
pub fn put_request(out: &mut BytesMut, number: u64, budget_ms: u32, priority: Priority, id: &RequestId, body: &[u8]) {
    let id = id.as_str().as_bytes();
    put_head(out, REQUEST, number, 4 + 1 + 1 + id.len() + body.len());
    out.put_u32(budget_ms);
    out.put_u8(priority as u8);
    // An id has at most `RequestId::MAX_LEN` bytes.
    out.put_u8(id.len() as u8);
    out.put_slice(id);
    out.put_slice(body);
}

/// Writes a cancellation.
pub fn put_cancel(out: &mut BytesMut, number: u64) {
    put_head(out, CANCEL, number, 0);
}

/// Writes an answer.
pub fn put_answer(
    out: &mut BytesMut,
    number: u64,
    queue_time: f64,
    inference_time: f64,
    batch_size: u32,
    result: &[u8],
) {
    put_head(out, ANSWER, number, 8 + 8 + 4 + result.len());
    out.put_f64(queue_time);
    out.put_f64(inference_time);
    out.put_u32(batch_size);
    out.put_slice(result);
}

/// Writes a problem.
pub fn put_problem(out: &mut BytesMut, number: u64, problem: &[u8]) {
    put_head(out, PROBLEM, number, problem.len());
    out.put_slice(problem);
}

fn put_head(out: &mut BytesMut, kind: u8, number: u64, rest: usize) {
    out.reserve(HEAD + rest);
    out.put_u32((HEAD - 4 + rest) as u32);
    out.put_u8(kind);
    out.put_u64(number);
}

/// Takes the next whole frame's kind, number and rest out of what was read; `None` where more is needed.
fn take(buffer: &mut BytesMut) -> Result<Option<(u8, u64, Bytes)>, FrameError> {
    let Some(length) = buffer.first_chunk::<4>().map(|b| u32::from_be_bytes(*b) as usize) else { return Ok(None) };
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    if length < HEAD - 4 {
        return Err(FrameError::Truncated);
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    let mut frame = if length <= COPIED {
        let frame = Bytes::copy_from_slice(&buffer[..length]);
        buffer.advance(length);
        frame
    } else {
        buffer.split_to(length).freeze()
    };
    let (kind, number) = (frame.get_u8(), frame.get_u64());
    Ok(Some((kind, number, frame)))
}

impl ToWorker {
    /// Takes the next whole frame out of what was read; `None` where more is needed.
    ///
    /// # Errors
    /// [`FrameError`]; the stream is of no use after it.
    pub fn take(buffer: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let Some((kind, number, mut rest)) = take(buffer)? else { return Ok(None) };
        match kind {
            REQUEST => {
                if rest.len() < 6 {
                    return Err(FrameError::Truncated);
                }
                let (budget_ms, priority, length) = (rest.get_u32(), rest.get_u8(), rest.get_u8() as usize);
                if rest.len() < length {
                    return Err(FrameError::Truncated);
                }
                let priority = Priority::ALL.into_iter().find(|p| *p as u8 == priority);
                let priority = priority.ok_or(FrameError::Field("an unknown priority"))?;
                let id = rest.split_to(length);
                let id = std::str::from_utf8(&id).ok().and_then(|id| RequestId::try_new(id).ok());
                let id = id.ok_or(FrameError::Field("an unusable request id"))?;
                Ok(Some(Self::Request { number, budget_ms, priority, id, body: rest }))
            }
            CANCEL => Ok(Some(Self::Cancel { number })),
            other => Err(FrameError::Kind(other)),
        }
    }
}

impl FromWorker {
    /// As [`ToWorker::take`].
    ///
    /// # Errors
    /// [`FrameError`]; the stream is of no use after it.
    pub fn take(buffer: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let Some((kind, number, mut rest)) = take(buffer)? else { return Ok(None) };
        match kind {
            ANSWER => {
                if rest.len() < 20 {
                    return Err(FrameError::Truncated);
                }
                let (queue_time, inference_time, batch_size) = (rest.get_f64(), rest.get_f64(), rest.get_u32());
                if !(queue_time >= 0.0 && queue_time.is_finite() && inference_time >= 0.0 && inference_time.is_finite())
                {
                    return Err(FrameError::Field("a time that is none"));
                }
                Ok(Some(Self::Answer { number, queue_time, inference_time, batch_size, result: rest }))
            }
            PROBLEM => Ok(Some(Self::Problem { number, problem: rest })),
            other => Err(FrameError::Kind(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> RequestId {
        "r-1".parse().unwrap()
    }

    /// Everything a stream holds, however it is cut into reads.
    fn in_pieces<T>(bytes: &[u8], piece: usize, take: fn(&mut BytesMut) -> Result<Option<T>, FrameError>) -> Vec<T> {
        let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
        for part in bytes.chunks(piece) {
            buffer.extend_from_slice(part);
            while let Some(frame) = take(&mut buffer).unwrap() {
                found.push(frame);
            }
        }
        assert!(buffer.is_empty());
        found
    }

    #[test]
    fn frames_come_out_as_they_went_in_wherever_they_are_cut() {
        let (mut there, mut back) = (BytesMut::new(), BytesMut::new());
        put_request(&mut there, 7, 1500, Priority::Low, &id(), b"{}");
        put_cancel(&mut there, 7);
        put_answer(&mut back, 8, 0.25, 0.5, 4, b"{\"prediction\":\"x\"}");
        put_problem(&mut back, 9, b"{\"code\":\"internal\"}");
        let request = ToWorker::Request {
            number: 7,
            budget_ms: 1500,
            priority: Priority::Low,
            id: id(),
            body: Bytes::from_static(b"{}"),
        };
        let answer = FromWorker::Answer {
            number: 8,
            queue_time: 0.25,
            inference_time: 0.5,
            batch_size: 4,
            result: Bytes::from_static(b"{\"prediction\":\"x\"}"),
        };
        let problem = FromWorker::Problem { number: 9, problem: Bytes::from_static(b"{\"code\":\"internal\"}") };
        for piece in 1..80 {
            assert_eq!(in_pieces(&there, piece, ToWorker::take), [request.clone(), ToWorker::Cancel { number: 7 }]);
            assert_eq!(in_pieces(&back, piece, FromWorker::take), [answer.clone(), problem.clone()]);
        }
    }

    #[test]
    fn what_is_no_frame_is_said_to_be_none() {
        let to_worker = |bytes: &[u8]| ToWorker::take(&mut BytesMut::from(bytes)).unwrap_err();
        assert_eq!(to_worker(b"GET / HTTP/1.1\r\n"), FrameError::TooLong(0x4745_5420));
        assert_eq!(to_worker(&[0, 0, 0, 3, 1, 1, 1]), FrameError::Truncated);
        let mut wrong = BytesMut::new();
        put_answer(&mut wrong, 1, 0.0, 0.0, 1, b"{}");
        assert_eq!(to_worker(&wrong), FrameError::Kind(ANSWER));
        let mut unnamed = BytesMut::new();
        put_request(&mut unnamed, 1, 1, Priority::High, &id(), b"");
        unnamed[HEAD + 6] = b'/';
        assert_eq!(to_worker(&unnamed), FrameError::Field("an unusable request id"));
        unnamed[HEAD + 5] = 200;
        assert_eq!(to_worker(&unnamed), FrameError::Truncated);
        let mut never = BytesMut::new();
        put_answer(&mut never, 1, f64::NAN, 0.0, 1, b"{}");
        assert_eq!(FromWorker::take(&mut never).unwrap_err(), FrameError::Field("a time that is none"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = ToWorker::take(&mut buffer) {}
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = FromWorker::take(&mut buffer) {}
        }
    }
}

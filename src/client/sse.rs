//! Server-sent events whose data is JSON.

use std::marker::PhantomData;
use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use sse_stream::{Sse, SseStream};

type Source = Pin<Box<dyn Stream<Item = Result<Sse, sse_stream::Error>> + Send>>;

/// A stream of events, read one at a time.
pub struct JsonEvents<T> {
    source: Source,
    data: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonEvents<T> {
    pub(super) fn new(body: Incoming) -> Self {
        Self { source: Box::pin(SseStream::new(body)), data: PhantomData }
    }

    /// The next event; `None` when the server ends the stream, an error message when it breaks or
    /// is not understood. Comments (keep-alives) are passed over.
    pub async fn next(&mut self) -> Option<Result<T, String>> {
        loop {
            match self.source.next().await? {
                Err(e) => return Some(Err(e.to_string())),
                Ok(event) => {
                    if let Some(data) = event.data {
                        return Some(serde_json::from_str(&data).map_err(|e| e.to_string()));
                    }
                }
            }
        }
    }
}

impl<T> std::fmt::Debug for JsonEvents<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JsonEvents")
    }
}

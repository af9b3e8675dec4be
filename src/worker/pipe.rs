//! The pipe between a supervisor and its serving process: one JSON object a line, each way.
//!
//! Up (the child's standard output): what the child says of itself. Down (its standard input): what
//! it is to do. Both ends are one binary, so nothing here is a stable format.

use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use crate::protocol::{Capability, FaultSettings, RequestId, ServiceTime, WorkerState};

/// What the serving process says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// How it is. Twice a second, and whenever that changes.
    Report(Report),
    /// It can't serve, and ends; the reason is for a person.
    Failed(String),
}

/// How the serving process is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    /// Starting, ready or draining.
    pub(super) state: WorkerState,
    /// Requests that it holds.
    pub(super) in_flight: Vec<RequestId>,
    /// How many of those wait for the model.
    pub(super) queue_depth: u32,
    /// Grows whenever a batch starts or ends.
    pub(super) progress: u64,
    /// What each task takes.
    pub(super) service_times: Vec<ServiceTime>,
    /// Mean size of the last batches.
    pub(super) mean_batch_size: f64,
    /// What it can do now.
    pub(super) capabilities: Vec<Capability>,
    /// Resident memory, bytes.
    pub(super) rss_bytes: u64,
}

impl Report {
    /// How a process is that has not said anything yet.
    pub(super) fn none(state: WorkerState) -> Self {
        Self {
            state,
            in_flight: Vec::new(),
            queue_depth: 0,
            progress: 0,
            service_times: Vec::new(),
            mean_batch_size: 0.0,
            capabilities: Vec::new(),
            rss_bytes: 0,
        }
    }
}

/// What the serving process is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Begin. Always the first, and never again.
    Start(Start),
    /// Take nothing new.
    Drain,
    /// Take work again.
    Resume,
    /// Inject these faults from now on.
    SetFaults(FaultSettings),
    /// Answer what is being answered, and end.
    Stop,
}

/// What a serving process has to know that is not in its flags.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Start {
    /// Where to listen; the port is chosen.
    pub(super) listen: SocketAddr,
    /// Faults in force; they outlive the process that they end.
    pub(super) faults: FaultSettings,
    /// How often this worker was started before.
    pub(super) life: u32,
    /// Whether it is to take work once it is ready.
    pub(super) draining: bool,
}

/// Longest line, in bytes: 4096 requests in flight, each with the longest id, and the rest.
pub(super) const MAX_LINE: usize = 1 << 20;

/// A line that can't be written or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum PipeError {
    /// It broke.
    #[error("the pipe broke: {0}")]
    Io(#[from] std::io::Error),
    /// A line without end.
    #[error("a line of more than {MAX_LINE} bytes")]
    TooLong,
    /// It is not what it should be.
    #[error("a line that is not understood: {0}")]
    Garbled(#[from] serde_json::Error),
}

/// A message as a line.
pub(super) fn line(message: &impl Serialize) -> Result<Vec<u8>, PipeError> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads messages, a line at a time.
#[derive(Debug)]
pub(super) struct Lines<R> {
    source: R,
    begun: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, begun: Vec::new() }
    }

    /// The next message; `None` at the end. Cancel-safe.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, PipeError> {
        loop {
            let chunk = self.source.fill_buf().await?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(chunk.len(), |at| at + 1);
            self.begun.extend_from_slice(&chunk[..taken]);
            self.source.consume(taken);
            if self.begun.len() > MAX_LINE {
                return Err(PipeError::TooLong);
            }
            if end.is_some() {
                let line = std::mem::take(&mut self.begun);
                return Ok(Some(serde_json::from_slice(&line)?));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, BufReader};

    use super::*;

    #[tokio::test]
    async fn messages_cross_the_pipe_in_any_pieces() {
        let (mut write, read) = tokio::io::duplex(7);
        let orders = [Order::Drain, Order::SetFaults(FaultSettings::base()), Order::Stop];
        let sent = orders.clone();
        let writer = tokio::spawn(async move {
            for order in &sent {
                write.write_all(&line(order).unwrap()).await.unwrap();
            }
        });
        let mut lines = Lines::new(BufReader::new(read));
        for order in orders {
            assert_eq!(lines.next::<Order>().await.unwrap(), Some(order));
        }
        assert!(lines.next::<Order>().await.unwrap().is_none());
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        let endless = vec![b'x'; MAX_LINE + 2];
        let mut lines = Lines::new(endless.as_slice());
        assert!(matches!(lines.next::<Order>().await, Err(PipeError::TooLong)));
    }
}

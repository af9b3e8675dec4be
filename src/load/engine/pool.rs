//! Connections to the target: HTTP/1.1, kept alive, the last one used taken first.
//!
//! Not hyper's pooled client: that one waits for an idle connection or a new one, whichever comes
//! first, and hides which of the two a request's time went into.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::load::outcome::{Class, Failure};

/// The connections of one run. Never more than there are requests in flight.
#[derive(Debug)]
pub(super) struct Pool {
    target: SocketAddr,
    /// The one that was used last at the back.
    idle: RefCell<VecDeque<(SendRequest<Full<Bytes>>, Instant)>>,
    opened: Cell<u64>,
}

impl Pool {
    /// Idle connections are closed before common servers do it.
    const IDLE: Duration = Duration::from_secs(15);

    pub(super) fn new(target: SocketAddr) -> Self {
        Self { target, idle: RefCell::default(), opened: Cell::new(0) }
    }

    /// Connections opened so far.
    pub(super) fn opened(&self) -> u64 {
        self.opened.get()
    }

    /// Sends a request over an idle connection or a new one. `sent` is called when the request goes
    /// to a connection; a request that an idle connection turned out unable to take is sent again
    /// over a new one, which is no second try: nothing of it left this machine.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        sent: impl Fn(),
    ) -> Result<(Response<Incoming>, SendRequest<Full<Bytes>>), Failure> {
        let lost = |e: hyper::Error| Failure::new(Class::ConnectionLost, root_cause(&e));
        let mut request = request;
        while let Some(mut connection) = self.take_idle() {
            sent();
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut refused) => match refused.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(lost(refused.into_error())),
                },
            }
        }
        let mut connection = self.open().await?;
        sent();
        let response = connection.send_request(request).await.map_err(lost)?;
        Ok((response, connection))
    }

    /// Takes a connection back whose answer was read to its end. Those that only one busy moment needed are
    /// closed on the way.
    pub(super) fn give(&self, connection: SendRequest<Full<Bytes>>) {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        while idle.front().is_some_and(|(_, since)| now.duration_since(*since) > Self::IDLE) {
            idle.pop_front();
        }
        if !connection.is_closed() {
            idle.push_back((connection, now));
        }
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.borrow_mut();
        while let Some((connection, since)) = idle.pop_back() {
            if since.elapsed() > Self::IDLE {
                // The others have been idle longer still.
                idle.clear();
                return None;
            }
            if !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let stream = TcpStream::connect(self.target).await.map_err(|e| connect_failure(&e))?;
        // Without it a small request may wait for the acknowledgement of the one before.
        stream.set_nodelay(true).map_err(|e| connect_failure(&e))?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| Failure::new(Class::ConnectFailed, root_cause(&e)))?;
        self.opened.set(self.opened.get() + 1);
        // It ends with the connection; what breaks it is said to whoever waits for an answer.
        tokio::task::spawn_local(async move {
            let _ = driver.await;
        });
        Ok(connection)
    }
}

/// Out of files or ports is this machine's trouble, not the server's.
fn connect_failure(error: &std::io::Error) -> Failure {
    use nix::errno::Errno;
    let ours = [Errno::EMFILE, Errno::ENFILE, Errno::EADDRNOTAVAIL].map(|e| Some(e as i32));
    let class = if ours.contains(&error.raw_os_error()) { Class::ClientLimit } else { Class::ConnectFailed };
    Failure::new(class, error.to_string())
}

/// The innermost message of an error.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

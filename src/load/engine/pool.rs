//! Connections to the target: HTTP/1.1, kept alive, the last one used taken first.
//!
//! Whoever finds none idle waits for a new one or for one that comes back, whichever is first. To open a connection costs
//! more than to use it, so a client that can hardly keep up must not open connections for requests that are too late
//! anyhow, or it never recovers: few are opened at a time, none of them for nothing, and whoever came last, and so has
//! most time left, gets the next one.
//!
//! Not hyper's pooled client, which does so as well, but hides when a request was sent.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::load::outcome::{Class, Failure};

/// The connections of one run. Never more than there were requests in flight at once.
#[derive(Debug)]
pub(super) struct Pool {
    target: SocketAddr,
    /// The one that was used last at the back.
    idle: RefCell<VecDeque<(Connection, Instant)>>,
    /// Those who wait for one, the one who came last at the back.
    waiting: RefCell<VecDeque<oneshot::Sender<Result<Connection, Failure>>>>,
    /// Connections that are being opened: one for each of those who wait, as far as may be.
    opening: Cell<usize>,
    /// The same, of those that take long.
    slow: Cell<usize>,
    opened: Cell<u64>,
}

type Connection = SendRequest<Full<Bytes>>;

impl Pool {
    /// Idle connections are closed before common servers do it.
    const IDLE: Duration = Duration::from_secs(15);
    /// Most connections that are being opened at a time, of those that don't take long.
    const MOST_OPENING: usize = 64;
    /// How long a connection over a quick network takes at most.
    const BRIEF: Duration = Duration::from_millis(5);

    pub(super) fn new(target: SocketAddr) -> Self {
        Self {
            target,
            idle: RefCell::default(),
            waiting: RefCell::default(),
            opening: Cell::new(0),
            slow: Cell::new(0),
            opened: Cell::new(0),
        }
    }

    /// Connections opened so far.
    pub(super) fn opened(&self) -> u64 {
        self.opened.get()
    }

    /// Sends a request over an idle connection or a new one. `sent` is called when the request goes
    /// to a connection; a request that a connection turned out unable to take is sent again
    /// over another one, which is no second try: nothing of it left this machine.
    pub(super) async fn send(
        self: &Rc<Self>,
        request: Request<Full<Bytes>>,
        sent: impl Fn(),
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        let mut request = request;
        // How often it got one that was not idle: who closes each one at once is not asked for ever.
        let mut waits = 0;
        loop {
            let mut connection = if let Some(idle) = self.take_idle() {
                idle
            } else {
                waits += 1;
                self.wait_for_one().await?
            };
            sent();
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut refused) => match refused.take_message() {
                    Some(unsent) if waits < 2 => request = unsent,
                    _ => return Err(Failure::new(Class::ConnectionLost, root_cause(&refused.into_error()))),
                },
            }
        }
    }

    /// Takes a connection back whose answer was read to its end, for whoever waits for one. Those that only one busy
    /// moment needed are closed on the way.
    pub(super) fn give(&self, connection: Connection) {
        if connection.is_closed() {
            return;
        }
        let Err(Ok(connection)) = self.tell_last(Ok(connection)) else { return };
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        while idle.front().is_some_and(|(_, since)| now.duration_since(*since) > Self::IDLE) {
            idle.pop_front();
        }
        idle.push_back((connection, now));
    }

    fn take_idle(&self) -> Option<Connection> {
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

    async fn wait_for_one(self: &Rc<Self>) -> Result<Connection, Failure> {
        let (tell, told) = oneshot::channel();
        {
            let mut waiting = self.waiting.borrow_mut();
            // Who came first gives up first.
            while waiting.front().is_some_and(oneshot::Sender::is_closed) {
                waiting.pop_front();
            }
            waiting.push_back(tell);
        }
        self.open_more();
        told.await.unwrap_or_else(|_| Err(Failure::new(Class::ConnectFailed, "the run has ended")))
    }

    /// Begins to open connections for those who wait.
    fn open_more(self: &Rc<Self>) {
        let wanted = self.waiting.borrow().len().saturating_sub(self.slow.get()).min(Self::MOST_OPENING);
        for _ in self.opening.get()..wanted {
            self.opening.set(self.opening.get() + 1);
            let pool = Rc::clone(self);
            tokio::task::spawn_local(async move {
                let mut opening = std::pin::pin!(pool.open());
                let brief = tokio::time::timeout(Self::BRIEF, opening.as_mut()).await;
                // One that is far away takes its time, not this client's: it does not keep others from being opened.
                pool.opening.set(pool.opening.get() - 1);
                let opened = if let Ok(opened) = brief {
                    opened
                } else {
                    pool.slow.set(pool.slow.get() + 1);
                    pool.open_more();
                    let opened = opening.await;
                    pool.slow.set(pool.slow.get() - 1);
                    opened
                };
                match opened {
                    Ok(connection) => pool.give(connection),
                    failed => drop(pool.tell_last(failed)),
                }
                pool.open_more();
            });
        }
    }

    /// Gives it to the last one of those who still wait, or back.
    fn tell_last(&self, mut news: Result<Connection, Failure>) -> Result<(), Result<Connection, Failure>> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(last) = waiting.pop_back() {
            match last.send(news) {
                Ok(()) => return Ok(()),
                Err(unread) => news = unread,
            }
        }
        Err(news)
    }

    async fn open(&self) -> Result<Connection, Failure> {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    fn request() -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::from_static(b"{}")));
        *request.method_mut() = http::Method::POST;
        request
    }

    /// A pool, and where its connections arrive.
    async fn pool() -> (Rc<Pool>, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (Rc::new(Pool::new(listener.local_addr().unwrap())), listener)
    }

    /// A pool, and a server that answers whatever it is sent; it counts its connections.
    async fn answered() -> (Rc<Pool>, Rc<Cell<u32>>) {
        let (pool, listener) = pool().await;
        let connections = Rc::new(Cell::new(0));
        let counted = Rc::clone(&connections);
        spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.set(counted.get() + 1);
                spawn_local(async move {
                    let mut asked = Vec::new();
                    while stream.read_buf(&mut asked).await.is_ok_and(|n| n > 0) {
                        if asked.ends_with(b"{}") {
                            asked.clear();
                            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                        }
                    }
                });
            }
        });
        (pool, connections)
    }

    #[tokio::test]
    async fn a_connection_that_its_request_had_no_time_for_is_the_next_ones() {
        let test = async {
            let (pool, connections) = answered().await;
            {
                let mut first = std::pin::pin!(pool.send(request(), || ()));
                assert!(futures_util::poll!(first.as_mut()).is_pending());
            }
            let (_, connection) = pool.send(request(), || ()).await.unwrap();
            pool.give(connection);
            pool.send(request(), || ()).await.unwrap();
            assert_eq!((pool.opened(), connections.get()), (1, 1));
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn a_crowd_is_served_a_few_connections_at_a_time() {
        const CROWD: usize = 3 * Pool::MOST_OPENING;
        let test = async {
            let (pool, connections) = answered().await;
            let mut crowd = tokio::task::JoinSet::new();
            for _ in 0..CROWD {
                let pool = Rc::clone(&pool);
                crowd.spawn_local(async move {
                    let (_, connection) = pool.send(request(), || ()).await.unwrap();
                    pool.give(connection);
                });
            }
            let mut most = 0;
            while !crowd.is_empty() {
                match crowd.try_join_next() {
                    Some(served) => served.unwrap(),
                    None => tokio::task::yield_now().await,
                }
                most = most.max(pool.opening.get());
            }
            assert!((2..=Pool::MOST_OPENING).contains(&most), "{most}");
            assert!(connections.get() <= CROWD as u32, "{}", connections.get());
            assert_eq!(pool.waiting.borrow().len(), 0);
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn whoever_closes_each_connection_at_once_is_not_asked_for_ever() {
        let test = async {
            let (pool, listener) = pool().await;
            spawn_local(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    drop(stream);
                }
            });
            let failure = pool.send(request(), || ()).await.unwrap_err();
            assert_eq!(failure.class, Class::ConnectionLost);
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn nobody_there_is_a_failure_of_each_request() {
        let test = async {
            let (pool, listener) = pool().await;
            drop(listener);
            let (a, b) = tokio::join!(pool.send(request(), || ()), pool.send(request(), || ()));
            for failed in [a, b] {
                assert_eq!(failed.unwrap_err().class, Class::ConnectFailed);
            }
            assert_eq!(pool.opening.get(), 0);
        };
        LocalSet::new().run_until(test).await;
    }
}

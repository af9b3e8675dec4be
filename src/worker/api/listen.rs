//! The listening socket and its connections: how many there may be, how long a head may take, and
//! an end in good order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::config::WorkerConfig;
use crate::worker::backend::Backend;
use crate::worker::core::Core;

/// Listens. The supervisor holds the port with a socket of its own that does not listen, and both
/// allow the address to be shared, so that nobody else gets it while the serving process is away.
///
/// # Errors
/// As the system has them; above all that the address is in use.
pub(in crate::worker) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WorkerConfig::BACKLOG)
}

/// What every connection runs under, the work streams that were one among them.
#[derive(Clone, Debug, Default)]
pub(in crate::worker) struct Life {
    pub(super) connections: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// Serves a router until it is told to stop.
#[derive(Debug)]
pub(in crate::worker) struct Server {
    life: Life,
}

impl Server {
    /// Begins to accept connections.
    pub(in crate::worker) fn start<B: Backend>(listener: TcpListener, core: Arc<Core<B>>) -> Self {
        let life = Life::default();
        let router = super::router(core, life.clone());
        tokio::spawn(accept(listener, router, life.clone()));
        Self { life }
    }

    /// Stops listening, lets running exchanges end, and closes their connections.
    pub(in crate::worker) async fn stop(self, patience: Duration) {
        self.life.stop.cancel();
        self.life.connections.close();
        // Whoever is not done by then is cut off by the end of the process.
        let _ = tokio::time::timeout(patience, self.life.connections.wait()).await;
    }
}

async fn accept(listener: TcpListener, router: Router, Life { connections, stop }: Life) {
    let room = Arc::new(Semaphore::new(WorkerConfig::MAX_CONNECTIONS));
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = serve(stream, router.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely; trying again at once would only spin.
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(WorkerConfig::ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router, stop: CancellationToken) {
    // Answers are small and whole: nothing is gained by waiting to fill a packet.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| router.clone().call(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(WorkerConfig::HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

//! Takes connections in and serves them: bounded in number, with time-outs, gone when told to.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Request, Response};
use futures_util::{FutureExt, TryFutureExt, future};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reply::problem;
use super::repoll::Repolled;
use super::seldom::Seldom;
use super::timer::OneTimer;
use super::{ResponseBody, answer, router};
use crate::config::CoordinatorConfig;
use crate::coordinator::app::App;
use crate::protocol::{Problem, ProblemCode};

/// Largest request head, with its buffer. Ours are under one kilobyte.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Pause after the machine has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The server, until its token says that it is enough; returns when the last connection has ended.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>, stop: CancellationToken) {
    let router = router(Arc::clone(&app));
    let places = Arc::new(Semaphore::new(app.config.max_connections));
    let connections = TaskTracker::new();
    loop {
        // Over the cap, new connections wait in the kernel's backlog.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (app, router, stop) = (Arc::clone(&app), router.clone(), stop.clone());
                connections.spawn(Repolled::new(async move {
                    connection(stream, app, router, stop).await;
                    drop(place);
                }));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken in");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, app: Arc<App>, router: Router, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
    let service =
        service_fn(|request: Request<Incoming>| guarded(&app, &router, request).map(Ok::<_, std::convert::Infallible>));
    let serving = http1::Builder::new()
        .timer(OneTimer::new(CoordinatorConfig::HEADER_TIMEOUT))
        .header_read_timeout(CoordinatorConfig::HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        // Answers are small: one piece is cheaper to send than two.
        .writev(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let stopped = Seldom::new(stop.cancelled());
    let ended = tokio::select! {
        biased;
        ended = serving.as_mut() => ended,
        () = stopped => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// A panic is a bug in one request, not the end of the others on this connection.
fn guarded(
    app: &Arc<App>,
    router: &Router,
    request: Request<Incoming>,
) -> impl Future<Output = Response<ResponseBody>> {
    // Lazily, so that what `answer` does before its first wait is guarded as well.
    let answered = future::lazy(|_| answer(app, router, request)).flatten();
    AssertUnwindSafe(answered).catch_unwind().unwrap_or_else(|_| {
        tracing::error!("a request panicked");
        let detail = "a bug in aiq; the log of the coordinator says more";
        problem(&Problem::new(ProblemCode::Internal, detail)).map(Either::Left)
    })
}

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
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::reply::problem;
use super::threads::Threads;
use super::{ResponseBody, answer, connection, router};
use crate::config::CoordinatorConfig;
use crate::coordinator::app::App;
use crate::protocol::{Problem, ProblemCode};

/// Pause after the machine has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The server, until its token says that it is enough; returns when the last connection has ended.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>, stop: CancellationToken) {
    let router = router(Arc::clone(&app));
    let places = Arc::new(Semaphore::new(app.config.max_connections));
    let alone = CoordinatorConfig::threads() * CoordinatorConfig::CONNECTIONS_EACH;
    let threads = Threads::new(alone, CoordinatorConfig::crowd_threads());
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
                let served = threads.spawn(stream, |stream| async move {
                    let answer = |request| guarded(&app, &router, request);
                    connection::serve(stream, answer, CoordinatorConfig::HEADER_TIMEOUT, stop).await;
                    drop(place);
                });
                if let Err(error) = served {
                    tracing::warn!(%error, "a connection could not be served");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken in");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    threads.end().await;
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

//! One client's connection: served by hyper, watched here.
//!
//! hyper can watch it as well, but does so anew for each request: it takes a time-out up when it begins to wait for a
//! head, and while a request is being answered it takes a buffer and reads, to see whether the client has left. This
//! watch stays where it is until something happens.

use std::future::{Future, pending};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{Request, Response};
use futures_util::FutureExt;
use http_body_util::{BodyExt, Either};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ResponseBody;
use super::seldom::Seldom;

/// Largest request head, with its buffer. Ours are under one kilobyte.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Whether it can be seen that a client has left while nothing is read from it; elsewhere hyper looks.
const SEES_LEAVING: bool = cfg!(target_os = "linux");

/// Serves a connection until it ends, its client is gone, no whole request head has come for `patience`, or the last
/// answer after `stop` is out.
pub(super) async fn serve<F>(
    stream: TcpStream,
    answer: impl Fn(Request<Incoming>) -> F,
    patience: Duration,
    stop: CancellationToken,
) where
    F: Future<Output = Response<ResponseBody>>,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
    let (read, write) = stream.into_split();
    let line = Arc::new(Line { write, opened: Instant::now(), quiet_since: AtomicU64::new(0) });
    let service = service_fn(|request| {
        line.be_busy();
        answer(request).map(|response| Ok::<_, std::convert::Infallible>(line.answered(response)))
    });
    let io = TokioIo::new(Io { read, line: Arc::clone(&line), behind: false });
    let serving = http1::Builder::new()
        .header_read_timeout(None)
        .half_close(SEES_LEAVING)
        .max_buf_size(MAX_HEAD_BYTES)
        // Answers are small: one piece is cheaper to send than two.
        .writev(false)
        .serve_connection(io, service);
    let mut serving = pin!(serving);
    let (mut stopping, mut half_closed) = (false, false);
    loop {
        let watch = Seldom::new(async {
            tokio::select! {
                () = stop.cancelled(), if !stopping => News::Stop,
                () = line.closed(), if !half_closed => News::Closed,
                () = line.idle_for(patience) => News::Idle,
            }
        });
        let news = tokio::select! {
            biased;
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke");
                }
                return;
            }
            news = watch => news,
        };
        match news {
            News::Stop => {
                serving.as_mut().graceful_shutdown();
                stopping = true;
            }
            // Whoever waits for nothing is seen by hyper, which reads.
            News::Closed if line.quiet_for().is_some() => half_closed = true,
            News::Closed => return tracing::debug!("a client left before its answer"),
            News::Idle => return tracing::debug!("a connection on which nothing was asked for long"),
        }
    }
}

/// What the watch has to tell.
enum News {
    /// The server ends.
    Stop,
    /// The client sends nothing more.
    Closed,
    /// Nothing was under way for long.
    Idle,
}

/// A connection, as its service, its watch and hyper share it.
#[derive(Debug)]
struct Line {
    /// The half that can be used by several; together with the other one it is the stream.
    write: OwnedWriteHalf,
    opened: Instant,
    /// When the last answer was there, nanoseconds after `opened`; or [`Line::BUSY`].
    quiet_since: AtomicU64,
}

impl Line {
    /// A request is being answered.
    const BUSY: u64 = u64::MAX;

    fn be_busy(&self) {
        self.quiet_since.store(Self::BUSY, Ordering::Relaxed);
    }

    fn be_quiet(&self) {
        self.quiet_since.store(self.opened.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// None while a request is being answered.
    fn quiet_for(&self) -> Option<Duration> {
        let since = self.quiet_since.load(Ordering::Relaxed);
        (since != Self::BUSY).then(|| self.opened.elapsed().saturating_sub(Duration::from_nanos(since)))
    }

    /// An answer is there. One that is not whole yet keeps the connection busy until it is.
    fn answered(self: &Arc<Self>, response: Response<ResponseBody>) -> Response<ResponseBody> {
        match response.body() {
            Either::Right(body) if body.size_hint().exact().is_none() => {
                let last = Last(Arc::clone(self));
                response.map(|body| {
                    Either::Right(Body::new(body.map_frame(move |frame| {
                        let _ = &last;
                        frame
                    })))
                })
            }
            Either::Left(_) | Either::Right(_) => {
                self.be_quiet();
                response
            }
        }
    }

    /// Returns once nothing has been under way for so long.
    async fn idle_for(&self, patience: Duration) {
        loop {
            let left = patience.saturating_sub(self.quiet_for().unwrap_or_default());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    /// Returns once the client has closed its side.
    #[cfg(target_os = "linux")]
    async fn closed(&self) {
        // What this waits for beside the end, urgent data, is never asked of the kernel.
        let ready = self.stream().ready(tokio::io::Interest::PRIORITY).await;
        if ready.is_ok_and(|ready| !ready.is_read_closed()) {
            pending::<()>().await;
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn closed(&self) {
        pending().await
    }

    fn stream(&self) -> &TcpStream {
        self.write.as_ref()
    }
}

/// Goes with the body of an answer that comes bit by bit.
struct Last(Arc<Line>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.be_quiet();
    }
}

/// The connection for hyper.
struct Io {
    read: OwnedReadHalf,
    line: Arc<Line>,
    /// Its client takes less than there is to send.
    behind: bool,
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().read).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = loop {
            let ready = this.line.stream().poll_write_ready(cx);
            this.behind |= ready.is_pending();
            ready!(ready)?;
            match this.line.stream().try_write(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                written => break written,
            }
        };
        // An answer that is taken slowly is under way.
        if std::mem::take(&mut this.behind) && this.line.quiet_for().is_some() {
            this.line.be_quiet();
        }
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Both halves are dropped right after this, which closes them.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::stream;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    const SHORT: Duration = Duration::from_millis(40);
    const LONG: Duration = Duration::from_hours(1);

    /// A client's end, and the task that serves the other one.
    async fn served<F>(
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        patience: Duration,
        stop: &CancellationToken,
    ) -> (TcpStream, JoinHandle<()>)
    where
        F: Future<Output = Response<ResponseBody>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let serving = tokio::spawn(serve(server.unwrap().0, answer, patience, stop.clone()));
        (client.unwrap(), serving)
    }

    fn whole(body: impl Into<Bytes>) -> Response<ResponseBody> {
        Response::new(Either::Left(Full::new(body.into())))
    }

    async fn done(_: Request<Incoming>) -> Response<ResponseBody> {
        whole("done")
    }

    /// Answers once it is told to, and tells that it was asked.
    #[derive(Clone, Default)]
    struct Slow {
        begun: Arc<Notify>,
        ready: Arc<Notify>,
    }

    impl Slow {
        async fn answer(self) -> Response<ResponseBody> {
            self.begun.notify_one();
            self.ready.notified().await;
            whole("done")
        }

        async fn served(&self, patience: Duration, stop: &CancellationToken) -> (TcpStream, JoinHandle<()>) {
            let slow = self.clone();
            let (mut client, serving) = served(move |_| slow.clone().answer(), patience, stop).await;
            client.write_all(REQUEST).await.unwrap();
            self.begun.notified().await;
            (client, serving)
        }
    }

    /// Reads until what has come ends so.
    async fn read_to(client: &mut TcpStream, end: &str) {
        let mut all = Vec::new();
        while !all.ends_with(end.as_bytes()) {
            assert_ne!(client.read_buf(&mut all).await.unwrap(), 0, "{}", String::from_utf8_lossy(&all));
        }
    }

    async fn ends(mut client: TcpStream) {
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn it_ends_when_nothing_was_asked_for_long() {
        let (mut client, _) = served(done, SHORT, &CancellationToken::new()).await;
        client.write_all(REQUEST).await.unwrap();
        read_to(&mut client, "done").await;
        ends(client).await;
    }

    #[tokio::test]
    async fn a_head_that_never_ends_is_nothing_asked() {
        let (mut client, serving) = served(done, SHORT, &CancellationToken::new()).await;
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while !serving.is_finished() {
            let _ = client.write_all(b"x: y\r\n").await;
            tokio::time::sleep(SHORT / 8).await;
        }
    }

    #[tokio::test]
    async fn an_answer_may_take_its_time() {
        let slow = Slow::default();
        let (mut client, _) = slow.served(SHORT, &CancellationToken::new()).await;
        tokio::time::sleep(4 * SHORT).await;
        slow.ready.notify_one();
        read_to(&mut client, "done").await;
    }

    #[tokio::test]
    async fn so_may_its_pieces() {
        let (pieces, coming) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
        let coming = Arc::new(tokio::sync::Mutex::new(coming));
        let stream = move |_| {
            let coming = Arc::clone(&coming);
            let pieces = stream::unfold(coming, |coming| async move {
                let piece = coming.lock().await.recv().await?;
                Some((Ok::<_, Infallible>(piece), coming))
            });
            std::future::ready(Response::new(Either::Right(Body::from_stream(pieces))))
        };
        let (mut client, _) = served(stream, SHORT, &CancellationToken::new()).await;
        client.write_all(REQUEST).await.unwrap();
        for piece in ["one", "two"] {
            pieces.send(piece).unwrap();
            read_to(&mut client, &format!("{piece}\r\n")).await;
            tokio::time::sleep(4 * SHORT).await;
        }
        drop(pieces);
        read_to(&mut client, "0\r\n\r\n").await;
        ends(client).await;
    }

    #[tokio::test]
    async fn one_that_is_taken_slowly_is_sent_to_its_end() {
        const BYTES: usize = 32 << 20;
        const PATIENCE: Duration = Duration::from_secs(1);
        let large = |_| std::future::ready(whole(vec![b'x'; BYTES]));
        let (mut client, _) = served(large, PATIENCE, &CancellationToken::new()).await;
        client.write_all(REQUEST).await.unwrap();
        let mut piece = vec![0; BYTES / 32];
        for _ in 0..32 {
            client.read_exact(&mut piece).await.unwrap();
            tokio::time::sleep(PATIENCE / 20).await;
        }
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_answered_no_more() {
        let (client, serving) = Slow::default().served(LONG, &CancellationToken::new()).await;
        drop(client);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn one_that_asks_nothing_more_and_leaves_is_seen() {
        let (mut client, serving) = served(done, LONG, &CancellationToken::new()).await;
        client.write_all(REQUEST).await.unwrap();
        read_to(&mut client, "done").await;
        client.shutdown().await.unwrap();
        serving.await.unwrap();
        ends(client).await;
    }

    #[tokio::test]
    async fn the_servers_end_waits_for_answers_only() {
        let (stop, slow) = (CancellationToken::new(), Slow::default());
        let (idle, _) = served(done, LONG, &stop).await;
        let (mut busy, _) = slow.served(LONG, &stop).await;
        stop.cancel();
        ends(idle).await;
        slow.ready.notify_one();
        read_to(&mut busy, "done").await;
        ends(busy).await;
    }
}

//! Which threads serve a connection.
//!
//! While there are few connections, more threads cost more than they bring: they wake each other for each request. So
//! the threads that schedule also serve the first connections. Only what comes beyond those is served by further threads,
//! which such a crowd keeps awake.

use std::cell::OnceCell;
use std::future::Future;
use std::io;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::TaskTracker;

use super::repoll::Repolled;

/// Most connections that a further thread sees to before it asks which others have news. Were it fewer than are waiting,
/// as the runtime has it, those others would overtake them.
const ROUND: u32 = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Threads {
    connections: TaskTracker,
    /// Connections that the threads of this runtime serve by themselves.
    alone: usize,
    /// Most further threads.
    further: usize,
    /// The further threads, once they were needed; none if the machine has none.
    crowd: OnceCell<Option<Runtime>>,
    /// One more owner for each connection that is served here, or by the further threads.
    here: Arc<()>,
    there: Arc<()>,
}

impl Threads {
    /// This runtime's threads serve the first `alone` connections, and share what comes beyond them with up to `further`
    /// other threads.
    pub(super) fn new(alone: usize, further: usize) -> Self {
        let (here, there) = (Arc::new(()), Arc::new(()));
        Self { connections: TaskTracker::new(), alone, further, crowd: OnceCell::new(), here, there }
    }

    /// Whether the next connection is served here. Beyond the first ones each side has as many: a few would not keep
    /// further threads awake, and where there are more of them, they wait longer.
    fn is_for_here(&self) -> bool {
        let [here, there] = [&self.here, &self.there].map(|owners| Arc::strong_count(owners) - 1);
        here < self.alone.max(there)
    }

    /// Serves a connection.
    ///
    /// # Errors
    /// Where it can't be handed over to another thread; it is closed then.
    pub(super) fn spawn<F>(&self, stream: TcpStream, serve: impl FnOnce(TcpStream) -> F) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(crowd) = (if self.is_for_here() { None } else { self.crowd() }) else {
            self.connections.spawn(Repolled::new(counted(serve(stream), &self.here)));
            return Ok(());
        };
        let stream = stream.into_std()?;
        // What is made from here on is woken by the threads that use it.
        let _there = crowd.enter();
        let stream = TcpStream::from_std(stream)?;
        self.connections.spawn_on(Repolled::new(counted(serve(stream), &self.there)), crowd.handle());
        Ok(())
    }

    fn crowd(&self) -> Option<&Runtime> {
        let begin = || {
            let threads = Some(self.further).filter(|n| *n > 0)?;
            let mut crowd = Builder::new_multi_thread();
            crowd.worker_threads(threads).thread_name("crowd").event_interval(ROUND).enable_all();
            crowd.build().inspect_err(|error| tracing::warn!(%error, "no further threads for connections")).ok()
        };
        self.crowd.get_or_init(begin).as_ref()
    }

    /// Returns when the last connection has ended.
    pub(super) async fn end(self) {
        self.connections.close();
        self.connections.wait().await;
    }
}

impl Drop for Threads {
    /// A runtime that is just dropped waits for its threads, which must not be done in a task.
    fn drop(&mut self) {
        if let Some(crowd) = self.crowd.take().flatten() {
            crowd.shutdown_background();
        }
    }
}

/// A future that is one more owner of `owners` until it ends.
fn counted<F: Future>(future: F, owners: &Arc<()>) -> impl Future<Output = F::Output> + use<F> {
    let owner = Arc::clone(owners);
    future.inspect(move |_| drop(owner))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Says on which thread it is served, and goes on until its client leaves.
    async fn serve(mut stream: TcpStream) {
        let crowd = std::thread::current().name() == Some("crowd");
        stream.write_all(if crowd { b"crowd" } else { b"first" }).await.unwrap();
        let _ = stream.read(&mut [0]).await;
    }

    async fn client(threads: &Threads) -> (TcpStream, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        threads.spawn(server.unwrap().0, serve).unwrap();
        let (mut client, mut said) = (client.unwrap(), [0; 5]);
        client.read_exact(&mut said).await.unwrap();
        (client, String::from_utf8(said.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_first_stay_here_and_a_crowd_gets_threads_of_its_own() {
        let threads = Threads::new(2, 1);
        let mut clients = Vec::new();
        let spread = ["first", "first", "crowd", "crowd", "crowd", "first", "crowd", "first", "crowd", "first"];
        for (i, expected) in spread.into_iter().enumerate() {
            let (client, said) = client(&threads).await;
            assert_eq!(said, expected, "connection {i}");
            clients.push(client);
        }
        drop(clients);
        let here = Arc::clone(&threads.here);
        threads.end().await;
        assert_eq!(Arc::strong_count(&here), 1, "whoever has left is counted no more");
    }

    #[tokio::test]
    async fn without_further_threads_all_stay_here() {
        let threads = Threads::new(1, 0);
        let clients = [client(&threads).await, client(&threads).await];
        assert!(clients.iter().all(|(_, said)| said == "first"));
        drop(clients);
        threads.end().await;
    }
}

//! A future that is polled again only once it was woken.
//!
//! A connection's task is polled several times for each request, and with it what hardly ever comes: the end of the
//! server, a time-out. Each of them takes a lock or two to say that nothing has happened; here a flag says so.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// See the module.
#[derive(Debug)]
pub(super) struct Seldom<F> {
    /// Pinned where it is, so that this needs no pinning of its own.
    future: Pin<Box<F>>,
    news: Arc<News>,
    waker: Waker,
}

/// Stands between whoever wakes the future and the task that it is in.
#[derive(Debug)]
struct News {
    /// Woken, or never polled, since the last poll.
    any: AtomicBool,
    task: AtomicWaker,
}

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.any.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F: Future> Seldom<F> {
    pub(super) fn new(future: F) -> Self {
        let news = Arc::new(News { any: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { future: Box::pin(future), waker: Waker::from(Arc::clone(&news)), news }
    }
}

impl<F: Future> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        // Before the flag is read: what is woken after that wakes this task.
        this.news.task.register(cx.waker());
        if !this.news.any.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        this.future.as_mut().poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;

    use futures_util::poll;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_once_for_each_time_that_it_is_woken() {
        let (polls, notify) = (Cell::new(0), Notify::new());
        let mut notified = Box::pin(notify.notified());
        let mut seldom = Seldom::new(poll_fn(|cx| {
            polls.set(polls.get() + 1);
            notified.as_mut().poll(cx)
        }));
        for _ in 0..3 {
            assert!(poll!(&mut seldom).is_pending());
        }
        assert_eq!(polls.get(), 1);
        notify.notify_one();
        seldom.await;
        assert_eq!(polls.get(), 2);
    }

    #[tokio::test]
    async fn whoever_polls_it_now_is_woken() {
        let notify = Arc::new(Notify::new());
        let mut seldom = Seldom::new({
            let notify = Arc::clone(&notify);
            async move { notify.notified().await }
        });
        assert!(poll!(&mut seldom).is_pending());
        // Moved to another task, which has another waker.
        let moved = tokio::spawn(seldom);
        tokio::task::yield_now().await;
        notify.notify_one();
        moved.await.unwrap();
    }
}

//! A future that wakes itself while it is polled is polled again at once.
//!
//! hyper hands a request's body over by a channel between two halves of one task, so each request with a
//! body wakes its own task. The runtime puts such a task at the end of its queue and wakes another thread to
//! share the work: on an idle coordinator that costs each request a thread's wake-up.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// See the module.
#[derive(Debug)]
pub(super) struct Repolled<F> {
    /// Pinned where it is, so that this needs no pinning of its own.
    future: Pin<Box<F>>,
    own: Arc<Own>,
    waker: Waker,
}

/// Stands between whoever wakes the future and the runtime.
#[derive(Debug)]
struct Own {
    state: AtomicU8,
    runtime: AtomicWaker,
}

/// Not being polled: a wake-up goes on to the runtime.
const IDLE: u8 = 0;
/// Being polled.
const POLLED: u8 = 1;
/// Being polled, and woken since that began.
const WOKEN: u8 = 2;

/// Polls in a row, so that a future which always wakes itself leaves the thread to others.
const MOST_POLLS: usize = 8;

impl Own {
    fn note(&self) {
        // A wake-up while it is polled is seen by the poll; after the poll it is the runtime's.
        let polled = self.state.compare_exchange(POLLED, WOKEN, Ordering::AcqRel, Ordering::Acquire);
        if polled == Err(IDLE) {
            self.runtime.wake();
        }
    }
}

impl Wake for Own {
    fn wake(self: Arc<Self>) {
        self.note();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.note();
    }
}

impl<F: Future> Repolled<F> {
    pub(super) fn new(future: F) -> Self {
        let own = Arc::new(Own { state: AtomicU8::new(IDLE), runtime: AtomicWaker::new() });
        Self { future: Box::pin(future), waker: Waker::from(Arc::clone(&own)), own }
    }
}

impl<F: Future> Future for Repolled<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        this.own.runtime.register(cx.waker());
        for _ in 0..MOST_POLLS {
            this.own.state.store(POLLED, Ordering::Release);
            if let Poll::Ready(output) = this.future.as_mut().poll(&mut Context::from_waker(&this.waker)) {
                this.own.state.store(IDLE, Ordering::Release);
                return Poll::Ready(output);
            }
            let quiet = this.own.state.compare_exchange(POLLED, IDLE, Ordering::AcqRel, Ordering::Acquire);
            if quiet.is_ok() {
                return Poll::Pending;
            }
        }
        this.own.state.store(IDLE, Ordering::Release);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A runtime's waker that counts.
    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll<F: Future>(future: &mut Repolled<F>, counted: &Arc<Counted>) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(&Waker::from(Arc::clone(counted))))
    }

    #[test]
    fn what_wakes_itself_goes_on_without_the_runtime() {
        let mut left = 3;
        let mut future = Repolled::new(poll_fn(move |cx| {
            cx.waker().wake_by_ref();
            left -= 1;
            if left == 0 { Poll::Ready("done") } else { Poll::Pending }
        }));
        let counted = Arc::new(Counted::default());
        assert_eq!(poll(&mut future, &counted), Poll::Ready("done"));
        assert_eq!(counted.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn what_always_wakes_itself_leaves_the_thread_to_others() {
        let mut future = Repolled::new(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        let counted = Arc::new(Counted::default());
        assert_eq!(poll(&mut future, &counted), Poll::Pending);
        assert_eq!(counted.0.load(Ordering::SeqCst), 1, "it must be polled again some time");
    }

    #[test]
    fn a_wake_up_from_elsewhere_reaches_the_runtime() {
        let kept: Arc<std::sync::Mutex<Option<Waker>>> = Arc::default();
        let keep = Arc::clone(&kept);
        let mut future = Repolled::new(poll_fn(move |cx| {
            *keep.lock().unwrap() = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        let counted = Arc::new(Counted::default());
        assert_eq!(poll(&mut future, &counted), Poll::Pending);
        let waker = kept.lock().unwrap().take().unwrap();
        waker.wake_by_ref();
        assert_eq!(counted.0.load(Ordering::SeqCst), 1);
    }

    /// Two threads and many turns: no wake-up is lost, whenever it comes.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_up_is_lost() {
        let (to, mut from) = tokio::sync::mpsc::channel(1);
        let sending = tokio::spawn(async move {
            for i in 0..20_000_u32 {
                to.send(i).await.unwrap();
            }
        });
        let received = Repolled::new(async move {
            let mut sum = 0_u64;
            while let Some(i) = from.recv().await {
                sum += u64::from(i);
            }
            sum
        });
        assert_eq!(tokio::spawn(received).await.unwrap(), 19_999 * 20_000 / 2);
        sending.await.unwrap();
    }
}

//! hyper's timer for one connection, made for time-outs that hardly ever pass.
//!
//! hyper starts a time-out when it begins to wait for a request's head and drops it when the head is there: with a
//! timer of the runtime each request would enter its wheel and leave it again. Here a connection has one
//! timer that stays where it is; when it goes off too early it is set to what is waited for by then.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use super::seldom::Seldom;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct OneTimer(Arc<Mutex<Set>>);

/// The runtime's timer.
#[derive(Debug)]
struct Set {
    timer: Seldom<tokio::time::Sleep>,
    /// When it goes off.
    at: Instant,
}

impl OneTimer {
    /// A timer for a connection whose time-outs are about this long.
    pub(super) fn new(usual: Duration) -> Self {
        let at = Instant::now() + usual;
        let timer = Seldom::new(tokio::time::sleep_until(at.into()));
        Self(Arc::new(Mutex::new(Set { timer, at })))
    }
}

impl Set {
    fn set(&mut self, at: Instant) {
        self.timer.get_mut().reset(at.into());
        self.at = at;
    }
}

impl Timer for OneTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until { deadline, timer: self.clone() })
    }
}

/// A time-out of the connection.
struct Until {
    deadline: Instant,
    timer: OneTimer,
}

impl Sleep for Until {}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut set = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        if set.at > self.deadline {
            set.set(self.deadline);
        }
        loop {
            std::task::ready!(Pin::new(&mut set.timer).poll(cx));
            if set.at >= self.deadline {
                return Poll::Ready(());
            }
            set.set(self.deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_time_out_passes_when_it_is_due() {
        const HOUR: u64 = 3_600_000;
        let timer = OneTimer::new(Duration::from_millis(10));
        let start = Instant::now();
        let at = |millis| timer.sleep_until(start + Duration::from_millis(millis));
        // Given up, as hyper does when the head is there.
        let mut given_up = at(12);
        assert!(futures_util::poll!(&mut given_up).is_pending());
        drop(given_up);
        at(25).await;
        assert!(start.elapsed() >= Duration::from_millis(25), "the timer went off at 10, and not for this one");
        // Sooner than the timer would go off by itself.
        let mut late = at(HOUR);
        assert!(futures_util::poll!(&mut late).is_pending());
        at(30).await;
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert!(futures_util::poll!(&mut late).is_pending());
        // What is past is due.
        at(1).await;
    }
}

//! Lines of many threads, written to one file in gathered pieces: a busy process pays for a wake-up and
//! a write twenty times a second, not once a line.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where lines are handed in. It never waits for the file.
#[derive(Debug)]
pub(super) struct Lines(Arc<Shared>);

/// Ends the writing thread when dropped, once everything is written.
#[derive(Debug)]
pub(super) struct Writing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The first line is there, or it is over.
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// Lines that found no room.
    lost: u64,
    closing: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines and takes all of them, with how many were lost; `None` where no more will come.
    fn take(&self, into: &mut Vec<u8>) -> Option<u64> {
        let nothing = |s: &mut State| s.lines.is_empty() && s.lost == 0 && !s.closing;
        let state = self.wake.wait_while(self.lock(), nothing).unwrap_or_else(PoisonError::into_inner);
        // What comes now goes along.
        let gathered = self.wake.wait_timeout_while(state, Lines::PERIOD, |s| !s.closing);
        let mut state = gathered.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(into, &mut state.lines);
        let lost = std::mem::take(&mut state.lost);
        (!into.is_empty() || lost > 0 || !state.closing).then_some(lost)
    }
}

impl Lines {
    /// How long the first line waits for others.
    const PERIOD: Duration = Duration::from_millis(50);
    /// Most that waits to be written, where the disk is slower than the lines come.
    const MAX_BYTES: usize = 16 << 20;
    /// A buffer that once grew beyond this is not kept.
    const KEPT_BYTES: usize = 1 << 20;

    /// Starts to write to `file`.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(super) fn to(file: impl Write + Send + 'static) -> std::io::Result<(Self, Writing)> {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("task-log".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || write_all(&shared, file)
        })?;
        Ok((Self(Arc::clone(&shared)), Writing { shared, thread: Some(thread) }))
    }

    /// Hands in whole lines. Where there is no room they are dropped, and counted.
    pub(super) fn push(&self, lines: &[u8]) {
        let mut state = self.0.lock();
        let first = state.lines.is_empty();
        if state.lines.len() + lines.len() > Self::MAX_BYTES {
            state.lost += 1;
        } else {
            state.lines.extend_from_slice(lines);
        }
        drop(state);
        if first {
            self.0.wake.notify_one();
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported there.
            let _ = thread.join();
        }
    }
}

fn write_all(shared: &Shared, mut file: impl Write) {
    let mut lines = Vec::new();
    while let Some(lost) = shared.take(&mut lines) {
        if lost > 0 {
            tracing::warn!(lost, "lines of the task log were dropped: the disk is slower than they come");
        }
        if let Err(error) = file.write_all(&lines).and_then(|()| file.flush()) {
            tracing::warn!(%error, bytes = lines.len(), "lines of the task log could not be written");
        }
        lines.clear();
        lines.shrink_to(Lines::KEPT_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that counts how often it is written to.
    #[derive(Clone, Default)]
    struct Counted(Arc<Mutex<(u64, Vec<u8>)>>);

    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut file = self.0.lock().unwrap();
            file.0 += 1;
            file.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Takes nothing before it is told to.
    struct Stuck(std::sync::mpsc::Receiver<()>, Counted);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_once_and_few_writes_do_it() {
        let file = Counted::default();
        let (lines, writing) = Lines::to(file.clone()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let lines = &lines;
                scope.spawn(move || {
                    for i in 0..1000 {
                        lines.push(format!("{thread} {i}\n").as_bytes());
                    }
                });
            }
        });
        drop(writing);
        let (writes, written) = &*file.0.lock().unwrap();
        let mut seen: Vec<&str> = std::str::from_utf8(written).unwrap().lines().collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 4000);
        assert!(*writes < 400, "{writes} writes for 4000 lines");
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_does_not_wait() {
        let (open, opened) = std::sync::mpsc::channel::<()>();
        let file = Counted::default();
        let (lines, writing) = Lines::to(Stuck(opened, file.clone())).unwrap();
        let line = vec![b'x'; Lines::MAX_BYTES / 4];
        for _ in 0..20 {
            lines.push(&line);
        }
        drop(open);
        drop(writing);
        let written = file.0.lock().unwrap().1.len();
        assert!((line.len()..=2 * Lines::MAX_BYTES).contains(&written), "{written}");
    }
}

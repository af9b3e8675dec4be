//! Records of many threads, written as lines to one file in gathered pieces: a busy process pays for a
//! wake-up and a write once for hundreds of lines, and whoever has a record does not write it out.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What becomes a line, or several.
pub(super) trait Record: Send + 'static {
    /// Adds itself with the end of its line.
    fn write(&self, lines: &mut Vec<u8>);
}

/// Where records are handed in. It never waits for the file.
#[derive(Debug)]
pub(super) struct Gathered<R>(Arc<Shared<R>>);

/// Ends the writing thread when dropped, once everything is written.
#[derive(Debug)]
pub(super) struct Writing<R: Record> {
    shared: Arc<Shared<R>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<R> {
    state: Mutex<State<R>>,
    /// The first record is there, or it is over.
    wake: Condvar,
}

#[derive(Debug)]
struct State<R> {
    records: Vec<R>,
    /// Records that found no room.
    lost: u64,
    closing: bool,
}

impl<R> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for records and takes all of them, with how many were lost; `None` where no more will come.
    fn take(&self, into: &mut Vec<R>) -> Option<u64> {
        let nothing = |s: &mut State<R>| s.records.is_empty() && s.lost == 0 && !s.closing;
        let state = self.wake.wait_while(self.lock(), nothing).unwrap_or_else(PoisonError::into_inner);
        // What comes now goes along.
        let more = |s: &mut State<R>| !s.closing && s.records.len() < ENOUGH_RECORDS;
        let gathered = self.wake.wait_timeout_while(state, PERIOD, more);
        let mut state = gathered.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(into, &mut state.records);
        let lost = std::mem::take(&mut state.lost);
        (!into.is_empty() || lost > 0 || !state.closing).then_some(lost)
    }
}

/// How long the first record waits for others.
const PERIOD: Duration = Duration::from_millis(50);
/// So many are written at once: they, and their lines, are still in the processor's caches.
const ENOUGH_RECORDS: usize = 512;
/// Most that wait to be written, where the disk is slower than they come.
const MAX_RECORDS: usize = 64 << 10;
/// Buffers that once grew beyond this are not kept.
const KEPT_RECORDS: usize = 8 << 10;
const KEPT_BYTES: usize = 64 << 10;
/// Lines are written in pieces of about this size.
const PIECE_BYTES: usize = 32 << 10;

impl<R: Record> Gathered<R> {
    /// Starts to write to `file`.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(super) fn to(file: impl Write + Send + 'static) -> std::io::Result<(Self, Writing<R>)> {
        let state = Mutex::new(State { records: Vec::new(), lost: 0, closing: false });
        let shared = Arc::new(Shared { state, wake: Condvar::new() });
        let thread = std::thread::Builder::new().name("task-log".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || write_all(&shared, file)
        })?;
        Ok((Self(Arc::clone(&shared)), Writing { shared, thread: Some(thread) }))
    }

    /// Hands in a record. Where there is no room it is dropped, and counted.
    pub(super) fn push(&self, record: R) {
        let mut state = self.0.lock();
        let due = matches!(state.records.len() + 1, 1 | ENOUGH_RECORDS);
        if state.records.len() < MAX_RECORDS {
            state.records.push(record);
        } else {
            state.lost += 1;
        }
        drop(state);
        if due {
            self.0.wake.notify_one();
        }
    }
}

impl<R: Record> Drop for Writing<R> {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported there.
            let _ = thread.join();
        }
    }
}

fn write_all<R: Record>(shared: &Shared<R>, mut file: impl Write) {
    let (mut records, mut lines) = (Vec::new(), Vec::new());
    while let Some(lost) = shared.take(&mut records) {
        if lost > 0 {
            tracing::warn!(lost, "lines of the task log were dropped: the disk is slower than they come");
        }
        let mut left = records.drain(..).peekable();
        while let Some(record) = left.next() {
            record.write(&mut lines);
            if lines.len() < PIECE_BYTES && left.peek().is_some() {
                continue;
            }
            if let Err(error) = file.write_all(&lines).and_then(|()| file.flush()) {
                tracing::warn!(%error, bytes = lines.len(), "lines of the task log could not be written");
            }
            lines.clear();
        }
        drop(left);
        records.shrink_to(KEPT_RECORDS);
        lines.shrink_to(KEPT_BYTES);
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

    impl Record for String {
        fn write(&self, lines: &mut Vec<u8>) {
            lines.extend_from_slice(self.as_bytes());
            lines.push(b'\n');
        }
    }

    #[test]
    fn every_line_is_written_once_and_few_writes_do_it() {
        let file = Counted::default();
        let (lines, writing) = Gathered::to(file.clone()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let lines = &lines;
                scope.spawn(move || {
                    for i in 0..1000 {
                        lines.push(format!("{thread} {i}"));
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
        let (lines, writing) = Gathered::to(Stuck(opened, file.clone())).unwrap();
        for i in 0..3 * MAX_RECORDS {
            lines.push(i.to_string());
        }
        drop(open);
        drop(writing);
        let written = file.0.lock().unwrap().1.split(|b| *b == b'\n').count() - 1;
        // What was full once, and what the thread may have taken before.
        assert!((MAX_RECORDS..=2 * MAX_RECORDS).contains(&written), "{written}");
    }
}

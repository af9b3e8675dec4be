//! The terminal's modes: raw input, the alternate screen, the mouse, and back again, whatever
//! happens. Frames go out whole, one write each, as synchronised updates.
//!
//! Knows nothing of what is drawn, so any live view can use it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use crossterm::cursor::Show;
use crossterm::queue;
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    SetTitle, disable_raw_mode, enable_raw_mode,
};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Size;
use ratatui::{Frame, Terminal};

/// Whether the terminal is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Whether a panic gave it back.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Whom clicks belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mouse {
    /// Us.
    Captured,
    /// The terminal: it selects text.
    Left,
}

/// Buttons and wheel, coordinates in decimal (xterm's modes 1000 and 1006). Movement is not asked
/// for: over a slow line it would drown the keys.
const MOUSE_ON: &[u8] = b"\x1b[?1000h\x1b[?1006h";
const MOUSE_OFF: &[u8] = b"\x1b[?1006l\x1b[?1000l";

/// The terminal while it is ours. Dropping it gives the terminal back.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Outbox>>,
    outbox: Outbox,
}

impl Screen {
    /// Takes the terminal. It is given back when this is dropped or the process panics.
    ///
    /// # Errors
    /// The terminal's.
    pub fn enter(mouse: Mouse) -> io::Result<Self> {
        restore_on_panic();
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        let mut setup = Vec::new();
        queue!(setup, EnterAlternateScreen, SetTitle("aiq"))?;
        if mouse == Mouse::Captured {
            setup.extend_from_slice(MOUSE_ON);
        }
        let outbox = Outbox::default();
        let entered = send(&setup).and_then(|()| Terminal::new(CrosstermBackend::new(outbox.clone())));
        entered.map(|terminal| Self { terminal, outbox }).inspect_err(|_| restore())
    }

    /// The terminal's size.
    ///
    /// # Errors
    /// The terminal's.
    pub fn size(&self) -> io::Result<Size> {
        self.terminal.size()
    }

    /// Draws a frame and sends what differs from the one before.
    ///
    /// # Errors
    /// The terminal's.
    pub fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(view)?;
        let frame = self.outbox.take();
        let mut update = Vec::with_capacity(frame.len() + 16);
        queue!(update, BeginSynchronizedUpdate)?;
        update.extend_from_slice(&frame);
        queue!(update, EndSynchronizedUpdate)?;
        send(&update)
    }

    /// Forgets what was sent: the next frame goes out whole.
    ///
    /// # Errors
    /// The terminal's.
    pub fn repaint(&mut self) -> io::Result<()> {
        // Not `Terminal::clear`, which asks the terminal for the cursor's place and reads the answer
        // from under whoever reads the keys.
        self.outbox.take();
        queue!(self.outbox, Clear(ClearType::All))?;
        self.terminal = Terminal::new(CrosstermBackend::new(self.outbox.clone()))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // What is left of an unfinished frame must not land on the person's own screen.
        self.outbox.take();
        restore();
        // Dropping ratatui's terminal writes once more, to a box that nobody empties.
    }
}

/// Whether a panic, on any thread, has given the terminal back under our feet.
pub fn panicked() -> bool {
    PANICKED.load(Ordering::SeqCst)
}

/// Gives the terminal back, once.
fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut bytes = Vec::new();
    // Nobody is left to be told of an error here.
    let _ = queue!(bytes, EndSynchronizedUpdate);
    bytes.extend_from_slice(MOUSE_OFF);
    let _ = queue!(bytes, LeaveAlternateScreen, Show);
    let _ = send(&bytes);
    let _ = disable_raw_mode();
}

/// The message of a panic is for a person, so it comes after the terminal is as it was.
fn restore_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if TAKEN.load(Ordering::SeqCst) {
                PANICKED.store(true, Ordering::SeqCst);
                restore();
            }
            print(info);
        }));
    });
}

fn send(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Collects a frame. Nothing leaves before the frame is whole.
#[derive(Clone, Debug, Default)]
struct Outbox(Arc<Mutex<Vec<u8>>>);

impl Outbox {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Outbox {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! The live view: what a run looks like while it goes, on a terminal.
//!
//! It draws on standard error, so that the report can go through a pipe, and gives the terminal back
//! whatever ends it. `q`, Esc and Ctrl-C end the run; the report so far follows.

mod view;

use std::io::{self, IsTerminal, Stderr};
use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use futures_util::StreamExt;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(super) use view::Scene;

use super::look::Look;
use super::observe::Marks;

/// What a view follows.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) looks: watch::Receiver<Look>,
    pub(super) marks: Marks,
    /// Ends the run.
    pub(super) cancel: CancellationToken,
    /// Told when the run has ended.
    pub(super) end: CancellationToken,
}

/// Whether there is a terminal to draw on and to read keys from.
pub(super) fn possible() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stderr().is_terminal() && io::stdin().is_terminal() && !dumb
}

/// How often the screen is drawn at most.
const EVERY: Duration = Duration::from_millis(200);

/// Draws until the run ends.
///
/// # Errors
/// Those of the terminal.
pub(super) async fn show(mut scene: Scene, followed: Followed) -> io::Result<()> {
    let Followed { looks, marks, cancel, end } = followed;
    let mut screen = Screen::enter()?;
    let mut keys = EventStream::new();
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = end.cancelled() => return Ok(()),
            _ = tick.tick() => {}
            event = keys.next() => match event {
                Some(Ok(event)) if asks_to_quit(&event) => {
                    scene.ending = true;
                    cancel.cancel();
                }
                Some(Ok(Event::Resize(..))) => {}
                Some(Ok(_)) => continue,
                // Without keys the run goes on; signals still end it.
                Some(Err(_)) | None => {
                    end.cancelled().await;
                    return Ok(());
                }
            }
        }
        scene.look = looks.borrow().clone();
        scene.marks = marks.all();
        screen.terminal.draw(|frame| view::draw(&scene, frame))?;
    }
}

fn asks_to_quit(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (ctrl_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

/// The terminal while it is ours.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stderr>>,
}

impl Screen {
    fn enter() -> io::Result<Self> {
        // A panic's message must not be drawn over, nor the terminal be left raw.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            leave();
            before(info);
        }));
        enable_raw_mode()?;
        if let Err(e) = execute!(io::stderr(), EnterAlternateScreen, crossterm::cursor::Hide) {
            leave();
            return Err(e);
        }
        Ok(Self { terminal: Terminal::new(CrosstermBackend::new(io::stderr()))? })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Gives the terminal back, where the process is about to end without dropping anything.
pub(super) fn leave() {
    // Nothing is left to do where the terminal does not take it.
    let _ = disable_raw_mode();
    let _ = execute!(io::stderr(), LeaveAlternateScreen, crossterm::cursor::Show);
}

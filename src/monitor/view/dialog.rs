//! Questions with buttons. The safe button is the first and has the cursor.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

use super::{centred, span};
use crate::monitor::model::{Answer, Confirm, Modal, Model, Progress, QuitChoice};
use crate::monitor::text::{plural, wrap};
use crate::monitor::theme::{self, CURSOR, Focus, Tone};
use crate::protocol::{TaskType, WorkerAction};

const WIDTH: u16 = 58;

/// A question, ready to be drawn or clicked.
struct Question {
    title: String,
    lines: Vec<Line<'static>>,
    buttons: Vec<&'static str>,
    chosen: usize,
}

impl Question {
    fn place(&self, area: Rect) -> Rect {
        centred(area, WIDTH, self.lines.len() as u16 + 5)
    }

    /// Where the buttons are: in the middle of the last line but one.
    fn buttons(&self, area: Rect) -> Vec<Rect> {
        let place = self.place(area);
        let width = |label: &str| label.len() as u16 + 4;
        let total: u16 = self.buttons.iter().map(|b| width(b) + 2).sum::<u16>().saturating_sub(2);
        let mut x = place.x + place.width.saturating_sub(total) / 2;
        let y = place.bottom().saturating_sub(2);
        let mut place_one = |label: &&str| {
            let rect = Rect { x, y, width: width(label), height: 1 };
            x += rect.width + 2;
            rect
        };
        self.buttons.iter().map(&mut place_one).collect()
    }

    fn draw(self, buffer: &mut Buffer, area: Rect) {
        let place = self.place(area);
        let places = self.buttons(area);
        Clear.render(place, buffer);
        let block = theme::frame(Line::from(Span::styled(self.title, theme::title(Focus::Here))), Focus::Here);
        let inside = block.inner(place);
        block.render(place, buffer);
        let text = Rect { x: inside.x + 1, y: inside.y + 1, width: inside.width.saturating_sub(2), ..inside };
        super::put_lines(buffer, text.intersection(inside), self.lines);
        for (i, (label, at)) in self.buttons.iter().zip(places).enumerate() {
            let style = if i == self.chosen { CURSOR.add_modifier(Modifier::BOLD) } else { Style::new() };
            let width = inside.right().saturating_sub(at.x);
            if inside.contains(Position { x: at.x, y: at.y }) {
                buffer.set_stringn(at.x, at.y, format!("[ {label} ]"), usize::from(width), style);
            }
        }
    }
}

/// Draws a question about a worker.
pub(super) fn confirm(model: &Model, confirm: &Confirm, buffer: &mut Buffer, area: Rect) {
    confirm_question(model, confirm).draw(buffer, area);
}

/// Draws the question what becomes of the fleet.
pub(super) fn quit(model: &Model, choice: QuitChoice, buffer: &mut Buffer, area: Rect) {
    quit_question(model, choice).draw(buffer, area);
}

/// The button at a place of the screen.
pub(crate) fn button_at(model: &Model, at: Position) -> Option<usize> {
    let question = match &model.modal {
        Some(Modal::Confirm(confirm)) => confirm_question(model, confirm),
        Some(Modal::Quit(choice)) => quit_question(model, *choice),
        _ => return None,
    };
    question.buttons(model.area()).iter().position(|place| place.contains(at))
}

fn confirm_question(model: &Model, confirm: &Confirm) -> Question {
    let columns = usize::from(WIDTH) - 4;
    let mut lines = Vec::new();
    let mut say = |text: &str, tone: Tone| {
        lines.extend(wrap(text, columns).into_iter().map(|line| Line::from(span(line, tone))));
    };
    let verb = match confirm.action {
        WorkerAction::Kill => "Kill",
        WorkerAction::Revive => "Revive",
        WorkerAction::Drain => "Drain",
        WorkerAction::Resume => "Resume",
    };
    let title = format!("{verb} {}", confirm.worker);
    match &confirm.progress {
        Progress::Refused(reason) => {
            say(&format!("{verb} was refused:"), Tone::Bad);
            say(reason, Tone::Plain);
            return Question { title, lines, buttons: vec!["Close"], chosen: 0 };
        }
        Progress::Sent => {
            say("The coordinator has been told…", Tone::Plain);
            return Question { title, lines, buttons: vec!["Close"], chosen: 0 };
        }
        Progress::Asking => {}
    }
    let worker = model.live.worker(&confirm.worker);
    let held = worker.map_or(0, |w| w.in_flight);
    if confirm.action == WorkerAction::Kill {
        let pid = worker.and_then(|w| w.pid).map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        say(&format!("Its serving process{pid} ends at once, with SIGKILL."), Tone::Plain);
        say(&in_flight(held, "re-routed to other workers"), Tone::Plain);
        say("It stays down until it is revived (R).", Tone::Plain);
    } else {
        say("It gets no new work until it is resumed (d).", Tone::Plain);
        say(&in_flight(held, "finished first"), Tone::Plain);
    }
    if let Some(warning) = last_of_its_kind(model, confirm) {
        say(&warning, Tone::Warn);
    }
    let chosen = usize::from(confirm.answer == Answer::Proceed);
    Question { title, lines, buttons: vec!["Cancel", verb], chosen }
}

fn in_flight(held: u32, fate: &str) -> String {
    match held {
        0 => "Nothing is in flight on it.".to_owned(),
        n => format!("{} in flight: {fate}.", plural(n.into(), "request")),
    }
}

/// What nobody could do without this worker.
fn last_of_its_kind(model: &Model, confirm: &Confirm) -> Option<String> {
    let worker = model.live.worker(&confirm.worker).filter(|w| w.healthy)?;
    let others = || model.live.workers().iter().filter(|w| w.healthy && w.worker_id != confirm.worker);
    let alone = |task| !others().any(|w| w.capabilities.iter().any(|c| c.task == task));
    let lost: Vec<&str> =
        worker.capabilities.iter().map(|c| c.task).filter(|t| alone(*t)).map(TaskType::as_str).collect();
    if lost.is_empty() { None } else { Some(format!("Nobody else can do {}.", lost.join(", "))) }
}

fn quit_question(model: &Model, choice: QuitChoice) -> Question {
    let columns = usize::from(WIDTH) - 4;
    let held = model.live.snapshot.as_ref().map_or(0, |s| s.queue.active_tasks + s.queue.queue_size);
    let work = match held {
        0 => "It has no work now.".to_owned(),
        n => format!("It has {} to answer.", plural(n, "request")),
    };
    let mut lines = vec![Line::from(span("Stop the fleet too?", Tone::Strong))];
    let text = format!("It was started with this dashboard. {work}");
    lines.extend(wrap(&text, columns).into_iter().map(Line::from));
    Question {
        title: "Quit".to_owned(),
        lines,
        buttons: vec!["Cancel", "Keep it running", "Stop the fleet"],
        chosen: choice as usize,
    }
}

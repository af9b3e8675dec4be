//! The last line: the keys that are in force, or what the person is told just now.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Modifier, Stylize};
use ratatui::text::{Line, Span};

use super::span;
use crate::monitor::keys::{self, Action, Binding, Touches};
use crate::monitor::model::Model;
use crate::monitor::text::{fit, width};
use crate::monitor::theme::Tone;
use crate::monitor::update::context;
use crate::protocol::WorkerState;

/// Draws it.
pub(super) fn draw(model: &Model, buffer: &mut Buffer, area: Rect) {
    if let Some(notice) = &model.notice {
        let text = fit(&notice.text, usize::from(area.width.saturating_sub(2)));
        buffer.set_line(area.x + 1, area.y, &Line::from(span(text, notice.tone)), area.width - 1);
        return;
    }
    for Hint { binding, x, label, verb } in hints(model, area) {
        // What can't be done now is dim.
        let off = binding.touches == Touches::Fleet && !model.live.connected();
        let (key, word) = if off { (Tone::Quiet, Tone::Quiet) } else { (Tone::Accent, Tone::Plain) };
        let key = if off { span(label, key) } else { span(label, key).add_modifier(Modifier::BOLD) };
        let line = Line::from(vec![key, Span::raw(" "), span(verb, word)]);
        buffer.set_line(x, area.y, &line, area.right().saturating_sub(x));
    }
}

/// A key of the footer and where it stands.
struct Hint {
    binding: &'static Binding,
    x: u16,
    label: &'static str,
    verb: &'static str,
}

impl Hint {
    fn width(&self) -> usize {
        width(self.label) + 1 + width(self.verb)
    }
}

/// The keys that fit: the lowest ranks first, in the table's order.
fn hints(model: &Model, area: Rect) -> Vec<Hint> {
    let ranked = keys::bindings(context(model), model.setup.hands).filter(|b| b.rank > 0);
    let mut hints: Vec<Hint> = ranked
        .map(|binding| {
            let draining = model.selected().is_some_and(|w| w.state == WorkerState::Draining);
            let verb = match binding.action {
                Action::Drain if draining => "resume",
                Action::Pause if model.paused() => "go on",
                Action::Everything if model.journal.everything => "notable",
                _ => binding.verb,
            };
            // One key is enough where there is little room.
            let label = binding.label.split(' ').next().unwrap_or_default();
            Hint { binding, x: 0, label, verb }
        })
        .collect();
    let total = |hints: &[Hint]| hints.iter().map(|h| h.width() + 2).sum::<usize>();
    while total(&hints) > usize::from(area.width) + 1 {
        let Some(last) = (0..hints.len()).max_by_key(|i| hints[*i].binding.rank) else { break };
        hints.remove(last);
    }
    let mut x = area.x + 1;
    for hint in &mut hints {
        hint.x = x;
        x += hint.width() as u16 + 2;
    }
    hints
}

/// The key at a place of the line.
pub(crate) fn action_at(model: &Model, area: Rect, at: Position) -> Option<Action> {
    if model.notice.is_some() {
        return None;
    }
    let hit = |h: &Hint| at.x >= h.x && usize::from(at.x) < usize::from(h.x) + h.width();
    hints(model, area).into_iter().find(hit).map(|h| h.binding.action)
}

//! Draws the model. Pure: the same model gives the same screen. One file a panel.

pub(crate) mod activity;
mod charts;
pub(crate) mod detail;
pub(crate) mod dialog;
mod faults;
pub(crate) mod footer;
mod header;
pub(crate) mod help;
mod plot;
pub(crate) mod request;
mod waiting;
pub(crate) mod workers;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::fold;
use super::model::{Layout, Modal, Model, Panel};
use super::theme::{Focus, Tone};

/// Draws a frame.
pub(crate) fn view(model: &Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    match Layout::of(model, area) {
        Layout::TooSmall => waiting::too_small(buffer, area),
        Layout::Screen(screen) => {
            header::draw(model, buffer, screen.header);
            if model.data().snapshot.is_none() {
                waiting::connecting(model, buffer, screen.body);
            }
            for (panel, area) in &screen.panels {
                draw_panel(model, buffer, *panel, *area);
            }
            if !model.data().connected() && model.data().snapshot.is_some() {
                fold::dim(buffer, screen.body, model.setup.look);
            }
            footer::draw(model, buffer, screen.footer);
            match &model.modal {
                Some(Modal::Help { scroll }) => help::draw(model, *scroll, buffer, area),
                Some(Modal::Confirm(confirm)) => dialog::confirm(model, confirm, buffer, area),
                Some(Modal::Quit(choice)) => dialog::quit(model, *choice, buffer, area),
                Some(Modal::Faults(form)) => faults::draw(form, buffer, area),
                Some(Modal::Request { entry, scroll }) => request::draw(entry, *scroll, buffer, area),
                None => {}
            }
        }
    }
    fold::fold(buffer, model.setup.look);
}

fn draw_panel(model: &Model, buffer: &mut Buffer, panel: Panel, area: Rect) {
    match panel {
        Panel::Workers => workers::draw(model, buffer, area),
        Panel::Detail => detail::draw(model, buffer, area),
        Panel::Queue => charts::queue(model, buffer, area),
        Panel::Throughput => charts::throughput(model, buffer, area),
        Panel::Latency => charts::latency(model, buffer, area),
        Panel::Activity => activity::draw(model, buffer, area),
    }
}

fn focus(model: &Model, panel: Panel) -> Focus {
    if model.focus == panel && model.modal.is_none() { Focus::Here } else { Focus::Elsewhere }
}

/// Lines from the top of an area; what does not fit is left out.
fn put_lines<'a>(buffer: &mut Buffer, area: Rect, lines: impl IntoIterator<Item = Line<'a>>) {
    for (y, line) in (area.y..area.bottom()).zip(lines) {
        buffer.set_line(area.x, y, &line, area.width);
    }
}

/// A text with a tone.
fn span<'a>(text: impl Into<std::borrow::Cow<'a, str>>, tone: Tone) -> Span<'a> {
    Span::styled(text, tone.style())
}

/// An area in the middle of another, never larger than it.
fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height }
}

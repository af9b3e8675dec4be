//! The help: every key of the table, what the columns mean, how the fleet's figures are to be read.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

use super::{centred, span};
use crate::monitor::keys::{self, Context, Group};
use crate::monitor::model::{Column, Model};
use crate::monitor::text::{Side, cell, wrap};
use crate::monitor::theme::{self, Focus, Tone};
use crate::monitor::update::Extent;

const WIDTH: u16 = 76;

fn place(area: Rect, lines: usize) -> Rect {
    let height = u16::try_from(lines + 2).unwrap_or(u16::MAX);
    centred(area, WIDTH, height.min(area.height.saturating_sub(2)))
}

/// How much there is to read.
pub(crate) fn extent(model: &Model) -> Extent {
    let lines = lines(model, model.area()).len();
    Extent { lines, visible: usize::from(place(model.area(), lines).height.saturating_sub(2)) }
}

/// Draws it.
pub(super) fn draw(model: &Model, scroll: usize, buffer: &mut Buffer, area: Rect) {
    let lines = lines(model, area);
    let place = place(area, lines.len());
    let more = lines.len().saturating_sub(usize::from(place.height.saturating_sub(2)));
    let scroll = scroll.min(more);
    Clear.render(place, buffer);
    let mut block = theme::frame(Line::from(Span::styled("Help", theme::title(Focus::Here))), Focus::Here);
    if more > 0 {
        let text = format!("{} of {} lines below", more - scroll, lines.len());
        block = block.title_bottom(Line::from(span(text, Tone::Quiet)).right_aligned());
    }
    let inside = block.inner(place);
    block.render(place, buffer);
    super::put_lines(buffer, inside, lines.into_iter().skip(scroll));
}

fn lines(model: &Model, area: Rect) -> Vec<Line<'static>> {
    const KEY: usize = 8;
    let columns = usize::from(WIDTH.min(area.width)).saturating_sub(4);
    let mut lines = Vec::new();
    let heading =
        |text: &'static str| Line::from(span(format!(" {text}"), Tone::Strong).add_modifier(Modifier::UNDERLINED));
    let entry = |lines: &mut Vec<Line<'static>>, name: &str, text: &str| {
        for (i, part) in wrap(text, columns.saturating_sub(KEY + 1)).into_iter().enumerate() {
            let name = cell(if i == 0 { name } else { "" }, KEY, Side::Right);
            lines.push(Line::from(vec![Span::raw(" "), span(name, Tone::Accent), Span::raw(format!(" {part}"))]));
        }
    };
    for group in Group::ALL {
        let mut bindings = keys::bindings(Context::Browse, model.setup.hands).filter(|b| b.group == group).peekable();
        if bindings.peek().is_none() {
            continue;
        }
        lines.push(heading(group.title()));
        for binding in bindings {
            entry(&mut lines, binding.label, binding.help);
        }
        lines.push(Line::default());
    }
    lines.push(heading("Columns"));
    for column in Column::ALL {
        entry(&mut lines, column.title(), column.meaning());
    }
    lines.push(Line::default());
    lines.push(heading("Figures"));
    for (name, text) in [
        ("Workers", "that may get work / that are known"),
        ("Queue", "requests waiting / most that may wait"),
        ("In-flight", "requests that a worker has now"),
        ("req/s", "answers a second over the last 10 s"),
        ("p50 p99", "latency of requests over the last minute, queue included"),
        ("err", "share of requests that failed over the last minute"),
        ("dropped", "events that did not reach this screen; the figures are whole all the same"),
    ] {
        entry(&mut lines, name, text);
    }
    lines
}

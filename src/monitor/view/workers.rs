//! The workers' table.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Scrollbar, ScrollbarOrientation, ScrollbarState, StatefulWidget, Widget};

use super::span;
use crate::monitor::model::{Column, Model, Panel, Table};
use crate::monitor::text::{self, NOTHING, age, cell, count, fit, latency_of, percent, rate};
use crate::monitor::theme::{self, Badge, CURSOR, Focus, Tone};
use crate::protocol::WorkerDetail;

/// Columns of the panel that hold no text: the frame, the cursor's sign and the spaces beside it.
const MARGIN: u16 = 5;

/// Draws it.
pub(super) fn draw(model: &Model, buffer: &mut Buffer, area: Rect) {
    let focus = super::focus(model, Panel::Workers);
    let block = theme::frame(title(model, focus, area.width), focus);
    let inside = block.inner(area);
    block.render(area, buffer);
    let rows = model.rows();
    if model.data().workers().is_empty() {
        return empty(model, buffer, inside);
    }
    let widths = widths(model, area);
    let (now, table) = (model.data().age(model.now()), &model.table);
    buffer.set_line(inside.x, inside.y, &headings(table, &widths), inside.width);
    if rows.is_empty() {
        let text = format!("no worker matches \"{}\"; Esc clears the filter", fit(&table.filter, 24));
        buffer.set_line(inside.x + 2, inside.y + 1, &Line::from(span(text, Tone::Quiet)), inside.width - 2);
    }
    let visible = Table::visible_rows(area);
    for (i, worker) in rows.iter().enumerate().skip(table.offset).take(visible) {
        let y = inside.y + 1 + (i - table.offset) as u16;
        let here = table.selected.as_ref() == Some(&worker.worker_id);
        let badge = Badge::of(worker, model.pending.of(&worker.worker_id));
        let line = row(worker, badge, &widths, now, here);
        buffer.set_line(inside.x, y, &line, inside.width);
        if here && focus == Focus::Here {
            let whole = Rect { y, height: 1, ..inside };
            // One plain bar: a reversed patchwork of colours can't be read.
            buffer.set_style(whole, Style::reset().patch(CURSOR));
        }
    }
    if rows.len() > visible {
        let mut state = ScrollbarState::new(rows.len() - visible).position(table.offset);
        let bar = Rect { y: inside.y + 1, height: inside.height - 1, ..area };
        let bar_style = Tone::Quiet.style();
        Scrollbar::new(ScrollbarOrientation::VerticalRight)
            .begin_symbol(None)
            .end_symbol(None)
            .track_symbol(Some("│"))
            .thumb_symbol("█")
            .style(bar_style)
            .render(bar, buffer, &mut state);
    }
}

fn title(model: &Model, focus: Focus, columns: u16) -> Line<'static> {
    let table = &model.table;
    let (all, listed) = (model.data().workers().len(), model.rows().len());
    let number = if listed == all { all.to_string() } else { format!("{listed} of {all}") };
    let arrow = if table.descending { "▼" } else { "▲" };
    let mut line = Line::from(vec![
        Span::styled(format!("Workers ({number})"), theme::title(focus)),
        span(format!(" sort:{}{arrow}", table.sort.title().to_lowercase()), Tone::Quiet),
    ]);
    if table.typing || !table.filter.is_empty() {
        let room = usize::from(columns).saturating_sub(line.width() + 13);
        let filter = fit(&table.filter, room);
        line.push_span(span(" filter:", Tone::Quiet));
        line.push_span(span(filter, Tone::Accent));
        if table.typing {
            line.push_span(Span::styled(" ", CURSOR));
        }
    }
    line
}

/// No workers: what to type so that there is one.
fn empty(model: &Model, buffer: &mut Buffer, area: Rect) {
    let command = start_command(&model.setup.url);
    let lines = [
        Line::from(span("No workers have registered. Start one with:", Tone::Strong)),
        Line::default(),
        Line::from(span(command, Tone::Accent)),
    ];
    let area = Rect { x: area.x + 2, width: area.width.saturating_sub(3), ..area };
    super::put_lines(buffer, area, lines);
}

/// The exact command that starts a worker for this coordinator.
pub(crate) fn start_command(url: &str) -> String {
    const DEFAULT: &str = "http://127.0.0.1:8000";
    if url == DEFAULT { "aiq serve-worker".to_owned() } else { format!("aiq serve-worker --coordinator {url}") }
}

fn widths(model: &Model, area: Rect) -> Vec<(Column, usize)> {
    let longest = |of: fn(&WorkerDetail) -> usize| model.data().workers().iter().map(of).max().unwrap_or(0);
    let names = longest(|w| text::width(w.worker_id.as_str()));
    let models = longest(|w| text::width(&crate::monitor::model::model_name(w)));
    Column::fitting(usize::from(area.width.saturating_sub(MARGIN)), names, models)
}

/// The column at a place of the heading line.
pub(crate) fn column_at(model: &Model, area: Rect, x: u16) -> Option<Column> {
    let mut left = usize::from(x).checked_sub(usize::from(area.x) + 3)?;
    for (column, width) in widths(model, area) {
        if left <= width {
            return Some(column);
        }
        left -= width + 1;
    }
    None
}

fn headings(table: &Table, widths: &[(Column, usize)]) -> Line<'static> {
    let mut line = Line::raw("  ");
    for (column, width) in widths {
        let style = if *column == table.sort {
            Tone::Accent.style().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
        } else {
            Tone::Quiet.style()
        };
        let text = cell(column.title(), *width, column.side());
        // The space that fills the column is not underlined.
        let (before, title) = text.split_at(text.len() - text.trim_start().len());
        let (title, after) = title.split_at(title.trim_end().len());
        line.push_span(before.to_owned());
        line.push_span(Span::styled(title.to_owned(), style));
        line.push_span(format!("{after} "));
    }
    line
}

fn row(worker: &WorkerDetail, badge: Badge, widths: &[(Column, usize)], age: f64, here: bool) -> Line<'static> {
    let mut line = Line::from(if here { span("▸ ", Tone::Accent) } else { Span::raw("  ") });
    for (column, width) in widths {
        let (value, tone) = value(worker, *column, badge, *width, age);
        line.push_span(span(cell(&value, *width, column.side()), tone));
        line.push_span(" ");
    }
    line
}

fn value(worker: &WorkerDetail, column: Column, badge: Badge, width: usize, since: f64) -> (String, Tone) {
    let latency = &worker.latency;
    match column {
        Column::Name => (worker.worker_id.to_string(), Tone::Strong),
        Column::State => (format!("{} {}", badge.sign, badge.word), badge.tone),
        Column::Model => (crate::monitor::model::model_name(worker), Tone::Plain),
        Column::Load => match crate::monitor::model::load(worker) {
            None => (NOTHING.to_owned(), Tone::Quiet),
            Some(load) => (bar_and_percent(load, width), Tone::Plain),
        },
        Column::Latency => (latency_of(latency.count, latency.mean), Tone::Plain),
        Column::P99 => (latency_of(latency.count, latency.p99), Tone::Plain),
        Column::Score => {
            let tone = match worker.score {
                s if s < 50.0 => Tone::Bad,
                s if s < 80.0 => Tone::Warn,
                _ => Tone::Plain,
            };
            (format!("{:.1}", worker.score.clamp(0.0, 100.0)), tone)
        }
        Column::InFlight => {
            (format!("{}/{}", count(worker.in_flight.into()), count(worker.credits.into())), Tone::Plain)
        }
        Column::Rate => (rate(worker.throughput), Tone::Plain),
        Column::Done => (count(worker.completed), Tone::Plain),
        Column::Errors if worker.failed > 0 => (count(worker.failed), Tone::Bad),
        Column::Errors => ("0".to_owned(), Tone::Plain),
        Column::Seen => {
            let seen = worker.last_seen + since;
            (age(seen), if seen >= 3.0 { Tone::Warn } else { Tone::Plain })
        }
    }
}

/// `60%`, with a bar before it where there is room.
fn bar_and_percent(load: f64, width: usize) -> String {
    const PERCENT: usize = 4;
    let percent = cell(&percent((load * 100.0).round() / 100.0), PERCENT, text::Side::Right);
    match width.checked_sub(PERCENT + 1) {
        Some(room) if room >= 3 => format!("{} {percent}", bar(load, room)),
        _ => percent,
    }
}

/// A bar of this many columns, to an eighth of one.
pub(super) fn bar(share: f64, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (share * columns as f64 * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
    let filled = eighths.div_ceil(8);
    bar.push_str(&"░".repeat(columns.saturating_sub(filled)));
    bar
}

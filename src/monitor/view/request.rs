//! A request of the activity list: what it was, and every attempt at it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

use super::activity::outcome_words;
use super::workers::bar;
use super::{centred, span};
use crate::monitor::model::{Entry, Model, What};
use crate::monitor::text::{Side, cell, fit, latency, time_of_day};
use crate::monitor::theme::{self, Focus, Tone};
use crate::monitor::update::Extent;
use crate::protocol::{Attempt, AttemptOutcome, EventKind};

const WIDTH: u16 = 72;

fn place(area: Rect, lines: usize) -> Rect {
    let height = u16::try_from(lines + 2).unwrap_or(u16::MAX);
    centred(area, WIDTH, height.min(area.height.saturating_sub(2)))
}

/// How much there is to read.
pub(crate) fn extent(model: &Model, entry: &Entry) -> Extent {
    let lines = lines(entry).len();
    Extent { lines, visible: usize::from(place(model.area(), lines).height.saturating_sub(2)) }
}

/// Draws it.
pub(super) fn draw(entry: &Entry, scroll: usize, buffer: &mut Buffer, area: Rect) {
    let lines = lines(entry);
    let place = place(area, lines.len());
    Clear.render(place, buffer);
    let block = theme::frame(Line::from(Span::styled("Request", theme::title(Focus::Here))), Focus::Here);
    let inside = block.inner(place);
    block.render(place, buffer);
    let scroll = scroll.min(lines.len().saturating_sub(usize::from(inside.height)));
    super::put_lines(buffer, inside, lines.into_iter().skip(scroll));
}

fn lines(entry: &Entry) -> Vec<Line<'static>> {
    let mut lines = vec![Line::default()];
    let say = |lines: &mut Vec<Line<'static>>, label: &str, value: String, tone: Tone| {
        let room = usize::from(WIDTH) - 16;
        lines.push(Line::from(vec![span(cell(label, 12, Side::Left), Tone::Quiet), span(fit(&value, room), tone)]));
        if let Some(line) = lines.last_mut() {
            line.spans.insert(0, Span::raw(" "));
        }
    };
    let (request_id, task, priority, seconds, attempts) = match entry.what.as_ref() {
        What::Event(
            EventKind::RequestFinished { request_id, task, priority, latency, attempts, .. }
            | EventKind::RequestFailed { request_id, task, priority, latency, attempts, .. },
        ) => (request_id, task, priority, *latency, attempts),
        _ => return lines,
    };
    say(&mut lines, "Id", request_id.to_string(), Tone::Strong);
    say(&mut lines, "Task", format!("{task}, {priority} priority"), Tone::Plain);
    match entry.what.as_ref() {
        What::Event(EventKind::RequestFinished { worker, queue_time, .. }) => {
            say(&mut lines, "Outcome", format!("✓ answered by {worker}"), Tone::Good);
            let queued = format!("{} of it before a worker got it", latency(*queue_time));
            say(&mut lines, "Latency", format!("{} · {queued}", latency(seconds)), Tone::Plain);
        }
        What::Event(EventKind::RequestFailed { code, .. }) => {
            say(&mut lines, "Outcome", format!("✗ {} ({})", code.title(), code.as_str()), Tone::Bad);
            say(&mut lines, "Latency", latency(seconds), Tone::Plain);
        }
        _ => {}
    }
    say(&mut lines, "Ended", format!("{} UTC", time_of_day(entry.at_ms)), Tone::Plain);
    lines.push(Line::default());
    if attempts.is_empty() {
        say(&mut lines, "Attempts", "none: it never reached a worker".to_owned(), Tone::Plain);
    } else {
        lines.push(Line::from(span(
            format!(
                " {} {} {} {}",
                "  #",
                cell("ATTEMPT ON", 20, Side::Left),
                cell("OUTCOME", 15, Side::Left),
                "  TIME"
            ),
            Tone::Quiet,
        )));
    }
    let longest = attempts.iter().map(|a| a.seconds).fold(1e-9, f64::max);
    lines.extend(attempts.iter().enumerate().map(|(i, attempt)| attempt_line(i + 1, attempt, longest)));
    lines.push(Line::default());
    lines
}

fn attempt_line(number: usize, attempt: &Attempt, longest: f64) -> Line<'static> {
    let tone = match attempt.outcome {
        AttemptOutcome::Success => Tone::Good,
        AttemptOutcome::Cancelled | AttemptOutcome::Busy => Tone::Quiet,
        _ => Tone::Bad,
    };
    Line::from(vec![
        span(format!(" {number:>3} "), Tone::Quiet),
        Span::raw(cell(attempt.worker.as_str(), 20, Side::Left)),
        span(format!(" {}", cell(outcome_words(attempt.outcome), 15, Side::Left)), tone),
        Span::raw(format!(" {} ", cell(&latency(attempt.seconds), 6, Side::Right))),
        span(bar(attempt.seconds / longest, 18).replace('░', " "), Tone::Accent),
    ])
}

//! The activity list: what happened, newest below.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::span;
use crate::monitor::model::{Entry, Model, Panel, What};
use crate::monitor::text::{self, fit, latency, plural, short_id, time_of_day};
use crate::monitor::theme::{self, CURSOR, Focus, Tone};
use crate::protocol::{AttemptOutcome, BreakerState, EventKind, WorkerState};

/// Draws it.
pub(super) fn draw(model: &Model, buffer: &mut Buffer, area: Rect) {
    let focus = super::focus(model, Panel::Activity);
    let mut title = Line::from(Span::styled("Activity", theme::title(focus)));
    let which = if model.journal.everything { " (all)" } else { " (notable)" };
    title.push_span(span(which, Tone::Quiet));
    if model.journal.selected.is_some() {
        title.push_span(span(" · held; G follows", Tone::Accent));
    }
    let utc = Line::from(span("UTC", Tone::Quiet)).right_aligned();
    let block = theme::frame(title, focus).title_top(utc);
    let inside = block.inner(area);
    block.render(area, buffer);
    let selected = model.selected_entry().map(|e| e.n);
    let mut none = true;
    for (y, entry) in (inside.y..).zip(window(model, usize::from(inside.height))) {
        none = false;
        buffer.set_line(inside.x, y, &line(entry, usize::from(inside.width)), inside.width);
        if focus == Focus::Here && selected == Some(entry.n) {
            buffer.set_style(Rect { y, height: 1, ..inside }, Style::reset().patch(CURSOR));
        }
    }
    if none && inside.height > 0 {
        let text = span("nothing yet: requests, failures and changes of workers are listed here", Tone::Quiet);
        buffer.set_line(inside.x + 1, inside.y, &Line::from(text), inside.width.saturating_sub(1));
    }
}

/// The entries in sight: the newest ones, or those around the cursor.
fn window(model: &Model, rows: usize) -> Vec<&Entry> {
    let entries: Vec<&Entry> = model.entries().collect();
    let last = match model.journal.selected {
        None => entries.len(),
        Some(n) => {
            let at = entries.iter().position(|e| e.n == n).unwrap_or(0);
            // The cursor stays two thirds down, where there is as much to show.
            (at + 1 + rows / 3).max(rows).min(entries.len())
        }
    };
    entries[last.saturating_sub(rows)..last].to_vec()
}

/// The entry at a line of the screen.
pub(crate) fn entry_at(model: &Model, area: Rect, y: u16) -> Option<u64> {
    let row = usize::from(y.checked_sub(area.y + 1)?);
    let rows = usize::from(area.height.saturating_sub(2));
    if row < rows { window(model, rows).get(row).map(|e| e.n) } else { None }
}

fn line(entry: &Entry, columns: usize) -> Line<'static> {
    let time = if entry.at_ms == 0 { " ".repeat(8) } else { time_of_day(entry.at_ms) };
    let (sign, tone, words) = words(&entry.what);
    let room = columns.saturating_sub(12);
    // Only the sign has a colour, so that a list of troubles stays readable.
    Line::from(vec![
        span(format!(" {time} "), Tone::Quiet),
        span(sign, tone),
        Span::raw(format!(" {}", fit(&words, room))),
    ])
}

/// An entry in words.
pub(crate) fn words(what: &What) -> (&'static str, Tone, String) {
    match what {
        What::Connected => ("●", Tone::Good, "connected again".to_owned()),
        What::Lost(reason) => ("✗", Tone::Bad, format!("connection lost: {reason}")),
        What::Missed(n) => ("▲", Tone::Warn, format!("{} missed", plural(*n, "event"))),
        What::Event(kind) => event_words(kind),
    }
}

fn event_words(kind: &EventKind) -> (&'static str, Tone, String) {
    match kind {
        EventKind::Snapshot(_) => ("·", Tone::Quiet, "snapshot".to_owned()),
        EventKind::RequestFinished { request_id, task, worker, latency: seconds, attempts, .. } => {
            let (task, id) = (text::task(*task), short_id(request_id));
            let answered = format!("{task} answered by {worker} in {}", latency(*seconds));
            if attempts.len() > 1 {
                ("↻", Tone::Warn, format!("{answered}, {}  {id}", plural(attempts.len() as u64, "attempt")))
            } else {
                ("✓", Tone::Good, format!("{answered}  {id}"))
            }
        }
        EventKind::RequestFailed { request_id, task, code, latency: seconds, attempts, .. } => {
            let (task, id) = (text::task(*task), short_id(request_id));
            let tried = match attempts.len() {
                0 => String::new(),
                n => format!(", {}", plural(n as u64, "attempt")),
            };
            let code = code.title().to_lowercase();
            ("✗", Tone::Bad, format!("{task} failed: {code} after {}{tried}  {id}", latency(*seconds)))
        }
        EventKind::RequestRerouted { request_id, task, from, outcome } => {
            let (task, id) = (text::task(*task), short_id(request_id));
            ("→", Tone::Warn, format!("{task} re-routed from {from}: {}  {id}", outcome_words(*outcome)))
        }
        EventKind::WorkerJoined { worker } => ("+", Tone::Good, format!("{worker} joined")),
        EventKind::WorkerLeft { worker } => ("-", Tone::Warn, format!("{worker} left")),
        EventKind::WorkerState { worker, from, to, reason } => {
            let (sign, tone) = match to {
                WorkerState::Ready => ("●", Tone::Good),
                WorkerState::Starting => ("◐", Tone::Note),
                WorkerState::Draining => ("◑", Tone::Warn),
                WorkerState::Killing | WorkerState::Killed | WorkerState::Crashed => ("✗", Tone::Bad),
                WorkerState::Lost => ("○", Tone::Bad),
            };
            (sign, tone, format!("{worker} {from} → {to}{}", because(reason)))
        }
        EventKind::WorkerSuspect { worker, suspect: true, reason } => {
            ("?", Tone::Warn, format!("{worker} is suspect{}", because(reason)))
        }
        EventKind::WorkerSuspect { worker, suspect: false, .. } => {
            ("●", Tone::Good, format!("{worker} is suspect no longer"))
        }
        EventKind::Breaker { worker, state } => match state {
            BreakerState::Closed => ("●", Tone::Good, format!("breaker of {worker} closed: it works again")),
            BreakerState::Open => ("⊘", Tone::Bad, format!("breaker of {worker} opened: it failed too often")),
            BreakerState::HalfOpen => ("⊘", Tone::Warn, format!("breaker of {worker} half-open: one request tries it")),
        },
        EventKind::Operator { worker, action } => {
            ("▸", Tone::Accent, format!("operator: {} {worker}", action.as_str()))
        }
        EventKind::FaultsSet { worker, any: true } => ("▸", Tone::Accent, format!("operator: faults set on {worker}")),
        EventKind::FaultsSet { worker, any: false } => ("▸", Tone::Accent, format!("operator: faults off on {worker}")),
    }
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

/// How an attempt ended, in words.
pub(crate) const fn outcome_words(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Success => "answered",
        AttemptOutcome::Failed => "failed",
        AttemptOutcome::ConnectionLost => "connection lost",
        AttemptOutcome::Timeout => "timed out",
        AttemptOutcome::Busy => "no room",
        AttemptOutcome::Rejected => "input refused",
        AttemptOutcome::Cancelled => "cancelled",
    }
}

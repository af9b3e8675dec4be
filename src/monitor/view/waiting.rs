//! Screens without data: connecting, and too small.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::{centred, span};
use crate::monitor::model::{Layout, Link, Model};
use crate::monitor::text::{fit, wrap};
use crate::monitor::theme::Tone;

/// Nothing has been heard yet.
pub(super) fn connecting(model: &Model, buffer: &mut Buffer, area: Rect) {
    let columns = usize::from(area.width.saturating_sub(8)).min(70);
    let url = fit(&model.setup.url, columns);
    let mut lines = Vec::new();
    match &model.live.link {
        Link::Connecting => lines.push(span(format!("Connecting to {url} …"), Tone::Strong)),
        Link::Connected => {
            lines.push(span(format!("Connected to {url}; waiting for its first snapshot …"), Tone::Strong));
        }
        Link::Lost { reason, retry_at, attempt } => {
            let left = retry_at.saturating_sub(model.clock).as_secs_f64().ceil();
            lines.push(span("No coordinator answers", Tone::Bad));
            lines.extend(wrap(reason, columns).into_iter().map(|line| span(line, Tone::Plain)));
            lines.push(span("", Tone::Plain));
            lines.push(span(format!("attempt {attempt} failed · next in {left:.0}s · r tries now"), Tone::Quiet));
            lines.push(span("", Tone::Plain));
            lines.push(span("A whole fleet on this machine:  aiq up", Tone::Quiet));
            lines.push(span("Another coordinator:            aiq monitor --url http://HOST:PORT", Tone::Quiet));
        }
    }
    let place = centred(area, columns as u16, lines.len() as u16);
    super::put_lines(buffer, place, lines.into_iter().map(Line::from));
}

/// There is no room.
pub(super) fn too_small(buffer: &mut Buffer, area: Rect) {
    let (width, height) = Layout::LEAST;
    let texts =
        [format!("{width}×{height} needed"), format!("{}×{} now", area.width, area.height), "q quits".to_owned()];
    let place = centred(area, area.width, texts.len() as u16);
    super::put_lines(buffer, place, texts.map(|text| Line::from(text).centered()));
}

//! The fault form.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

use super::{centred, span};
use crate::monitor::model::{FaultField, FaultForm, Progress};
use crate::monitor::text::{Side, cell, wrap};
use crate::monitor::theme::{self, CURSOR, Focus, Tone};

const WIDTH: u16 = 50;

/// Draws it.
pub(super) fn draw(form: &FaultForm, buffer: &mut Buffer, area: Rect) {
    let columns = usize::from(WIDTH) - 4;
    let mut lines = vec![Line::default()];
    for (i, field) in FaultField::ALL.into_iter().enumerate() {
        let here = i == form.cursor;
        let text = cell(&form.texts[i], 8, Side::Right);
        let value = match (here, form.fresh) {
            (false, _) => Span::raw(text),
            (true, true) => Span::styled(text, CURSOR),
            (true, false) => span(text, Tone::Accent),
        };
        let after = if here && !form.fresh { Span::styled(" ", CURSOR) } else { Span::raw(" ") };
        let label = cell(field.label(), 14, Side::Left);
        let mark = span(if here { "▸ " } else { "  " }, Tone::Accent);
        let unit = span(format!(" {}", field.unit()), Tone::Quiet);
        lines.push(Line::from(vec![mark, span(label, Tone::Strong), value, after, unit]));
    }
    lines.push(Line::default());
    let (text, tone) = match &form.progress {
        Progress::Asking if form.current.hang => ("It hangs now; o makes it stop.", Tone::Warn),
        Progress::Asking => ("The worker injects these into its own work.", Tone::Quiet),
        Progress::Sent => ("The coordinator has been told…", Tone::Plain),
        Progress::Refused(reason) => (reason.as_str(), Tone::Bad),
    };
    lines.extend(wrap(text, columns).into_iter().map(|line| Line::from(vec![Span::raw("  "), span(line, tone)])));
    let place = centred(area, WIDTH, lines.len() as u16 + 2);
    Clear.render(place, buffer);
    let title = format!("Faults of {}", form.worker);
    let block = theme::frame(Line::from(Span::styled(title, theme::title(Focus::Here))), Focus::Here);
    let inside = block.inner(place);
    block.render(place, buffer);
    super::put_lines(buffer, inside, lines);
}

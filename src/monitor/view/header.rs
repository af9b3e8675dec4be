//! Three lines: the connection, the figures, the verdict.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Stylize};
use ratatui::text::{Line, Span};

use super::span;
use crate::monitor::Hands;
use crate::monitor::health::{BAD_ERROR_RATE, Health};
use crate::monitor::model::{Link, Model};
use crate::monitor::text::{age, count, fit, latency_of, percent, rate, uptime, width};
use crate::monitor::theme::Tone;
use crate::protocol::{RunState, Snapshot};

/// Draws it.
pub(super) fn draw(model: &Model, buffer: &mut Buffer, area: Rect) {
    let lines = [connection(model, area.width), figures(model, area.width), verdict(model, area.width)];
    super::put_lines(buffer, area, lines);
}

/// Pieces in the order of their place, each with its rank: when room is short the highest goes first.
struct Pieces<'a>(Vec<(u8, Vec<Span<'a>>)>);

impl<'a> Pieces<'a> {
    fn push(&mut self, rank: u8, spans: Vec<Span<'a>>) {
        self.0.push((rank, spans));
    }

    /// As many as fit, two spaces between them.
    fn line(mut self, columns: u16) -> Line<'a> {
        let wide = |spans: &[Span<'a>]| spans.iter().map(Span::width).sum::<usize>();
        let total = |pieces: &[(u8, Vec<Span<'a>>)]| pieces.iter().map(|(_, s)| wide(s) + 2).sum::<usize>();
        while total(&self.0) > usize::from(columns) + 1 && self.0.len() > 1 {
            let Some(least) = (0..self.0.len()).max_by_key(|i| self.0[*i].0) else { break };
            self.0.remove(least);
        }
        let mut line = Line::raw(" ");
        for (i, (_, spans)) in self.0.into_iter().enumerate() {
            if i > 0 {
                line.push_span("  ");
            }
            line.spans.extend(spans);
        }
        line
    }
}

fn connection(model: &Model, columns: u16) -> Line<'_> {
    let data = model.data();
    let mut pieces = Pieces(Vec::new());
    pieces.push(0, vec![span("aiq", Tone::Accent).add_modifier(Modifier::BOLD)]);
    let link = match &model.live.link {
        Link::Connecting => span("○ CONNECTING", Tone::Warn),
        Link::Connected if data.snapshot.is_none() => span("○ WAITING", Tone::Warn),
        Link::Connected => match data.snapshot.as_ref().map(|s| s.status.status) {
            Some(RunState::Starting) => span("◐ COORDINATOR STARTING", Tone::Warn),
            Some(RunState::Draining) => span("◑ COORDINATOR DRAINING", Tone::Warn),
            _ => span("● CONNECTED", Tone::Good),
        },
        Link::Lost { retry_at, .. } => {
            let left = retry_at.saturating_sub(model.clock).as_secs_f64().ceil();
            let retry = if left > 0.0 { format!("retry in {left:.0}s") } else { "connecting".to_owned() };
            let old = match data.snapshot {
                Some(_) => format!(" · data {} old", age(data.age(model.now()))),
                None => String::new(),
            };
            span(format!("✗ LOST · {retry}{old}"), Tone::Bad)
        }
    };
    // The address gives way before the state does.
    let room = usize::from(columns).saturating_sub(width(&link.content) + 14).max(12);
    pieces.push(4, vec![span(fit(&model.setup.url, room), Tone::Plain)]);
    pieces.push(0, vec![link]);
    if model.paused() {
        pieces.push(0, vec![span("‖ PAUSED", Tone::Warn)]);
    }
    if let Some(snapshot) = &data.snapshot {
        if model.live.connected() {
            pieces.push(6, vec![span("age ", Tone::Quiet), Span::raw(age(data.age(model.now())))]);
        }
        if data.dropped > 0 {
            pieces.push(1, vec![span(format!("dropped {}", count(data.dropped)), Tone::Warn)]);
        }
        if model.live.connected() {
            let up = snapshot.status.uptime + data.age(model.now());
            pieces.push(7, vec![span("up ", Tone::Quiet), Span::raw(uptime(up))]);
            pieces.push(9, vec![span(format!("v{}", fit(&snapshot.status.version, 16)), Tone::Quiet)]);
        }
    }
    if model.setup.hands == Hands::ReadOnly {
        pieces.push(2, vec![span("read-only", Tone::Note)]);
    }
    pieces.line(columns)
}

fn figures(model: &Model, columns: u16) -> Line<'static> {
    let Some(snapshot) = &model.data().snapshot else { return Line::default() };
    let Snapshot { status, queue, .. } = snapshot;
    let mut pieces = Pieces(Vec::new());
    let mut figure = |rank: u8, label: &'static str, value: String, unit: &'static str, tone: Tone| {
        let mut spans = Vec::new();
        if !label.is_empty() {
            spans.push(span(label, Tone::Quiet));
            spans.push(Span::raw(" "));
        }
        spans.push(span(value, tone));
        spans.push(span(unit, Tone::Quiet));
        pieces.push(rank, spans);
    };
    let up = format!("{}/{}", status.healthy_workers, status.total_workers);
    let all = status.healthy_workers == status.total_workers && status.total_workers > 0;
    figure(0, "Workers", up, " up", if all { Tone::Good } else { Tone::Bad });
    let waiting = match queue.queue_capacity {
        0 => count(queue.queue_size),
        most => format!("{}/{}", count(queue.queue_size), count(most).replace(".0", "")),
    };
    figure(0, "Queue", waiting, "", Tone::Strong);
    if queue.oldest_age > 0.0 {
        figure(10, "oldest", age(queue.oldest_age), "", Tone::Plain);
    }
    figure(1, "In-flight", count(queue.active_tasks), "", Tone::Strong);
    figure(2, "", rate(status.throughput), " req/s", Tone::Strong);
    figure(9, "p50", latency_of(status.latency.count, status.latency.p50), "", Tone::Plain);
    figure(3, "p99", latency_of(status.latency.count, status.latency.p99), "", Tone::Strong);
    let bad = if status.error_rate >= BAD_ERROR_RATE { Tone::Bad } else { Tone::Strong };
    figure(3, "err", percent(status.error_rate), "", bad);
    figure(11, "done", count(status.stats.successful_requests), "", Tone::Plain);
    figure(12, "failed", count(status.stats.failed_requests), "", Tone::Plain);
    figure(13, "refused", count(status.stats.rejected_requests), "", Tone::Plain);
    figure(14, "retries", count(status.stats.retries), "", Tone::Plain);
    figure(15, "hedges", count(status.stats.hedges), "", Tone::Plain);
    pieces.line(columns)
}

fn verdict(model: &Model, columns: u16) -> Line<'static> {
    let Some(snapshot) = &model.data().snapshot else { return Line::default() };
    if !model.data().connected() {
        return Line::from(vec![Span::raw(" "), span("? UNKNOWN  nothing is heard of the fleet", Tone::Bad)]);
    }
    let health = Health::of(snapshot);
    let badge = health.level.badge();
    let head = format!(" {} {}", badge.sign, badge.word);
    let room = usize::from(columns).saturating_sub(width(&head) + 3);
    let tone = if badge.tone == Tone::Good { Tone::Quiet } else { Tone::Plain };
    let reasons = fit(&health.reasons.join(" · "), room);
    Line::from(vec![span(head, badge.tone).add_modifier(Modifier::BOLD), Span::raw("  "), span(reasons, tone)])
}

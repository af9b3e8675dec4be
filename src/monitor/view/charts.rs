//! Three charts: queue depth by priority, throughput by task, latency.
//!
//! A small one shows the whole as a filled area; a large one its parts as lines, named above.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::plot::{Fill, Plot, Trace};
use super::span;
use crate::monitor::model::{Model, Panel, Sample, Series};
use crate::monitor::text::{self, count, latency_of, rate};
use crate::monitor::theme::{self, SERIES, Tone};
use crate::protocol::{Priority, TaskType};

/// From this size on, a chart shows parts.
const LARGE: (u16, u16) = (34, 7);

/// Waiting requests.
pub(super) fn queue(model: &Model, buffer: &mut Buffer, area: Rect) {
    let parts = Priority::ALL.map(|p| (p.as_str(), p as usize));
    let chart = Chart {
        panel: Panel::Queue,
        title: "Queue depth",
        value: model.data().snapshot.as_ref().map(|s| count(s.queue.queue_size)),
        least_top: 5.0,
        label: round,
    };
    let whole = |s: &Sample| Some(f64::from(s.queue_size));
    chart.draw(model, buffer, area, whole, &parts, |s, i| Some(f64::from(s.queue[i])));
}

/// Answers a second.
pub(super) fn throughput(model: &Model, buffer: &mut Buffer, area: Rect) {
    let parts = TaskType::ALL.map(|t| (text::task(t), t.index()));
    let chart = Chart {
        panel: Panel::Throughput,
        title: "Throughput",
        value: model.data().snapshot.as_ref().map(|s| format!("{} req/s", rate(s.status.throughput))),
        least_top: 1.0,
        label: round,
    };
    let whole = |s: &Sample| Some(f64::from(s.total));
    chart.draw(model, buffer, area, whole, &parts, |s, i| Some(f64::from(s.throughput[i])));
}

/// Median and 99th percentile.
pub(super) fn latency(model: &Model, buffer: &mut Buffer, area: Rect) {
    let chart = Chart {
        panel: Panel::Latency,
        title: "Latency",
        value: model.data().snapshot.as_ref().map(|s| {
            let l = &s.status.latency;
            format!("p99 {}", latency_of(l.count, l.p99))
        }),
        least_top: 0.01,
        label: text::latency,
    };
    let whole = |s: &Sample| s.latency.map(|l| f64::from(l[1]));
    let parts = [("p99", 1), ("p50", 0)];
    chart.draw(model, buffer, area, whole, &parts, |s, i| s.latency.map(|l| f64::from(l[i])));
}

struct Chart {
    panel: Panel,
    title: &'static str,
    value: Option<String>,
    least_top: f64,
    label: fn(f64) -> String,
}

impl Chart {
    fn draw(
        &self,
        model: &Model,
        buffer: &mut Buffer,
        area: Rect,
        whole: impl Fn(&Sample) -> Option<f64>,
        parts: &[(&'static str, usize)],
        part: impl Fn(&Sample, usize) -> Option<f64>,
    ) {
        let focus = super::focus(model, self.panel);
        let window = Series::WINDOWS[model.window.min(Series::WINDOWS.len() - 1)].as_secs_f64();
        let mut title = Line::from(Span::styled(self.title, theme::title(focus)));
        if let Some(value) = &self.value {
            title.push_span(span(format!(" {value}"), Tone::Plain));
        }
        let mut block = theme::frame(title.clone(), focus);
        let span_text = window_text(window);
        if usize::from(area.width) > title.width() + span_text.len() + 4 {
            block = block.title_top(Line::from(span(span_text, Tone::Quiet)).right_aligned());
        }
        let mut inside = block.inner(area);
        block.render(area, buffer);
        let large = area.width >= LARGE.0 && area.height >= LARGE.1;
        let now = model.now().as_secs_f64();
        let since = now - window - 5.0;
        let points = |of: &dyn Fn(&Sample) -> Option<f64>| -> Vec<(f64, Option<f64>)> {
            let samples = model.data().series.samples();
            let seconds = samples.map(|s| (s.at.as_secs_f64(), of(s)));
            seconds.filter(|(at, _)| *at >= since && *at <= now).collect()
        };
        let traces = if large {
            let mut legend = Line::default();
            for (i, (name, _)) in parts.iter().enumerate() {
                legend.push_span(Span::styled("■", Style::new().fg(SERIES[i])));
                legend.push_span(span(format!("{name} "), Tone::Quiet));
            }
            buffer.set_line(inside.x + 6, inside.y, &legend, inside.width.saturating_sub(6));
            inside = Rect { y: inside.y + 1, height: inside.height - 1, ..inside };
            let trace =
                |(i, (_, n)): (usize, &(&str, usize))| Trace { points: points(&|s| part(s, *n)), colour: SERIES[i] };
            // The first in the legend lies on top.
            parts.iter().enumerate().rev().map(trace).collect()
        } else {
            vec![Trace { points: points(&whole), colour: SERIES[0] }]
        };
        let fill = if large { Fill::Line } else { Fill::Area };
        let (least_top, label) = (self.least_top, self.label);
        Plot { traces, fill, now, window, least_top, label }.draw(buffer, inside);
    }
}

/// A number of the axis: `0`, `2.5`, `100`, `12.5k`.
fn round(value: f64) -> String {
    if value < 100.0 && value.fract() != 0.0 { rate(value) } else { count(value.round() as u64) }
}

fn window_text(seconds: f64) -> String {
    if seconds < 60.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

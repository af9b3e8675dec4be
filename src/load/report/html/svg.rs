//! The page's charts, as inline SVG whose colours are the page's.

use std::fmt::{Result, Write};

use super::esc;
use crate::load::hist::{Distribution, Step};
use crate::load::record::Second;
use crate::load::report::{Report, mark_text, rate, seconds};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 12.0;
/// Points that a line has at most: more cannot be told apart.
const POINTS: usize = 900;

/// A chart's frame: where its values lie in the picture.
struct Frame {
    top: f64,
    height: f64,
    times: [f64; 2],
    most: f64,
}

impl Frame {
    fn x(&self, at: f64) -> f64 {
        let span = (self.times[1] - self.times[0]).max(1e-9);
        LEFT + (at - self.times[0]) / span * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - value / self.most.max(1e-12))
    }

    fn axes(&self, out: &mut String, name: &str, show: fn(f64) -> String) -> Result {
        for part in [0.0, 0.5, 1.0] {
            let y = self.y(self.most * part);
            let label = show(self.most * part);
            writeln!(
                out,
                "<line x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"var(--line)\"/>",
                WIDTH - RIGHT
            )?;
            writeln!(out, "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 6.0, y + 4.0)?;
        }
        writeln!(out, "<text x=\"{LEFT}\" y=\"{:.1}\">{name}</text>", self.top - 6.0)
    }

    /// A line; it is broken where there is no value.
    fn line(&self, out: &mut String, rows: &[Second], colour: &str, of: impl Fn(&Second) -> Option<f64>) -> Result {
        let each = rows.len().div_ceil(POINTS).max(1);
        let mut path = String::new();
        let mut pen = 'M';
        for chunk in rows.chunks(each) {
            // The worst of what falls onto one point: a spike must not vanish in a long run.
            let Some(value) = chunk.iter().filter_map(&of).reduce(f64::max) else {
                pen = 'M';
                continue;
            };
            write!(path, "{pen}{:.1} {:.1}", self.x(chunk[0].at + 0.5), self.y(value))?;
            pen = 'L';
        }
        writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>")
    }
}

fn legend(out: &mut String, y: f64, names: &[(&str, &str)]) -> Result {
    let mut x = WIDTH - RIGHT;
    for (name, colour) in names.iter().rev() {
        writeln!(out, "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"end\" style=\"fill:{colour}\">{name}</text>")?;
        x -= 12.0 + 7.0 * name.len() as f64;
    }
    Ok(())
}

/// Answers, errors and latency over time, with the faults.
pub(super) fn timeline(out: &mut String, report: &Report) -> Result {
    let rows = &report.timeline;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
    let times = [first.at, last.at + 1.0];
    let errors = |r: &Second| (r.errors + r.refused + r.not_sent) as f64;
    let most = rows.iter().map(|r| (r.offered.max(r.ok) as f64).max(errors(r))).fold(1.0, f64::max);
    let slowest = rows.iter().filter_map(|r| r.p99).fold(1e-6, f64::max);
    let above = Frame { top: 24.0, height: 170.0, times, most };
    let below = Frame { top: 232.0, height: 120.0, times, most: slowest };
    writeln!(out, "<svg viewBox=\"0 0 {WIDTH:.0} 380\" role=\"img\" aria-label=\"Answers and latency over time\">")?;
    above.axes(out, "a second", rate)?;
    above.line(out, rows, "var(--b)", |r| Some(r.offered as f64))?;
    above.line(out, rows, "var(--a)", |r| Some(r.ok as f64))?;
    if rows.iter().any(|r| errors(r) > 0.0) {
        above.line(out, rows, "var(--bad)", |r| Some(errors(r)))?;
    }
    legend(out, 18.0, &[("offered", "var(--b)"), ("answered", "var(--a)"), ("errors", "var(--bad)")])?;
    below.axes(out, "latency", seconds)?;
    below.line(out, rows, "var(--c)", |r| r.p99)?;
    below.line(out, rows, "var(--d)", |r| r.p50)?;
    legend(out, 226.0, &[("p50", "var(--d)"), ("p99", "var(--c)")])?;
    let step = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0, 7200.0];
    let step = step.into_iter().find(|s| (times[1] - times[0]) / s <= 14.0).unwrap_or(14_400.0);
    let mut at = (times[0] / step).ceil() * step;
    while at <= times[1] {
        writeln!(out, "<text x=\"{:.1}\" y=\"370\" text-anchor=\"middle\">{at:.0}s</text>", above.x(at))?;
        at += step;
    }
    for mark in report.marks.iter().filter(|m| (times[0]..=times[1]).contains(&m.at)) {
        let (x, dash) = (above.x(mark.at), if mark.ours { "" } else { " stroke-dasharray=\"2 4\"" });
        let title = esc(&format!("{:.2}s {}", mark.at, mark_text(mark)));
        writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"24\" y2=\"352\" stroke=\"var(--warn)\"{dash}><title>{title}</title></line>"
        )?;
        if mark.ours {
            writeln!(
                out,
                "<text x=\"{:.1}\" y=\"212\" style=\"fill:var(--warn)\">{}</text>",
                x + 3.0,
                esc(&mark_text(mark))
            )?;
        }
    }
    writeln!(out, "</svg>")
}

/// How latencies are spread, on a logarithmic axis, with the percentiles.
pub(super) fn distribution(out: &mut String, steps: &[Step], latency: &Distribution) -> Result {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Ok(()) };
    let most = steps.iter().map(|s| s.count).max().unwrap_or(1) as f64;
    let (low, high) = (first.upto.log10() - 0.1, last.upto.log10() + 0.1);
    let frame = Frame { top: 28.0, height: 150.0, times: [low, high], most };
    writeln!(out, "<svg viewBox=\"0 0 {WIDTH:.0} 206\" role=\"img\" aria-label=\"Distribution of latency\">")?;
    frame.axes(out, "answers", |n| format!("{n:.0}"))?;
    for step in steps {
        let (right, y) = (frame.x(step.upto.log10()), frame.y(step.count as f64));
        let left = frame.x(step.upto.log10() - 1.0 / 24.0);
        let (width, height) = ((right - left).max(1.0), frame.top + frame.height - y);
        writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"var(--d)\"><title>up to {}: {}</title></rect>",
            seconds(step.upto),
            step.count
        )?;
    }
    let marks = [("p50", latency.p50), ("p95", latency.p95), ("p99", latency.p99), ("p99.9", latency.p999)];
    for (i, (name, value)) in marks.into_iter().enumerate() {
        let Some(value) = value.filter(|v| *v > 0.0) else { continue };
        let x = frame.x(value.log10());
        // Neighbours would stand on each other: their labels take turns in height.
        let y = 14.0 + 10.0 * (i % 2) as f64;
        writeln!(out, "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.0}\" y2=\"178\" stroke=\"var(--c)\"/>", y + 2.0)?;
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.0}\" text-anchor=\"middle\">{name} {}</text>", seconds(value))?;
    }
    for exponent in -6..=3 {
        for digit in [1.0, 2.0, 5.0] {
            let value = digit * 10_f64.powi(exponent);
            if (low..=high).contains(&value.log10()) {
                let x = frame.x(value.log10());
                writeln!(out, "<text x=\"{x:.1}\" y=\"196\" text-anchor=\"middle\">{}</text>", seconds(value))?;
            }
        }
    }
    writeln!(out, "</svg>")
}

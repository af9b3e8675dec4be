//! The screen of a run: a pure function of the scene.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Borders, Chart, Dataset, GraphType, LineGauge, Paragraph};

use crate::load::look::Look;
use crate::load::observe::Mark;
use crate::load::outcome::Group;
use crate::load::record::Second;
use crate::load::report::{mark_text, percent, rate, seconds};
use crate::load::schedule::Shape;
use crate::palette::Colour;

/// Everything that the screen shows.
#[derive(Clone, Debug)]
pub(in crate::load) struct Scene {
    pub(in crate::load) target: String,
    /// What is run, in words.
    pub(in crate::load) what: String,
    pub(in crate::load) shape: Shape,
    /// Requests after which it ends; it ends with the shape where there is none.
    pub(in crate::load) requests: Option<u64>,
    pub(in crate::load) look: Look,
    pub(in crate::load) marks: Vec<Mark>,
    /// Lines above the charts: earlier trials.
    pub(in crate::load) notes: Vec<String>,
    /// Told to end.
    pub(in crate::load) ending: bool,
    /// Which colours.
    pub(in crate::load) colour: Colour,
}

/// Smallest screen that says anything.
const LEAST: (u16, u16) = (50, 12);

/// Draws it.
pub(super) fn draw(scene: &Scene, frame: &mut Frame<'_>) {
    panels(scene, frame);
    scene.colour.fold(frame.buffer_mut());
}

fn panels(scene: &Scene, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text =
            format!("{}×{} is too small; {}×{} will do. q ends the run.", area.width, area.height, LEAST.0, LEAST.1);
        frame.render_widget(Paragraph::new(text).wrap(ratatui::widgets::Wrap { trim: true }), area);
        return;
    }
    let notes = scene.notes.len().min(usize::from(area.height / 4)) as u16;
    let [head, progress, numbers, notes, charts, bottom, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Length(notes),
        Constraint::Min(4),
        Constraint::Length(match area.height {
            0..20 => 0,
            20..32 => 5,
            _ => 8,
        }),
        Constraint::Length(1),
    ])
    .areas(area);
    header(scene, frame, head);
    gauge(scene, frame, progress);
    frame.render_widget(Paragraph::new(scene.numbers()), numbers);
    let last = scene.notes.len().saturating_sub(usize::from(notes.height));
    let lines: Vec<_> = scene.notes[last..].iter().map(|n| Line::from(n.as_str())).collect();
    frame.render_widget(Paragraph::new(lines), notes);
    let [answers, latency] = Layout::vertical([Constraint::Fill(4), Constraint::Fill(3)]).areas(charts);
    answers_chart(scene, frame, answers);
    latency_chart(scene, frame, latency);
    if bottom.height > 0 {
        let [errors, slos] = Layout::horizontal([Constraint::Fill(1); 2]).areas(bottom);
        errors_panel(scene, frame, errors);
        side_panel(scene, frame, slos);
    }
    let text = if scene.ending { " ending: waiting for the report" } else { " q end now and report what there is" };
    frame.render_widget(Paragraph::new(text).style(fg(Color::DarkGray)), foot);
}

impl Scene {
    /// Seconds that the measured part takes.
    fn length(&self) -> f64 {
        self.shape.length() - self.shape.lead
    }

    /// How much of it is over, 0 to 1.
    fn progress(&self) -> f64 {
        let by_count = self.requests.map(|n| self.look.counts.offered as f64 / n.max(1) as f64);
        let by_time = if self.length() > 0.0 { self.look.at / self.length() } else { 0.0 };
        by_count.unwrap_or(0.0).max(by_time).clamp(0.0, 1.0)
    }

    fn numbers(&self) -> Vec<Line<'static>> {
        let look = &self.look;
        let counts = &look.counts;
        let [p50, p95, p99] = look.recent.map(|v| v.map_or_else(|| "n/a".to_owned(), seconds));
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let errors = counts.errors();
        let share = counts.error_rate().unwrap_or(0.0);
        let alarm = if errors + counts.not_sent > 0 { fg(Color::Red) } else { Style::new() };
        vec![
            Line::from(vec![
                Span::raw(" offered "),
                Span::styled(format!("{:>7}", rate(look.offered_rate)), bold),
                Span::raw("   answered "),
                Span::styled(format!("{:>7}", rate(look.ok_rate)), bold),
                Span::raw("   in flight "),
                Span::styled(format!("{:>5}", look.in_flight), bold),
            ]),
            Line::from(vec![
                Span::raw(" last 10 s   p50 "),
                Span::styled(format!("{p50:>7}"), bold),
                Span::raw("   p95 "),
                Span::styled(format!("{p95:>7}"), bold),
                Span::raw("   p99 "),
                Span::styled(format!("{p99:>7}"), bold),
            ]),
            Line::from(vec![
                Span::raw(format!(" answered {:>7}   ", counts.ok)),
                Span::styled(format!("errors {errors} ({})", percent(share)), alarm),
                Span::styled(format!("   not sent {}", counts.not_sent), alarm),
                Span::raw(format!("   pacer p99 {}", look.lag.map_or_else(|| "n/a".to_owned(), seconds))),
            ]),
        ]
    }
}

/// Coloured, until the whole screen is folded.
const fn fg(colour: Color) -> Style {
    Style::new().fg(colour)
}

fn header(scene: &Scene, frame: &mut Frame<'_>, area: Rect) {
    let line = Line::from(vec![
        Span::styled(" aiq load ", Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED)),
        Span::raw(format!(" {}  ", scene.target)),
        Span::styled(scene.what.clone(), fg(Color::Cyan)),
    ]);
    frame.render_widget(Paragraph::new(line), area);
}

fn gauge(scene: &Scene, frame: &mut Frame<'_>, area: Rect) {
    let now = scene.look.at + scene.shape.lead;
    let phase = scene.shape.phase_at(now).map_or_else(String::new, |p| p.kind.to_string());
    let over = now >= scene.shape.length() && scene.shape.length() > 0.0;
    let phase = if over { "last answers".to_owned() } else { phase };
    let times = match scene.requests {
        _ if over => format!("{:.0}s", scene.look.at),
        Some(n) => format!("{} of {n}", scene.look.counts.offered),
        None => format!("{:.0}s of {:.0}s", scene.look.at, scene.length()),
    };
    let gauge = LineGauge::default()
        .ratio(scene.progress())
        .label(format!(" {phase:<12} {times:<14}"))
        .filled_symbol("━")
        .unfilled_symbol("╌")
        .filled_style(fg(Color::Green))
        .unfilled_style(fg(Color::DarkGray));
    frame.render_widget(gauge, area);
}

/// The seconds that fit, and the bounds of the time axis.
fn window(scene: &Scene, width: u16) -> (&[Second], [f64; 2]) {
    // Two points a column with braille; the labels at the left take some.
    let fit = usize::from(width.saturating_sub(10)).max(10);
    let rows = &scene.look.rows[scene.look.rows.len().saturating_sub(fit)..];
    let start = rows.first().map_or(-scene.shape.lead, |r| r.at);
    // The whole run where it is short, so that lines do not crawl into an empty chart.
    let planned = scene.shape.length().clamp(10.0, 30.0);
    let end = rows.last().map_or(0.0, |r| r.at).max(start + planned.min(fit as f64));
    (rows, [start, end])
}

fn points(rows: &[Second], of: impl Fn(&Second) -> Option<f64>) -> Vec<(f64, f64)> {
    rows.iter().filter_map(|r| of(r).map(|v| (r.at, v))).collect()
}

fn answers_chart(scene: &Scene, frame: &mut Frame<'_>, area: Rect) {
    let (rows, times) = window(scene, area.width);
    let offered = points(rows, |r| Some(r.offered as f64));
    let answered = points(rows, |r| Some(r.ok as f64));
    let failed = points(rows, |r| Some((r.errors + r.refused + r.not_sent) as f64).filter(|v| *v > 0.0));
    let top = offered.iter().chain(&answered).chain(&failed).map(|p| p.1).fold(1.0, f64::max);
    let lines = fault_lines(scene, times, top);
    let mut sets = vec![
        line_set(&offered).style(fg(Color::DarkGray)).name("offered"),
        line_set(&answered).style(fg(Color::Green)).name("answered"),
    ];
    if !failed.is_empty() {
        let set = Dataset::default().graph_type(GraphType::Bar).marker(Marker::Braille).data(&failed);
        sets.push(set.style(fg(Color::Red)).name("errors"));
    }
    sets.extend(lines.iter().map(|l| line_set(l).style(fg(Color::Yellow))));
    let title = format!(" a second{} ", newest_mark(scene));
    chart(frame, area, Plot { title, sets, times, top, show: rate, labelled: false });
}

fn latency_chart(scene: &Scene, frame: &mut Frame<'_>, area: Rect) {
    let (rows, times) = window(scene, area.width);
    let p50 = points(rows, |r| r.p50);
    let p99 = points(rows, |r| r.p99);
    let top = p99.iter().map(|p| p.1).fold(0.001, f64::max);
    let lines = fault_lines(scene, times, top);
    let mut sets =
        vec![line_set(&p99).style(fg(Color::Magenta)).name("p99"), line_set(&p50).style(fg(Color::Blue)).name("p50")];
    sets.extend(lines.iter().map(|l| line_set(l).style(fg(Color::Yellow))));
    chart(frame, area, Plot { title: " latency, time ".to_owned(), sets, times, top, show: seconds, labelled: true });
}

fn line_set(data: &[(f64, f64)]) -> Dataset<'_> {
    Dataset::default().graph_type(GraphType::Line).marker(Marker::Braille).data(data)
}

/// An upright line where this run killed or revived a worker.
fn fault_lines(scene: &Scene, times: [f64; 2], top: f64) -> Vec<Vec<(f64, f64)>> {
    let ours = scene.marks.iter().filter(|m| m.ours && (times[0]..=times[1]).contains(&m.at));
    ours.map(|m| vec![(m.at, 0.0), (m.at, top)]).collect()
}

fn newest_mark(scene: &Scene) -> String {
    scene.marks.last().map_or_else(String::new, |m| format!(" · {:.0}s {}", m.at, mark_text(m)))
}

struct Plot<'a> {
    title: String,
    sets: Vec<Dataset<'a>>,
    times: [f64; 2],
    top: f64,
    show: fn(f64) -> String,
    /// Whether the time axis has labels; the chart above one that has needs none.
    labelled: bool,
}

fn chart(frame: &mut Frame<'_>, area: Rect, plot: Plot<'_>) {
    let Plot { title, sets, times, top, show, labelled } = plot;
    let x = Axis::default().bounds(times);
    let x = if labelled { x.labels(times.map(|t| format!("{t:.0}s"))) } else { x };
    let y = Axis::default().bounds([0.0, top * 1.05]).labels([format!("{:>6}", "0"), format!("{:>6}", show(top))]);
    let chart = Chart::new(sets)
        .block(Block::bordered().borders(Borders::TOP | Borders::LEFT | Borders::RIGHT).title(title))
        .x_axis(x)
        .y_axis(y)
        .legend_position(Some(ratatui::widgets::LegendPosition::TopRight))
        .hidden_legend_constraints((Constraint::Percentage(40), Constraint::Percentage(90)));
    frame.render_widget(chart, area);
}

fn errors_panel(scene: &Scene, frame: &mut Frame<'_>, area: Rect) {
    let errors = scene.look.errors.iter().map(|(class, group, count)| {
        let colour = if *group == Group::Refused { Color::Yellow } else { Color::Red };
        Line::styled(format!(" {count:>7}  {class}"), fg(colour))
    });
    let mut lines: Vec<_> = errors.collect();
    if lines.is_empty() {
        lines.push(Line::from(" none"));
    }
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" errors ")), area);
}

fn side_panel(scene: &Scene, frame: &mut Frame<'_>, area: Rect) {
    let slos = scene.look.slos.iter().map(|slo| {
        let (sign, colour) = if slo.held { ("✓", Color::Green) } else { ("✗", Color::Red) };
        Line::styled(format!(" {sign} {:<22} {}", slo.slo, slo.shown), fg(colour))
    });
    let mut lines: Vec<_> = slos.collect();
    let marks = scene.marks.iter().rev().map(|m| Line::from(format!(" {:>5.1}s {}", m.at, mark_text(m))));
    lines.extend(marks.take(usize::from(area.height)));
    if lines.is_empty() {
        lines.push(Line::from(" none set; --slo 'p99<250ms' sets one"));
    }
    let title = if scene.marks.is_empty() { " objectives " } else { " objectives, faults " };
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(title)), area);
}

#[cfg(test)]
mod tests;

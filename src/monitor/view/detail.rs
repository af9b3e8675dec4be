//! One worker, explained: why it gets the work that it gets, what its score is made of, its tasks,
//! its models, its faults.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::span;
use super::workers::bar;
use crate::monitor::model::{Model, Panel};
use crate::monitor::text::{
    self, Side, age, bytes, cell, count, fit, latency, latency_of, percent, rate, uptime, wrap,
};
use crate::monitor::theme::{self, Badge, SERIES, Tone};
use crate::protocol::{BreakerState, Capability, FaultSettings, ModelSource, ModelState, WorkerDetail, WorkerState};

/// Columns of the labels at the left.
const LABEL: usize = 9;

/// Draws it.
pub(super) fn draw(model: &Model, buffer: &mut Buffer, area: Rect) {
    let focus = super::focus(model, Panel::Detail);
    let name = model.selected().map_or("no worker", |w| w.worker_id.as_str());
    let title = fit(name, usize::from(area.width.saturating_sub(4)));
    let block = theme::frame(Line::from(Span::styled(title, theme::title(focus))), focus);
    let inside = block.inner(area);
    block.render(area, buffer);
    let inside = Rect { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    let lines = lines(model, usize::from(inside.width));
    let most = lines.len().saturating_sub(usize::from(inside.height));
    let scroll = model.detail_scroll.min(most);
    let below = most - scroll;
    super::put_lines(buffer, inside, lines.into_iter().skip(scroll));
    if below > 0 && area.height > 1 {
        let more = format!(" ▼ {below} more ");
        let x = area.right().saturating_sub(more.len() as u16);
        buffer.set_stringn(x.max(area.x + 1), area.bottom() - 1, more, usize::from(area.width), Tone::Quiet.style());
    }
}

/// Everything there is to say of the selected worker, in lines of this many columns.
pub(crate) fn lines(model: &Model, columns: usize) -> Vec<Line<'static>> {
    let Some(worker) = model.selected() else {
        return vec![Line::from(span("no worker is selected", Tone::Quiet))];
    };
    let mut page = Page { columns, lines: Vec::new() };
    let data = model.data();
    let since = data.age(model.now());
    state(&mut page, worker, Badge::of(worker, model.pending.of(&worker.worker_id)), since);
    let fleet: f64 = data.workers().iter().map(|w| w.throughput).sum();
    traffic(&mut page, worker, fleet);
    score(&mut page, worker);
    let history: Vec<Option<f32>> = data.series.worker(&worker.worker_id).collect();
    latencies(&mut page, worker, &history);
    tasks(&mut page, worker);
    models(&mut page, worker);
    faults(&mut page, worker);
    process(&mut page, worker, since);
    page.lines
}

/// Lines being written.
struct Page {
    columns: usize,
    lines: Vec<Line<'static>>,
}

impl Page {
    fn line(&mut self, label: &'static str, spans: Vec<Span<'static>>) {
        let mut line = Line::from(span(cell(label, LABEL, Side::Left), Tone::Quiet));
        line.spans.extend(spans);
        self.lines.push(line);
    }

    /// A text that may need several lines.
    fn text(&mut self, label: &'static str, text: &str, tone: Tone) {
        let lines = wrap(text, self.columns.saturating_sub(LABEL));
        for (i, line) in lines.into_iter().enumerate() {
            self.line(if i == 0 { label } else { "" }, vec![span(line, tone)]);
        }
    }

    fn gap(&mut self) {
        self.lines.push(Line::default());
    }
}

fn state(page: &mut Page, worker: &WorkerDetail, badge: Badge, since: f64) {
    let seen = format!("  seen {} ago", age(worker.last_seen + since));
    page.line("State", vec![span(format!("{} {}", badge.sign, badge.word), badge.tone), span(seen, Tone::Quiet)]);
    let (why, tone) = standing(worker);
    page.text("Work", &why, tone);
    if !worker.reason.is_empty() {
        page.text("Reason", &worker.reason, Tone::Warn);
    }
    let (breaker, tone) = match worker.breaker {
        BreakerState::Closed => ("closed: work flows", Tone::Plain),
        BreakerState::Open => ("open: failed too often; rests, then one request tries it", Tone::Bad),
        BreakerState::HalfOpen => ("half-open: one request tries it out", Tone::Warn),
    };
    page.text("Breaker", breaker, tone);
}

/// Why a worker gets work, or none.
fn standing(worker: &WorkerDetail) -> (String, Tone) {
    let held = worker.in_flight;
    match (worker.state, worker.breaker) {
        (WorkerState::Starting, _) => ("none yet: its models are loading".into(), Tone::Warn),
        (WorkerState::Draining, _) => (format!("none new: it drains; {held} still held"), Tone::Warn),
        (WorkerState::Killing, _) => ("none: its process is being killed".into(), Tone::Warn),
        (WorkerState::Killed, _) => ("none: killed by an operator; R revives it".into(), Tone::Bad),
        (WorkerState::Crashed, _) => ("none: its process died; its supervisor starts it again".into(), Tone::Bad),
        (WorkerState::Lost, _) => ("none: nothing is heard of it".into(), Tone::Bad),
        (WorkerState::Ready, BreakerState::Open) => ("none while its breaker is open".into(), Tone::Bad),
        (WorkerState::Ready, BreakerState::HalfOpen) => ("one request, to try it out".into(), Tone::Warn),
        (WorkerState::Ready, BreakerState::Closed) if worker.suspect => {
            ("none new while it is suspect".into(), Tone::Warn)
        }
        (WorkerState::Ready, BreakerState::Closed) if worker.credits == 0 => {
            ("none: it may be sent nothing now".into(), Tone::Warn)
        }
        (WorkerState::Ready, BreakerState::Closed) if held >= worker.credits => {
            (format!("full: it holds all {} it may be sent now", worker.credits), Tone::Plain)
        }
        (WorkerState::Ready, BreakerState::Closed) => {
            (format!("takes work; room for {} more", worker.credits - held), Tone::Good)
        }
    }
}

fn traffic(page: &mut Page, worker: &WorkerDetail, fleet: f64) {
    let share =
        if fleet > 0.0 { format!(" · {} of the fleet's", percent(worker.throughput / fleet)) } else { String::new() };
    page.line("Traffic", vec![span(format!("{} req/s", rate(worker.throughput)), Tone::Strong), Span::raw(share)]);
    let held = format!(
        "{} in flight of {} · {} in its queue · holds {}",
        worker.in_flight, worker.credits, worker.queue_depth, worker.capacity
    );
    page.text("", &held, Tone::Plain);
    page.line("Batches", vec![Span::raw(format!("{} requests each, on average", rate(worker.mean_batch_size)))]);
    page.gap();
}

/// The score and its two factors. Speed is what is left of the score when success is taken out.
fn score(page: &mut Page, worker: &WorkerDetail) {
    const BAR: usize = 12;
    let success = worker.success_rate.clamp(0.0, 1.0);
    let speed = if success > 0.0 { (worker.score / 100.0 / success).clamp(0.0, 1.0) } else { 0.0 };
    let sum = format!(" = 100 × {success:.3} × {speed:.3}");
    page.line("Score", vec![span(format!("{:.1}", worker.score), Tone::Strong), span(sum, Tone::Quiet)]);
    for (label, share, what) in
        [(" success", success, "of recent attempts"), (" speed", speed, "fleet median / own time")]
    {
        let tone = match share {
            s if s < 0.5 => Tone::Bad,
            s if s < 0.9 => Tone::Warn,
            _ => Tone::Good,
        };
        let value = cell(&percent(share), 6, Side::Left);
        let mut spans = vec![Span::raw(value), span(bar(share, BAR), tone)];
        if LABEL + 6 + BAR + 1 + what.len() <= page.columns {
            spans.push(span(format!(" {what}"), Tone::Quiet));
        }
        page.line(label, spans);
    }
    page.gap();
}

fn latencies(page: &mut Page, worker: &WorkerDetail, history: &[Option<f32>]) {
    let l = &worker.latency;
    let network = if worker.rtt > 0.0 { latency(worker.rtt) } else { text::NOTHING.to_owned() };
    let of = |seconds: f64| latency_of(l.count, seconds);
    let figures = [
        ("mean", of(l.mean)),
        ("p50", of(l.p50)),
        ("p95", of(l.p95)),
        ("p99", of(l.p99)),
        ("max", of(l.max)),
        ("network", network),
    ];
    // Three or four to a line, in columns.
    let each = if page.columns < 54 { 3 } else { 4 };
    for (i, some) in figures.chunks(each).enumerate() {
        let mut spans = Vec::new();
        for (name, value) in some {
            spans.push(span(format!("{name} "), Tone::Quiet));
            spans.push(Span::raw(cell(value, 10usize.saturating_sub(name.len()).max(6), Side::Left)));
        }
        page.line(if i == 0 { "Latency" } else { "" }, spans);
    }
    let room = page.columns.saturating_sub(LABEL + 8).min(60);
    let shown = &history[history.len().saturating_sub(room)..];
    if shown.iter().any(Option::is_some) {
        let largest = shown.iter().flatten().copied().fold(0.001, f32::max);
        let line: String = shown.iter().map(|v| spark(*v, largest)).collect();
        let spans = vec![
            Span::styled(line, Style::new().fg(SERIES[0])),
            span(format!(" ≤{}", latency(f64::from(largest))), Tone::Quiet),
        ];
        page.line(" history", spans);
    }
    page.gap();
}

/// An eighth of a character's height for each eighth of the largest value.
fn spark(value: Option<f32>, largest: f32) -> char {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    value.map_or(' ', |v| LEVELS[((v / largest * 7.0).round() as usize).min(7)])
}

fn tasks(page: &mut Page, worker: &WorkerDetail) {
    let widths = if page.columns < 46 { [8, 6, 6, 6, 4] } else { [9, 7, 7, 7, 6] };
    let name_width = LABEL - 1;
    let cells = |texts: [String; 5]| -> String {
        texts.iter().zip(widths).map(|(text, width)| cell(text, width, Side::Right)).collect()
    };
    let heading = cells(["COMPUTE", "P50", "P99", "DONE", "ERR"].map(str::to_owned));
    page.lines.push(Line::from(span(cell("Task", name_width, Side::Left) + &heading, Tone::Quiet)));
    for capability in &worker.capabilities {
        let task = capability.task;
        let compute = worker.service_times.iter().find(|s| s.task == task).map_or(0.0, |s| s.seconds);
        let compute = if compute > 0.0 { latency(compute) } else { text::NOTHING.to_owned() };
        let stats = worker.tasks.iter().find(|s| s.task == task);
        let of = |n: f64| stats.map_or_else(|| text::NOTHING.to_owned(), |s| latency_of(s.completed + s.failed, n));
        let (p50, p99) = stats.map_or((0.0, 0.0), |s| (s.p50, s.p99));
        let (done, failed) = stats.map_or((0, 0), |s| (s.completed, s.failed));
        let tone = if capability.specialised { Tone::Strong } else { Tone::Plain };
        let numbers = cells([compute, of(p50), of(p99), count(done), count(failed)]);
        let name = span(cell(text::task(task), name_width, Side::Left), tone);
        page.lines.push(Line::from(vec![name, Span::raw(numbers)]));
    }
    page.gap();
}

fn models(page: &mut Page, worker: &WorkerDetail) {
    let mut told: Vec<&Capability> = Vec::new();
    for capability in &worker.capabilities {
        let same = |other: &&Capability| other.model == capability.model && other.state == capability.state;
        if told.iter().any(same) {
            continue;
        }
        told.push(capability);
        let source = match capability.model.source {
            ModelSource::Hub => "hub",
            ModelSource::Folder => "folder",
            ModelSource::Embedded => "embedded",
            ModelSource::Noop => "no model",
        };
        let revision =
            capability.model.revision.as_deref().map(|r| format!(" @{}", r.chars().take(8).collect::<String>()));
        let text = format!("{} · {source}{}", capability.model_info, revision.unwrap_or_default());
        let label = if told.len() == 1 { "Models" } else { "" };
        page.line(label, vec![Span::raw(fit(&text, page.columns.saturating_sub(LABEL)))]);
        match &capability.state {
            ModelState::Ready => {}
            ModelState::Loading => page.text("", "the full-size model is loading", Tone::Warn),
            ModelState::Downloading { done_bytes, total_bytes } => {
                let all = total_bytes.map(|all| format!(" of {}", bytes(all))).unwrap_or_default();
                page.text("", &format!("downloading the full-size model: {}{all}", bytes(*done_bytes)), Tone::Note);
            }
            ModelState::Failed { reason } => {
                page.text("", &format!("no full-size model: {reason}"), Tone::Warn);
            }
        }
    }
    if worker.capabilities.is_empty() {
        page.text("Models", "none told yet", Tone::Quiet);
    }
}

fn faults(page: &mut Page, worker: &WorkerDetail) {
    let (text, tone) = match (worker.fault_injection, worker.faults.any()) {
        (_, true) => (fault_words(&worker.faults), Tone::Warn),
        (true, false) => ("none; f injects some".to_owned(), Tone::Plain),
        (false, false) => ("none; injection is switched off".to_owned(), Tone::Plain),
    };
    page.text("Faults", &text, tone);
}

/// Faults in force, in words.
pub(crate) fn fault_words(faults: &FaultSettings) -> String {
    let mut words = Vec::new();
    if faults.crash_probability > 0.0 {
        words.push(format!("crash {}", percent(faults.crash_probability)));
    }
    if faults.timeout_probability > 0.0 {
        words.push(format!("timeout {}", percent(faults.timeout_probability)));
    }
    if faults.network_delay_max > 0.0 {
        words.push(format!("delay {}–{} s", faults.network_delay_min, faults.network_delay_max));
    }
    if faults.slow_factor > 1.0 {
        words.push(format!("{}× slower", faults.slow_factor));
    }
    if faults.hang {
        words.push("hangs".to_owned());
    }
    words.join(" · ")
}

fn process(page: &mut Page, worker: &WorkerDetail, since: f64) {
    page.gap();
    let pid = worker.pid.map_or_else(|| "no process".to_owned(), |pid| format!("pid {pid}"));
    let memory = if worker.rss_bytes > 0 { format!(" · {}", bytes(worker.rss_bytes)) } else { String::new() };
    let restarts = text::plural(worker.restarts.into(), "restart");
    page.text("Process", &format!("{pid}{memory} · {restarts}"), Tone::Plain);
    let up = format!("{} · v{}", uptime(worker.uptime + since), worker.version);
    page.text("Here for", &up, Tone::Plain);
    let managed = if worker.managed { "" } else { " (static: can't be killed or drained)" };
    page.text("Address", &format!("{}{managed}", worker.url), Tone::Plain);
}

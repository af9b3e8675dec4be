//! The report for a person at a terminal: verdict first, then why.

use std::fmt::Write;

use super::chart::{Bars, Columns, axis, marks};
use super::{Outcome, Report, Warning, or_na, percent, rate, seconds};
use crate::load::compare::Unit;
use crate::load::hist::Distribution;
use crate::load::mix::short_name;
use crate::load::observe::Mark;
use crate::load::outcome::Group;
use crate::load::record::Second;

/// Columns of a chart.
const CHART: usize = 66;
/// Width that prose is wrapped at.
const WIDTH: usize = 100;

pub(super) fn text(report: &Report) -> String {
    let mut out = Out(String::new());
    out.warnings(report.warnings.iter().filter(|w| w.grave));
    out.verdict(report);
    out.run(report);
    out.totals(report);
    out.distributions(report);
    out.tasks(report);
    out.shares(report);
    out.workers(report);
    out.errors(report);
    out.timeline(report);
    out.baseline(report);
    out.search(report);
    out.warnings(report.warnings.iter().filter(|w| !w.grave));
    out.0
}

/// The word that goes with an outcome.
pub(super) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Held => "HELD",
        Outcome::Done => "DONE",
        Outcome::Broken => "BROKEN",
        Outcome::Regressed => "REGRESSED",
        Outcome::Incomplete => "INCOMPLETE",
        Outcome::Invalid => "INVALID",
    }
}

/// What to call a mark.
pub(in crate::load) fn mark_text(mark: &Mark) -> String {
    match (&mark.failed, mark.ours, mark.what.as_str()) {
        (Some(why), ..) => format!("{} {} failed: {why}", mark.what, mark.worker),
        (None, true, what) => format!("{what} {}", mark.worker),
        (None, false, state) => format!("{} is {state}", mark.worker),
    }
}

/// The letter of a mark under a chart, and what it stands for.
fn letter(mark: &Mark) -> char {
    match (mark.ours, mark.what.as_str()) {
        (true, "kill") => 'K',
        (true, "revive") => 'R',
        (false, "ready") => '+',
        (false, _) => '-',
        _ => '?',
    }
}

/// Text under construction. Writing to a string can't fail, so the results of `write!` are dropped.
struct Out(String);

impl Out {
    fn line(&mut self, text: impl AsRef<str>) {
        self.0.push_str(text.as_ref().trim_end());
        self.0.push('\n');
    }

    fn heading(&mut self, text: &str) {
        self.line("");
        self.line(text);
    }

    /// Prose, wrapped; later lines are indented under the first.
    fn wrapped(&mut self, first: &str, text: &str) {
        let indent = " ".repeat(first.chars().count());
        let mut line = first.to_owned();
        let mut empty = true;
        for word in text.split_whitespace() {
            if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.line(&line);
                line.clone_from(&indent);
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        self.line(line);
    }

    fn warnings<'a>(&mut self, warnings: impl Iterator<Item = &'a Warning>) {
        let mut any = false;
        for warning in warnings {
            if !warning.grave && !any {
                self.heading("Warnings");
            }
            any = true;
            self.wrapped(if warning.grave { "  !! " } else { "  ! " }, &warning.text);
        }
        if any && self.0.starts_with("  !!") {
            self.line("");
        }
    }

    fn verdict(&mut self, report: &Report) {
        let verdict = &report.verdict;
        let first = format!("{}  ", word(verdict.outcome));
        self.wrapped(&first, &verdict.text);
        for slo in &verdict.slos {
            let sign = if slo.held { "✓" } else { "✗" };
            let note = if slo.note.is_empty() { String::new() } else { format!("  ({})", slo.note) };
            self.line(format!("  {sign} {:<24} {}{note}", slo.slo, slo.shown));
        }
    }

    fn run(&mut self, report: &Report) {
        let run = &report.run;
        self.heading("Run");
        let kind = if run.load == "closed" { "closed loop" } else { "open loop" };
        self.wrapped("  load      ", &format!("{} ({kind}): {}", run.pattern, run.shape));
        let mix: Vec<_> = run.mix.iter().map(|s| format!("{} {}", short_name(s.task), percent(s.share))).collect();
        let checked = if run.checked { ", labels checked" } else { "" };
        self.line(format!("  mix       {}{checked}", mix.join(", ")));
        self.line(format!(
            "  settings  seed {}, {} arrivals, time-out {}, at most {} in flight",
            run.seed,
            run.arrivals,
            seconds(run.timeout),
            run.max_in_flight
        ));
        let version = run.target_version.as_ref().map_or_else(|| "not aiq".to_owned(), |v| format!("aiq {v}"));
        self.line(format!("  target    {} ({version})", run.target));
        for (i, worker) in run.fleet.iter().enumerate().take(8) {
            self.wrapped(if i == 0 { "  fleet     " } else { "            " }, worker);
        }
        if run.fleet.len() > 8 {
            self.line(format!("            and {} more", run.fleet.len() - 8));
        }
        self.line(format!(
            "  client    aiq {} on {} ({}, {} cores)",
            run.version, run.host.name, run.host.system, run.host.cores
        ));
        self.line(format!("  time      {}, {} measured", run.started, seconds(run.seconds)));
    }

    fn totals(&mut self, report: &Report) {
        let t = &report.totals;
        self.heading("Requests");
        let mut row = |name: &str, n: u64, note: String| {
            if n > 0 || matches!(name, "offered" | "sent" | "answered" | "not sent" | "timed out") {
                self.line(format!("  {name:<11} {n:>9}  {note}"));
            }
        };
        row("offered", t.offered, rate(t.offered_rate));
        row("sent", t.sent, format!("over {} connections, {} in flight at most", t.connections, t.most_in_flight));
        let good = if t.good == t.ok { String::new() } else { format!(", {} of them in time", rate(t.goodput)) };
        row("answered", t.ok, format!("{}{good}", rate(t.rate)));
        row("refused", t.refused, String::new());
        row("failed", t.failed, String::new());
        row("wrong", t.wrong, String::new());
        row("timed out", t.timed_out, String::new());
        row("not sent", t.not_sent, String::new());
        row("unfinished", t.unfinished, "in flight when interrupted".to_owned());
        row("missing", t.missing, String::new());
        row("retried", t.retried, format!("{} attempts beyond the first, inside the fleet", t.retries));
        self.line(format!("  error rate  {:>9}", or_na(t.error_rate, percent)));
        self.line(format!(
            "  pacer lag   {:>9}  mean; p99 {}, at most {}",
            or_na(t.pacer_lag.mean, seconds),
            or_na(t.pacer_lag.p99, seconds),
            or_na(t.pacer_lag.max, seconds)
        ));
        if let Some(c) = &t.coordinator {
            let others = if c.total > t.sent + t.lead_in_sent { "; others use it too" } else { "" };
            self.line(format!(
                "  coordinator {:>9}  counted: {} answered, {} failed, {} refused, {} withdrawn{others}",
                c.total, c.successful, c.failed, c.rejected, c.cancelled
            ));
        }
        if t.lead_in_sent > 0 {
            self.line(format!("  lead-in     {:>9}  sent before, uncounted", t.lead_in_sent));
        }
    }

    fn distributions(&mut self, report: &Report) {
        self.heading("Latency, from the instant a request was due; service time, from its send");
        self.columns("");
        self.distribution("latency", &report.latency);
        self.distribution("service time", &report.service_time);
    }

    fn columns(&mut self, before: &str) {
        let names = ["min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"];
        let mut line = format!("  {before:<13}");
        for name in names {
            let _ = write!(line, " {name:>8}");
        }
        self.line(line);
    }

    fn distribution(&mut self, name: &str, d: &Distribution) {
        let mut line = format!("  {name:<13}");
        for value in [d.min, d.mean, d.p50, d.p90, d.p95, d.p99, d.p999, d.max] {
            let _ = write!(line, " {:>8}", or_na(value, seconds));
        }
        self.line(line);
    }

    fn tasks(&mut self, report: &Report) {
        if report.tasks.is_empty() {
            return;
        }
        self.heading("Tasks");
        self.line("  task         offered answered  errors not sent  goodput      p50      p95      p99      max");
        for t in &report.tasks {
            self.line(format!(
                "  {:<12} {:>7} {:>8} {:>7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
                short_name(t.task),
                t.offered,
                t.ok,
                t.errors,
                t.not_sent,
                rate(t.goodput),
                or_na(t.latency.p50, seconds),
                or_na(t.latency.p95, seconds),
                or_na(t.latency.p99, seconds),
                or_na(t.latency.max, seconds),
            ));
        }
    }

    fn shares(&mut self, report: &Report) {
        let s = &report.shares;
        if s.queue.count == 0 {
            return;
        }
        self.heading("Where the time went, as the answers say");
        self.columns("");
        self.distribution("queue", &s.queue);
        self.distribution("inference", &s.inference);
        self.distribution("network, rest", &s.network);
    }

    fn workers(&mut self, report: &Report) {
        if report.workers.is_empty() {
            return;
        }
        self.heading("Workers");
        self.line("  worker           answered  share  failed  degraded  batch      p50      p99  tasks");
        for w in &report.workers {
            let tasks: Vec<_> = w.tasks.iter().map(|t| format!("{} {}", short_name(t.task), t.answered)).collect();
            self.line(format!(
                "  {:<16} {:>8} {:>6} {:>7} {:>9} {:>6} {:>8} {:>8}  {}",
                w.worker,
                w.answered,
                percent(w.share),
                w.failed_attempts,
                w.degraded,
                w.mean_batch.map_or_else(|| "n/a".to_owned(), |b| format!("{b:.1}")),
                or_na(w.service_time.p50, seconds),
                or_na(w.service_time.p99, seconds),
                tasks.join(", "),
            ));
        }
    }

    fn errors(&mut self, report: &Report) {
        if report.errors.is_empty() {
            return;
        }
        self.heading("Errors");
        for e in &report.errors {
            let group = match e.group {
                Group::Refused => "refused",
                Group::Failed => "failed",
                Group::TimedOut => "timed out",
                Group::Wrong => "wrong",
            };
            let when = format!("{:.1}s to {:.1}s", e.first, e.last);
            self.line(format!("  {:>7}  {:<20} {group:<9}  {when}", e.count, e.class));
            self.wrapped("           ", &e.example);
        }
    }

    fn timeline(&mut self, report: &Report) {
        let rows = &report.timeline;
        if rows.len() < 3 {
            return;
        }
        self.heading("Timeline: answers a second (· offered)");
        let per_second = |of: fn(&Second) -> u64| {
            move |rows: &[Second]| Some(rows.iter().map(of).sum::<u64>() as f64 / rows.len().max(1) as f64)
        };
        let columns = Columns::fit(rows.len(), CHART);
        let answers = Bars {
            values: columns.values(rows, per_second(|r| r.ok)),
            goals: columns.values(rows, per_second(|r| r.offered)),
            height: 6,
        };
        self.chart(report, columns, &answers.lines(rate));
        self.line("Latency, p99 of each second's answers");
        let slowest = |rows: &[Second]| rows.iter().filter_map(|r| r.p99).reduce(f64::max);
        let latency = Bars { values: columns.values(rows, slowest), goals: Vec::new(), height: 5 };
        self.chart(report, columns, &latency.lines(seconds));
        if rows.iter().any(|r| r.queued.is_some_and(|n| n > 0)) {
            self.line("Waiting in the coordinator");
            let deepest = |rows: &[Second]| rows.iter().filter_map(|r| r.queued).max().map(|n| n as f64);
            let queue = Bars { values: columns.values(rows, deepest), goals: Vec::new(), height: 3 };
            self.chart(report, columns, &queue.lines(|n| format!("{n:.0}")));
        }
        let bad = |r: &Second| r.errors + r.refused + r.not_sent;
        if rows.iter().any(|r| bad(r) > 0) {
            self.line("Refusals, errors and unsent a second");
            let errors = Bars { values: columns.values(rows, per_second(bad)), goals: Vec::new(), height: 3 };
            self.chart(report, columns, &errors.lines(rate));
        }
        for mark in &report.marks {
            self.line(format!("  {} {:>7.2}s  {}", letter(mark), mark.at, mark_text(mark)));
        }
        for dip in &report.dips {
            let back = dip
                .ready_after
                .map_or_else(|| "not back by the end".to_owned(), |s| format!("ready again after {}", seconds(s)));
            self.wrapped("  ", &format!(
                "Losing {}: answered {} of what was offered in the median second before and {} in the worst one after, largest latency {} before and {} after, {} errors within 10s; {back}.",
                dip.worker,
                or_na(dip.before, percent),
                or_na(dip.worst, percent),
                or_na(dip.max_before, seconds),
                or_na(dip.max_after, seconds),
                dip.errors,
            ));
        }
    }

    /// Bars, their axis, and the faults under it.
    fn chart(&mut self, report: &Report, columns: Columns, lines: &[String]) {
        let start = report.timeline.first().map_or(0.0, |r| r.at);
        for line in lines {
            self.line(line);
        }
        let [line, labels] = axis(columns, start);
        self.line(line);
        let places = report.marks.iter().map(|mark| (columns.column(mark.at - start), letter(mark)));
        let under = marks(columns.count(), places);
        if !under.is_empty() {
            self.line(under);
        }
        self.line(labels);
    }

    fn baseline(&mut self, report: &Report) {
        let Some(b) = &report.baseline else { return };
        self.heading(&format!("Against the baseline of {} (tolerance {})", b.started, percent(b.tolerance)));
        for row in &b.rows {
            let show = |v: f64| match row.unit {
                Unit::Seconds => seconds(v),
                Unit::Share => percent(v),
                Unit::Rate => rate(v),
            };
            let change = row.change.map_or_else(String::new, |c| format!("{:+.1}%", c * 100.0));
            let worse = if row.worse { "  worse" } else { "" };
            self.line(format!("  {:<16} {:>9} → {:>9}  {change:>8}{worse}", row.name, show(row.before), show(row.now)));
        }
        for difference in &b.differences {
            self.wrapped("  ! ", &format!("Not the same run: {difference}."));
        }
    }

    fn search(&mut self, report: &Report) {
        let Some(search) = &report.search else { return };
        self.heading(&format!("Trials, {} to {}", rate(search.low), rate(search.high)));
        self.line("    offered  answered");
        for trial in &search.trials {
            self.line(format!("  {}", trial.line()));
        }
    }
}

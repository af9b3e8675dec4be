//! The report as one page that needs nothing else: no script, no font, no picture from elsewhere.

mod svg;

use std::fmt::{self, Write};

use super::text::{mark_text, word};
use super::{Outcome, Report, or_na, percent, rate, seconds};
use crate::load::compare::Unit;
use crate::load::hist::Distribution;
use crate::load::mix::short_name;

const STYLE: &str = "\
:root{--bg:#fff;--fg:#1c2024;--dim:#60646c;--line:#d9dce1;--ok:#18794e;--bad:#ce2c31;--warn:#ad5700;--a:#18794e;--b:#8b8d98;--c:#8e4ec6;--d:#0d74ce}
@media(prefers-color-scheme:dark){:root{--bg:#111113;--fg:#edeef0;--dim:#b0b4ba;--line:#363a3f;--ok:#3dd68c;--bad:#ff9592;--warn:#ffca16;--a:#3dd68c;--b:#777b84;--c:#d19dff;--d:#70b8ff}}
body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .3rem}h2{font-size:1.05rem;margin:2rem 0 .5rem}
p{margin:.3rem 0}.dim{color:var(--dim)}.ok{color:var(--ok)}.bad{color:var(--bad)}.warn{color:var(--warn)}
.grave{border:2px solid var(--bad);border-radius:6px;padding:.6rem 1rem;margin:1rem 0}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{text-align:right;padding:.25rem .6rem;border-bottom:1px solid var(--line)}
th:first-child,td:first-child,td.left,th.left{text-align:left}th{color:var(--dim);font-weight:500}
.scroll{overflow-x:auto}svg{width:100%;height:auto;display:block}svg text{fill:var(--dim);font:11px system-ui,sans-serif}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:0}dt{color:var(--dim)}dd{margin:0}
code{font-family:ui-monospace,monospace}";

pub(super) fn html(report: &Report) -> String {
    let mut out = String::new();
    let _ = page(&mut out, report); // a string takes whatever is written
    out
}

/// Text that is text wherever it stands in the page.
fn esc(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn page(out: &mut String, report: &Report) -> fmt::Result {
    let verdict = &report.verdict;
    let (name, run) = (word(verdict.outcome), &report.run);
    writeln!(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
    writeln!(out, "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">")?;
    writeln!(out, "<title>aiq load: {name}</title>\n<style>{STYLE}</style>\n</head>\n<body>")?;
    for warning in report.warnings.iter().filter(|w| w.grave) {
        writeln!(out, "<div class=\"grave\">{}</div>", esc(&warning.text))?;
    }
    let colour = match verdict.outcome {
        Outcome::Held | Outcome::Done => "ok",
        Outcome::Incomplete => "warn",
        Outcome::Broken | Outcome::Regressed | Outcome::Invalid => "bad",
    };
    writeln!(out, "<h1><span class=\"{colour}\">{name}</span></h1>\n<p>{}</p>", esc(&verdict.text))?;
    if !verdict.slos.is_empty() {
        table(out, &["objective", "measured", ""], |out| {
            verdict.slos.iter().try_for_each(|slo| {
                let (class, text) = if slo.held { ("ok", "held") } else { ("bad", "broken") };
                let note = if slo.note.is_empty() { String::new() } else { format!(" ({})", esc(&slo.note)) };
                let cells = [
                    format!("<code>{}</code>", esc(&slo.slo)),
                    slo.shown.clone(),
                    format!("<span class=\"{class}\">{text}</span>{note}"),
                ];
                row(out, &cells)
            })
        })?;
    }
    writeln!(out, "<h2>Timeline</h2>")?;
    svg::timeline(out, report)?;
    for mark in &report.marks {
        writeln!(out, "<p class=\"dim\">{:.2}s: {}</p>", mark.at, esc(&mark_text(mark)))?;
    }
    for dip in &report.dips {
        writeln!(
            out,
            "<p>Losing {}: answered {} of what was offered in the median second before and {} in the worst one after; {} errors within 10 s; {}.</p>",
            esc(dip.worker.as_str()),
            or_na(dip.before, percent),
            or_na(dip.worst, percent),
            dip.errors,
            dip.ready_after
                .map_or_else(|| "not back by the end".to_owned(), |s| format!("ready again after {}", seconds(s)))
        )?;
    }
    writeln!(out, "<h2>Latency <span class=\"dim\">from the instant a request was due</span></h2>")?;
    svg::distribution(out, &report.latency_steps, &report.latency)?;
    distributions(out, report)?;
    requests(out, report)?;
    if !report.tasks.is_empty() {
        writeln!(out, "<h2>Tasks</h2>")?;
        let head = ["task", "offered", "answered", "errors", "not sent", "goodput", "p50", "p95", "p99", "max"];
        table(out, &head, |out| {
            report.tasks.iter().try_for_each(|t| {
                let l = &t.latency;
                let counts = [t.offered, t.ok, t.errors, t.not_sent].map(|n| n.to_string());
                let times = [l.p50, l.p95, l.p99, l.max].map(|v| or_na(v, seconds));
                let first = [short_name(t.task).to_owned()];
                row(out, &[&first[..], &counts[..], &[rate(t.goodput)], &times[..]].concat())
            })
        })?;
    }
    workers(out, report)?;
    errors(out, report)?;
    comparison(out, report)?;
    trials(out, report)?;
    writeln!(out, "<h2>Run</h2>\n<dl>")?;
    let mix: Vec<_> = run.mix.iter().map(|s| format!("{} {}", short_name(s.task), percent(s.share))).collect();
    let facts = [
        ("load", format!("{} ({} loop): {}", run.pattern, run.load, run.shape)),
        ("mix", mix.join(", ")),
        ("seed", format!("{}, {} arrivals", run.seed, run.arrivals)),
        ("time-out", seconds(run.timeout)),
        ("target", format!("{} ({})", run.target, run.target_version.as_deref().unwrap_or("not aiq"))),
        ("fleet", run.fleet.join("; ")),
        ("client", format!("aiq {} on {} ({}, {} cores)", run.version, run.host.name, run.host.system, run.host.cores)),
        ("time", format!("{}, {} measured", run.started, seconds(run.seconds))),
    ];
    for (name, text) in facts.iter().filter(|(_, text)| !text.is_empty()) {
        writeln!(out, "<dt>{name}</dt><dd>{}</dd>", esc(text))?;
    }
    writeln!(out, "</dl>")?;
    for warning in report.warnings.iter().filter(|w| !w.grave) {
        writeln!(out, "<p class=\"warn\">{}</p>", esc(&warning.text))?;
    }
    writeln!(out, "</body>\n</html>")
}

fn table(out: &mut String, head: &[&str], body: impl FnOnce(&mut String) -> fmt::Result) -> fmt::Result {
    write!(out, "<div class=\"scroll\"><table><thead><tr>")?;
    head.iter().try_for_each(|name| write!(out, "<th>{name}</th>"))?;
    writeln!(out, "</tr></thead><tbody>")?;
    body(out)?;
    writeln!(out, "</tbody></table></div>")
}

/// A row of cells that are HTML already.
fn row(out: &mut String, cells: &[String]) -> fmt::Result {
    write!(out, "<tr>")?;
    cells.iter().try_for_each(|cell| write!(out, "<td>{cell}</td>"))?;
    writeln!(out, "</tr>")
}

fn distributions(out: &mut String, report: &Report) -> fmt::Result {
    let head = ["", "n", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"];
    table(out, &head, |out| {
        let shares = &report.shares;
        let all = [
            ("latency", &report.latency),
            ("service time", &report.service_time),
            ("queue", &shares.queue),
            ("inference", &shares.inference),
            ("network and rest", &shares.network),
        ];
        all.iter().try_for_each(|(name, d)| {
            let Distribution { count, min, mean, p50, p90, p95, p99, p999, max } = *d;
            let times = [min, mean, p50, p90, p95, p99, p999, max].map(|v| or_na(*v, seconds));
            row(out, &[&[(*name).to_owned(), count.to_string()][..], &times[..]].concat())
        })
    })
}

fn requests(out: &mut String, report: &Report) -> fmt::Result {
    let t = &report.totals;
    writeln!(out, "<h2>Requests</h2>")?;
    let head =
        ["offered", "sent", "answered", "refused", "failed", "wrong", "timed out", "not sent", "error rate", "retried"];
    table(out, &head, |out| {
        let counts = [t.refused, t.failed, t.wrong, t.timed_out, t.not_sent].map(|n| n.to_string());
        let first = [
            format!("{} ({})", t.offered, rate(t.offered_rate)),
            t.sent.to_string(),
            format!("{} ({})", t.ok, rate(t.rate)),
        ];
        let last = [or_na(t.error_rate, percent), t.retried.to_string()];
        row(out, &[&first[..], &counts[..], &last[..]].concat())
    })?;
    let lag = &t.pacer_lag;
    let (mean, p99, max) = (or_na(lag.mean, seconds), or_na(lag.p99, seconds), or_na(lag.max, seconds));
    writeln!(out, "<p class=\"dim\">Pacer lag: mean {mean}, p99 {p99}, at most {max}.</p>")
}

fn workers(out: &mut String, report: &Report) -> fmt::Result {
    if report.workers.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Workers</h2>")?;
    let head = ["worker", "answered", "share", "failed attempts", "degraded", "batch", "p50", "p99"];
    table(out, &head, |out| {
        report.workers.iter().try_for_each(|w| {
            let cells = [
                esc(&w.worker),
                w.answered.to_string(),
                percent(w.share),
                w.failed_attempts.to_string(),
                w.degraded.to_string(),
                or_na(w.mean_batch, |b| format!("{b:.1}")),
                or_na(w.service_time.p50, seconds),
                or_na(w.service_time.p99, seconds),
            ];
            row(out, &cells)
        })
    })
}

fn errors(out: &mut String, report: &Report) -> fmt::Result {
    if report.errors.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Errors</h2>")?;
    table(out, &["class", "n", "first", "last", "example"], |out| {
        report.errors.iter().try_for_each(|e| {
            let class = format!("<code>{}</code>", esc(&e.class));
            row(
                out,
                &[class, e.count.to_string(), format!("{:.1}s", e.first), format!("{:.1}s", e.last), esc(&e.example)],
            )
        })
    })
}

fn comparison(out: &mut String, report: &Report) -> fmt::Result {
    let Some(b) = &report.baseline else { return Ok(()) };
    writeln!(out, "<h2>Against the baseline of {}</h2>", esc(&b.started))?;
    table(out, &["", "before", "now", "change", ""], |out| {
        b.rows.iter().try_for_each(|r| {
            let show = match r.unit {
                Unit::Seconds => seconds,
                Unit::Share => percent,
                Unit::Rate => rate,
            };
            let change = r.change.map_or_else(String::new, |c| format!("{:+.1}%", c * 100.0));
            let worse = if r.worse { "<span class=\"bad\">worse</span>" } else { "" };
            row(out, &[esc(&r.name), show(r.before), show(r.now), change, worse.to_owned()])
        })
    })?;
    b.differences.iter().try_for_each(|d| writeln!(out, "<p class=\"warn\">Not the same run: {}.</p>", esc(d)))
}

fn trials(out: &mut String, report: &Report) -> fmt::Result {
    let Some(search) = &report.search else { return Ok(()) };
    writeln!(out, "<h2>Trials</h2>")?;
    table(out, &["offered", "answered", "p50", "p99", "errors", ""], |out| {
        search.trials.iter().try_for_each(|t| {
            let verdict = if t.held { "<span class=\"ok\">held</span>".to_owned() } else { esc(&t.why) };
            let times = [t.p50, t.p99].map(|v| or_na(v, seconds));
            let rates = [rate(t.rate), rate(t.ok_rate)];
            row(out, &[&rates[..], &times[..], &[or_na(t.error_rate, percent), verdict]].concat())
        })
    })
}

//! The report as Markdown, for an issue or a pull request: what matters as tables, the rest folded.

use std::fmt::Write;

use super::text::{mark_text, text, word};
use super::{Report, or_na, percent, rate, seconds};
use crate::load::hist::Distribution;
use crate::load::mix::short_name;

pub(super) fn markdown(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = write_markdown(&mut out, report);
    out
}

fn write_markdown(out: &mut String, report: &Report) -> std::fmt::Result {
    for warning in report.warnings.iter().filter(|w| w.grave) {
        writeln!(out, "> **Warning:** {}\n", warning.text)?;
    }
    writeln!(out, "## {}: {}\n", word(report.verdict.outcome), escaped(&report.verdict.text))?;
    if !report.verdict.slos.is_empty() {
        writeln!(out, "| objective | measured | |\n| --- | --- | --- |")?;
        for slo in &report.verdict.slos {
            let sign = if slo.held { "held" } else { "**broken**" };
            writeln!(out, "| `{}` | {} | {sign} |", slo.slo.replace('|', "\\|"), slo.shown)?;
        }
        writeln!(out)?;
    }
    let run = &report.run;
    writeln!(
        out,
        "{} ({} loop), {}; seed {}; {} on {}, {}.\n",
        run.pattern,
        run.load,
        escaped(&run.shape),
        run.seed,
        run.target,
        run.host.name,
        run.started
    )?;
    let t = &report.totals;
    writeln!(out, "| offered | sent | answered | not sent | timed out | refused | failed | wrong | error rate |")?;
    writeln!(out, "| --: | --: | --: | --: | --: | --: | --: | --: | --: |")?;
    writeln!(
        out,
        "| {} ({}) | {} | {} ({}) | {} | {} | {} | {} | {} | {} |\n",
        t.offered,
        rate(t.offered_rate),
        t.sent,
        t.ok,
        rate(t.rate),
        t.not_sent,
        t.timed_out,
        t.refused,
        t.failed,
        t.wrong,
        or_na(t.error_rate, percent)
    )?;
    writeln!(out, "| | n | min | mean | p50 | p90 | p95 | p99 | p99.9 | max |")?;
    writeln!(out, "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |")?;
    distribution(out, "latency", &report.latency)?;
    distribution(out, "service time", &report.service_time)?;
    for task in &report.tasks {
        distribution(out, &format!("{} latency", short_name(task.task)), &task.latency)?;
    }
    distribution(out, "queue", &report.shares.queue)?;
    distribution(out, "inference", &report.shares.inference)?;
    distribution(out, "network and rest", &report.shares.network)?;
    if !report.workers.is_empty() {
        writeln!(out, "\n| worker | answered | share | failed attempts | degraded | p50 | p99 |")?;
        writeln!(out, "| --- | --: | --: | --: | --: | --: | --: |")?;
        for w in &report.workers {
            let (p50, p99) = (or_na(w.service_time.p50, seconds), or_na(w.service_time.p99, seconds));
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {p50} | {p99} |",
                w.worker,
                w.answered,
                percent(w.share),
                w.failed_attempts,
                w.degraded
            )?;
        }
    }
    if !report.errors.is_empty() {
        writeln!(out, "\n| error | n | first | last | example |\n| --- | --: | --: | --: | --- |")?;
        for e in &report.errors {
            writeln!(
                out,
                "| `{}` | {} | {:.1}s | {:.1}s | {} |",
                e.class,
                e.count,
                e.first,
                e.last,
                escaped(&e.example)
            )?;
        }
    }
    if !report.marks.is_empty() {
        writeln!(out)?;
        for mark in &report.marks {
            writeln!(out, "- {:.2}s: {}", mark.at, escaped(&mark_text(mark)))?;
        }
    }
    for warning in report.warnings.iter().filter(|w| !w.grave) {
        writeln!(out, "\n> {}", escaped(&warning.text))?;
    }
    writeln!(out, "\n<details><summary>Everything</summary>\n\n```text\n{}```\n\n</details>", text(report))
}

fn distribution(out: &mut String, name: &str, d: &Distribution) -> std::fmt::Result {
    write!(out, "| {name} | {} |", d.count)?;
    for value in [d.min, d.mean, d.p50, d.p90, d.p95, d.p99, d.p999, d.max] {
        write!(out, " {} |", or_na(value, seconds))?;
    }
    writeln!(out)
}

/// Text from elsewhere that must not end a table cell or begin a tag.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r'], " ")
}

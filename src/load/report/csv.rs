//! The report as CSV (RFC 4180): a row for all and one for each task, seconds and counts as they are.

use std::fmt::Write;

use super::{Report, Totals};
use crate::load::hist::Distribution;

pub(super) fn csv(report: &Report) -> String {
    let mut out = String::from(
        "scope,offered,not_sent,ok,errors,rate,goodput,latency_min,latency_mean,latency_p50,latency_p90,latency_p95,latency_p99,latency_p999,latency_max,service_min,service_mean,service_p50,service_p90,service_p95,service_p99,service_p999,service_max\r\n",
    );
    let Totals { offered, not_sent, ok, refused, failed, timed_out, wrong, rate, goodput, .. } = report.totals;
    let errors = refused + failed + timed_out + wrong;
    let mut row = |counts: String, latency: &Distribution, service: &Distribution| {
        out.push_str(&counts);
        for d in [latency, service] {
            for value in [d.min, d.mean, d.p50, d.p90, d.p95, d.p99, d.p999, d.max] {
                out.push(',');
                if let Some(value) = value {
                    let _ = write!(out, "{value:.6}"); // a string takes whatever is written
                }
            }
        }
        out.push_str("\r\n");
    };
    let all = format!("all,{offered},{not_sent},{ok},{errors},{rate:.3},{goodput:.3}");
    row(all, &report.latency, &report.service_time);
    for t in &report.tasks {
        let counts =
            format!("{},{},{},{},{},{:.3},{:.3}", t.task, t.offered, t.not_sent, t.ok, t.errors, t.rate, t.goodput);
        row(counts, &t.latency, &t.service_time);
    }
    out
}

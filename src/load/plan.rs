//! `--plan`: the schedule, printed and not sent.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::inputs::Inputs;
use super::mix::short_name;
use super::report::{Bars, Columns, axis, rate, seconds};
use super::schedule::{Arrival, Phase, Shape};
use super::settings::Settings;
use crate::cli::LoadOutput;
use crate::protocol::TaskType;

/// Columns of the chart.
const CHART: usize = 66;
/// Arrivals that the text form shows.
const SHOWN: usize = 10;

/// Writes the plan: text for a person, or every arrival as CSV or JSON lines.
///
/// # Errors
/// Those of `out`.
pub(super) fn write(out: &mut impl Write, settings: &Settings, inputs: &Inputs) -> io::Result<()> {
    match settings.output {
        LoadOutput::Csv => {
            out.write_all(b"seq,due,phase,task,input\r\n")?;
            each(settings, inputs, |arrival, phase, label| {
                let label = label.replace('"', "\"\"");
                let due = arrival.due.as_secs_f64() - settings.shape.lead;
                write!(out, "{},{due:.6},{phase},{},\"{label}\"\r\n", arrival.seq, arrival.task)
            })
        }
        LoadOutput::Json => each(settings, inputs, |arrival, phase, label| {
            let line = serde_json::json!({
                "seq": arrival.seq,
                "due": arrival.due.as_secs_f64() - settings.shape.lead,
                "phase": phase,
                "task": arrival.task,
                "input": label,
            });
            writeln!(out, "{line}")
        }),
        LoadOutput::Text | LoadOutput::Md | LoadOutput::Html => out.write_all(text(settings, inputs).as_bytes()),
    }
}

fn each(
    settings: &Settings,
    inputs: &Inputs,
    mut row: impl FnMut(&Arrival, &str, &str) -> io::Result<()>,
) -> io::Result<()> {
    for arrival in settings.schedule(inputs.counts()) {
        let phase = phase_of(&settings.shape, &arrival);
        let label = inputs.get(arrival.task, arrival.input).map_or("", |i| i.label.as_str());
        row(&arrival, &phase, label)?;
    }
    Ok(())
}

fn phase_of(shape: &Shape, arrival: &Arrival) -> String {
    if arrival.in_spike {
        return "spike".to_owned();
    }
    shape.phase_at(arrival.due.as_secs_f64()).map_or_else(String::new, |p| p.kind.to_string())
}

/// The plan for a person.
pub(super) fn text(settings: &Settings, inputs: &Inputs) -> String {
    let mut out = String::new();
    let _ = write_text(&mut out, settings, inputs); // a string takes whatever is written
    out
}

fn write_text(out: &mut String, settings: &Settings, inputs: &Inputs) -> std::fmt::Result {
    let shape = &settings.shape;
    writeln!(out, "Plan   {}", settings.describe())?;
    writeln!(out, "mix    {}", settings.mix)?;
    writeln!(out, "seed   {} (the same seed gives the same plan)", settings.seed)?;
    writeln!(
        out,
        "expect {:.0} requests in the measured part\n",
        settings.requests.map_or(shape.expected(), |n| shape.expected().min(n as f64))
    )?;

    writeln!(out, "  phase       from       to     rate")?;
    for Phase { kind, start, length, from, to } in shape.phases.iter().copied() {
        let (begin, end) = (start - shape.lead, start + length - shape.lead);
        let rates = if (from - to).abs() < 1e-9 { rate(from) } else { format!("{} → {}", rate(from), rate(to)) };
        let spikes: Vec<_> = shape.spikes.iter().filter(|s| s.at >= start && s.at < start + length.max(1e-9)).collect();
        let rates = match spikes.as_slice() {
            [] => rates,
            [one] if length <= 0.0 => format!("{} at once", one.size),
            [one] => format!("{rates} and {} at once at {}", one.size, seconds(one.at - shape.lead)),
            [first, ..] => format!("{rates} and {} spikes of {}", spikes.len(), first.size),
        };
        writeln!(out, "  {kind:<9} {begin:>6.1}s {end:>7.1}s     {rates}")?;
    }

    let mut counts = [0_u64; 4];
    let mut first = Vec::new();
    let mut rows = vec![0_u64; (shape.length().ceil() as usize).max(1)];
    for arrival in settings.schedule(inputs.counts()) {
        counts[arrival.task.index()] += 1;
        if let Some(n) = rows.get_mut(arrival.due.as_secs() as usize) {
            *n += 1;
        }
        if first.len() < SHOWN {
            first.push(arrival);
        }
    }
    if rows.len() > 2 {
        writeln!(out, "\nrequests that fall due, a second")?;
        let columns = Columns::fit(rows.len(), CHART);
        let mean = |rows: &[u64]| Some(rows.iter().sum::<u64>() as f64 / rows.len().max(1) as f64);
        let bars = Bars { values: columns.values(&rows, mean), goals: Vec::new(), height: 6 };
        for line in bars.lines(rate).iter().chain(&axis(columns, -shape.lead)) {
            writeln!(out, "{line}")?;
        }
    }
    let tasks: Vec<_> = TaskType::ALL
        .into_iter()
        .filter(|t| counts[t.index()] > 0)
        .map(|t| format!("{} {}", counts[t.index()], short_name(t)))
        .collect();
    writeln!(out, "\n{} requests: {}", counts.iter().sum::<u64>(), tasks.join(", "))?;
    for arrival in &first {
        let due = arrival.due.as_secs_f64() - shape.lead;
        let label = inputs.get(arrival.task, arrival.input).map_or("", |i| i.label.as_str());
        let label: String = label.chars().take(60).collect();
        writeln!(out, "  {:>6} {due:>10.4}s  {:<10}  {label}", arrival.seq, short_name(arrival.task))?;
    }
    if counts.iter().sum::<u64>() > SHOWN as u64 {
        writeln!(out, "  … all of them with -o csv or -o json")?;
    }
    for fault in &settings.faults {
        writeln!(out, "  at {}: {} {}", seconds(fault.at.as_secs_f64()), fault.action.as_str(), fault.worker)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn plan(flags: &str) -> String {
        let args = ["aiq", "load", "--plan", "--seed", "42"].into_iter().chain(flags.split_whitespace());
        let Command::Load(args) = Cli::parse_from(args).command else { unreachable!() };
        let settings = Settings::try_new(&args).unwrap();
        let mut out = Vec::new();
        write(&mut out, &settings, &Inputs::try_new(&settings).unwrap()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plans_for_people() {
        insta::assert_snapshot!("plan_simple", plan(""));
        insta::assert_snapshot!("plan_burst", plan("--pattern burst"));
        insta::assert_snapshot!("plan_mixed", plan("--pattern mixed --kill worker-1@10s --revive worker-1@20s"));
        insta::assert_snapshot!(
            "plan_ramped",
            plan("--rate 200 --duration 10s --ramp 5s --warmup 3s --arrivals constant")
        );
    }

    #[test]
    fn plans_for_programs_hold_every_arrival() {
        let csv = plan("--rate 50 --duration 4s -o csv");
        let json = plan("--rate 50 --duration 4s -o json");
        assert_eq!(csv.lines().count(), json.lines().count() + 1);
        for line in json.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(row["due"].as_f64().unwrap() < 4.0 && row["input"].as_str().is_some_and(|s| !s.is_empty()));
        }
    }
}

//! What a person reads when the fleet is ready.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cli::UpArgs;
use crate::protocol::{ModelSource, TaskType, WorkerDetail};

/// What runs where, and what to try next.
pub(super) fn ready(args: &UpArgs, url: &str, workers: &[WorkerDetail], took: Duration) -> String {
    let mut out = String::new();
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(out, "aiq {version}: the fleet is ready after {:.1} s\n", took.as_secs_f64());
    let _ = writeln!(out, "  {:<12} {url:<26} API reference: {url}/docs", "coordinator");
    for worker in workers {
        let _ = writeln!(out, "  {:<12} {:<26} {}", worker.worker_id.as_str(), worker.url, models(worker));
    }
    let dir = args.log.log_dir.clone().unwrap_or_else(|| "logs".into());
    let _ = writeln!(out, "  {:<12} {}", "logs", dir.display());
    if args.faults {
        let _ = writeln!(out, "\nFaults are on: 2 % crashes, 3 % time-outs, 0.1–0.8 s network delay on every worker.");
    }
    if workers.iter().flat_map(|w| &w.capabilities).any(|c| c.degraded && c.specialised) {
        let _ = writeln!(
            out,
            "\nSmall models answer (accurate enough to try things out). With a network, `aiq models pull` gets the\nfull-size ones, which are then used by themselves."
        );
    }
    let at = if args.port == 8000 { String::new() } else { format!(" --url {url}") };
    let _ = writeln!(out, "\nTry, in another terminal:");
    let _ = writeln!(
        out,
        "  curl -s {url}/infer -H 'content-type: application/json' \\\n       -d '{{\"task_type\": \"text_classification\", \"data\": \"I love this product!\"}}'"
    );
    let tries = [
        ("infer image sample:cat", "what does the picture show?"),
        ("infer search \"a cat\"", "which picture fits these words?"),
        ("monitor", "watch the fleet, kill and revive workers"),
        ("load --pattern burst", "send it a burst of traffic"),
    ]
    .map(|(command, what)| (format!("aiq {command}{at}"), what));
    let width = tries.iter().map(|(line, _)| line.len()).max().unwrap_or_default().max(38);
    for (line, what) in tries {
        let _ = writeln!(out, "  {line:<width$} # {what}");
    }
    out.push_str("\nCtrl-C stops the fleet.\n");
    out
}

/// The worker's own models in a few words.
fn models(worker: &WorkerDetail) -> String {
    let mut names: Vec<String> = Vec::new();
    for capability in worker.capabilities.iter().filter(|c| c.specialised) {
        let source = match capability.model.source {
            ModelSource::Hub => "hub",
            ModelSource::Folder => "folder",
            ModelSource::Embedded => "embedded",
            ModelSource::Noop => "no model",
        };
        let task = match capability.task {
            TaskType::TextClassification => "text",
            TaskType::ImageClassification => "images",
            TaskType::ClipTextSimilarity | TaskType::ClipTextToImage => "text and images",
        };
        let name = format!("{task}: {} ({source})", capability.model_info);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command, InferTask};

    #[test]
    fn what_it_says_to_try_can_be_tried() {
        let Command::Up(args) = Cli::parse_from(["aiq", "up", "-p", "0"]).command else { panic!() };
        let url = "http://127.0.0.1:39495";
        let report = ready(&args, url, &[], Duration::ZERO);
        let mut tried = Vec::new();
        for line in report.lines().filter_map(|line| line.strip_prefix("  aiq ")) {
            let (command, _) = line.split_once(" # ").unwrap();
            // As a shell would take it apart: what is between quotes is one word.
            let words = command
                .split('"')
                .enumerate()
                .flat_map(|(i, part)| if i % 2 == 1 { vec![part] } else { part.split_whitespace().collect() });
            tried.push(Cli::try_parse_from(["aiq"].into_iter().chain(words)).unwrap().command);
        }
        let urls = tried.iter().map(|command| match command {
            Command::Infer(args) => &args.target.url,
            Command::Monitor(args) => &args.target.url,
            Command::Load(args) => &args.target.url,
            other => panic!("{other:?}"),
        });
        assert_eq!(urls.collect::<Vec<_>>(), [url; 4]);
        let Command::Infer(search) = &tried[1] else { panic!() };
        assert!(matches!(&search.task, InferTask::Search { query, .. } if query == "a cat"));
    }
}

//! An answer as a person reads it.

use std::fmt::Write as _;

use crate::protocol::{InferResponse, TaskType};

/// How scores are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bars {
    /// With a bar, for a terminal.
    Drawn,
    /// Numbers alone, for a pipe.
    Plain,
}

impl Bars {
    pub(super) fn for_terminal(terminal: bool) -> Self {
        if terminal { Self::Drawn } else { Self::Plain }
    }
}

/// Widest bar, in cells.
const BAR_CELLS: f64 = 30.0;

/// The answer in a few lines.
pub(super) fn text(response: &InferResponse, bars: Bars) -> String {
    let result = &response.result;
    let mut out = String::new();
    let is_similarity = result.task_type == TaskType::ClipTextSimilarity;
    let (rows, unit) = match &result.similarities {
        Some(similarities) if is_similarity => (similarities, ""),
        _ => (&result.scores, " %"),
    };
    let _ = writeln!(out, "{}  {}", result.prediction, amount(result.confidence, unit));
    let width = rows.0.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0).min(48);
    for (label, score) in &rows.0 {
        let label: String = label.chars().take(48).collect();
        let cells = (score.clamp(0.0, 1.0) * BAR_CELLS).round() as usize;
        let bar = if bars == Bars::Drawn { format!("  {}", "█".repeat(cells)) } else { String::new() };
        let line = format!("  {label:<width$}  {:>8}{bar}", amount(*score, unit));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let ms = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
    let retries = match response.retry_count {
        0 => String::new(),
        1 => ", 1 retry".to_owned(),
        n => format!(", {n} retries"),
    };
    let _ = writeln!(
        out,
        "{} on {}: {} (queue {}, model {}{retries})",
        result.model_info,
        result.worker_id,
        ms(response.latency),
        ms(response.queue_time),
        ms(response.inference_time),
    );
    if result.degraded {
        out.push_str("A small model answered; `aiq models pull` gets the full-size one.\n");
    }
    out
}

fn amount(score: f64, unit: &str) -> String {
    if unit.is_empty() { format!("{score:.3}") } else { format!("{:.1}{unit}", score * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(json: &str) -> InferResponse {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_classification_reads_well() {
        let r = response(
            r#"{"request_id":"r","result":{"prediction":"POSITIVE","confidence":0.9987,"worker_id":"worker-1",
            "task_type":"text_classification","model_info":"DistilBERT (mini)","scores":{"POSITIVE":0.9987,"NEGATIVE":0.0013},
            "degraded":true,"model":{"id":"distilbert-mini-sst2","source":"embedded"}},
            "latency":0.0123,"retry_count":1,"queue_time":0.001,"inference_time":0.009}"#,
        );
        insta::assert_snapshot!(text(&r, Bars::Drawn));
        insta::assert_snapshot!("plain", text(&r, Bars::Plain));
    }

    #[test]
    fn a_similarity_shows_cosines() {
        let r = response(
            r#"{"request_id":"r","result":{"prediction":"a photo of a cat","confidence":0.8456,"worker_id":"worker-3",
            "task_type":"clip_text_similarity","model_info":"CLIP-ViT-B/32","similarities":{"a photo of a cat":0.8456,"a car":-0.1},
            "scores":{"a photo of a cat":0.9,"a car":0.1},"model":{"id":"m","source":"hub"}},
            "latency":1.123,"retry_count":0}"#,
        );
        insta::assert_snapshot!(text(&r, Bars::Plain));
    }
}

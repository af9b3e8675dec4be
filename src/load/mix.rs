//! Which tasks are asked for, by weight.

use std::fmt;
use std::str::FromStr;

use crate::protocol::TaskType;

/// Weights of the tasks; they sum to 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mix {
    /// In the order of [`TaskType::ALL`].
    weights: [f64; 4],
}

/// What is wrong with a mix.
#[derive(Debug, thiserror::Error)]
#[error("--mix \"{text}\": {wrong}; write text=60,image=25,clip=15 (tasks: text, image, similarity, search, clip)")]
pub(crate) struct MixError {
    text: String,
    wrong: String,
}

/// The tasks that a short or full name stands for; `clip` stands for two.
pub(super) fn tasks_named(name: &str) -> Option<&'static [TaskType]> {
    use TaskType::{ClipTextSimilarity, ClipTextToImage, ImageClassification, TextClassification};
    Some(match name {
        "text" | "text_classification" => &[TextClassification],
        "image" | "image_classification" => &[ImageClassification],
        "similarity" | "clip_text_similarity" => &[ClipTextSimilarity],
        "search" | "clip_text_to_image" => &[ClipTextToImage],
        "clip" => &[ClipTextSimilarity, ClipTextToImage],
        _ => return None,
    })
}

/// The short name of a task.
pub(super) const fn short_name(task: TaskType) -> &'static str {
    match task {
        TaskType::TextClassification => "text",
        TaskType::ImageClassification => "image",
        TaskType::ClipTextSimilarity => "similarity",
        TaskType::ClipTextToImage => "search",
    }
}

impl Mix {
    /// The share of a task, 0 to 1.
    pub(super) fn share(&self, task: TaskType) -> f64 {
        self.weights[task.index()]
    }

    /// The tasks that may occur.
    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskType> + '_ {
        TaskType::ALL.into_iter().filter(|t| self.share(*t) > 0.0)
    }

    /// The task at a point of [0, 1).
    pub(super) fn pick(&self, at: f64) -> TaskType {
        let mut rest = at;
        let mut last = TaskType::TextClassification;
        for task in self.tasks() {
            last = task;
            rest -= self.share(task);
            if rest < 0.0 {
                break;
            }
        }
        last // rounding may leave a crumb past the last one
    }
}

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let fail = |wrong: String| Err(MixError { text: text.to_owned(), wrong });
        let mut weights = [0.0; 4];
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, weight) = part.split_once('=').map_or((part, "1"), |(n, w)| (n.trim(), w.trim()));
            let Some(tasks) = tasks_named(name) else { return fail(format!("there is no task \"{name}\"")) };
            let weight = match weight.trim_end_matches('%').parse::<f64>() {
                Ok(w) if w.is_finite() && (0.0..=1e9).contains(&w) => w,
                _ => return fail(format!("the weight \"{weight}\" is not a number from 0 up")),
            };
            for task in tasks {
                weights[task.index()] += weight / tasks.len() as f64;
            }
        }
        let sum: f64 = weights.iter().sum();
        if sum <= 0.0 {
            return fail("no task has a weight".to_owned());
        }
        Ok(Self { weights: weights.map(|w| w / sum) })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, task) in self.tasks().enumerate() {
            let gap = if i == 0 { "" } else { ", " };
            write!(f, "{gap}{} {:.4}%", short_name(task), Trimmed(100.0 * self.share(task)))?;
        }
        Ok(())
    }
}

/// A number without trailing zeros.
struct Trimmed(f64);

impl fmt::Display for Trimmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.*}", f.precision().unwrap_or(2), self.0);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_become_shares_and_clip_is_two_tasks() {
        let mix: Mix = "text=60,image=25,clip=15".parse().unwrap();
        assert!((mix.share(TaskType::TextClassification) - 0.60).abs() < 1e-12);
        assert!((mix.share(TaskType::ClipTextToImage) - 0.075).abs() < 1e-12);
        assert_eq!(mix.to_string(), "text 60%, image 25%, similarity 7.5%, search 7.5%");
        assert_eq!("image".parse::<Mix>().unwrap().pick(0.999), TaskType::ImageClassification);
    }

    #[test]
    fn picks_follow_the_shares() {
        let mix: Mix = "text=1,search=3".parse().unwrap();
        assert_eq!(mix.pick(0.0), TaskType::TextClassification);
        assert_eq!(mix.pick(0.2499), TaskType::TextClassification);
        assert_eq!(mix.pick(0.25), TaskType::ClipTextToImage);
        assert_eq!(mix.pick(0.999_999), TaskType::ClipTextToImage);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in
            [("", "no task"), ("txt=1", "txt"), ("text=x", "\"x\""), ("text=0", "weight"), ("text=-1", "-1")]
        {
            let said = text.parse::<Mix>().unwrap_err().to_string();
            assert!(said.contains(word), "{text}: {said}");
        }
    }
}

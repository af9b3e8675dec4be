//! Service level objectives: what is said on the command line, and whether it held.

use std::fmt;
use std::str::FromStr;

use super::mix::{short_name, tasks_named};
use crate::config::Span;
use crate::protocol::TaskType;

/// What an objective is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Metric {
    /// A latency percentile, 0 < q < 100.
    Percentile(f64),
    /// Mean latency.
    Mean,
    /// Least latency.
    Min,
    /// Largest latency.
    Max,
    /// Share of what was offered that got no right answer.
    ErrorRate,
    /// Right answers a second.
    Rate,
    /// Right answers a second that met the latency objective.
    Goodput,
}

/// How the measured value must lie to the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

/// One objective.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slo {
    /// The tasks it is about, as they were named; empty for all together.
    scope: String,
    metric: Metric,
    comparison: Comparison,
    /// Seconds, a share of 1, or a rate, as the metric has it.
    limit: f64,
}

/// What is wrong with an objective.
#[derive(Debug, thiserror::Error)]
#[error(
    "--slo '{text}': {wrong}; write [TASK:]METRIC<VALUE, such as 'p99<250ms', 'image:p95<400ms' or 'error_rate<1%'"
)]
pub(crate) struct SloError {
    text: String,
    wrong: String,
}

impl Slo {
    /// The tasks it is about; `None` for all together.
    pub(super) fn tasks(&self) -> Option<&'static [TaskType]> {
        tasks_named(&self.scope)
    }

    pub(super) fn metric(&self) -> Metric {
        self.metric
    }

    /// Whether a measured value keeps it.
    pub(super) fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Below => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::Above => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
        }
    }

    /// The latency, seconds, that an answer must keep to count as good for this task; `None` where
    /// this objective sets none.
    pub(super) fn latency_limit(&self, task: TaskType) -> Option<f64> {
        let about = self.tasks().is_none_or(|t| t.contains(&task));
        let latency = matches!(self.metric, Metric::Percentile(_) | Metric::Max | Metric::Mean);
        let upper = matches!(self.comparison, Comparison::Below | Comparison::AtMost);
        (about && latency && upper).then_some(self.limit)
    }
}

impl Metric {
    /// A value of it, for people.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::ErrorRate => super::report::percent(value),
            Self::Rate | Self::Goodput => super::report::rate(value),
            _ => super::report::seconds(value),
        }
    }

    fn read(name: &str) -> Option<Self> {
        Some(match name {
            "mean" => Self::Mean,
            "min" => Self::Min,
            "max" => Self::Max,
            "error_rate" => Self::ErrorRate,
            "rate" => Self::Rate,
            "goodput" => Self::Goodput,
            _ => {
                let q = name.strip_prefix('p')?.parse::<f64>().ok()?;
                return (q > 0.0 && q < 100.0).then_some(Self::Percentile(q));
            }
        })
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percentile(q) => write!(f, "p{q}"),
            Self::Mean => f.write_str("mean"),
            Self::Min => f.write_str("min"),
            Self::Max => f.write_str("max"),
            Self::ErrorRate => f.write_str("error_rate"),
            Self::Rate => f.write_str("rate"),
            Self::Goodput => f.write_str("goodput"),
        }
    }
}

impl FromStr for Slo {
    type Err = SloError;

    fn from_str(text: &str) -> Result<Self, SloError> {
        let fail = |wrong: String| SloError { text: text.to_owned(), wrong };
        let at = text.find(['<', '>']).ok_or_else(|| fail("there is no < or >".to_owned()))?;
        let (left, right) = text.split_at(at);
        let (comparison, value) = match right.as_bytes() {
            [b'<', b'=', ..] => (Comparison::AtMost, &right[2..]),
            [b'>', b'=', ..] => (Comparison::AtLeast, &right[2..]),
            [b'<', ..] => (Comparison::Below, &right[1..]),
            _ => (Comparison::Above, &right[1..]),
        };
        let (scope, name) = left.split_once(':').unwrap_or(("", left));
        let (scope, name, value) = (scope.trim(), name.trim(), value.trim());
        if left.contains(':') && tasks_named(scope).is_none() {
            return Err(fail(format!("there is no task \"{scope}\" (text, image, similarity, search, clip)")));
        }
        let metric = Metric::read(name).ok_or_else(|| {
            fail(format!("there is no metric \"{name}\" (pNN, mean, min, max, error_rate, rate, goodput)"))
        })?;
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0);
        let limit = match metric {
            Metric::ErrorRate => match value.strip_suffix('%') {
                Some(percent) => number(percent).map(|v| v / 100.0),
                None => number(value),
            }
            .filter(|share| *share <= 1.0)
            .ok_or_else(|| fail(format!("\"{value}\" is not a share; write 1% or 0.01")))?,
            Metric::Rate | Metric::Goodput => number(value.trim_end_matches("/s"))
                .ok_or_else(|| fail(format!("\"{value}\" is not a rate; write 180 or 180/s")))?,
            _ => value.parse::<Span>().map_err(&fail)?.0.as_secs_f64(),
        };
        Ok(Self { scope: scope.to_owned(), metric, comparison, limit })
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comparison = match self.comparison {
            Comparison::Below => "<",
            Comparison::AtMost => "<=",
            Comparison::Above => ">",
            Comparison::AtLeast => ">=",
        };
        let scope = match self.tasks() {
            Some([one]) => format!("{}:", short_name(*one)),
            Some(_) => format!("{}:", self.scope),
            None => String::new(),
        };
        write!(f, "{scope}{} {comparison} {}", self.metric, self.metric.show(self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Slo {
        text.parse().unwrap()
    }

    #[test]
    fn objectives_are_read_and_shown() {
        for (text, shown) in [
            ("p99<250ms", "p99 < 250ms"),
            ("error_rate<1%", "error_rate < 1%"),
            ("error_rate<=0.001", "error_rate <= 0.1%"),
            ("image:p95 < 400ms", "image:p95 < 400ms"),
            ("clip_text_to_image:max<=2s", "search:max <= 2s"),
            ("clip:mean<1", "clip:mean < 1s"),
            ("p99.9<1.5s", "p99.9 < 1.5s"),
            ("rate>=180/s", "rate >= 180/s"),
            ("goodput>90", "goodput > 90/s"),
        ] {
            assert_eq!(read(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_holds() {
        assert!(read("p99<250ms").holds(0.249));
        assert!(!read("p99<250ms").holds(0.25));
        assert!(read("p99<=250ms").holds(0.25));
        assert!(read("rate>=10").holds(10.0));
        assert!(!read("rate>10").holds(10.0));
        assert!(!read("p99<250ms").holds(f64::NAN), "no value is not a good value");
    }

    #[test]
    fn good_answers_keep_the_limit_of_their_task() {
        let slo = read("image:p95<400ms");
        assert_eq!(slo.latency_limit(TaskType::ImageClassification), Some(0.4));
        assert_eq!(slo.latency_limit(TaskType::TextClassification), None);
        assert_eq!(read("min>1ms").latency_limit(TaskType::TextClassification), None);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("p99", "no < or >"),
            ("p99=250ms", "no < or >"),
            ("p100<1s", "p100"),
            ("p<1s", "\"p\""),
            ("video:p99<1s", "video"),
            (":p99<1s", "task"),
            ("p99<fast", "fast"),
            ("error_rate<200%", "200%"),
            ("error_rate<-1%", "-1%"),
            ("rate>x", "\"x\""),
        ] {
            let said = text.parse::<Slo>().unwrap_err().to_string();
            assert!(said.contains(word), "{text}: {said}");
        }
    }
}

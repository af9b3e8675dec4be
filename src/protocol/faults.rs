//! Faults that a worker injects into its own work.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Problem, ProblemCode};

/// What a crash takes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum CrashScope {
    /// The request alone fails.
    #[default]
    Request,
    /// The whole serving process ends.
    Process,
}

/// The faults a worker injects into its own work. All off is the default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct FaultSettings {
    /// Share of requests that crash, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub crash_probability: f64,
    /// What a crash takes with it.
    pub crash_scope: CrashScope,
    /// Share of requests that are never answered, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub timeout_probability: f64,
    /// Least added network delay, seconds.
    #[schema(minimum = 0)]
    pub network_delay_min: f64,
    /// Most added network delay, seconds; drawn evenly between the two.
    #[schema(minimum = 0)]
    pub network_delay_max: f64,
    /// The model takes this many times as long (1 is normal).
    #[schema(minimum = 1)]
    pub slow_factor: f64,
    /// The model hangs: batches start and never end.
    pub hang: bool,
    /// Seed of the draws, so that a run repeats; drawn at random when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub seed: Option<u64>,
}

impl Default for FaultSettings {
    fn default() -> Self {
        Self {
            crash_probability: 0.0,
            crash_scope: CrashScope::Request,
            timeout_probability: 0.0,
            network_delay_min: 0.0,
            network_delay_max: 0.0,
            slow_factor: 1.0,
            hang: false,
            seed: None,
        }
    }
}

impl FaultSettings {
    /// The base settings once faults are asked for: 2 % crashes, 3 % time-outs, 0.1–0.8 s delay.
    pub fn base() -> Self {
        Self {
            crash_probability: 0.02,
            timeout_probability: 0.03,
            network_delay_min: 0.1,
            network_delay_max: 0.8,
            ..Self::default()
        }
    }

    /// Whether any fault is in force.
    pub fn any(&self) -> bool {
        self.crash_probability > 0.0
            || self.timeout_probability > 0.0
            || self.network_delay_max > 0.0
            || self.slow_factor > 1.0
            || self.hang
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`ProblemCode::InvalidField`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<(), Problem> {
        let bad = |name: &str, value: f64, right: &str| {
            Err(Problem::new(ProblemCode::InvalidField, format!("{name} is {value}; it must be {right}")))
        };
        for (name, p) in
            [("crash_probability", self.crash_probability), ("timeout_probability", self.timeout_probability)]
        {
            if !(0.0..=1.0).contains(&p) {
                return bad(name, p, "a probability, 0 to 1");
            }
        }
        if self.crash_probability + self.timeout_probability > 1.0 {
            let sum = self.crash_probability + self.timeout_probability;
            return bad("crash_probability + timeout_probability", sum, "at most 1");
        }
        for (name, s) in [("network_delay_min", self.network_delay_min), ("network_delay_max", self.network_delay_max)]
        {
            if !(0.0..=60.0).contains(&s) {
                return bad(name, s, "0 to 60 seconds");
            }
        }
        if self.network_delay_min > self.network_delay_max {
            return bad("network_delay_min", self.network_delay_min, "at most network_delay_max");
        }
        if !(1.0..=1000.0).contains(&self.slow_factor) {
            return bad("slow_factor", self.slow_factor, "1 to 1000");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_ranges_are_checked_and_name_the_field() {
        assert!(FaultSettings::base().validate().is_ok());
        assert!(!FaultSettings::default().any());
        let bad = FaultSettings { network_delay_min: 0.5, network_delay_max: 0.1, ..FaultSettings::default() };
        assert!(bad.validate().unwrap_err().detail.contains("network_delay_min"));
        let nan = FaultSettings { crash_probability: f64::NAN, ..FaultSettings::default() };
        assert!(nan.validate().is_err());
    }
}

//! Durations as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// A duration written as `30s`, `5ms`, `1h 30m`; a bare number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let wrong = || format!("\"{s}\" is not a duration; write 30s, 5ms or 1h30m");
        let bare = s.parse::<f64>().ok().map(|secs| Duration::try_from_secs_f64(secs).map_err(|_| wrong()));
        bare.unwrap_or_else(|| humantime::parse_duration(s).map_err(|_| wrong())).map(Self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, ms) in [("30s", 30_000), ("5ms", 5), ("1h30m", 5_400_000), ("2", 2_000), ("0.25", 250)] {
            assert_eq!(text.parse::<Span>().unwrap().0, Duration::from_millis(ms), "{text}");
        }
        for bad in ["", "fast", "-1", "1 parsec", "nan"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}

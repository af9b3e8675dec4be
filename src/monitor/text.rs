//! Numbers and names as a person reads them: units, at most five columns, truncation by display width.
//!
//! Owns only the wording of values. Which value stands where belongs to the panels.

use ratatui::style::Style;
use ratatui::text::Span;

use crate::protocol::{RequestId, TaskType};

/// What stands where there is nothing to tell.
pub(crate) const NOTHING: &str = "–";

/// A count in at most five columns: `0`, `9999`, `12.3k`, `1.2M`.
pub(crate) fn count(n: u64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")];
    if n < 10_000 {
        return n.to_string();
    }
    let n = n as f64;
    let (size, unit) = UNITS.into_iter().rev().find(|(size, _)| n >= *size).unwrap_or(UNITS[0]);
    let value = n / size;
    if value < 99.95 { format!("{value:.1}{unit}") } else { format!("{:.0}{unit}", value.min(99_999.0)) }
}

/// A rate or another small real number in at most five columns: `0`, `0.3`, `9.4`, `184`, `12.3k`.
pub(crate) fn rate(r: f64) -> String {
    if !r.is_finite() || r <= 0.0 {
        "0".to_owned()
    } else if r < 0.05 {
        "<0.1".to_owned()
    } else if r < 99.95 {
        format!("{r:.1}")
    } else {
        count(r.round() as u64)
    }
}

/// A latency in at most five columns: `<1ms`, `212ms`, `1.23s`, `12.3s`, `3m`.
pub(crate) fn latency(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        NOTHING.to_owned()
    } else if seconds == 0.0 {
        "0ms".to_owned()
    } else if seconds < 0.001 {
        "<1ms".to_owned()
    } else if seconds < 0.009_95 {
        format!("{:.1}ms", seconds * 1e3)
    } else if seconds < 0.9995 {
        format!("{:.0}ms", seconds * 1e3)
    } else if seconds < 9.995 {
        format!("{seconds:.2}s")
    } else if seconds < 99.95 {
        format!("{seconds:.1}s")
    } else {
        age(seconds)
    }
}

/// A latency where nothing was measured yet is a dash, never a false zero.
pub(crate) fn latency_of(samples: u64, seconds: f64) -> String {
    if samples == 0 { NOTHING.to_owned() } else { latency(seconds) }
}

/// How long ago, in at most four columns: `0.4s`, `12s`, `3m`, `2h`, `5d`.
pub(crate) fn age(seconds: f64) -> String {
    if !seconds.is_finite() {
        return NOTHING.to_owned();
    }
    let s = seconds.max(0.0);
    if s < 9.95 {
        format!("{s:.1}s")
    } else if s < 99.5 {
        format!("{s:.0}s")
    } else if s < 5_970.0 {
        format!("{:.0}m", s / 60.0)
    } else if s < 48.0 * 3600.0 {
        format!("{:.0}h", s / 3600.0)
    } else {
        format!("{:.0}d", (s / 86_400.0).min(9999.0))
    }
}

/// How long something has run: `01:12`, `3:04:05`, `2d 03:04`.
pub(crate) fn uptime(seconds: f64) -> String {
    let s = if seconds.is_finite() { seconds.clamp(0.0, 1e11) as u64 } else { 0 };
    let (d, h, m, s) = (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60);
    match (d, h) {
        (0, 0) => format!("{m:02}:{s:02}"),
        (0, _) => format!("{h}:{m:02}:{s:02}"),
        _ => format!("{d}d {h:02}:{m:02}"),
    }
}

/// A share in at most five columns: `0%`, `<0.1%`, `0.3%`, `12%`, `100%`.
pub(crate) fn percent(share: f64) -> String {
    let p = if share.is_finite() { share.clamp(0.0, 9.99) * 100.0 } else { 0.0 };
    if p == 0.0 {
        "0%".to_owned()
    } else if p < 0.05 {
        "<0.1%".to_owned()
    } else if p < 9.95 {
        format!("{p:.1}%")
    } else if p < 99.95 && p > 99.0 {
        // 99.9 % and 100 % are worlds apart to an operator.
        format!("{p:.1}%")
    } else {
        format!("{p:.0}%")
    }
}

/// A size in memory or on the wire: `812 KiB`, `212 MiB`, `1.4 GiB`.
pub(crate) fn bytes(n: u64) -> String {
    let n = n as f64;
    let (value, unit) = match n {
        n if n < 1024.0 => return format!("{n:.0} B"),
        n if n < 1024.0 * 1024.0 => (n / 1024.0, "KiB"),
        n if n < 1024.0 * 1024.0 * 1024.0 => (n / 1024.0 / 1024.0, "MiB"),
        n => (n / 1024.0 / 1024.0 / 1024.0, "GiB"),
    };
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// The time of day, UTC, of a moment in milliseconds since the Unix epoch: as in the log files.
pub(crate) fn time_of_day(at_ms: u64) -> String {
    let s = at_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// `1 request`, `2 requests`.
pub(crate) fn plural(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{} {what}s", count(n)) }
}

/// A task's short name, for columns and legends.
pub(crate) const fn task(task: TaskType) -> &'static str {
    match task {
        TaskType::TextClassification => "text",
        TaskType::ImageClassification => "image",
        TaskType::ClipTextSimilarity => "similar",
        TaskType::ClipTextToImage => "search",
    }
}

/// A request's id, short: ids that sort by time differ at their end.
pub(crate) fn short_id(id: &RequestId) -> String {
    const SHOWN: usize = 12;
    let id = id.as_str();
    // Ids are ASCII, so bytes are characters.
    match id.get(id.len().saturating_sub(SHOWN - 1)..) {
        Some(tail) if id.len() > SHOWN => format!("…{tail}"),
        _ => id.to_owned(),
    }
}

/// The columns that a text takes on the screen.
pub(crate) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The text, cut with `…` to at most this many columns. Never splits a character, wide or combined.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    let clean = |t: &str| -> String { t.chars().map(|c| if c.is_control() { ' ' } else { c }).collect() };
    let text = clean(text);
    if width(&text) <= columns {
        return text;
    }
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    let mut out = String::new();
    let mut used = 0;
    for grapheme in Span::raw(text.as_str()).styled_graphemes(Style::new()) {
        used += width(grapheme.symbol);
        if used > room {
            break;
        }
        out.push_str(grapheme.symbol);
    }
    out.push('…');
    out
}

/// At which side a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Names.
    Left,
    /// Numbers.
    Right,
}

/// The text in exactly this many columns.
pub(crate) fn cell(text: &str, columns: usize, side: Side) -> String {
    let text = fit(text, columns);
    let space = " ".repeat(columns.saturating_sub(width(&text)));
    match side {
        Side::Left => text + &space,
        Side::Right => space + &text,
    }
}

/// Breaks a text at spaces into lines of at most this many columns; a longer word is cut.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = fit(word, columns);
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(&word) <= columns => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_have_units_and_stay_narrow() {
        let counts = [0, 7, 9_999, 10_000, 12_345, 99_940, 99_960, 123_456, 999_999, 1_234_567, 123_456_789_000];
        insta::assert_snapshot!(counts.map(count).join(" "), @"0 7 9999 10.0k 12.3k 99.9k 100k 123k 1000k 1.2M 123G");
        let seconds = [0.0, 0.0004, 0.001, 0.0062, 0.2124, 0.9996, 1.234, 12.34, 99.96, 600.0];
        insta::assert_snapshot!(seconds.map(latency).join(" "), @"0ms <1ms 1.0ms 6.2ms 212ms 1.00s 1.23s 12.3s 2m 10m");
        let ages = [0.0, 0.44, 9.96, 61.0, 180.0, 7_200.0, 172_900.0];
        insta::assert_snapshot!(ages.map(age).join(" "), @"0.0s 0.4s 10s 61s 3m 2h 2d");
        let shares = [0.0, 0.0001, 0.003, 0.0996, 0.12, 0.995, 0.9996, 1.0];
        insta::assert_snapshot!(shares.map(percent).join(" "), @"0% <0.1% 0.3% 10% 12% 99.5% 100% 100%");
        insta::assert_snapshot!([72.0, 11_045.0, 184_000.0].map(uptime).join(" "), @"01:12 3:04:05 2d 03:06");
    }

    #[test]
    fn wide_and_combined_characters_are_never_split() {
        assert_eq!(fit("模型模型", 5), "模型…");
        assert_eq!(fit("模型模型", 4), "模…");
        assert_eq!(fit("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
        assert_eq!(cell("模", 4, Side::Right), "  模");
        assert_eq!(fit("a\u{1b}[31mb", 9), "a [31mb");
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn ids_show_their_end() {
        assert_eq!(short_id(&RequestId::try_new("test-1").unwrap()), "test-1");
        let uuid = RequestId::try_new("0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b").unwrap();
        assert_eq!(short_id(&uuid), "…c1d2e3f4a5b");
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_its_column(n: u64, x: f64, text: String, columns in 0usize..40) {
            prop_assert!(width(&count(n)) <= 6);
            prop_assert!(width(&latency(x)) <= 5, "{}", latency(x));
            prop_assert!(width(&age(x)) <= 5, "{}", age(x));
            prop_assert!(width(&percent(x)) <= 5, "{}", percent(x));
            prop_assert!(width(&fit(&text, columns)) <= columns);
            prop_assert_eq!(width(&cell(&text, columns, Side::Left)), columns);
            prop_assert!(wrap(&text, columns).iter().all(|line| width(line) <= columns));
        }
    }
}

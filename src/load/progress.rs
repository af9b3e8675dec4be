//! One line a second on standard error, where there is no terminal to draw on.

use std::io::Write;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::look::Look;
use super::report::{percent, rate, seconds};

/// How often a line is written.
const EVERY: Duration = Duration::from_secs(1);

/// Writes lines until it is told to end.
pub(super) async fn lines(looks: watch::Receiver<Look>, title: String, end: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    tick.tick().await; // the first is at once, when nothing has happened
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = tick.tick() => {}
        }
        let text = line(&title, &looks.borrow());
        // Whoever closed standard error does not want to know.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

fn line(title: &str, look: &Look) -> String {
    let [p50, _, p99] = look.recent.map(|v| v.map_or_else(|| "n/a".to_owned(), seconds));
    let counts = if look.at < 0.0 { look.lead_in } else { look.counts };
    let errors = counts.errors();
    let not_sent = if counts.not_sent > 0 { format!("  not sent {}", counts.not_sent) } else { String::new() };
    let share = counts.error_rate().map_or_else(String::new, |share| format!(" ({})", percent(share)));
    format!(
        "{title}{:>5.0}s  offered {:>7}  answered {:>7}  p50 {p50:>7}  p99 {p99:>7}  in flight {:>4}  errors {errors}{share}{not_sent}",
        look.at.round() + 0.0, // no "-0"
        rate(look.offered_rate),
        rate(look.ok_rate),
        look.in_flight,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::Counts;

    #[test]
    fn a_line_says_how_it_goes() {
        let look = Look {
            at: 12.2,
            counts: Counts { offered: 2400, not_sent: 10, sent: 2390, ok: 2370, refused: 8, ..Counts::default() },
            recent: [Some(0.0123), Some(0.05), Some(0.25)],
            offered_rate: 200.0,
            ok_rate: 198.3,
            in_flight: 12,
            ..Look::default()
        };
        insta::assert_snapshot!(line("", &look));
    }
}

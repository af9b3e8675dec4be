//! Colours and signs. Colours are the terminal's own sixteen; black and white are never named, and no
//! colour stands alone: a sign and a word say the same. On a light background yellow, cyan and green
//! of the sixteen can't be read, so there `fold` puts darker ones in their place.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Block;

use crate::protocol::{BreakerState, WorkerAction, WorkerDetail, WorkerState};

/// How the screen may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Which colours.
    pub colour: Colour,
    /// Which characters.
    pub glyphs: Glyphs,
}

/// Which colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// The terminal's sixteen, which are made for a dark background.
    Ansi,
    /// Darker ones of the 256 that xterm has, for a light background.
    OnLight,
    /// None: bold, dim and reversed alone (<https://no-color.org>).
    None,
}

/// Which characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glyphs {
    /// Box drawing, braille, blocks.
    Unicode,
    /// ASCII alone.
    Ascii,
}

/// What a text means, and so how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing in particular.
    Plain,
    /// Labels and what may be overlooked.
    Quiet,
    /// What is looked for first.
    Strong,
    /// Ours: keys, the focus.
    Accent,
    /// As it should be.
    Good,
    /// Worth knowing, nothing to do.
    Note,
    /// Look at this.
    Warn,
    /// This is broken.
    Bad,
}

impl Tone {
    /// The style.
    pub(crate) const fn style(self) -> Style {
        let style = Style::new();
        match self {
            Self::Plain => style,
            Self::Quiet => style.add_modifier(Modifier::DIM),
            Self::Strong => style.add_modifier(Modifier::BOLD),
            Self::Accent => style.fg(Color::Cyan),
            Self::Good => style.fg(Color::Green),
            Self::Note => style.fg(Color::Blue),
            Self::Warn => style.fg(Color::Yellow).add_modifier(Modifier::BOLD),
            Self::Bad => style.fg(Color::Red).add_modifier(Modifier::BOLD),
        }
    }
}

/// The colour of the same meaning that can be read on a light background: a contrast of four and more with
/// white (WCAG 2.1's formula).
pub(crate) const fn on_light(colour: Color) -> Color {
    match colour {
        Color::Cyan => Color::Indexed(30),
        Color::Green => Color::Indexed(28),
        Color::Yellow => Color::Indexed(130),
        Color::Red => Color::Indexed(160),
        Color::Blue => Color::Indexed(25),
        Color::LightBlue => Color::Indexed(26),
        Color::Magenta => Color::Indexed(127),
        Color::DarkGray => Color::Indexed(242),
        other => other,
    }
}

/// Whether `COLORFGBG` (foreground;background, or with a word between) names a light background: white, or
/// the bright ones above it but for bright black.
pub(crate) fn has_light_background(colours: &str) -> bool {
    colours.rsplit(';').next().and_then(|back| back.parse::<u8>().ok()).is_some_and(|back| back == 7 || back > 8)
}

/// The colours of a chart's lines, in the order of its legend.
pub(crate) const SERIES: [Color; 4] = [Color::Cyan, Color::Magenta, Color::Green, Color::LightBlue];

/// The row under the cursor.
pub(crate) const CURSOR: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Whether keys go to a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Focus {
    /// They do.
    Here,
    /// They don't.
    Elsewhere,
}

/// A panel's frame.
pub(crate) fn frame(title: Line<'_>, focus: Focus) -> Block<'_> {
    let border = match focus {
        Focus::Here => Tone::Accent.style().add_modifier(Modifier::BOLD),
        Focus::Elsewhere => Tone::Quiet.style(),
    };
    Block::bordered().border_style(border).title_top(title)
}

/// A panel's title.
pub(crate) fn title(focus: Focus) -> Style {
    match focus {
        Focus::Here => Tone::Accent.style().add_modifier(Modifier::BOLD),
        Focus::Elsewhere => Tone::Strong.style(),
    }
}

/// How a worker is, in a sign, a word and a tone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Badge {
    /// The sign.
    pub(crate) sign: &'static str,
    /// The word.
    pub(crate) word: &'static str,
    /// How it looks.
    pub(crate) tone: Tone,
}

impl Badge {
    /// How the coordinator says that a worker is, or what has been asked of it and is not confirmed yet.
    pub(crate) fn of(worker: &WorkerDetail, asked: Option<WorkerAction>) -> Self {
        let (sign, word, tone) = match (asked, worker.state, worker.breaker) {
            (Some(WorkerAction::Kill), ..) | (None, WorkerState::Killing, _) => ("✗", "killing…", Tone::Warn),
            (Some(WorkerAction::Revive), ..) => ("◐", "reviving", Tone::Warn),
            (Some(WorkerAction::Drain), ..) => ("◑", "drain…", Tone::Warn),
            (Some(WorkerAction::Resume), ..) => ("◑", "resume…", Tone::Warn),
            (None, WorkerState::Starting, _) => ("◐", "starting", Tone::Warn),
            (None, WorkerState::Draining, _) => ("◑", "draining", Tone::Warn),
            (None, WorkerState::Killed, _) => ("✗", "killed", Tone::Bad),
            (None, WorkerState::Crashed, _) => ("✗", "crashed", Tone::Bad),
            (None, WorkerState::Lost, _) => ("○", "lost", Tone::Bad),
            (None, WorkerState::Ready, BreakerState::Open) => ("⊘", "breaker", Tone::Bad),
            (None, WorkerState::Ready, BreakerState::HalfOpen) => ("⊘", "probing", Tone::Warn),
            (None, WorkerState::Ready, BreakerState::Closed) if worker.suspect => ("?", "suspect", Tone::Warn),
            (None, WorkerState::Ready, BreakerState::Closed) => ("●", "ready", Tone::Good),
        };
        Self { sign, word, tone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of an entry of xterm's colour cube or grey ramp.
    fn luminance(index: u8) -> f64 {
        let channel = |level: u8| {
            let v = f64::from(level) / 255.0;
            if v <= 0.03928 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        let cube = |i: u8| if i == 0 { 0 } else { 55 + 40 * i };
        let [r, g, b] = match index {
            232.. => [8 + 10 * (index - 232); 3],
            _ => [(index - 16) / 36, (index - 16) / 6 % 6, (index - 16) % 6].map(cube),
        };
        0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b)
    }

    #[test]
    fn the_background_is_the_last_of_the_colours() {
        for light in ["0;15", "0;default;15", "0;7"] {
            assert!(has_light_background(light), "{light}");
        }
        for dark in ["15;0", "7;default;0", "12;8", "0;default", ""] {
            assert!(!has_light_background(dark), "{dark}");
        }
    }

    #[test]
    fn every_colour_can_be_read_on_white() {
        let tones = [Tone::Accent, Tone::Good, Tone::Note, Tone::Warn, Tone::Bad];
        let ours = tones.iter().filter_map(|tone| tone.style().fg).chain(SERIES).chain([Color::DarkGray]);
        for colour in ours {
            let Color::Indexed(index) = on_light(colour) else { panic!("{colour} has none") };
            let contrast = 1.05 / (luminance(index) + 0.05);
            assert!(contrast >= 4.0, "{colour}: {contrast:.1}");
        }
    }
}

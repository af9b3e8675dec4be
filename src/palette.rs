//! The colours that the screens of aiq may use, and what becomes of them on a terminal with a light
//! background or without colours. Which colour means what is each screen's own affair.
//!
//! Colours are the terminal's own sixteen; black and white are never named. On a light background
//! yellow, cyan and green of the sixteen can't be read, so there `fold` puts darker ones in their place.

use ratatui::buffer::Buffer;
use ratatui::style::Color;

use crate::cli::Theme;

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

impl Colour {
    /// What the environment says: `NO_COLOR`, and `COLORFGBG` where nobody said what the background is. The
    /// terminal itself is not asked: over a slow line its answer would come late, and be read as keys.
    pub fn of_terminal(theme: Theme) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let light = match theme {
            Theme::Auto => set("COLORFGBG").is_some_and(|colours| has_light_background(&colours)),
            Theme::Dark => false,
            Theme::Light => true,
        };
        match (set("NO_COLOR"), light) {
            (Some(_), _) => Self::None,
            (None, true) => Self::OnLight,
            (None, false) => Self::Ansi,
        }
    }

    /// Adapts a drawn screen, so that no panel can forget it.
    pub(crate) fn fold(self, buffer: &mut Buffer) {
        for cell in &mut buffer.content {
            (cell.fg, cell.bg) = match self {
                Self::Ansi => return,
                Self::OnLight => (on_light(cell.fg), on_light(cell.bg)),
                Self::None => (Color::Reset, Color::Reset),
            };
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
fn has_light_background(colours: &str) -> bool {
    colours.rsplit(';').next().and_then(|back| back.parse::<u8>().ok()).is_some_and(|back| back == 7 || back > 8)
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
        use Color::{Blue, Cyan, DarkGray, Green, LightBlue, Magenta, Red, Yellow};
        for colour in [Blue, Cyan, DarkGray, Green, LightBlue, Magenta, Red, Yellow] {
            let Color::Indexed(index) = on_light(colour) else { panic!("{colour} has none") };
            let contrast = 1.05 / (luminance(index) + 0.05);
            assert!(contrast >= 4.0, "{colour}: {contrast:.1}");
        }
    }
}

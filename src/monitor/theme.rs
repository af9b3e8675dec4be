//! What colours and signs mean here. No colour stands alone: a sign and a word say the same. Which
//! colours there are, and what they become on a light background, is in [`crate::palette`].

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Block;

use crate::palette::Colour;
use crate::protocol::{BreakerState, WorkerAction, WorkerDetail, WorkerState};

/// How the screen may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Which colours.
    pub colour: Colour,
    /// Which characters.
    pub glyphs: Glyphs,
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
    use crate::palette::on_light;

    #[test]
    fn every_colour_has_one_for_a_light_background() {
        let tones = [Tone::Accent, Tone::Good, Tone::Note, Tone::Warn, Tone::Bad];
        for colour in tones.iter().filter_map(|tone| tone.style().fg).chain(SERIES) {
            assert_ne!(on_light(colour), colour);
        }
    }
}

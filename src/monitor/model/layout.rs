//! Where everything stands, by the screen's size. The view draws into these rectangles and the
//! mouse is looked up in them, so the two can't disagree.

use ratatui::layout::{Constraint, Position, Rect};

use super::Model;

/// A panel that can have the focus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Panel {
    /// The workers' table.
    Workers,
    /// The selected worker.
    Detail,
    /// Queue depth by priority.
    Queue,
    /// Answers a second by task.
    Throughput,
    /// Median and 99th percentile.
    Latency,
    /// What happened.
    Activity,
}

impl Panel {
    /// In the order of Tab.
    pub(crate) const ALL: [Self; 6] =
        [Self::Workers, Self::Detail, Self::Queue, Self::Throughput, Self::Latency, Self::Activity];
}

/// The screen, divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// There is no room for anything useful.
    TooSmall,
    /// There is.
    Screen(Screen),
}

/// The screen's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Three lines.
    pub(crate) header: Rect,
    /// All panels together.
    pub(crate) body: Rect,
    /// The panels that are shown.
    pub(crate) panels: Vec<(Panel, Rect)>,
    /// One line.
    pub(crate) footer: Rect,
}

impl Layout {
    /// The least width and height of a useful screen.
    pub(crate) const LEAST: (u16, u16) = (60, 16);
    /// From this width on several panels stand side by side.
    const SEVERAL: u16 = 80;
    /// From this width on the detail and a third chart are always there.
    const WIDE: u16 = 120;
    const HEADER: u16 = 3;
    const FOOTER: u16 = 1;

    /// Divides an area.
    pub(crate) fn of(model: &Model, area: Rect) -> Self {
        if area.width < Self::LEAST.0 || area.height < Self::LEAST.1 {
            return Self::TooSmall;
        }
        let [header, body, footer] = area.layout(&ratatui::layout::Layout::vertical([
            Constraint::Length(Self::HEADER),
            Constraint::Min(0),
            Constraint::Length(Self::FOOTER),
        ]));
        let panels = if model.data().snapshot.is_none() {
            Vec::new()
        } else if model.expanded || area.width < Self::SEVERAL {
            vec![(model.focus, body)]
        } else if area.width < Self::WIDE {
            stacked(model, body, &[Panel::Queue, Panel::Throughput])
        } else {
            let side = (area.width * 36 / 100).clamp(42, 60);
            let left = Rect { width: body.width - side, ..body };
            let right = Rect { x: body.x + left.width, width: side, ..body };
            let mut panels = stacked(model, left, &[Panel::Queue, Panel::Throughput, Panel::Latency]);
            panels.insert(1, (Panel::Detail, right));
            panels
        };
        Self::Screen(Screen { header, body, panels, footer })
    }
}

/// The table above, charts side by side, the activity below. The table takes the rows that its
/// workers need, within limits; it does not change with the filter, so that nothing jumps.
fn stacked(model: &Model, body: Rect, charts: &[Panel]) -> Vec<(Panel, Rect)> {
    const LEAST_TABLE: u16 = 6;
    const LEAST_ACTIVITY: u16 = 5;
    let charts_height = match body.height {
        0..=17 => 0,
        18..=25 => 6,
        26..=35 => 8,
        _ => 13,
    };
    let room = body.height - charts_height;
    let wanted = u16::try_from(model.data().workers().len() + 3).unwrap_or(u16::MAX);
    let least = LEAST_TABLE.max(room / 3);
    let table = wanted.clamp(least, (room - LEAST_ACTIVITY).min(room * 2 / 3).max(least));
    let mut y = body.y;
    let mut take = |height: u16| {
        let rect = Rect { y, height, ..body };
        y += height;
        rect
    };
    let mut panels = vec![(Panel::Workers, take(table))];
    if charts_height > 0 {
        let row = take(charts_height);
        let constraints = vec![Constraint::Fill(1); charts.len()];
        let places = ratatui::layout::Layout::horizontal(constraints).split(row);
        panels.extend(charts.iter().copied().zip(places.iter().copied()));
    }
    panels.push((Panel::Activity, take(room - table)));
    panels
}

impl Screen {
    /// Where a panel is, if it is shown.
    pub(crate) fn panel(&self, panel: Panel) -> Option<Rect> {
        self.panels.iter().find(|(p, _)| *p == panel).map(|(_, area)| *area)
    }

    /// The panel at a position.
    pub(crate) fn at(&self, position: Position) -> Option<(Panel, Rect)> {
        self.panels.iter().copied().find(|(_, area)| area.contains(position))
    }
}

//! Everything that the dashboard knows: what the coordinator said, what the person has chosen, and
//! what time it is. The view is a pure function of this.
//!
//! It changes only in `update`. What is on display and what is known are kept apart, so that a
//! paused screen stands still while the coordinator's data keeps coming.

mod data;
mod journal;
mod layout;
mod modal;
mod pending;
mod series;
mod table;

use std::time::Duration;

use ratatui::layout::{Rect, Size};

pub(crate) use data::{Data, Link};
pub(crate) use journal::{Entry, Journal, What};
pub(crate) use layout::{Layout, Panel};
pub(crate) use modal::{Answer, Confirm, FaultField, FaultForm, Modal, Progress, QuitChoice};
pub(crate) use pending::{Pending, PendingActions};
pub(crate) use series::{Sample, Series};
pub(crate) use table::{Column, Table, load, model_name};

use super::theme::{Look, Tone};
use super::{Fleet, Hands};
use crate::protocol::{WorkerDetail, WorkerId};

/// What does not change while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The coordinator.
    pub(crate) url: String,
    /// Whether workers may be touched.
    pub(crate) hands: Hands,
    /// Whose fleet it is.
    pub(crate) fleet: Fleet,
    /// How it is drawn.
    pub(crate) look: Look,
}

/// What the person is told for a few seconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Notice {
    /// The words.
    pub(crate) text: String,
    /// How they look.
    pub(crate) tone: Tone,
    /// Since when.
    pub(crate) since: Duration,
}

/// The rows of the activity list that are shown, and the one under the cursor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JournalView {
    /// The entry under the cursor; `None` follows the newest.
    pub(crate) selected: Option<u64>,
    /// Whether every answered request is listed, or only what is out of the ordinary.
    pub(crate) everything: bool,
}

/// The state of the dashboard.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// What does not change.
    pub(crate) setup: Setup,
    /// The terminal's size.
    pub(crate) size: Size,
    /// Time since the start, as last told.
    pub(crate) clock: Duration,
    /// What is known.
    pub(crate) live: Data,
    /// What is on display while paused, and since when.
    frozen: Option<(Box<Data>, Duration)>,
    /// The workers' table.
    pub(crate) table: Table,
    /// The activity list.
    pub(crate) journal: JournalView,
    /// First line of the detail that is shown.
    pub(crate) detail_scroll: usize,
    /// Where keys go.
    pub(crate) focus: Panel,
    /// Whether the focused panel has the whole screen.
    pub(crate) expanded: bool,
    /// How much time the charts show: an index into [`Series::WINDOWS`].
    pub(crate) window: usize,
    /// What lies over the screen.
    pub(crate) modal: Option<Modal>,
    /// What has been asked of workers and is not confirmed yet.
    pub(crate) pending: PendingActions,
    /// What the person is told for a few seconds.
    pub(crate) notice: Option<Notice>,
    /// Whether the screen differs from what was drawn last.
    pub(crate) dirty: bool,
}

impl Model {
    /// How long a notice stands.
    pub(crate) const NOTICE: Duration = Duration::from_secs(6);

    /// A dashboard that has heard nothing yet.
    pub(crate) fn new(setup: Setup, size: Size) -> Self {
        Self {
            setup,
            size,
            clock: Duration::ZERO,
            live: Data::default(),
            frozen: None,
            table: Table::default(),
            journal: JournalView::default(),
            detail_scroll: 0,
            focus: Panel::Workers,
            expanded: false,
            window: Series::DEFAULT_WINDOW,
            modal: None,
            pending: PendingActions::default(),
            notice: None,
            dirty: true,
        }
    }

    /// What is on display.
    pub(crate) fn data(&self) -> &Data {
        self.frozen.as_ref().map_or(&self.live, |(data, _)| data)
    }

    /// The time on display: while paused nothing ages.
    pub(crate) fn now(&self) -> Duration {
        self.frozen.as_ref().map_or(self.clock, |(_, since)| *since)
    }

    /// Whether the display stands still.
    pub(crate) fn paused(&self) -> bool {
        self.frozen.is_some()
    }

    /// Stops or starts the display.
    pub(crate) fn toggle_pause(&mut self) {
        self.frozen = match self.frozen.take() {
            Some(_) => None,
            None => Some((Box::new(self.live.clone()), self.clock)),
        };
    }

    /// The rectangle of the whole screen.
    pub(crate) fn area(&self) -> Rect {
        Rect::from((ratatui::layout::Position::ORIGIN, self.size))
    }

    /// The workers that the table lists, in its order.
    pub(crate) fn rows(&self) -> Vec<&WorkerDetail> {
        self.table.rows(self.data().workers())
    }

    /// The worker under the cursor, where it is listed.
    pub(crate) fn selected(&self) -> Option<&WorkerDetail> {
        let id = self.table.selected.as_ref()?;
        self.data().worker(id)
    }

    /// Its name.
    pub(crate) fn selected_id(&self) -> Option<WorkerId> {
        self.selected().map(|w| w.worker_id.clone())
    }

    /// Tells the person something.
    pub(crate) fn tell(&mut self, tone: Tone, text: impl Into<String>) {
        self.notice = Some(Notice { text: text.into(), tone, since: self.clock });
        self.dirty = true;
    }

    /// The activity entries that are listed, oldest first.
    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.data().journal.entries(self.journal.everything)
    }

    /// The activity entry under the cursor.
    pub(crate) fn selected_entry(&self) -> Option<&Entry> {
        match self.journal.selected {
            Some(n) => self.entries().find(|e| e.n == n),
            None => self.entries().next_back(),
        }
    }

    /// Makes cursors and scroll positions fit what is there now.
    pub(crate) fn settle(&mut self) {
        let screen = match Layout::of(self, self.area()) {
            Layout::Screen(screen) => screen,
            Layout::TooSmall => return,
        };
        if !screen.panels.iter().any(|(panel, _)| *panel == self.focus) {
            self.focus = screen.panels.first().map_or(Panel::Workers, |(panel, _)| *panel);
        }
        let visible = screen.panel(Panel::Workers).map_or(1, |area| Table::visible_rows(area).max(1));
        let ids: Vec<WorkerId> = self.rows().into_iter().map(|w| w.worker_id.clone()).collect();
        self.table.settle(&ids, visible);
        if let Some(n) = self.journal.selected
            && !self.entries().any(|e| e.n == n)
        {
            // The ring has moved past it: the oldest that is left is nearest.
            let oldest = self.entries().next().map(|e| e.n);
            self.journal.selected = oldest;
        }
    }
}

//! Keys while no dialog is open, and while the filter is typed.

use crate::monitor::keys::Action;
use crate::monitor::model::{
    Answer, Column, Confirm, Data, FaultForm, Layout, Link, Modal, Model, Panel, Pending, Progress, Series, Table, What,
};
use crate::monitor::msg::Effect;
use crate::monitor::theme::Tone;
use crate::monitor::view;
use crate::protocol::{EventKind, WorkerAction, WorkerDetail, WorkerState};

/// A step of a cursor or of a scrolled text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Lines(isize),
    Pages(isize),
    First,
    Last,
}

impl Step {
    pub(super) fn of(action: Action) -> Option<Self> {
        Some(match action {
            Action::Up => Self::Lines(-1),
            Action::Down => Self::Lines(1),
            Action::PageUp => Self::Pages(-1),
            Action::PageDown => Self::Pages(1),
            Action::Top => Self::First,
            Action::Bottom => Self::Last,
            _ => return None,
        })
    }

    /// The index that it leads to, of this many, with this many in sight.
    pub(super) fn from(self, index: usize, count: usize, visible: usize) -> usize {
        let last = count.saturating_sub(1);
        match self {
            Self::Lines(n) => index.saturating_add_signed(n).min(last),
            Self::Pages(n) => index.saturating_add_signed(n * visible.max(1) as isize).min(last),
            Self::First => 0,
            Self::Last => last,
        }
    }
}

/// Does what a key says.
pub(super) fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    if let Some(step) = Step::of(action) {
        step_panel(model, model.focus, step);
        return Vec::new();
    }
    match action {
        Action::Help => model.modal = Some(Modal::Help { scroll: 0 }),
        Action::Pause => model.toggle_pause(),
        Action::FocusNext => turn_focus(model, Turn::Forth),
        Action::FocusPrevious => turn_focus(model, Turn::Back),
        Action::Expand => model.expanded = !model.expanded,
        Action::Open => open(model),
        Action::Back => back(model),
        Action::Filter => {
            show(model, Panel::Workers);
            model.table.typing = true;
        }
        Action::SortNext => turn_sort(model, Turn::Forth),
        Action::SortPrevious => turn_sort(model, Turn::Back),
        Action::Invert => model.table.descending = !model.table.descending,
        Action::Everything => {
            model.journal.everything = !model.journal.everything;
            model.journal.selected = None;
        }
        Action::ZoomIn => model.window = model.window.saturating_sub(1),
        Action::ZoomOut => model.window = (model.window + 1).min(Series::WINDOWS.len() - 1),
        Action::ZoomReset => model.window = Series::DEFAULT_WINDOW,
        Action::Refresh => return refresh(model),
        Action::Kill => ask(model, WorkerAction::Kill),
        Action::Revive => return revive(model),
        Action::Drain => return drain(model),
        Action::Faults => faults(model),
        _ => {}
    }
    Vec::new()
}

/// Keys while the filter is typed; what is typed otherwise comes by [`super::modal::type_char`].
pub(super) fn filter(model: &mut Model, action: Action) -> Vec<Effect> {
    match action {
        Action::Accept => model.table.typing = false,
        Action::Cancel => {
            model.table.typing = false;
            model.table.filter.clear();
        }
        Action::Erase => {
            model.table.filter.pop();
        }
        Action::Clear => model.table.filter.clear(),
        _ => {}
    }
    Vec::new()
}

/// Moves a panel's cursor or text.
pub(super) fn step_panel(model: &mut Model, panel: Panel, step: Step) {
    let Layout::Screen(screen) = Layout::of(model, model.area()) else { return };
    let area = screen.panel(panel).unwrap_or_default();
    let inside = usize::from(area.height.saturating_sub(2));
    match panel {
        Panel::Workers => {
            let ids: Vec<_> = model.rows().into_iter().map(|w| w.worker_id.clone()).collect();
            let row = step.from(model.table.row, ids.len(), Table::visible_rows(area));
            if model.table.selected.as_ref() != ids.get(row) {
                model.detail_scroll = 0;
            }
            model.table.selected = ids.get(row).cloned();
        }
        Panel::Detail => {
            let lines = view::detail::lines(model, usize::from(area.width.saturating_sub(4))).len();
            let positions = lines.saturating_sub(inside) + 1;
            model.detail_scroll = step.from(model.detail_scroll.min(positions - 1), positions, inside);
        }
        Panel::Activity => {
            let numbers: Vec<u64> = model.entries().map(|e| e.n).collect();
            let at = model.journal.selected.and_then(|n| numbers.iter().position(|m| *m == n));
            let at = at.unwrap_or(numbers.len().saturating_sub(1));
            let to = step.from(at, numbers.len(), inside);
            // At the end the list follows what comes.
            model.journal.selected = numbers.get(to).copied().filter(|_| to + 1 < numbers.len());
        }
        Panel::Queue | Panel::Throughput | Panel::Latency => {}
    }
}

/// To the next of a ring, or to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Forth,
    Back,
}

impl Turn {
    fn from(self, at: usize, count: usize) -> usize {
        match self {
            Self::Forth => (at + 1) % count,
            Self::Back => (at + count - 1) % count,
        }
    }
}

fn turn_focus(model: &mut Model, turn: Turn) {
    let Layout::Screen(screen) = Layout::of(model, model.area()) else { return };
    // Where one panel has the screen, Tab goes through all of them.
    let panels: Vec<Panel> = match screen.panels.as_slice() {
        [] => return,
        [_] => Panel::ALL.to_vec(),
        several => several.iter().map(|(panel, _)| *panel).collect(),
    };
    let at = panels.iter().position(|p| *p == model.focus).unwrap_or(0);
    model.focus = panels[turn.from(at, panels.len())];
}

fn turn_sort(model: &mut Model, turn: Turn) {
    let at = Column::ALL.iter().position(|c| *c == model.table.sort).unwrap_or(0);
    sort_by(model, Column::ALL[turn.from(at, Column::ALL.len())]);
}

/// Names go up and numbers down at first: the largest load is what is looked for.
pub(super) fn sort_by(model: &mut Model, column: Column) {
    model.table.sort = column;
    model.table.descending = !matches!(column, Column::Name | Column::State | Column::Model);
}

/// Gives a panel the focus; on the whole screen where it has no place of its own.
pub(super) fn show(model: &mut Model, panel: Panel) {
    model.focus = panel;
    if panel == Panel::Workers {
        model.expanded = false;
    }
    let Layout::Screen(screen) = Layout::of(model, model.area()) else { return };
    if screen.panel(panel).is_none() {
        model.expanded = true;
    }
}

fn open(model: &mut Model) {
    match model.focus {
        Panel::Workers if model.selected().is_some() => {
            model.detail_scroll = 0;
            show(model, Panel::Detail);
        }
        Panel::Activity => open_entry(model),
        Panel::Queue | Panel::Throughput | Panel::Latency => model.expanded = !model.expanded,
        Panel::Workers | Panel::Detail => {}
    }
}

/// Opens a request's attempts, or goes to the worker that an entry is about.
pub(super) fn open_entry(model: &mut Model) {
    let Some(entry) = model.selected_entry().cloned() else { return };
    let worker = match entry.what.as_ref() {
        What::Event(EventKind::RequestFinished { .. } | EventKind::RequestFailed { .. }) => {
            model.modal = Some(Modal::Request { entry, scroll: 0 });
            return;
        }
        What::Event(
            EventKind::RequestRerouted { from: worker, .. }
            | EventKind::WorkerJoined { worker }
            | EventKind::WorkerLeft { worker }
            | EventKind::WorkerState { worker, .. }
            | EventKind::WorkerSuspect { worker, .. }
            | EventKind::Breaker { worker, .. }
            | EventKind::Operator { worker, .. }
            | EventKind::FaultsSet { worker, .. },
        ) => worker,
        _ => return,
    };
    if model.rows().iter().any(|w| w.worker_id == *worker) {
        model.table.selected = Some(worker.clone());
        show(model, Panel::Detail);
    } else {
        model.tell(Tone::Note, format!("{worker} is not listed now"));
    }
}

fn back(model: &mut Model) {
    if model.expanded {
        model.expanded = false;
        if model.focus == Panel::Detail {
            model.focus = Panel::Workers;
        }
    } else if model.focus == Panel::Activity && model.journal.selected.is_some() {
        model.journal.selected = None;
    } else if model.focus != Panel::Workers {
        model.focus = Panel::Workers;
    } else {
        model.table.filter.clear();
    }
}

fn refresh(model: &mut Model) -> Vec<Effect> {
    let lost = matches!(model.live.link, Link::Lost { .. });
    vec![Effect::Repaint, if lost { Effect::Reconnect } else { Effect::Refresh }]
}

/// The selected worker, or why nothing can be done to it.
fn target(model: &mut Model) -> Option<WorkerDetail> {
    if !model.live.connected() {
        model.tell(Tone::Warn, "not connected: workers can be told nothing until the coordinator answers");
        return None;
    }
    // What is known now, not what a paused screen shows.
    let known = model.selected_id().and_then(|id| Data::worker(&model.live, &id).cloned());
    if known.is_none() {
        model.tell(Tone::Note, "no worker is selected");
    }
    known
}

/// The same, for what goes over a worker's control stream.
fn managed(model: &mut Model, action: WorkerAction) -> Option<WorkerDetail> {
    let worker = target(model)?;
    if worker.managed {
        return Some(worker);
    }
    let text = format!(
        "can't {} {}: it did not register itself, so it has no control stream",
        action.as_str(),
        worker.worker_id
    );
    model.tell(Tone::Warn, text);
    None
}

/// Opens the question.
fn ask(model: &mut Model, action: WorkerAction) {
    let Some(worker) = managed(model, action) else { return };
    if action == WorkerAction::Kill && matches!(worker.state, WorkerState::Killed | WorkerState::Killing) {
        model.tell(Tone::Note, format!("{} is {} already; R revives it", worker.worker_id, worker.state));
        return;
    }
    model.modal = Some(Modal::Confirm(Confirm {
        worker: worker.worker_id,
        action,
        answer: Answer::default(),
        progress: Progress::default(),
    }));
}

fn revive(model: &mut Model) -> Vec<Effect> {
    let Some(worker) = managed(model, WorkerAction::Revive) else { return Vec::new() };
    if !matches!(worker.state, WorkerState::Killed | WorkerState::Killing | WorkerState::Crashed | WorkerState::Lost) {
        model.tell(Tone::Note, format!("{} is {}; only a dead worker can be revived", worker.worker_id, worker.state));
        return Vec::new();
    }
    begin(model, &worker, WorkerAction::Revive)
}

/// Drains a worker after a question; one that drains takes work again without one.
fn drain(model: &mut Model) -> Vec<Effect> {
    let Some(worker) = managed(model, WorkerAction::Drain) else { return Vec::new() };
    match worker.state {
        WorkerState::Draining => begin(model, &worker, WorkerAction::Resume),
        WorkerState::Ready | WorkerState::Starting => {
            ask(model, WorkerAction::Drain);
            Vec::new()
        }
        state => {
            model.tell(Tone::Note, format!("{} is {state}; there is nothing to drain", worker.worker_id));
            Vec::new()
        }
    }
}

/// Notes that something is asked of a worker, and asks it.
fn begin(model: &mut Model, worker: &WorkerDetail, action: WorkerAction) -> Vec<Effect> {
    let worker = worker.worker_id.clone();
    model.pending.begin(Pending { worker: worker.clone(), action, since: model.clock });
    vec![Effect::Act { worker, action }]
}

fn faults(model: &mut Model) {
    let Some(worker) = target(model) else { return };
    if worker.fault_injection {
        model.modal = Some(Modal::Faults(FaultForm::new(worker.worker_id, &worker.faults)));
    } else {
        let text = format!("fault injection is off on {}; start it with --faults", worker.worker_id);
        model.tell(Tone::Warn, text);
    }
}

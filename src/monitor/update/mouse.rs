//! The mouse: a click on a row, a heading, a panel, a button or the footer; the wheel.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use super::browse::{self, Step};
use super::modal;
use crate::monitor::keys::Action;
use crate::monitor::model::{Layout, Modal, Model, Panel, Table};
use crate::monitor::msg::Effect;
use crate::monitor::view;

/// Lines that one notch of the wheel scrolls.
const NOTCH: isize = 3;

/// Does what the mouse says.
pub(super) fn update(model: &mut Model, event: MouseEvent) -> Vec<Effect> {
    let at = Position { x: event.column, y: event.row };
    let effects = match event.kind {
        MouseEventKind::Down(MouseButton::Left) => click(model, at),
        MouseEventKind::ScrollUp => wheel(model, at, -1),
        MouseEventKind::ScrollDown => wheel(model, at, 1),
        _ => return Vec::new(),
    };
    model.dirty = true;
    effects
}

fn wheel(model: &mut Model, at: Position, direction: isize) -> Vec<Effect> {
    if model.modal.is_some() {
        let action = if direction < 0 { Action::Up } else { Action::Down };
        return match model.modal {
            Some(Modal::Help { .. } | Modal::Request { .. }) => modal::act(model, action),
            _ => Vec::new(),
        };
    }
    let Layout::Screen(screen) = Layout::of(model, model.area()) else { return Vec::new() };
    if let Some((panel, _)) = screen.at(at) {
        let lines = if panel == Panel::Workers { 1 } else { NOTCH };
        browse::step_panel(model, panel, Step::Lines(direction * lines));
    }
    Vec::new()
}

fn click(model: &mut Model, at: Position) -> Vec<Effect> {
    let Layout::Screen(screen) = Layout::of(model, model.area()) else { return Vec::new() };
    if model.modal.is_some() {
        return match view::dialog::button_at(model, at) {
            Some(button) => modal::press(model, button),
            None => Vec::new(),
        };
    }
    if screen.footer.contains(at) {
        return view::footer::action_at(model, screen.footer, at).map_or_else(Vec::new, |action| match action {
            Action::Quit => super::quit(model),
            action if model.table.typing => browse::filter(model, action),
            action => browse::act(model, action),
        });
    }
    model.table.typing = false;
    let Some((panel, area)) = screen.at(at) else { return Vec::new() };
    model.focus = panel;
    match panel {
        Panel::Workers => click_table(model, area, at),
        Panel::Activity => click_activity(model, area, at),
        _ => {}
    }
    Vec::new()
}

fn click_table(model: &mut Model, area: Rect, at: Position) {
    let heading = area.y + 1;
    if at.y == heading {
        let Some(column) = view::workers::column_at(model, area, at.x) else { return };
        if model.table.sort == column {
            model.table.descending = !model.table.descending;
        } else {
            browse::sort_by(model, column);
        }
    } else if let Some(row) = at.y.checked_sub(heading + 1).map(usize::from)
        && row < Table::visible_rows(area)
    {
        let id = model.rows().get(model.table.offset + row).map(|w| w.worker_id.clone());
        if let Some(id) = id {
            if model.table.selected.as_ref() != Some(&id) {
                model.detail_scroll = 0;
            }
            model.table.selected = Some(id);
        }
    }
}

/// Selects an entry; a click on the selected one opens it.
fn click_activity(model: &mut Model, area: Rect, at: Position) {
    let Some(n) = view::activity::entry_at(model, area, at.y) else { return };
    if model.journal.selected == Some(n) {
        browse::open_entry(model);
    } else {
        model.journal.selected = Some(n);
    }
}

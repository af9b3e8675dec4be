//! Keys while something lies over the screen, and what the coordinator answers to it.

use super::browse::Step;
use crate::monitor::Exit;
use crate::monitor::keys::Action;
use crate::monitor::model::{Answer, Confirm, FaultField, Modal, Model, Pending, Progress, QuitChoice, Table};
use crate::monitor::msg::Effect;
use crate::monitor::theme::Tone;
use crate::monitor::view;
use crate::protocol::{FaultSettings, WorkerAction, WorkerId};

/// Does what a key says.
pub(super) fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    let Some(modal) = model.modal.take() else { return Vec::new() };
    let (modal, effects) = match modal {
        Modal::Help { .. } | Modal::Request { .. } if action == Action::Cancel => (None, Vec::new()),
        Modal::Help { scroll } => {
            let scroll = scrolled(action, scroll, view::help::extent(model));
            (Some(Modal::Help { scroll }), Vec::new())
        }
        Modal::Request { entry, scroll } => {
            let scroll = scrolled(action, scroll, view::request::extent(model, &entry));
            (Some(Modal::Request { entry, scroll }), Vec::new())
        }
        Modal::Confirm(confirm) => confirm_key(model, confirm, action),
        Modal::Quit(choice) => quit_key(choice, action),
        Modal::Faults(form) => {
            let mut form = form;
            let effects = match action {
                Action::Cancel => return Vec::new(),
                Action::Next => {
                    form.go(form.cursor + 1);
                    Vec::new()
                }
                Action::Previous => {
                    form.go(form.cursor + FaultField::ALL.len() - 1);
                    Vec::new()
                }
                Action::Erase => {
                    form.erase();
                    Vec::new()
                }
                Action::Clear => {
                    form.texts[form.cursor].clear();
                    form.fresh = false;
                    Vec::new()
                }
                Action::AllOff => {
                    form.current = FaultSettings { seed: form.current.seed, ..FaultSettings::default() };
                    form.fill(&FaultSettings::default());
                    Vec::new()
                }
                Action::Base => {
                    form.fill(&FaultSettings::base());
                    Vec::new()
                }
                Action::Accept => match form.settings() {
                    _ if form.progress == Progress::Sent => Vec::new(),
                    Ok(faults) => {
                        form.progress = Progress::Sent;
                        vec![Effect::SetFaults { worker: form.worker.clone(), faults }]
                    }
                    Err(wrong) => {
                        form.progress = Progress::Refused(wrong);
                        Vec::new()
                    }
                },
                _ => Vec::new(),
            };
            (Some(Modal::Faults(form)), effects)
        }
    };
    model.modal = modal;
    effects
}

/// A character that no key of the table stands for.
pub(super) fn type_char(model: &mut Model, c: char) {
    match &mut model.modal {
        Some(Modal::Faults(form)) => form.type_char(c),
        Some(_) => {}
        None => {
            if !c.is_control() && model.table.filter.chars().count() < Table::MAX_FILTER {
                model.table.filter.push(c);
            }
        }
    }
}

/// Lines of a text and how many of them are in sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Lines.
    pub(crate) lines: usize,
    /// In sight.
    pub(crate) visible: usize,
}

fn scrolled(action: Action, scroll: usize, extent: Extent) -> usize {
    let positions = extent.lines.saturating_sub(extent.visible) + 1;
    let scroll = scroll.min(positions - 1);
    Step::of(action).map_or(scroll, |step| step.from(scroll, positions, extent.visible))
}

fn confirm_key(model: &mut Model, mut confirm: Confirm, action: Action) -> (Option<Modal>, Vec<Effect>) {
    let proceed = match (action, &confirm.progress) {
        (Action::Cancel, _) | (Action::Accept, Progress::Sent | Progress::Refused(_)) => return (None, Vec::new()),
        (Action::Accept, Progress::Asking) if confirm.answer == Answer::Cancel => return (None, Vec::new()),
        (Action::Accept | Action::Yes, Progress::Asking) => true,
        (Action::Next | Action::Previous, Progress::Asking) => {
            confirm.answer = confirm.answer.other();
            false
        }
        _ => false,
    };
    let effects = if proceed { send(model, &mut confirm) } else { Vec::new() };
    (Some(Modal::Confirm(confirm)), effects)
}

/// Sends what was confirmed, unless the connection has gone while the question stood.
fn send(model: &mut Model, confirm: &mut Confirm) -> Vec<Effect> {
    if !model.live.connected() {
        confirm.progress = Progress::Refused("not connected to the coordinator".to_owned());
        return Vec::new();
    }
    confirm.progress = Progress::Sent;
    let (worker, action) = (confirm.worker.clone(), confirm.action);
    model.pending.begin(Pending { worker: worker.clone(), action, since: model.clock });
    vec![Effect::Act { worker, action }]
}

fn quit_key(choice: QuitChoice, action: Action) -> (Option<Modal>, Vec<Effect>) {
    let choice = match action {
        Action::Next => choice.next(),
        Action::Previous => choice.previous(),
        Action::Cancel => return (None, Vec::new()),
        Action::Yes => return (None, vec![Effect::Quit(Exit::StopFleet)]),
        Action::Accept => {
            let exit = match choice {
                QuitChoice::Cancel => return (None, Vec::new()),
                QuitChoice::Keep => Exit::KeepFleet,
                QuitChoice::Stop => Exit::StopFleet,
            };
            return (None, vec![Effect::Quit(exit)]);
        }
        _ => choice,
    };
    (Some(Modal::Quit(choice)), Vec::new())
}

/// Presses a button with the mouse.
pub(super) fn press(model: &mut Model, button: usize) -> Vec<Effect> {
    match &mut model.modal {
        Some(Modal::Confirm(confirm)) => confirm.answer = if button == 0 { Answer::Cancel } else { Answer::Proceed },
        Some(Modal::Quit(choice)) => *choice = QuitChoice::ALL[button.min(QuitChoice::ALL.len() - 1)],
        _ => return Vec::new(),
    }
    act(model, Action::Accept)
}

/// The coordinator refused an action.
pub(super) fn refused(model: &mut Model, worker: &WorkerId, action: WorkerAction, reason: String) {
    model.dirty = true;
    let progress = Progress::Refused(reason);
    match &mut model.modal {
        Some(Modal::Confirm(confirm)) if confirm.worker == *worker && confirm.action == action => {
            confirm.progress = progress;
        }
        None => {
            let worker = worker.clone();
            model.modal = Some(Modal::Confirm(Confirm { worker, action, answer: Answer::Cancel, progress }));
        }
        Some(_) => {
            let Progress::Refused(reason) = progress else { return };
            model.tell(Tone::Bad, format!("✗ {} of {worker}: {reason}", action.as_str()));
        }
    }
}

/// The coordinator has answered the fault form.
pub(super) fn faults_set(model: &mut Model, worker: &WorkerId, reply: Result<(), String>) {
    let open = matches!(&model.modal, Some(Modal::Faults(form)) if form.worker == *worker);
    match (reply, &mut model.modal) {
        (Ok(()), _) => {
            if open {
                model.modal = None;
            }
            model.tell(Tone::Good, format!("✓ faults of {worker} are set"));
        }
        (Err(reason), Some(Modal::Faults(form))) if open => {
            form.progress = Progress::Refused(reason);
            model.dirty = true;
        }
        (Err(reason), _) => model.tell(Tone::Bad, format!("✗ faults of {worker}: {reason}")),
    }
}

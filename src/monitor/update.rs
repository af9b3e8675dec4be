//! What each message does to the model, and what it makes the dashboard ask of the world. No I/O.

mod browse;
mod modal;
mod mouse;

pub(crate) use modal::Extent;

use std::time::Duration;

use crossterm::event::{Event as TerminalEvent, KeyEvent, KeyEventKind};
use ratatui::layout::Size;

use super::keys::{self, Action, Context};
use super::model::{Layout, Link, Modal, Model, PendingActions, Progress, QuitChoice, What};
use super::msg::{Effect, Msg};
use super::theme::Tone;
use super::{Exit, Fleet};
use crate::client::Feed;
use crate::protocol::{Event, EventKind, Snapshot, WorkerAction, WorkerActionReply, WorkerId};

/// Takes a message in, at a time since the start.
pub(crate) fn update(model: &mut Model, at: Duration, msg: Msg) -> Vec<Effect> {
    model.clock = at;
    // At a thousand events a second nothing may be done for each that a frame can do once. An event
    // changes neither the rows nor the layout; the next tick or snapshot settles what it scrolled.
    let settles = !matches!(&msg, Msg::Feed(Feed::Event(event)) if !matches!(event.kind, EventKind::Snapshot(_)));
    let effects = match msg {
        Msg::Tick => {
            tick(model);
            Vec::new()
        }
        Msg::Terminal(event) => terminal(model, &event),
        Msg::Feed(feed) => {
            take_feed(model, feed);
            Vec::new()
        }
        Msg::Acted { worker, action, reply } => {
            acted(model, &worker, action, reply);
            Vec::new()
        }
        Msg::FaultsSet { worker, reply } => {
            modal::faults_set(model, &worker, reply);
            Vec::new()
        }
        Msg::Refreshed(Ok(snapshot)) => {
            take_snapshot(model, *snapshot);
            model.tell(Tone::Good, "✓ refreshed");
            Vec::new()
        }
        Msg::Refreshed(Err(reason)) => {
            model.tell(Tone::Bad, format!("✗ no snapshot: {reason}"));
            Vec::new()
        }
    };
    if settles {
        model.settle();
    }
    effects
}

/// A second has passed: ages grow, notices and unconfirmed actions end. Not while paused.
fn tick(model: &mut Model) {
    if model.paused() {
        return;
    }
    model.dirty = true;
    if model.notice.as_ref().is_some_and(|n| model.clock.saturating_sub(n.since) >= Model::NOTICE) {
        model.notice = None;
    }
    for late in model.pending.expire(model.clock) {
        let text = format!(
            "✗ {} of {} is not confirmed after {} s; the row shows what the coordinator says",
            late.action.as_str(),
            late.worker,
            PendingActions::PATIENCE.as_secs()
        );
        model.tell(Tone::Bad, text);
    }
}

fn terminal(model: &mut Model, event: &TerminalEvent) -> Vec<Effect> {
    match *event {
        TerminalEvent::Key(key) if key.kind != KeyEventKind::Release => {
            model.dirty = true;
            press(model, key)
        }
        TerminalEvent::Mouse(event) => mouse::update(model, event),
        TerminalEvent::Resize(width, height) => {
            model.size = Size { width, height };
            model.dirty = true;
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// Which keys are in force.
pub(crate) fn context(model: &Model) -> Context {
    match &model.modal {
        _ if Layout::of(model, model.area()) == Layout::TooSmall => Context::TooSmall,
        Some(Modal::Help { .. } | Modal::Request { .. }) => Context::Reader,
        Some(Modal::Confirm(confirm)) if confirm.progress != Progress::Asking => Context::Message,
        Some(Modal::Confirm(_) | Modal::Quit(_)) => Context::Question,
        Some(Modal::Faults(_)) => Context::Form,
        None if model.table.typing => Context::Filter,
        None => Context::Browse,
    }
}

fn press(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let context = context(model);
    match (keys::action(context, model.setup.hands, key), context) {
        (Some(Action::Quit), _) => quit(model),
        (Some(action), Context::Browse) => browse::act(model, action),
        (Some(action), Context::Filter) => browse::filter(model, action),
        (Some(action), _) => modal::act(model, action),
        (None, Context::Filter | Context::Form) => {
            if let Some(c) = typed(key) {
                modal::type_char(model, c);
            }
            Vec::new()
        }
        (None, _) => Vec::new(),
    }
}

fn typed(key: KeyEvent) -> Option<char> {
    use crossterm::event::{KeyCode, KeyModifiers};
    match key.code {
        KeyCode::Char(c) if !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => Some(c),
        _ => None,
    }
}

/// Closes, or asks first what becomes of a fleet that is ours. Asked twice it does not ask again.
fn quit(model: &mut Model) -> Vec<Effect> {
    let asked = matches!(model.modal, Some(Modal::Quit(_)));
    match (model.setup.fleet, context(model)) {
        (Fleet::Elsewhere, _) => vec![Effect::Quit(Exit::Quit)],
        (Fleet::Ours, Context::TooSmall) => vec![Effect::Quit(Exit::StopFleet)],
        (Fleet::Ours, _) if asked => vec![Effect::Quit(Exit::StopFleet)],
        (Fleet::Ours, _) => {
            model.modal = Some(Modal::Quit(QuitChoice::default()));
            Vec::new()
        }
    }
}

fn take_feed(model: &mut Model, feed: Feed) {
    let (now, visible) = (model.clock, !model.paused());
    match feed {
        Feed::Connected => {
            if matches!(model.live.link, Link::Lost { .. }) && model.live.snapshot.is_some() {
                model.live.journal.push(now, 0, What::Connected);
            }
            model.live.link = Link::Connected;
            model.dirty = true;
        }
        Feed::Missed(n) => {
            model.live.dropped = model.live.dropped.saturating_add(n);
            model.live.journal.push(now, 0, What::Missed(n));
            model.dirty = true;
        }
        Feed::Lost { reason, retry_in, attempt } => {
            if attempt == 1 && model.live.snapshot.is_some() {
                model.live.journal.push(now, 0, What::Lost(reason.clone()));
            }
            model.live.link = Link::Lost { reason, retry_at: now + retry_in, attempt };
            model.dirty = true;
        }
        Feed::Event(event) => take_event(model, *event, visible),
    }
}

fn take_event(model: &mut Model, event: Event, visible: bool) {
    match event {
        Event { kind: EventKind::Snapshot(snapshot), .. } => {
            take_snapshot(model, *snapshot);
            model.dirty |= visible;
        }
        event => {
            if let EventKind::WorkerState { worker, to, .. } = &event.kind {
                model.pending.confirm(worker, *to);
            }
            let notable = model.live.take(model.clock, event);
            model.dirty |= visible && (notable || model.journal.everything);
        }
    }
}

fn take_snapshot(model: &mut Model, snapshot: Snapshot) {
    for worker in &snapshot.workers {
        model.pending.confirm(&worker.worker_id, worker.state);
    }
    model.live.take_snapshot(model.clock, snapshot);
    model.dirty |= !model.paused();
}

/// The coordinator has answered an action. A refusal goes where the question was asked.
fn acted(model: &mut Model, worker: &WorkerId, action: WorkerAction, reply: Result<WorkerActionReply, String>) {
    let asked = matches!(&model.modal, Some(Modal::Confirm(c)) if c.worker == *worker && c.action == action);
    match reply {
        Ok(reply) => {
            if asked {
                model.modal = None;
            }
            model.pending.confirm(worker, reply.state);
            let rerouted = match reply.rerouted {
                0 => String::new(),
                n => format!("; {} re-routed", super::text::plural(n.into(), "request")),
            };
            model.tell(Tone::Good, format!("✓ {} of {worker} is under way{rerouted}", action.as_str()));
        }
        Err(reason) => {
            model.pending.end(worker);
            modal::refused(model, worker, action, reason);
        }
    }
}

//! What messages do: keys, the mouse, the coordinator's answers, time.

use crossterm::event::{Event as TerminalEvent, KeyCode, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::fixtures::{Bench, LARGE, SMALL, busy, id, idle, loaded, worker};
use super::screens::zoo;
use crate::client::Feed;
use crate::monitor::model::{Column, Modal, Panel};
use crate::monitor::msg::{Effect, Msg};
use crate::monitor::{Exit, Fleet, Hands};
use crate::protocol::{
    EventKind, FaultSettings, Priority, RequestId, TaskType, WorkerAction, WorkerActionReply, WorkerDetail, WorkerState,
};

fn act(name: &str, action: WorkerAction) -> Effect {
    Effect::Act { worker: id(name), action }
}

fn answer(bench: &mut Bench, action: WorkerAction, reply: Result<WorkerState, &str>) {
    let worker = id("worker-1");
    let reply =
        reply.map(|state| WorkerActionReply { worker_id: worker.clone(), state, rerouted: 0 }).map_err(str::to_owned);
    bench.tell(Msg::Acted { worker, action, reply });
}

fn mouse(bench: &mut Bench, kind: MouseEventKind, column: u16, row: u16) {
    bench.tell(Msg::Terminal(TerminalEvent::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })));
}

/// Where a text stands on the screen.
fn find(bench: &Bench, text: &str) -> (u16, u16) {
    let screen = bench.screen();
    let (y, line) = screen.lines().enumerate().find(|(_, l)| l.contains(text)).unwrap();
    (line.split(text).next().unwrap().chars().count() as u16, y as u16)
}

#[test]
fn enter_on_a_fresh_question_changes_nothing() {
    let mut bench = Bench::at_rest(SMALL);
    bench.keys("K").key(KeyCode::Enter);
    assert_eq!((&bench.model.modal, bench.effects.len()), (&None, 0));
    bench.keys("K").key(KeyCode::Tab).key(KeyCode::Enter);
    assert_eq!(bench.effects, [act("worker-1", WorkerAction::Kill)]);
}

#[test]
fn the_row_follows_a_worker_through_kill_and_revive() {
    let mut bench = Bench::at_rest(SMALL);
    let step = |bench: &mut Bench, from, to| {
        bench.event(EventKind::WorkerState { worker: id("worker-1"), from, to, reason: String::new() });
        bench.line("worker-1  ")
    };
    bench.keys("Ky");
    assert!(bench.line("worker-1  ").contains("✗ killing…"));
    answer(&mut bench, WorkerAction::Kill, Ok(WorkerState::Killing));
    assert_eq!(bench.model.modal, None);
    assert!(bench.line("worker-1  ").contains("✗ killing…"));
    assert!(step(&mut bench, WorkerState::Ready, WorkerState::Killed).contains("✗ killed"));
    bench.keys("R");
    assert_eq!(bench.effects[1..], [act("worker-1", WorkerAction::Revive)]);
    assert!(bench.line("worker-1  ").contains("◐ reviving"));
    assert!(step(&mut bench, WorkerState::Killed, WorkerState::Starting).contains("◐ starting"));
    assert!(step(&mut bench, WorkerState::Starting, WorkerState::Ready).contains("● ready"));
}

#[test]
fn an_unconfirmed_kill_gives_up_after_five_seconds_and_not_while_paused() {
    let mut bench = Bench::at_rest(SMALL);
    bench.keys("Ky");
    answer(&mut bench, WorkerAction::Kill, Ok(WorkerState::Ready));
    bench.pass(4.0);
    assert!(bench.line("worker-1  ").contains("killing…"));
    bench.keys(" ").pass(60.0);
    assert!(bench.line("worker-1  ").contains("killing…"));
    bench.keys(" ").pass(1.0);
    assert!(bench.line("worker-1  ").contains("● ready"));
    assert!(bench.screen().contains("is not confirmed after 5 s"));
}

#[test]
fn a_refusal_without_a_dialog_opens_one() {
    let mut bench = Bench::new(SMALL);
    let killed = WorkerDetail { state: WorkerState::Killed, healthy: false, ..worker(1) };
    bench.connect().snapshot(idle(vec![killed])).keys("R");
    answer(&mut bench, WorkerAction::Revive, Err("Unauthorized (401): no admin scope"));
    assert!(bench.screen().contains("no admin scope"));
    assert!(bench.line("worker-1  ").contains("✗ killed"));
}

#[test]
fn drain_asks_and_resume_does_not() {
    let mut bench = Bench::at_rest(SMALL);
    bench.keys("dy");
    assert_eq!(bench.effects, [act("worker-1", WorkerAction::Drain)]);
    answer(&mut bench, WorkerAction::Drain, Ok(WorkerState::Draining));
    bench.snapshot(idle(vec![WorkerDetail { state: WorkerState::Draining, healthy: false, ..worker(1) }])).keys("d");
    assert_eq!(bench.effects[1..], [act("worker-1", WorkerAction::Resume)]);
}

#[test]
fn faults_are_edited_in_place_and_checked_before_they_are_sent() {
    let mut bench = Bench::at_rest(SMALL);
    bench.keys("f50").key(KeyCode::Tab).keys("60").key(KeyCode::Enter);
    assert!(bench.screen().contains("at most 1"), "{}", bench.screen());
    assert_eq!(bench.effects, []);
    bench.keys("b").key(KeyCode::Enter);
    assert_eq!(bench.effects, [Effect::SetFaults { worker: id("worker-1"), faults: FaultSettings::base() }]);
    bench.tell(Msg::FaultsSet { worker: id("worker-1"), reply: Ok(()) });
    assert_eq!(bench.model.modal, None);
}

#[test]
fn what_cannot_be_done_is_said_and_not_tried() {
    let mut bench = Bench::new(SMALL);
    let off = WorkerDetail { fault_injection: false, managed: false, ..worker(1) };
    bench.connect().snapshot(idle(vec![off])).keys("f");
    assert!(bench.screen().contains("fault injection is off on worker-1"));
    bench.keys("K");
    assert!(bench.screen().contains("did not register itself"));
    bench.lose(1, 1).keys("K");
    assert!(bench.screen().contains("not connected"));
    assert_eq!((&bench.model.modal, bench.effects.len()), (&None, 0));
}

#[test]
fn a_question_that_outlives_the_connection_is_not_sent() {
    let mut bench = Bench::at_rest(SMALL);
    bench.keys("K").lose(1, 1).keys("y");
    assert_eq!(bench.effects, []);
    assert!(bench.screen().contains("not connected to the coordinator"));
}

#[test]
fn read_only_has_no_keys_that_change_the_fleet() {
    let mut bench = Bench::with(SMALL, |s| s.hands = Hands::ReadOnly);
    bench.connect().snapshot(idle(vec![worker(1)])).keys("KyRdyf");
    assert_eq!((&bench.model.modal, bench.effects.len()), (&None, 0));
    let screen = bench.screen();
    assert!(!screen.contains("kill") && screen.contains("read-only"), "{screen}");
}

#[test]
fn quitting_asks_only_where_the_fleet_is_ours() {
    let mut bench = Bench::at_rest(SMALL);
    bench.keys("q");
    assert_eq!(bench.effects, [Effect::Quit(Exit::Quit)]);
    let ours = || {
        let mut bench = Bench::with(SMALL, |s| s.fleet = Fleet::Ours);
        bench.connect().snapshot(idle(vec![worker(1)])).keys("q");
        bench
    };
    let exits = |keys: &[KeyCode]| {
        let mut bench = ours();
        for key in keys {
            bench.key(*key);
        }
        bench.effects
    };
    assert_eq!(exits(&[KeyCode::Enter]), []);
    assert_eq!(exits(&[KeyCode::Esc]), []);
    assert_eq!(exits(&[KeyCode::Tab, KeyCode::Enter]), [Effect::Quit(Exit::KeepFleet)]);
    assert_eq!(exits(&[KeyCode::Char('y')]), [Effect::Quit(Exit::StopFleet)]);
    assert_eq!(exits(&[KeyCode::BackTab, KeyCode::Enter]), [Effect::Quit(Exit::StopFleet)]);
}

#[test]
fn the_cursor_stays_on_its_worker_whatever_the_order() {
    let mut bench = Bench::under_load(SMALL);
    bench.keys("j");
    assert_eq!(bench.model.table.selected, Some(id("worker-2")));
    bench.keys("i");
    assert_eq!(bench.model.table.selected, Some(id("worker-2")));
    bench.snapshot(loaded(vec![busy(1), busy(3), busy(4)], 1));
    assert_eq!(bench.model.table.selected, Some(id("worker-3")), "the row stays when the worker leaves");
}

#[test]
fn every_column_sorts() {
    let mut bench = Bench::new(LARGE);
    bench.connect().snapshot(loaded(zoo(), 1));
    for _ in 0..Column::ALL.len() {
        bench.keys("s");
        assert!(bench.screen().contains(&format!("sort:{}", bench.model.table.sort.title().to_lowercase())));
    }
    assert_eq!(bench.model.table.sort, Column::Name);
}

#[test]
fn a_filter_needs_every_word() {
    let mut bench = Bench::new(LARGE);
    bench.connect().snapshot(loaded(zoo(), 1)).keys("/worker-1 ready").key(KeyCode::Enter);
    let names: Vec<&str> = bench.model.rows().iter().map(|w| w.worker_id.as_str()).collect();
    assert_eq!(names, ["worker-1", "worker-10", "worker-11"]);
    bench.key(KeyCode::Esc);
    assert_eq!(bench.model.rows().len(), 11);
}

#[test]
fn the_mouse_selects_sorts_scrolls_and_presses() {
    let mut bench = Bench::new(SMALL);
    bench.connect().snapshot(loaded(zoo(), 1));
    let left = MouseEventKind::Down(MouseButton::Left);
    let (x, y) = find(&bench, "worker-3  ");
    mouse(&mut bench, left, x, y);
    assert_eq!(bench.model.table.selected, Some(id("worker-3")));
    let (x, y) = find(&bench, "SCORE");
    mouse(&mut bench, left, x + 2, y);
    assert_eq!((bench.model.table.sort, bench.model.table.descending), (Column::Score, true));
    mouse(&mut bench, left, x + 2, y);
    assert!(!bench.model.table.descending);
    let before = bench.model.table.row;
    mouse(&mut bench, MouseEventKind::ScrollDown, x, y + 2);
    assert_ne!(bench.model.table.row, before);
    bench.keys("g");
    let (x, y) = find(&bench, "kill ");
    mouse(&mut bench, left, x, y.max(23));
    assert!(matches!(bench.model.modal, Some(Modal::Confirm(_))), "{}", bench.screen());
    let (x, y) = find(&bench, "[ Cancel ]");
    mouse(&mut bench, left, x + 3, y);
    assert_eq!(bench.model.modal, None);
    let (x, y) = find(&bench, "Activity");
    mouse(&mut bench, left, x, y + 1);
    assert_eq!(bench.model.focus, Panel::Activity);
}

#[test]
fn a_flood_of_answers_does_not_redraw_and_does_not_drown_the_list() {
    let mut bench = Bench::at_rest(SMALL);
    bench.event(EventKind::WorkerJoined { worker: id("worker-9") });
    for n in 0..2_000 {
        bench.model.dirty = false;
        bench.event(EventKind::RequestFinished {
            request_id: RequestId::try_new(format!("r{n}")).unwrap(),
            task: TaskType::TextClassification,
            priority: Priority::Normal,
            worker: id("worker-1"),
            latency: 0.01,
            queue_time: 0.001,
            attempts: Vec::new(),
        });
        assert!(n < 10 || !bench.model.dirty);
    }
    assert!(bench.screen().contains("worker-9 joined"));
    bench.key(KeyCode::Tab).keys("a");
    assert_eq!(bench.model.entries().len(), crate::monitor::model::Journal::MAX_ENTRIES);
}

#[test]
fn a_held_list_stands_still_and_follows_again_at_its_end() {
    let mut bench = Bench::under_load(SMALL);
    bench.key(KeyCode::BackTab).keys("kk");
    let held = bench.model.selected_entry().unwrap().n;
    bench.event(EventKind::WorkerJoined { worker: id("worker-9") });
    assert_eq!(bench.model.selected_entry().unwrap().n, held);
    bench.keys("G").event(EventKind::WorkerLeft { worker: id("worker-9") });
    assert!(bench.screen().contains("worker-9 left"));
}

#[test]
fn enter_on_an_event_of_a_worker_shows_that_worker() {
    let mut bench = Bench::under_load(SMALL);
    bench.key(KeyCode::BackTab).keys("kk").key(KeyCode::Enter);
    assert_eq!((bench.model.focus, bench.model.table.selected.clone()), (Panel::Detail, Some(id("worker-3"))));
    bench.key(KeyCode::Esc);
    assert_eq!((bench.model.focus, bench.model.expanded), (Panel::Workers, false));
}

#[test]
fn refresh_repaints_and_fetches_or_connects() {
    let mut bench = Bench::at_rest(SMALL);
    bench.keys("r").lose(3, 2).keys("r");
    assert_eq!(bench.effects, [Effect::Repaint, Effect::Refresh, Effect::Repaint, Effect::Reconnect]);
}

#[test]
fn missed_events_add_up() {
    let mut bench = Bench::at_rest(SMALL);
    bench.tell(Msg::Feed(Feed::Missed(3))).tell(Msg::Feed(Feed::Missed(4)));
    assert!(bench.line("aiq").contains("dropped 7"));
}

#[test]
fn the_screen_follows_the_terminal() {
    let mut bench = Bench::under_load(SMALL);
    bench.key(KeyCode::Enter).tell(Msg::Terminal(TerminalEvent::Resize(160, 45)));
    assert_eq!(bench.model.size, LARGE);
    bench.key(KeyCode::Esc).tell(Msg::Terminal(TerminalEvent::Resize(60, 16)));
    assert!(bench.screen().contains("worker-1"));
}

#[test]
fn the_figures_are_the_coordinators() {
    let bench = Bench::under_load(LARGE);
    let snapshot = bench.model.live.snapshot.clone().unwrap();
    let header = bench.line("Workers 3/3");
    let queue = format!("Queue {}/10k", snapshot.queue.queue_size);
    let rate = format!("{:.0} req/s", snapshot.status.throughput);
    for figure in [queue.as_str(), "In-flight 15", rate.as_str(), "err 0.3%", "failed 37", "refused 4", "retries 214"] {
        assert!(header.contains(figure), "{figure} in {header}");
    }
    let row = bench.line("worker-2  ");
    let w = &snapshot.workers[1];
    for figure in [format!("{:.1}", w.score), format!("{}/{}", w.in_flight, w.credits), w.completed.to_string()] {
        assert!(row.contains(&figure), "{figure} in {row}");
    }
}

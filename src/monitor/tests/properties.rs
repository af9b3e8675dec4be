//! No size and no sequence of keys, clicks and events panics.

use crossterm::event::{
    Event as TerminalEvent, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use proptest::prelude::*;
use ratatui::layout::Size;

use super::fixtures::{Bench, busy, idle, loaded, worker};
use super::screens::zoo;
use crate::client::Feed;
use crate::monitor::msg::Msg;
use crate::monitor::{Fleet, Glyphs};

fn key() -> impl Strategy<Value = (KeyCode, KeyModifiers)> {
    let code = prop_oneof![
        8 => proptest::char::range(' ', '~').prop_map(KeyCode::Char),
        8 => prop::sample::select("KRdfyjkgGse/?+-=i ar".chars().collect::<Vec<_>>()).prop_map(KeyCode::Char),
        1 => any::<char>().prop_map(KeyCode::Char),
        6 => prop::sample::select(vec![
            KeyCode::Enter, KeyCode::Esc, KeyCode::Tab, KeyCode::BackTab, KeyCode::Up, KeyCode::Down, KeyCode::Left,
            KeyCode::Right, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Home, KeyCode::End, KeyCode::Backspace,
            KeyCode::Delete, KeyCode::F(1),
        ]),
    ];
    let modifiers = prop_oneof![
        9 => Just(KeyModifiers::NONE),
        1 => Just(KeyModifiers::CONTROL),
        1 => Just(KeyModifiers::ALT),
    ];
    (code, modifiers)
}

#[derive(Clone, Debug)]
enum Step {
    Key(KeyCode, KeyModifiers),
    Mouse(MouseEventKind, u16, u16),
    Resize(u16, u16),
    Fleet(usize),
    History,
    Lost,
    Connected,
    Missed(u64),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let buttons = prop::sample::select(vec![
        MouseEventKind::Down(MouseButton::Left),
        MouseEventKind::ScrollUp,
        MouseEventKind::ScrollDown,
        MouseEventKind::Moved,
    ]);
    prop_oneof![
        20 => key().prop_map(|(code, modifiers)| Step::Key(code, modifiers)),
        4 => (buttons, 0u16..300, 0u16..100).prop_map(|(kind, x, y)| Step::Mouse(kind, x, y)),
        2 => (1u16..=300, 1u16..=100).prop_map(|(w, h)| Step::Resize(w, h)),
        2 => (0usize..40).prop_map(Step::Fleet),
        1 => Just(Step::History),
        1 => Just(Step::Lost),
        2 => Just(Step::Connected),
        1 => any::<u64>().prop_map(Step::Missed),
        2 => any::<u16>().prop_map(Step::Pass),
    ]
}

fn take(bench: &mut Bench, step: &Step) {
    match *step {
        Step::Key(code, modifiers) => bench.tell(Msg::Terminal(TerminalEvent::Key(KeyEvent::new(code, modifiers)))),
        Step::Mouse(kind, column, row) => {
            let event = MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE };
            bench.tell(Msg::Terminal(TerminalEvent::Mouse(event)))
        }
        Step::Resize(width, height) => bench.tell(Msg::Terminal(TerminalEvent::Resize(width, height))),
        Step::Fleet(n) if n % 2 == 0 => bench.snapshot(idle((1..=n).map(worker).collect())),
        Step::Fleet(n) => bench.snapshot(loaded((1..=n).map(busy).chain(zoo()).collect(), n)),
        Step::History => bench.history(),
        Step::Lost => bench.lose(2, 3),
        Step::Connected => bench.connect(),
        Step::Missed(n) => bench.tell(Msg::Feed(Feed::Missed(n))),
        Step::Pass(s) => bench.pass(f64::from(s) / 50.0),
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(
        width in 1u16..=300,
        height in 1u16..=100,
        ours: bool,
        ascii: bool,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut bench = Bench::with(Size { width, height }, |setup| {
            if ours {
                setup.fleet = Fleet::Ours;
            }
            if ascii {
                setup.look.glyphs = Glyphs::Ascii;
            }
        });
        for (i, step) in steps.into_iter().enumerate() {
            take(&mut bench, &step);
            if i % 5 == 0 {
                bench.buffer();
            }
        }
        let buffer = bench.buffer();
        if ascii {
            prop_assert!(buffer.content.iter().all(|cell| cell.symbol().is_ascii()));
        }
    }
}

#[test]
fn every_size_is_drawn() {
    let mut bench = Bench::under_load(Size { width: 80, height: 24 });
    for width in (1..=300).step_by(7) {
        for height in (1..=100).step_by(3) {
            bench.tell(Msg::Terminal(TerminalEvent::Resize(width, height)));
            bench.buffer();
        }
    }
}

#[test]
fn odd_figures_are_drawn() {
    let mut odd = busy(1);
    for x in [f64::MAX, -1.0, 1e300, 0.0, f64::MIN_POSITIVE] {
        odd.score = x;
        odd.success_rate = x;
        odd.throughput = x;
        odd.latency.mean = x;
        odd.latency.p99 = x;
        odd.last_seen = x;
        odd.uptime = x;
        odd.rtt = x;
        odd.mean_batch_size = x;
        odd.in_flight = u32::MAX;
        odd.completed = u64::MAX;
        odd.rss_bytes = u64::MAX;
        let mut snapshot = loaded(vec![odd.clone()], 1);
        snapshot.status.throughput = x;
        snapshot.status.uptime = x;
        snapshot.status.error_rate = x;
        snapshot.status.latency.p99 = x;
        snapshot.queue.queue_size = u64::MAX;
        snapshot.queue.oldest_age = x;
        for size in [super::fixtures::SMALL, super::fixtures::LARGE] {
            let mut bench = Bench::new(size);
            bench.connect().snapshot(snapshot.clone()).pass(1.0).snapshot(snapshot.clone()).pass(1.0);
            bench.buffer();
        }
        crate::monitor::plain::page(&snapshot, "http://h:1");
    }
}

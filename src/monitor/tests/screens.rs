//! Every state of the dashboard, as a person sees it, at 80×24 and at 160×45.

use crossterm::event::KeyCode;
use ratatui::buffer::Cell;
use ratatui::layout::Size;

use super::fixtures::{Bench, LARGE, SMALL, busy, id, idle, loaded, worker};
use crate::client::Feed;
use crate::monitor::Fleet;
use crate::monitor::fold;
use crate::monitor::msg::Msg;
use crate::monitor::{Glyphs, Hands};
use crate::palette::Colour;
use crate::protocol::{
    BreakerState, FaultSettings, LatencySummary, ModelState, Problem, ProblemCode, WorkerAction, WorkerActionReply,
    WorkerDetail, WorkerState,
};

/// Draws a state in both sizes.
fn both(name: &str, make: impl Fn(Size) -> Bench) {
    for size in [SMALL, LARGE] {
        let bench = make(size);
        insta::with_settings!({ omit_expression => true, snapshot_path => "snapshots", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("{name}@{}x{}", size.width, size.height), bench.screen());
        });
    }
}

#[test]
fn connecting() {
    both("connecting", Bench::new);
}

#[test]
fn connecting_in_vain() {
    both("connecting-in-vain", |size| {
        let mut bench = Bench::new(size);
        bench.lose(2, 4).pass(0.5);
        bench
    });
}

#[test]
fn connected_and_idle() {
    both("idle", Bench::at_rest);
}

#[test]
fn no_workers() {
    both("no-workers", |size| {
        let mut bench = Bench::new(size);
        bench.connect().snapshot(idle(Vec::new())).pass(0.4);
        bench
    });
}

#[test]
fn under_load() {
    both("load", Bench::under_load);
}

/// One worker in each state there is.
pub(super) fn zoo() -> Vec<WorkerDetail> {
    let unwell = |number: usize, state: WorkerState, reason: &str| WorkerDetail {
        state,
        healthy: false,
        reason: reason.into(),
        credits: 0,
        in_flight: 0,
        ..busy(number)
    };
    let mut starting = unwell(2, WorkerState::Starting, "");
    starting.latency = LatencySummary::default();
    starting.capabilities[1].state = ModelState::Downloading { done_bytes: 3 << 20, total_bytes: Some(14 << 20) };
    vec![
        busy(1),
        starting,
        WorkerDetail { in_flight: 4, ..unwell(3, WorkerState::Draining, "") },
        unwell(4, WorkerState::Killing, ""),
        WorkerDetail { pid: None, rss_bytes: 0, ..unwell(5, WorkerState::Killed, "killed by an operator") },
        WorkerDetail { restarts: 3, ..unwell(6, WorkerState::Crashed, "exit code 101; again in 4 s") },
        WorkerDetail { last_seen: 7.3, ..unwell(7, WorkerState::Lost, "no heartbeat for 7.3 s") },
        WorkerDetail { breaker: BreakerState::Open, success_rate: 0.41, score: 31.0, ..busy(8) },
        WorkerDetail { breaker: BreakerState::HalfOpen, score: 55.0, ..busy(9) },
        WorkerDetail {
            suspect: true,
            healthy: false,
            last_seen: 3.4,
            reason: "no heartbeat for 3.4 s".into(),
            ..busy(10)
        },
        WorkerDetail { faults: FaultSettings::base(), ..busy(11) },
    ]
}

#[test]
fn workers_in_every_state() {
    both("states", |size| {
        let mut bench = Bench::new(size);
        bench.connect().snapshot(loaded(zoo(), 3)).pass(0.4);
        bench
    });
}

#[test]
fn the_detail_explains_each_state() {
    let mut bench = Bench::new(Size { width: 80, height: 50 });
    bench.connect().snapshot(loaded(zoo(), 3)).pass(0.4);
    bench.key(KeyCode::Enter);
    insta::assert_snapshot!("detail-ready", bench.screen());
    for (name, down) in [("detail-starting", 1), ("detail-crashed", 4), ("detail-breaker", 2), ("detail-faults", 3)] {
        bench.key(KeyCode::Esc).keys(&"j".repeat(down)).key(KeyCode::Enter);
        insta::assert_snapshot!(name, bench.screen());
    }
}

#[test]
fn disconnected() {
    both("lost", |size| {
        let mut bench = Bench::under_load(size);
        bench.pass(5.0).lose(1, 1).pass(1.0).lose(4, 5).pass(2.0);
        bench
    });
}

#[test]
fn connected_again_has_a_gap_in_the_charts() {
    both("again", |size| {
        let mut bench = Bench::under_load(size);
        bench.lose(1, 1).pass(30.0).connect();
        for phase in 0..20 {
            bench.snapshot(loaded(vec![busy(1), busy(2), busy(3)], phase)).pass(1.0);
        }
        bench
    });
}

#[test]
fn paused() {
    both("paused", |size| {
        let mut bench = Bench::under_load(size);
        let before = bench.line("worker-1");
        bench.keys(" ").snapshot(idle(vec![worker(1)])).pass(30.0);
        assert_eq!(bench.line("worker-1"), before, "nothing ages, nothing changes");
        bench
    });
}

#[test]
fn filter_on() {
    both("filter", |size| {
        let mut bench = Bench::new(size);
        bench.connect().snapshot(loaded(zoo(), 3)).pass(0.4);
        bench.keys("/kill");
        bench
    });
}

#[test]
fn filter_without_a_match() {
    both("filter-nothing", |size| {
        let mut bench = Bench::at_rest(size);
        bench.keys("/moon").key(KeyCode::Enter);
        bench
    });
}

#[test]
fn kill_asked_done_and_refused() {
    both("kill-asked", |size| {
        let mut bench = Bench::under_load(size);
        bench.keys("jK");
        bench
    });
    both("kill-sent", |size| {
        let mut bench = Bench::under_load(size);
        bench.keys("jKy");
        bench
    });
    both("kill-done", |size| {
        let mut bench = Bench::under_load(size);
        bench.keys("jKy");
        let (worker, action) = (id("worker-2"), WorkerAction::Kill);
        let reply = WorkerActionReply { worker_id: worker.clone(), state: WorkerState::Killing, rerouted: 5 };
        bench.tell(Msg::Acted { worker: worker.clone(), action, reply: Ok(reply) });
        bench
    });
    both("kill-refused", |size| {
        let mut bench = Bench::under_load(size);
        bench.keys("jKy");
        let problem = Problem::new(ProblemCode::Unauthorized, "this token has no admin scope");
        let reply = Err(problem.to_string());
        bench.tell(Msg::Acted { worker: id("worker-2"), action: WorkerAction::Kill, reply });
        bench
    });
}

#[test]
fn kill_of_the_last_that_can() {
    both("kill-last", |size| {
        let mut bench = Bench::new(size);
        bench.connect().snapshot(loaded(vec![busy(1)], 3)).pass(0.4);
        bench.keys("K").key(KeyCode::Tab);
        bench
    });
}

#[test]
fn drain_asked() {
    both("drain-asked", |size| {
        let mut bench = Bench::under_load(size);
        bench.keys("d");
        bench
    });
}

#[test]
fn fault_form() {
    both("faults", |size| {
        let mut bench = Bench::under_load(size);
        bench.keys("fb").key(KeyCode::Tab).keys("12");
        bench
    });
    both("faults-wrong", |size| {
        let mut bench = Bench::under_load(size);
        bench.keys("f").keys("140").key(KeyCode::Enter);
        bench
    });
}

#[test]
fn help() {
    both("help", |size| {
        let mut bench = Bench::under_load(size);
        bench.keys("?");
        bench
    });
}

#[test]
fn help_read_only() {
    both("help-read-only", |size| {
        let mut bench = Bench::with(size, |s| s.hands = Hands::ReadOnly);
        bench.connect().snapshot(idle(vec![worker(1)])).keys("?");
        bench
    });
}

#[test]
fn events_missed() {
    both("missed", |size| {
        let mut bench = Bench::under_load(size);
        bench.tell(Msg::Feed(Feed::Missed(12)));
        bench
    });
}

#[test]
fn a_request_and_its_attempts() {
    both("request", |size| {
        let mut bench = Bench::under_load(size);
        bench.key(KeyCode::BackTab).keys("k").key(KeyCode::Enter);
        bench
    });
}

#[test]
fn quitting_with_a_fleet() {
    both("quit", |size| {
        let mut bench = Bench::with(size, |s| s.fleet = Fleet::Ours);
        bench.connect().snapshot(loaded(vec![busy(1), busy(2), busy(3)], 3)).keys("q");
        bench
    });
}

#[test]
fn many_workers_scroll() {
    both("many", |size| {
        let mut bench = Bench::new(size);
        let fleet = (1..=50).map(|n| WorkerDetail { score: 100.0 - n as f64, in_flight: n as u32 % 9, ..busy(n) });
        bench.connect().snapshot(loaded(fleet.collect(), 3)).pass(0.4);
        bench.key(KeyCode::PageDown).keys("jj");
        bench
    });
}

#[test]
fn long_and_wide_names() {
    both("wide", |size| {
        let mut bench = Bench::with(size, |s| s.url = format!("http://{}.example.org:8000", "coordinator".repeat(9)));
        let mut long = busy(1);
        long.worker_id = id(&"inference-eu-west-".repeat(3));
        long.capabilities[0].model_info = "感情分析モデル大規模版".into();
        long.reason = "理由\u{1b}[31m red".into();
        bench.connect().snapshot(loaded(vec![long, busy(2)], 3)).pass(0.4);
        bench
    });
}

#[test]
fn one_panel_at_a_time() {
    let size = Size { width: 66, height: 20 };
    let mut bench = Bench::under_load(size);
    for panel in ["workers", "detail", "queue", "throughput", "latency", "activity"] {
        insta::assert_snapshot!(format!("narrow-{panel}"), bench.screen());
        bench.key(KeyCode::Tab);
    }
}

#[test]
fn an_expanded_chart() {
    let mut bench = Bench::under_load(SMALL);
    bench.key(KeyCode::Tab).keys("e+");
    insta::assert_snapshot!("expanded-queue", bench.screen());
}

#[test]
fn the_least_wide_screen() {
    insta::assert_snapshot!("at-120x30", Bench::under_load(Size { width: 120, height: 30 }).screen());
    insta::assert_snapshot!("at-60x16", Bench::under_load(Size { width: 60, height: 16 }).screen());
    insta::assert_snapshot!("at-100x18", Bench::under_load(Size { width: 100, height: 18 }).screen());
}

#[test]
fn too_small() {
    for size in [Size { width: 59, height: 24 }, Size { width: 80, height: 15 }, Size { width: 9, height: 2 }] {
        let mut bench = Bench::under_load(size);
        insta::assert_snapshot!(format!("too-small@{}x{}", size.width, size.height), bench.screen());
        bench.keys("Kq");
        assert_eq!(bench.effects, [crate::monitor::msg::Effect::Quit(crate::monitor::Exit::Quit)]);
    }
}

#[test]
fn plain_output() {
    insta::assert_snapshot!("once", crate::monitor::plain::page(&loaded(zoo(), 3), "http://127.0.0.1:8000"));
    insta::assert_snapshot!("once-no-workers", crate::monitor::plain::page(&idle(Vec::new()), "http://h:1"));
}

#[test]
fn ascii_is_ascii_and_no_colour_is_none() {
    for size in [SMALL, LARGE] {
        let mut bench = Bench::under_load(size);
        for symbol in bench.buffer().content.iter().map(Cell::symbol).filter(|s| !s.is_ascii()) {
            assert_ne!(fold::ascii(symbol.chars().next().unwrap()), '?', "{symbol}");
        }
        bench.model.setup.look.glyphs = Glyphs::Ascii;
        bench.model.setup.look.colour = Colour::None;
        let buffer = bench.buffer();
        for cell in &buffer.content {
            assert!(cell.symbol().is_ascii(), "{:?}", cell.symbol());
            assert_eq!((cell.fg, cell.bg), (ratatui::style::Color::Reset, ratatui::style::Color::Reset));
        }
        insta::assert_snapshot!(format!("ascii@{}x{}", size.width, size.height), bench.screen());
    }
}

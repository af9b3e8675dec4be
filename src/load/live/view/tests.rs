use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::load::record::Counts;
use crate::load::verdict::SloOutcome;
use crate::protocol::WorkerId;

fn rows(n: u64) -> Vec<Second> {
    let row = |i: u64| Second {
        at: i as f64,
        offered: if i % 5 == 4 { 220 } else { 20 },
        ok: match i % 5 {
            4 => 150,
            0 if i > 0 => 90,
            _ => 20,
        },
        refused: if i == 14 { 30 } else { 0 },
        p50: Some(0.02),
        p95: Some(0.1),
        p99: Some(if i % 5 == 4 { 0.9 } else { 0.05 }),
        max: Some(1.0),
        ..Second::default()
    };
    (0..n).map(row).collect()
}

fn scene() -> Scene {
    let slo = |slo: &str, shown: &str, held| SloOutcome {
        slo: slo.to_owned(),
        measured: None,
        shown: shown.to_owned(),
        held,
        note: String::new(),
    };
    let mark = |at: f64, what: &str, ours| Mark {
        at,
        worker: WorkerId::try_new("worker-1").unwrap(),
        what: what.to_owned(),
        ours,
        failed: None,
    };
    Scene {
        target: "http://127.0.0.1:8000".to_owned(),
        what: "20/s and 200 at once every 5s for 30s".to_owned(),
        shape: Shape::burst(crate::load::schedule::Bursts { size: 200, every: 5.0, base_rate: 20.0 }, 30.0),
        requests: None,
        look: Look {
            at: 17.4,
            counts: Counts { offered: 950, sent: 950, ok: 900, refused: 30, good: 800, ..Counts::default() },
            lead_in: Counts::default(),
            recent: [Some(0.021), Some(0.48), Some(0.93)],
            offered_rate: 86.7,
            ok_rate: 76.7,
            in_flight: 20,
            lag: Some(0.000_14),
            errors: vec![("queue_full".to_owned(), Group::Refused, 30)],
            slos: vec![slo("p99 < 250ms", "930ms", false), slo("error_rate < 5%", "3.16%", true)],
            rows: rows(17).into(),
        },
        marks: vec![mark(8.0, "kill", true), mark(8.2, "killed", false), mark(13.0, "revive", true)],
        notes: Vec::new(),
        ending: false,
        colour: Colour::Ansi,
    }
}

fn drawn(scene: &Scene, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(scene, frame)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn under_load() {
    insta::assert_snapshot!("live_80x24", drawn(&scene(), 80, 24));
    insta::assert_snapshot!("live_140x40", drawn(&scene(), 140, 40));
}

#[test]
fn before_anything_happened() {
    let fresh = Scene { look: Look { at: -2.0, ..Look::default() }, marks: Vec::new(), ..scene() };
    insta::assert_snapshot!("live_fresh", drawn(&fresh, 80, 24));
}

#[test]
fn while_it_ends_and_between_trials() {
    let notes = (1..=3).map(|i| format!(" trial {i}")).collect();
    let ending = Scene { ending: true, notes, requests: Some(1000), ..scene() };
    insta::assert_snapshot!("live_ending", drawn(&ending, 80, 24));
}

#[test]
fn no_screen_is_too_small_to_draw_on() {
    for (width, height) in [(1, 1), (20, 5), (49, 12), (50, 12), (60, 14), (300, 100)] {
        let text = drawn(&scene(), width, height);
        assert!(width < 40 || height < 5 || text.contains("q "), "{width}×{height}:\n{text}");
    }
}

#[test]
fn other_terminals_get_other_colours() {
    let colours = |colour: Colour| {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(&Scene { colour, ..scene() }, frame)).unwrap();
        let cells = &terminal.backend().buffer().content;
        cells.iter().map(|cell| cell.fg).filter(|fg| *fg != Color::Reset).collect::<Vec<_>>()
    };
    assert!(colours(Colour::Ansi).contains(&Color::Green));
    let on_light = colours(Colour::OnLight);
    assert!(!on_light.is_empty() && on_light.iter().all(|fg| matches!(fg, Color::Indexed(_))), "{on_light:?}");
    assert_eq!(colours(Colour::None), []);
}

//! The pictures of `docs/monitor.md`, made from the real screens: `just screenshots` writes them,
//! and without its variable the test holds that they are up to date.

use std::fmt::Write;
use std::path::Path;

use crossterm::event::KeyCode;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Size;
use ratatui::style::{Color, Modifier};

use super::fixtures::{Bench, LARGE, SMALL, loaded};
use super::screens::zoo;

const CELL_WIDTH: f64 = 8.4;
const CELL_HEIGHT: f64 = 17.0;
const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d5d8de";

/// The colours of a calm dark terminal.
fn hex(colour: Color) -> &'static str {
    match colour {
        Color::Red => "#e5616e",
        Color::Green => "#7fc37e",
        Color::Yellow => "#e0b25c",
        Color::Blue | Color::LightBlue => "#6fa8e8",
        Color::Magenta => "#c58be0",
        Color::Cyan => "#5cc3cc",
        Color::DarkGray => "#666b76",
        _ => FOREGROUND,
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn style(cell: &Cell) -> (&'static str, Option<&'static str>, bool, bool, bool) {
    let has = |m| cell.modifier.contains(m);
    let (mut fg, mut bg) = (hex(cell.fg), None);
    if has(Modifier::REVERSED) {
        bg = Some(fg);
        fg = BACKGROUND;
    }
    (fg, bg, has(Modifier::BOLD), has(Modifier::DIM), has(Modifier::UNDERLINED))
}

/// A buffer as SVG: one `text` for each run of one style, its length fixed so that columns align
/// whatever the font.
fn svg(buffer: &Buffer) -> String {
    let (columns, rows) = (f64::from(buffer.area.width), f64::from(buffer.area.height));
    let (width, height) = (columns * CELL_WIDTH + 20.0, rows * CELL_HEIGHT + 20.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    for y in 0..buffer.area.height {
        let mut x = 0;
        while x < buffer.area.width {
            let first = style(&buffer[(x, y)]);
            let start = x;
            let mut text = String::new();
            while x < buffer.area.width && style(&buffer[(x, y)]) == first {
                text.push_str(buffer[(x, y)].symbol());
                x += 1;
            }
            run(&mut out, (start, y), x - start, &text, first);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn run(
    out: &mut String,
    (x, y): (u16, u16),
    cells: u16,
    text: &str,
    (fg, bg, bold, dim, underlined): (&str, Option<&str>, bool, bool, bool),
) {
    let (left, top) = (f64::from(x) * CELL_WIDTH + 10.0, f64::from(y) * CELL_HEIGHT + 10.0);
    let width = f64::from(cells) * CELL_WIDTH;
    if let Some(bg) = bg {
        let _ =
            writeln!(out, "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"17\" fill=\"{bg}\"/>");
    }
    if text.trim().is_empty() {
        return;
    }
    let mut extra = String::new();
    if bold {
        extra.push_str(" font-weight=\"bold\"");
    }
    if dim {
        extra.push_str(" opacity=\"0.55\"");
    }
    if underlined {
        extra.push_str(" text-decoration=\"underline\"");
    }
    let base = top + 13.0;
    let text = escaped(text);
    let _ = writeln!(
        out,
        "<text xml:space=\"preserve\" x=\"{left:.1}\" y=\"{base:.1}\" textLength=\"{width:.1}\" \
         lengthAdjust=\"spacingAndGlyphs\" fill=\"{fg}\"{extra}>{text}</text>"
    );
}

fn check(name: &str, bench: &Bench) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images").join(format!("monitor-{name}.svg"));
    let picture = svg(&bench.buffer());
    if std::env::var_os("AIQ_PICTURES").is_some_and(|v| v == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &picture).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == picture, "{} is out of date; write it with AIQ_PICTURES=write", path.display());
}

#[test]
fn pictures_are_up_to_date() {
    check("wide", &Bench::under_load(LARGE));
    check("small", &Bench::under_load(SMALL));
    let mut trouble = Bench::new(Size { width: 110, height: 30 });
    trouble.connect().snapshot(loaded(zoo(), 3)).history().pass(0.4);
    check("trouble", &trouble);
    let mut kill = Bench::under_load(SMALL);
    kill.keys("jK");
    check("kill", &kill);
    let mut request = Bench::under_load(SMALL);
    request.key(KeyCode::BackTab).keys("k").key(KeyCode::Enter);
    check("request", &request);
    let mut lost = Bench::under_load(SMALL);
    lost.pass(5.0).lose(1, 1).pass(1.0).lose(4, 5).pass(2.0);
    check("lost", &lost);
}

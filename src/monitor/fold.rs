//! Takes colours or characters away that the terminal is not to be sent. It works on the drawn
//! buffer, so that no panel can forget it.

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};

use super::theme::{Glyphs, Look};
use crate::palette::Colour;

/// Adapts a drawn screen.
pub(crate) fn fold(buffer: &mut Buffer, look: Look) {
    look.colour.fold(buffer);
    if look.glyphs == Glyphs::Unicode {
        return;
    }
    for cell in &mut buffer.content {
        if !cell.symbol().is_ascii() {
            let plain = cell.symbol().chars().next().map_or(' ', ascii);
            cell.set_char(plain);
        }
    }
}

/// Dims an area whose data is old. Grey where there are colours, since not every terminal can dim.
pub(crate) fn dim(buffer: &mut Buffer, area: Rect, look: Look) {
    let area = area.intersection(buffer.area);
    for position in area.positions() {
        let Some(cell) = buffer.cell_mut(position) else { continue };
        dim_cell(cell, look.colour);
    }
}

fn dim_cell(cell: &mut Cell, colour: Colour) {
    cell.modifier.remove(Modifier::BOLD);
    match colour {
        Colour::Ansi | Colour::OnLight => {
            cell.modifier.remove(Modifier::DIM);
            cell.set_fg(Color::DarkGray);
        }
        Colour::None => cell.modifier.insert(Modifier::DIM),
    }
}

/// The nearest ASCII character.
pub(crate) fn ascii(c: char) -> char {
    match c {
        c if c.is_ascii() => c,
        '─' | '━' | '–' | '·' | '▃' => '-',
        '│' | '┃' | '▏' | '▎' | '▍' | '▌' => '|',
        '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┬' | '┴' | '┼' | '▅' => '+',
        '…' => '~',
        '▸' | '→' => '>',
        '←' | '≤' => '<',
        '▲' | '↑' => '^',
        '▼' | '↓' => 'v',
        '●' | '✓' | '■' | '▆' => '*',
        '◐' | '◑' | '▇' => '%',
        '○' | '□' => 'o',
        '✗' | '×' => 'x',
        '⊘' => '!',
        '↻' | '↷' => '@',
        '⏎' => 'E',
        '‖' => '"',
        '▁' => '_',
        '▂' | '░' => '.',
        '▄' => '=',
        '█' | '▉' | '▊' | '▋' => '#',
        '\u{2800}'..='\u{28ff}' => braille(c as u32 - 0x2800),
        '\u{a0}' => ' ',
        _ => '?',
    }
}

/// Braille dots by where they are: above, below, both, many.
fn braille(dots: u32) -> char {
    const UPPER: u32 = 0b0001_1011;
    match (dots & UPPER, dots & !UPPER) {
        (0, 0) => ' ',
        _ if dots.count_ones() > 5 => '#',
        (_, 0) => '\'',
        (0, _) => '.',
        _ => ':',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braille_keeps_its_height() {
        assert_eq!(ascii('\u{2800}'), ' ');
        assert_eq!(ascii('⠉'), '\'');
        assert_eq!(ascii('⣀'), '.');
        assert_eq!(ascii('⡇'), ':');
        assert_eq!(ascii('⣿'), '#');
    }
}

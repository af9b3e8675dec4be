//! Lines and filled areas in braille, two by four dots a character.
//!
//! Time is cut into bins that are aligned to the clock and not to the screen's edge, so that a
//! line moves to the left and never shimmers. A second without a sample is a gap.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

use crate::monitor::text::{Side, cell};
use crate::monitor::theme::Tone;

/// One line of a plot: seconds and values, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    /// When and what; `None` where nothing was measured.
    pub(super) points: Vec<(f64, Option<f64>)>,
    /// Its colour.
    pub(super) colour: Color,
}

/// Whether what is under a line is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// The line alone.
    Line,
    /// Down to zero.
    Area,
}

/// A plot.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    /// The lines; later ones lie over earlier ones.
    pub(super) traces: Vec<Trace>,
    /// Whether they are filled.
    pub(super) fill: Fill,
    /// The time at the right edge, seconds.
    pub(super) now: f64,
    /// How much time is shown, seconds.
    pub(super) window: f64,
    /// The least value at the upper edge, so that a quiet chart is flat.
    pub(super) least_top: f64,
    /// How the axis is written.
    pub(super) label: fn(f64) -> String,
}

/// Samples that are further apart than this are not joined, seconds.
const GAP: f64 = 2.6;
/// Columns of the axis.
const AXIS: u16 = 6;

impl Plot {
    /// Draws it, its axis at the left.
    pub(super) fn draw(&self, buffer: &mut Buffer, area: Rect) {
        if area.width <= AXIS + 2 || area.height == 0 {
            return;
        }
        let top = self.top();
        let canvas = Rect { x: area.x + AXIS, width: area.width - AXIS, ..area };
        self.axis(buffer, area, top);
        let mut dots = Dots::new(canvas);
        for trace in &self.traces {
            self.trace(trace, top, &mut dots);
        }
        dots.draw(buffer, canvas);
    }

    /// The value at the upper edge: a round number above all values in sight.
    fn top(&self) -> f64 {
        let since = self.now - self.window;
        let points = self.traces.iter().flat_map(|t| &t.points).filter(|(at, _)| *at >= since);
        let largest = points.filter_map(|(_, v)| *v).filter(|v| v.is_finite()).fold(self.least_top, f64::max);
        let power = 10f64.powf(largest.log10().floor());
        let steps = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].map(|step| step * power);
        steps.into_iter().find(|step| *step >= largest * 0.999).unwrap_or(largest)
    }

    fn axis(&self, buffer: &mut Buffer, area: Rect, top: f64) {
        let label = |value: f64| cell(&(self.label)(value), usize::from(AXIS) - 1, Side::Right);
        let last = area.height - 1;
        let mut labels = vec![(0, top)];
        if last >= 4 && last.is_multiple_of(2) {
            labels.push((last / 2, top / 2.0));
        }
        if last > 0 {
            labels.push((last, 0.0));
        }
        for (row, value) in labels {
            buffer.set_stringn(area.x, area.y + row, label(value), usize::from(AXIS), Tone::Quiet.style());
        }
        for y in area.y..area.bottom() {
            buffer.set_stringn(area.x + AXIS - 1, y, "│", 1, Tone::Quiet.style());
        }
    }

    fn trace(&self, trace: &Trace, top: f64, dots: &mut Dots) {
        let bin = self.window / dots.width.max(1) as f64;
        // The bin of the right edge; an event in it is at the last column of dots.
        let edge = (self.now / bin).floor() as i64;
        let (width, rows) = (dots.width as i64, dots.height.saturating_sub(1) as f64);
        let column = |at: f64| (at / bin).floor() as i64 - edge + width - 1;
        let height = |value: f64| ((value / top).clamp(0.0, 1.0) * rows).round() as i64;
        let mut before: Option<(f64, i64, i64)> = None;
        for (at, value) in &trace.points {
            let Some(value) = value.filter(|v| v.is_finite()) else {
                before = None;
                continue;
            };
            let (x, y) = (column(*at), height(value));
            match before {
                Some((earlier, x0, y0)) if at - earlier <= GAP && x >= 0 => {
                    dots.segment((x0, y0), (x, y), self.fill, trace.colour);
                }
                _ => dots.mark(x, y, self.fill, trace.colour),
            }
            before = Some((*at, x, y));
        }
    }
}

/// A raster of dots with one colour for each character.
struct Dots {
    width: usize,
    height: usize,
    cells: Vec<(u8, Color)>,
    columns: usize,
}

impl Dots {
    fn new(area: Rect) -> Self {
        let (columns, rows) = (usize::from(area.width), usize::from(area.height));
        Self { width: columns * 2, height: rows * 4, cells: vec![(0, Color::Reset); columns * rows], columns }
    }

    /// Sets a dot; `y` counts from below.
    fn set(&mut self, x: i64, y: i64, colour: Color) {
        /// The bit of each dot of a braille character (Unicode, chapter 21.1), row by row.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x >= self.width || y >= self.height {
            return;
        }
        let y = self.height - 1 - y;
        let cell = &mut self.cells[y / 4 * self.columns + x / 2];
        cell.0 |= BITS[y % 4][x % 2];
        cell.1 = colour;
    }

    fn mark(&mut self, x: i64, y: i64, fill: Fill, colour: Color) {
        let from = if fill == Fill::Area { 0 } else { y };
        for y in from..=y {
            self.set(x, y, colour);
        }
    }

    /// A line between two points, the upright parts closed.
    fn segment(&mut self, (x0, y0): (i64, i64), (x1, y1): (i64, i64), fill: Fill, colour: Color) {
        let width = x1 - x0;
        if width <= 0 {
            let (low, high) = (y0.min(y1), y0.max(y1));
            for y in low..=high {
                self.mark(x1, y, fill, colour);
            }
            return;
        }
        let mut last = y0;
        for x in x0.max(0)..=x1 {
            let y = y0 + ((y1 - y0) as f64 * (x - x0) as f64 / width as f64).round() as i64;
            if x < x0.max(0) + 1 {
                last = y;
            }
            let (low, high) = (last.min(y), last.max(y));
            for y in low..=high {
                self.mark(x, y, fill, colour);
            }
            last = y;
        }
    }

    fn draw(&self, buffer: &mut Buffer, area: Rect) {
        for (i, (dots, colour)) in self.cells.iter().enumerate() {
            if *dots == 0 {
                continue;
            }
            let (x, y) = (area.x + (i % self.columns) as u16, area.y + (i / self.columns) as u16);
            if let (Some(cell), Some(c)) = (buffer.cell_mut((x, y)), char::from_u32(0x2800 + u32::from(*dots))) {
                cell.set_char(c).set_style(Style::new().fg(*colour));
            }
        }
    }
}

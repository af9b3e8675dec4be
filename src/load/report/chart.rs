//! Bars of text: the timeline at a glance, in a terminal and in Markdown.

use std::fmt::Write;

/// Columns of eighths of a block.
#[derive(Clone, Debug)]
pub(in crate::load) struct Bars {
    /// A value for each column; `None` leaves it blank.
    pub(in crate::load) values: Vec<Option<f64>>,
    /// Where each column is reached for, marked with a dot above its bar.
    pub(in crate::load) goals: Vec<Option<f64>>,
    /// Lines.
    pub(in crate::load) height: usize,
}

const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Width of the labels at the left.
const MARGIN: usize = 9;

impl Bars {
    /// The lines, top first, each beginning with a label of the value at its top where there is one.
    pub(in crate::load) fn lines(&self, show: impl Fn(f64) -> String) -> Vec<String> {
        let top = self.values.iter().chain(&self.goals).flatten().copied().fold(0.0, f64::max);
        let steps = (self.height * 8) as f64;
        let eighths = |value: f64| if top > 0.0 { (value / top * steps).round() as usize } else { 0 };
        let mut lines = Vec::with_capacity(self.height);
        for line in 0..self.height {
            let floor = (self.height - 1 - line) * 8;
            let label = match line {
                0 => show(top),
                n if n + 1 == self.height => "0".to_owned(),
                _ => String::new(),
            };
            let mut text = format!("{label:>width$} │", width = MARGIN - 2);
            for (i, value) in self.values.iter().enumerate() {
                // Something is never drawn as nothing.
                let full = value.map_or(0, |v| if v > 0.0 { eighths(v).max(1) } else { 0 });
                let goal = self.goals.get(i).copied().flatten().map_or(0, eighths);
                let here = full.saturating_sub(floor).min(8);
                let dot = here == 0 && goal > floor && goal <= floor + 8;
                text.push(if dot { '·' } else { EIGHTHS[here] });
            }
            lines.push(text.trim_end().to_owned());
        }
        lines
    }
}

/// How rows lie in the columns of a chart: several rows share a column in a long run, and a row has
/// several columns in a short one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::load) struct Columns {
    rows: usize,
    /// Rows to a column.
    rows_each: usize,
    /// Columns to a row; one of the two is 1.
    wide: usize,
}

impl Columns {
    /// Widest that a row gets: beyond it a chart looks like a few blocks.
    const WIDEST: usize = 3;

    /// Lays so many rows out in at most `width` columns.
    pub(in crate::load) fn fit(rows: usize, width: usize) -> Self {
        let width = width.max(1);
        let rows_each = rows.div_ceil(width).max(1);
        let wide = if rows_each > 1 { 1 } else { (width / rows.max(1)).clamp(1, Self::WIDEST) };
        Self { rows, rows_each, wide }
    }

    /// Columns in all.
    pub(in crate::load) fn count(self) -> usize {
        self.rows.div_ceil(self.rows_each) * self.wide
    }

    /// A value for each column from the rows that lie in it.
    pub(in crate::load) fn values<T>(self, rows: &[T], of: impl Fn(&[T]) -> Option<f64>) -> Vec<Option<f64>> {
        rows.chunks(self.rows_each).flat_map(|chunk| std::iter::repeat_n(of(chunk), self.wide)).collect()
    }

    /// The column of a place among the rows.
    pub(in crate::load) fn column(self, row: f64) -> usize {
        (row.max(0.0) / self.rows_each as f64 * self.wide as f64) as usize
    }

    /// The place among the rows where a column begins.
    fn row(self, column: usize) -> f64 {
        column as f64 * self.rows_each as f64 / self.wide as f64
    }
}

/// The axis under bars: a tick and the time every so many columns, whole seconds where rows are
/// seconds. `start` is the time of the first row.
pub(in crate::load) fn axis(columns: Columns, start: f64) -> [String; 2] {
    let tick = if columns.wide == Columns::WIDEST { 15 } else { 10 };
    let mut line = format!("{:>width$} └", "", width = MARGIN - 2);
    let mut labels = format!("{:>MARGIN$}", "");
    for i in 0..columns.count() {
        line.push(if i % tick == 0 { '┴' } else { '─' });
        if i % tick == 0 && i + 4 <= columns.count().max(5) {
            while labels.chars().count() < MARGIN + i {
                labels.push(' ');
            }
            let _ = write!(labels, "{:.0}s", start + columns.row(i)); // a string takes whatever is written
        }
    }
    [line, labels]
}

/// Marks under bars, each at its column; later ones at a taken place are left out of the line.
pub(in crate::load) fn marks(columns: usize, marks: impl Iterator<Item = (usize, char)>) -> String {
    let mut line = vec![' '; MARGIN + columns];
    for (column, mark) in marks {
        if let Some(place) = line.get_mut(MARGIN + column).filter(|p| **p == ' ') {
            *place = mark;
        }
    }
    line.into_iter().collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_values() {
        let bars = Bars {
            values: vec![Some(0.0), Some(1.0), Some(50.0), Some(100.0), None, Some(75.0)],
            goals: vec![None, None, Some(100.0), Some(100.0), Some(25.0), None],
            height: 4,
        };
        let mut lines = bars.lines(|v| format!("{v:.0}/s"));
        let columns = Columns { rows: 6, rows_each: 1, wide: 1 };
        lines.extend(axis(columns, 0.0));
        lines.push(marks(6, [(3, 'K'), (3, 'R'), (5, 'R')].into_iter()));
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn nothing_is_drawn_as_nothing() {
        let bars = Bars { values: vec![None; 3], goals: Vec::new(), height: 2 };
        assert_eq!(bars.lines(|v| v.to_string()), ["      0 │", "      0 │"]);
    }

    #[test]
    fn long_runs_share_columns_and_short_ones_get_several() {
        let long = Columns::fit(1000, 60);
        let values = long.values(&[1_u8; 1000], |c| Some(c.len() as f64));
        assert_eq!((values.len(), long.count()), (59, 59));
        assert!((values.iter().flatten().sum::<f64>() - 1000.0).abs() < 1e-9);
        assert_eq!(long.column(999.0), 58);
        let short = Columns::fit(20, 66);
        assert_eq!((short.count(), short.column(10.4), short.row(30)), (60, 31, 10.0));
        assert_eq!(Columns::fit(0, 66).count(), 0);
    }
}

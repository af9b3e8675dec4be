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

/// Sums or maxima of neighbouring values, so that they fit into `width` columns; gives the values
/// and how many went into each column.
pub(in crate::load) fn fit<T>(
    rows: &[T],
    width: usize,
    column: impl Fn(&[T]) -> Option<f64>,
) -> (Vec<Option<f64>>, usize) {
    let each = rows.len().div_ceil(width.max(1)).max(1);
    (rows.chunks(each).map(column).collect(), each)
}

/// The axis under bars: a tick and the time every ten columns.
pub(in crate::load) fn axis(columns: usize, start: f64, each: usize) -> [String; 2] {
    let mut line = format!("{:>width$} └", "", width = MARGIN - 2);
    let mut labels = format!("{:>MARGIN$}", "");
    for i in 0..columns {
        line.push(if i % 10 == 0 { '┴' } else { '─' });
        if i % 10 == 0 && i + 4 <= columns.max(5) {
            let at = start + (i * each) as f64;
            while labels.chars().count() < MARGIN + i {
                labels.push(' ');
            }
            let _ = write!(labels, "{at:.0}s"); // a string takes whatever is written
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
        lines.extend(axis(6, 0.0, 1));
        lines.push(marks(6, [(3, 'K'), (3, 'R'), (5, 'R')].into_iter()));
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn nothing_is_drawn_as_nothing() {
        let bars = Bars { values: vec![None; 3], goals: Vec::new(), height: 2 };
        assert_eq!(bars.lines(|v| v.to_string()), ["      0 │", "      0 │"]);
    }

    #[test]
    fn long_runs_fit() {
        let rows: Vec<u32> = (0..1000).collect();
        let (columns, each) = fit(&rows, 60, |c| Some(f64::from(c.iter().sum::<u32>())));
        assert!(columns.len() <= 60 && each == 17);
        let total: f64 = columns.iter().flatten().sum();
        assert!((total - 499_500.0).abs() < 0.5);
    }
}

//! Charts side by side: a title with the newest value, and what it was.
//!
//! ```text
//!  messages in/s  40          messages out/s  400        connections  120
//!  ▁▂▃▅▃▂▁▂▃▅▇▅▃              ▁▂▃▅▃▂▁▂▃▅▇▅▃              ▇▇▇▇▇▇▇▇▇▇▇▇▇▇
//! ```

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::widgets::{Paragraph, Sparkline};

use super::theme::Theme;
use crate::text::cut;

/// A chart: what it is of, its newest value in words, and its values, the newest last.
pub(super) type Chart<'a> = (&'a str, String, &'a VecDeque<u64>);

/// Draws them over the whole width. A column of the area is a second, where there is not room for all of them: the last
/// ones.
pub(super) fn draw(charts: &[Chart<'_>], theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let parts = charts.iter().map(|_| Constraint::Fill(1));
    let columns = Layout::horizontal(parts).split(area);
    for ((name, now, values), column) in charts.iter().zip(columns.iter()) {
        let inner = Rect { x: column.x + 1, width: column.width.saturating_sub(2), ..*column };
        let [title, chart] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(inner);
        let words = cut(&format!("{name}  {now}"), title.width.into());
        frame.render_widget(Paragraph::new(words).style(theme.quiet()), title);
        let shown: Vec<u64> = fitted(values, chart.width.into());
        frame.render_widget(Sparkline::default().data(shown).style(theme.accent()), chart);
    }
}

/// As many values as there is room for: all of them, where each fits; otherwise several seconds to a column, the
/// largest of each, so that no peak is lost.
fn fitted(values: &VecDeque<u64>, room: usize) -> Vec<u64> {
    let each = values.len().div_ceil(room.max(1)).max(1);
    // Counted from the newest, so that a value stays in its column's company.
    let mut columns: Vec<u64> = Vec::with_capacity(room);
    for (at, value) in values.iter().rev().enumerate() {
        match columns.last_mut() {
            Some(last) if at % each != 0 => *last = (*last).max(*value),
            _ => columns.push(*value),
        }
    }
    columns.reverse();
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_peak_is_lost_where_there_is_little_room() {
        let mut values: VecDeque<u64> = vec![1; 300].into();
        values[7] = 9;
        let shown = fitted(&values, 40);
        assert_eq!((shown.len(), shown.iter().max(), shown.last()), (38, Some(&9), Some(&1)));
        assert_eq!(fitted(&[1, 2, 3].into(), 40), [1, 2, 3]);
        assert!(fitted(&VecDeque::new(), 0).is_empty());
    }
}

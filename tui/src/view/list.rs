//! A list: its head, the rows that fit, and how many there are.
//!
//! ```text
//!   USER ▲      CONNECTION   ADDRESS      AGE   RTT ...
//!   alice       1QYN...      127.0.0.1... 3m 2s 311 us
//! 120 of 100000, filtered by "ali"
//! ```

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr;

use super::theme::Theme;
use crate::model::{Column, Model, View};
use crate::text::{bound, cut, many, quoted};

pub(super) fn draw(model: &Model, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let listing = &model.place().listing;
    let widths = widths(listing.columns, area.width);
    let line = |y: u16| Rect { x: area.x, y: area.y + y, width: area.width, height: 1 };
    let head: Vec<String> = listing
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| match (at == listing.sort, listing.descending) {
            (true, true) => format!("{}▼", column.title),
            (true, false) => format!("{}▲", column.title),
            (false, _) => column.title.to_owned(),
        })
        .collect();
    frame.render_widget(Paragraph::new(joined(&head, listing.columns, &widths)).style(theme.head()), line(0));
    let rows = usize::from(area.height.saturating_sub(2));
    let first = listing.first(rows);
    for (y, (at, item)) in (1..).zip(listing.items.iter().enumerate().skip(first).take(rows)) {
        let cells = listing.cells(item, model);
        let style = if at == listing.selected { theme.chosen() } else { ratatui::style::Style::new() };
        frame.render_widget(Paragraph::new(joined(&cells, listing.columns, &widths)).style(style), line(y));
    }
    if listing.items.is_empty() && rows > 0 {
        frame.render_widget(Paragraph::new(format!("  {}", nothing(model))).style(theme.quiet()), line(1));
    }
    let foot = match listing.filter.as_str() {
        "" if listing.items.len() < listing.total => {
            let most = bound(listing.at_most);
            format!(" {} of {most}{} rows; fanfare admin lists all", listing.items.len(), listing.total)
        }
        "" => format!(" {}", many(listing.total as u64, "row")),
        filter => format!(
            " {} of {}{} rows, with {} in them (Esc: all)",
            listing.items.len(),
            bound(listing.at_most),
            listing.total,
            quoted(filter)
        ),
    };
    frame.render_widget(Paragraph::new(foot).style(theme.quiet()), line(area.height.saturating_sub(1)));
}

fn nothing(model: &Model) -> &'static str {
    let listing = &model.place().listing;
    match &model.place().view {
        _ if !listing.filter.is_empty() => "nothing has that in it",
        View::Bans => "nobody is banned",
        View::Audit => "no operator has done anything yet",
        View::Users | View::Connections => "nobody is connected",
        View::Groups => "there is no group",
        _ => "nobody is here any more",
    }
}

/// As wide as they want to be; the columns without a width share what is left. What does not fit is left out from the
/// right.
fn widths(columns: &[Column], width: u16) -> Vec<usize> {
    const GAP: usize = 2;
    const FLEXIBLE: usize = 12;
    let width = usize::from(width);
    let wanted = |column: &Column| if column.width == 0 { FLEXIBLE } else { column.width.into() };
    let mut shown = columns.len();
    let used =
        |shown: usize| columns.iter().take(shown).map(|column| wanted(column) + GAP).sum::<usize>() - GAP;
    while shown > 1 && used(shown) > width {
        shown -= 1;
    }
    let flexible = columns.iter().take(shown).filter(|column| column.width == 0).count().max(1);
    let extra = width.saturating_sub(used(shown)) / flexible;
    let each = |column: &Column| wanted(column) + if column.width == 0 { extra } else { 0 };
    columns.iter().take(shown).map(each).collect()
}

fn joined(cells: &[String], columns: &[Column], widths: &[usize]) -> String {
    let mut line = String::new();
    for ((cell, column), width) in cells.iter().zip(columns).zip(widths) {
        let cell = cut(cell, *width);
        let room = " ".repeat(width.saturating_sub(cell.width()));
        line += &if column.right { format!("{room}{cell}  ") } else { format!("{cell}{room}  ") };
    }
    line
}

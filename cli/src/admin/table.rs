//! Rows as a table for a terminal: columns as wide as what is in them, and no wider than fits.
//!
//! In: cells. Out: lines. Invariant: what others chose (names, reasons) cannot steer the terminal, nor move a column.

use std::fmt::Write;

use fanfare_tui::text::{cut, visible};
use unicode_width::UnicodeWidthStr;

/// The widest that a cell may be; `--json` has all of it.
const WIDEST: usize = 40;

pub(super) struct Table {
    headers: Vec<&'static str>,
    /// Numbers stand at the right.
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these columns; those that begin with `>` stand at the right.
    pub(super) fn new(columns: &[&'static str]) -> Self {
        Self {
            headers: columns.iter().map(|column| column.trim_start_matches('>')).collect(),
            right: columns.iter().map(|column| column.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: &[String]) {
        self.rows.push(cells.iter().map(|cell| cut(&visible(cell), WIDEST)).collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<String> = self.headers.iter().map(|&header| header.to_owned()).collect();
        let lines = || std::iter::once(&headers).chain(&self.rows);
        let widths: Vec<usize> = (0..headers.len())
            .map(|column| {
                lines().filter_map(|cells| cells.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
            })
            .collect();
        for cells in lines() {
            let mut line = String::new();
            for ((cell, width), right) in cells.iter().zip(&widths).zip(&self.right) {
                let room = " ".repeat(width.saturating_sub(cell.width()));
                // Writing to a String does not fail.
                let _ = if *right { write!(line, "{room}{cell}  ") } else { write!(line, "{cell}{room}  ") };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_straight_whatever_is_in_them() {
        let mut table = Table::new(&["USER", ">N", "WHERE"]);
        table.row(&["alice".into(), "7".into(), "x".into()]);
        table.row(&["日本\u{1b}[2J".into(), "1234".into(), String::new()]);
        table.row(&["x".repeat(99), "1".into(), "y".into()]);
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("{:40}     N  WHERE", "USER"));
        assert_eq!(lines[1], format!("{:40}     7  x", "alice"));
        assert!(lines[2].starts_with("日本\\u{1b}[2J ") && lines[2].ends_with(" 1234"), "{}", lines[2]);
        assert_eq!(lines[3], format!("{}…     1  y", "x".repeat(39)));
        assert!(!text.replace('\n', "").chars().any(char::is_control));
    }
}

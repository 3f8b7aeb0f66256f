//! Results as text: a table for each cell, and the budgets.

use std::fmt::Write;

use crate::budgets::judge;
use crate::figures::{CPU, Results};

/// Everything.
#[must_use]
pub fn printed(results: &Results) -> String {
    let mut out = String::new();
    let machine: Vec<_> = results.machine.iter().map(|(what, how)| format!("{what} {how}")).collect();
    let _ = writeln!(out, "{}", machine.join(", "));
    for cell in results.cells() {
        let _ = write!(out, "\n{}", cell_table(results, cell));
    }
    for missing in &results.missing {
        let _ = writeln!(out, "\nnot measured: {missing}");
    }
    if judge(results).iter().any(|verdict| verdict.found.is_some()) {
        let _ = write!(out, "\n{}", budgets(results));
    }
    out
}

fn cell_table(results: &Results, cell: &str) -> String {
    let rows: Vec<_> = results.rows.iter().filter(|row| row.cell == cell).collect();
    let (mut peers, mut metrics): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for row in &rows {
        for (list, name) in [(&mut peers, &row.peer), (&mut metrics, &row.metric)] {
            if !list.contains(&name.as_str()) {
                list.push(name);
            }
        }
    }
    let mut lines =
        vec![[vec![cell.to_owned()], metrics.iter().map(|metric| heading(metric)).collect()].concat()];
    for peer in peers {
        let mut line = vec![peer.to_owned()];
        for metric in &metrics {
            let row = results.row(cell, peer, metric);
            let mut text = row.map_or_else(String::new, |row| value(metric, row.median));
            if let Some(row) = row
                && *metric == CPU
                && row.values.len() > 1
            {
                let of =
                    |pick: fn(f64, f64) -> f64| row.values.iter().copied().reduce(pick).unwrap_or(row.median);
                let _ = write!(text, " ({}..{})", value(metric, of(f64::min)), value(metric, of(f64::max)));
            }
            line.push(text);
        }
        lines.push(line);
    }
    aligned(&lines)
}

/// What a metric is called for people.
#[must_use]
pub fn heading(metric: &str) -> String {
    match metric {
        "cpu_ns" => "CPU us",
        "system_share" => "in kernel",
        "per_s" => "per second",
        "packets" => "packets",
        "wire_bytes" => "bytes",
        "memory_bytes" => "memory KiB",
        other => return other.replace('_', " "),
    }
    .to_owned()
}

/// A value as people read it.
#[must_use]
pub fn value(metric: &str, value: f64) -> String {
    match metric {
        "cpu_ns" => format!("{:.2}", value / 1e3),
        "system_share" => format!("{:.0} %", value * 100.0),
        "memory_bytes" => format!("{:.1}", value / 1024.0),
        "packets" => format!("{value:.3}"),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

/// The budgets, and which are met.
#[must_use]
pub fn budgets(results: &Results) -> String {
    let mut lines = vec![["budget", "found", "must", "aim", ""].map(str::to_owned).to_vec()];
    for verdict in judge(results) {
        let shown = |value: Option<f64>| {
            value.map_or_else(String::new, |value| match verdict.unit {
                "x" => format!("{value:.2}"),
                unit => format!("{value:.1} {unit}"),
            })
        };
        let line = [
            verdict.figure.to_owned(),
            shown(verdict.found),
            shown(Some(verdict.must)),
            shown(verdict.aim),
            verdict.word().to_owned(),
        ];
        lines.push(line.to_vec());
    }
    aligned(&lines)
}

/// The first column to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in lines {
        for (at, text) in line.iter().enumerate() {
            match widths.get_mut(at) {
                Some(width) => *width = (*width).max(text.len()),
                None => widths.push(text.len()),
            }
        }
    }
    let mut out = String::new();
    for line in lines {
        for (at, (text, width)) in line.iter().zip(&widths).enumerate() {
            let _ = if at == 0 { write!(out, "{text:<width$}") } else { write!(out, "  {text:>width$}") };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

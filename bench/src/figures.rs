//! What was measured: values by workload, peer and metric, and their medians.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::process::Usage;

/// What a run of a workload found.
pub type Found = Vec<(&'static str, f64)>;

/// CPU of the server for each delivery or the like, in nanoseconds.
pub const CPU: &str = "cpu_ns";

/// Values of one metric, one of each round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// As in `fanout 1000 x 64`.
    pub cell: String,
    /// The peer.
    pub peer: String,
    /// What was measured; the unit is the end of its name.
    pub metric: String,
    /// Of each round.
    pub values: Vec<f64>,
    /// The middle one.
    pub median: f64,
}

/// Everything of a run.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Results {
    /// The machine, in words.
    pub machine: BTreeMap<String, String>,
    /// What each peer says of its version.
    pub versions: BTreeMap<String, String>,
    /// How this was made.
    pub command: String,
    /// What was not measured, and why.
    pub missing: Vec<String>,
    /// What was.
    pub rows: Vec<Row>,
}

impl Results {
    /// Takes what a run found.
    pub fn take(&mut self, cell: &str, peer: &str, found: &Found) {
        for (metric, value) in found {
            let known = self
                .rows
                .iter_mut()
                .find(|row| row.cell == cell && row.peer == peer && row.metric == *metric);
            match known {
                Some(row) => {
                    row.values.push(*value);
                    row.median = median(&row.values);
                }
                None => self.rows.push(Row {
                    cell: cell.to_owned(),
                    peer: peer.to_owned(),
                    metric: (*metric).to_owned(),
                    values: vec![*value],
                    median: *value,
                }),
            }
        }
    }

    /// The median of a metric.
    #[must_use]
    pub fn median(&self, cell: &str, peer: &str, metric: &str) -> Option<f64> {
        self.row(cell, peer, metric).map(|row| row.median)
    }

    /// How many times as much one is as the other: the median of the rounds' own ratios, because what else the machine
    /// does changes from minute to minute, and meets both sides of a round. Of the medians where not every round has
    /// both.
    #[must_use]
    pub fn ratio(&self, one: (&str, &str), other: (&str, &str), metric: &str) -> Option<f64> {
        let (one, other) = (self.row(one.0, one.1, metric)?, self.row(other.0, other.1, metric)?);
        if one.values.len() != other.values.len() {
            return Some(one.median / other.median);
        }
        let ratios: Vec<_> = one.values.iter().zip(&other.values).map(|(one, other)| one / other).collect();
        Some(median(&ratios))
    }

    /// A metric's values.
    #[must_use]
    pub fn row(&self, cell: &str, peer: &str, metric: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.cell == cell && row.peer == peer && row.metric == metric)
    }

    /// The cells, in the order in which they were measured.
    #[must_use]
    pub fn cells(&self) -> Vec<&str> {
        let mut cells: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !cells.contains(&row.cell.as_str()) {
                cells.push(&row.cell);
            }
        }
        cells
    }
}

/// The middle value, or the mean of the two in the middle.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    f64::midpoint(at(low), at(high))
}

/// What so many deliveries (or connections) cost.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub fn per(usage: Usage, count: u64, seconds: f64) -> Found {
    let count = count.max(1) as f64;
    vec![
        (CPU, usage.cpu_ns / count),
        ("system_share", usage.system),
        ("per_s", count / seconds),
        ("packets", usage.packets / count),
        ("wire_bytes", usage.bytes / count),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }
}

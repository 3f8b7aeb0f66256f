//! How long something took, many times: a histogram that can be added up, subtracted and asked for percentiles.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How often something took up to so many microseconds: upper bound -> how often.
///
/// A count only grows while the server runs, so that what happened between two moments is the later one
/// [since](Self::since) the earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Times(pub BTreeMap<u64, u64>);

impl Times {
    /// What came after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound: &u64| earlier.0.get(bound).copied().unwrap_or_default();
        let later = self.0.iter().map(|(bound, count)| (*bound, count.saturating_sub(before(bound))));
        Self(later.filter(|(_, count)| *count > 0).collect())
    }

    /// How often in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The microseconds that a share of them (in thousandths: 500 is the median) did not exceed; `None` where there are
    /// none.
    #[must_use]
    pub fn quantile(&self, thousandths: u64) -> Option<u64> {
        let wanted = self.count().saturating_mul(thousandths).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (bound, count) in &self.0 {
            seen += count;
            if seen >= wanted {
                return Some(*bound);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_happened_in_between() {
        let before = Times([(10, 100), (20, 5)].into());
        let now = Times([(10, 100), (20, 95), (40, 9), (80, 1)].into());
        let between = now.since(&before);
        assert_eq!(between, Times([(20, 90), (40, 9), (80, 1)].into()));
        assert_eq!(between.count(), 100);
        assert_eq!(
            [1, 500, 900, 901, 990, 991, 1_000].map(|share| between.quantile(share).unwrap()),
            [20, 20, 20, 40, 40, 80, 80]
        );
        assert_eq!(Times::default().quantile(500), None);
        let json = serde_json::to_string(&between).unwrap();
        assert_eq!(json, r#"{"20":90,"40":9,"80":1}"#);
        assert_eq!(serde_json::from_str::<Times>(&json).unwrap(), between);
    }
}

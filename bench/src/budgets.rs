//! What Fanfare must keep to, as ratios in one run, and whether it does.

use crate::figures::{CPU, Results};
use crate::plan::{
    ACKED, CALLED, CONNECT, FEW_BESIDE, HUNDRED, IDLE, KIBIBYTE, LATENCY, MANY_BESIDE, PACED, SATURATED,
    TEN_THOUSAND,
};
use crate::workloads::Workload;

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// What is compared.
    pub figure: &'static str,
    /// What was found; none where it was not measured.
    pub found: Option<f64>,
    /// The most it may be.
    pub must: f64,
    /// What we want.
    pub aim: Option<f64>,
    /// `x` for a ratio, or a unit.
    pub unit: &'static str,
}

impl Verdict {
    /// In words.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.found {
            None => "not measured",
            Some(found) if self.aim.is_some_and(|aim| found <= aim) => "met, and the aim",
            Some(found) if found <= self.must => "met",
            Some(_) => "MISSED",
        }
    }
}

/// All of them.
#[must_use]
pub fn judge(results: &Results) -> Vec<Verdict> {
    let ratio = |cell: Workload, metric: &str| {
        let cell = cell.name();
        results.ratio((&cell, "fanfare"), (&cell, "nats"), metric)
    };
    let growth =
        |from: Workload, to: Workload| results.ratio((&to.name(), "fanfare"), (&from.name(), "fanfare"), CPU);
    let door = |door: &str, cell: Workload, metric: &str, other: &str| {
        let cell = cell.name();
        results.ratio((&cell, door), (&cell, other), metric)
    };
    let memory = results.median(&IDLE.name(), "fanfare", "memory_bytes").map(|bytes| bytes / 1024.0);
    let mut verdicts = vec![
        Verdict {
            figure: "CPU per delivery, 1 to 1,000, saturated, against NATS",
            found: ratio(SATURATED, CPU),
            must: 0.6,
            aim: Some(0.35),
            unit: "x",
        },
        Verdict {
            figure: "CPU per delivery, 30/s to 1,000, against NATS",
            found: ratio(PACED, CPU),
            must: 1.0,
            aim: Some(0.6),
            unit: "x",
        },
        Verdict {
            figure: "CPU per delivery, 1,024 B to 100, saturated, against NATS",
            found: ratio(KIBIBYTE, CPU),
            must: 0.8,
            aim: Some(0.5),
            unit: "x",
        },
        Verdict {
            figure: "memory of an idle connection, after join",
            found: memory,
            must: 40.0,
            aim: Some(24.0),
            unit: "KiB",
        },
        Verdict {
            figure: "CPU per connect, against NATS",
            found: ratio(CONNECT, CPU),
            must: 1.3,
            aim: Some(1.0),
            unit: "x",
        },
        Verdict {
            figure: "p99 latency at half of the saturated rate, against NATS",
            found: ratio(LATENCY, "p99_us"),
            must: 1.0,
            aim: Some(0.5),
            unit: "x",
        },
        Verdict {
            figure: "CPU per delivery, 10,000 members against 100",
            found: growth(HUNDRED, TEN_THOUSAND),
            must: 1.5,
            aim: Some(1.0),
            unit: "x",
        },
        Verdict {
            figure: "CPU per delivery to 10, beside 100,000 groups against 100",
            // Flat, as far as the noise of two runs lets one see.
            found: growth(FEW_BESIDE, MANY_BESIDE),
            must: 1.15,
            aim: None,
            unit: "x",
        },
        Verdict {
            figure: "memory of an idle connection, WebSocket against QUIC",
            found: door("fanfare-websocket", IDLE, "memory_bytes", "fanfare"),
            must: 1.0,
            aim: None,
            unit: "x",
        },
        Verdict {
            figure: "CPU per call and completion, against a send and its ack",
            found: results.ratio(
                (&CALLED.name(), "fanfare-application"),
                (&ACKED.name(), "fanfare-application"),
                CPU,
            ),
            must: 1.5,
            aim: None,
            unit: "x",
        },
    ];
    for (peer, saturated, paced) in [
        (
            "fanfare-websocket",
            "CPU per delivery over WebSocket, saturated, against NATS",
            "CPU per delivery over WebSocket, 30/s, against NATS",
        ),
        (
            "fanfare-json",
            "CPU per delivery in SignalR's JSON, saturated, against NATS",
            "CPU per delivery in SignalR's JSON, 30/s, against NATS",
        ),
        (
            "fanfare-msgpack",
            "CPU per delivery in SignalR's MessagePack, saturated, against NATS",
            "CPU per delivery in SignalR's MessagePack, 30/s, against NATS",
        ),
    ] {
        for (figure, cell, must) in [(saturated, SATURATED, 0.7), (paced, PACED, 1.0)] {
            let found = door(peer, cell, CPU, "nats");
            verdicts.push(Verdict { figure, found, must, aim: None, unit: "x" });
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_ratios_and_what_was_not_measured_is_not_met() {
        let mut results = Results::default();
        for (fanfare, nats) in [(300.0, 1_000.0), (600.0, 1_200.0), (200.0, 250.0)] {
            results.take(&SATURATED.name(), "fanfare", &vec![(CPU, fanfare)]);
            results.take(&SATURATED.name(), "nats", &vec![(CPU, nats)]);
        }
        let verdicts = judge(&results);
        // That of the medians would be 0.3.
        assert_eq!(verdicts[0].found, Some(0.5));
        assert_eq!(verdicts[0].word(), "met");
        assert_eq!(verdicts[1].word(), "not measured");
        results.take(&PACED.name(), "fanfare", &vec![(CPU, 11.0)]);
        results.take(&PACED.name(), "nats", &vec![(CPU, 10.0)]);
        assert_eq!(judge(&results)[1].word(), "MISSED");
    }
}

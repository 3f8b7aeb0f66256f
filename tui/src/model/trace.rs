//! What happened to the connection that is looked at, second by second: for its charts.
//!
//! In: what the server tells of it, about once a second. Out: values, the newest last. Invariant: they are all of one
//! connection.

use std::collections::VecDeque;

use fanfare_protocol::ConnectionId;
use fanfare_protocol::admin::ConnectionDetail;

use super::history::push;

/// Values, the newest last.
#[derive(Debug, Default)]
pub struct Trace {
    /// The round trip, in microseconds.
    pub rtt: VecDeque<u64>,
    /// Requests a second.
    pub requests: VecDeque<u64>,
    /// Messages to it a second.
    pub deliveries: VecDeque<u64>,
    last: Option<(u64, ConnectionId, u64, u64)>,
}

impl Trace {
    /// Takes what the server told at `now_ms`.
    pub fn take(&mut self, now_ms: u64, detail: &ConnectionDetail) {
        let row = &detail.row;
        if self.last.is_some_and(|(_, id, _, _)| id != row.connection) {
            *self = Self::default();
        }
        if let Some((then_ms, _, requests, deliveries)) = self.last {
            let passed = now_ms.saturating_sub(then_ms).max(1);
            let rate = |now: u64, then: u64| now.saturating_sub(then).saturating_mul(1_000) / passed;
            push(&mut self.requests, rate(row.requests, requests));
            push(&mut self.deliveries, rate(row.deliveries, deliveries));
        }
        push(&mut self.rtt, row.rtt_us);
        self.last = Some((now_ms, row.connection, row.requests, row.deliveries));
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::SECONDS;
    use super::*;
    use crate::update::tests::{detail, row};

    #[test]
    fn a_trace_is_of_one_connection() {
        let mut trace = Trace::default();
        let told = |number, requests| {
            let mut one = detail();
            one.row = row(number, "alice");
            (one.row.requests, one.row.deliveries) = (requests, requests * 10);
            one
        };
        trace.take(1_000, &told(1, 50));
        trace.take(3_000, &told(1, 60));
        assert_eq!((trace.rtt.len(), &trace.requests, &trace.deliveries), (2, &[5].into(), &[50].into()));
        trace.take(4_000, &told(2, 1_000));
        assert_eq!((trace.rtt.len(), trace.requests.len()), (1, 0), "another one");
        for second in 5..2_000 {
            trace.take(second * 1_000, &told(2, 1_000));
        }
        assert_eq!((trace.rtt.len(), trace.requests.len()), (SECONDS, SECONDS));
    }
}

//! What happened in the last minutes, second by second: for sparklines.

use std::collections::VecDeque;

use fanfare_protocol::admin::Counters;

/// Five minutes.
const SECONDS: usize = 300;

/// Rates, the newest last.
#[derive(Debug, Default)]
pub struct History {
    /// Messages accepted a second.
    pub incoming: VecDeque<u64>,
    /// Messages queued a second.
    pub outgoing: VecDeque<u64>,
    /// Connections.
    pub connections: VecDeque<u64>,
    /// Of one processor, in per cent.
    pub processor: VecDeque<u64>,
    last: Option<(u64, Counters)>,
}

impl History {
    /// Takes the counters of a moment, in the server's milliseconds. More than one a second are taken together.
    pub fn take(&mut self, at_ms: u64, counters: &Counters, connections: u64) {
        let Some((before_ms, before)) = &self.last else {
            self.last = Some((at_ms, counters.clone()));
            return;
        };
        let passed = at_ms.saturating_sub(*before_ms);
        if passed < 1_000 {
            return;
        }
        let rate = |now: u64, then: u64| now.saturating_sub(then).saturating_mul(1_000) / passed;
        let (incoming, outgoing) =
            (rate(counters.sends, before.sends), rate(counters.deliveries, before.deliveries));
        let processor = rate(counters.cpu_ms, before.cpu_ms) / 10;
        // A look that took long counts for as many seconds as it did.
        for _ in 0..(passed / 1_000).min(SECONDS as u64) {
            push(&mut self.incoming, incoming);
            push(&mut self.outgoing, outgoing);
            push(&mut self.connections, connections);
            push(&mut self.processor, processor);
        }
        self.last = Some((at_ms, counters.clone()));
    }

    /// Begins anew: another server, or the same one after a restart.
    pub fn forget_counters(&mut self) {
        self.last = None;
    }
}

fn push(values: &mut VecDeque<u64>, value: u64) {
    if values.len() == SECONDS {
        values.pop_front();
    }
    values.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second_and_five_minutes_are_kept() {
        let mut history = History::default();
        let counters = |sends| Counters { sends, deliveries: sends * 10, ..Counters::default() };
        for quarter in 0..=8 {
            history.take(quarter * 250, &counters(quarter * 5), 7);
        }
        assert_eq!((history.incoming.len(), history.incoming[1], history.outgoing[1]), (2, 20, 200));
        for second in 3..2_000 {
            history.take(second * 1_000, &counters(0), 7);
        }
        assert_eq!(history.connections.len(), SECONDS);
        history.forget_counters();
        history.take(9_000_000, &counters(5), 7);
        assert_eq!(history.incoming.back(), Some(&0), "what a server did before is no rate");
    }
}

//! What happened in the last minutes, second by second: for sparklines.

use std::collections::VecDeque;

use fanfare_protocol::admin::{Counters, Times};

/// Five minutes.
pub(super) const SECONDS: usize = 300;

/// What percentiles are of: the last minute.
const TIMES_MS: u64 = 60_000;

/// Rates, the newest last.
#[derive(Debug, Default)]
pub struct History {
    /// Bytes of frames that came in a second, and that went out.
    pub bytes: (u64, u64),
    /// How long messages were in the server, in the last minute.
    pub delivery: Times,
    /// The same since the server's start, at moments of the last minute and one before it.
    marks: VecDeque<(u64, Times)>,
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
            self.marks.push_back((at_ms, counters.delivery_us.clone()));
            return;
        };
        let passed = at_ms.saturating_sub(*before_ms);
        if passed < 1_000 {
            return;
        }
        let rate = |now: u64, then: u64| now.saturating_sub(then).saturating_mul(1_000) / passed;
        let (incoming, outgoing) =
            (rate(counters.sends, before.sends), rate(counters.deliveries, before.deliveries));
        self.bytes = (rate(counters.bytes_in, before.bytes_in), rate(counters.bytes_out, before.bytes_out));
        let processor = rate(counters.cpu_ms, before.cpu_ms) / 10;
        // A look that took long counts for as many seconds as it did.
        for _ in 0..(passed / 1_000).min(SECONDS as u64) {
            push(&mut self.incoming, incoming);
            push(&mut self.outgoing, outgoing);
            push(&mut self.connections, connections);
            push(&mut self.processor, processor);
        }
        self.last = Some((at_ms, counters.clone()));
        while self.marks.get(1).is_some_and(|(then, _)| at_ms.saturating_sub(*then) >= TIMES_MS) {
            self.marks.pop_front();
        }
        if let Some((_, before)) = self.marks.front() {
            self.delivery = counters.delivery_us.since(before);
        }
        self.marks.push_back((at_ms, counters.delivery_us.clone()));
    }

    /// Begins anew: another server, or the same one after a restart.
    pub fn forget_counters(&mut self) {
        self.last = None;
        self.marks.clear();
        self.delivery = Times::default();
    }
}

/// Puts a second's value behind the others, and forgets what is too old.
pub(super) fn push(values: &mut VecDeque<u64>, value: u64) {
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

    #[test]
    fn percentiles_are_of_the_last_minute() {
        let mut history = History::default();
        for second in 0..=90_u64 {
            // In each second one message more, which took as many milliseconds.
            let delivery_us = Times((1..=second).map(|took| (took * 1_000, 1)).collect());
            history.take(second * 1_000, &Counters { delivery_us, ..Counters::default() }, 1);
        }
        assert_eq!(history.delivery.count(), 60);
        assert_eq!(history.delivery.quantile(500), Some(60_000), "of those from 31 to 90 ms");
        history.forget_counters();
        assert_eq!(history.delivery.quantile(500), None);
    }
}

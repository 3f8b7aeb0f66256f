//! Whether the peer is still there, which TCP does not say.
//!
//! In: once a second, how much was heard of it. Out: that it is to be asked, or that it is gone. Invariant: silence
//! counts only while somebody listens; one question at a time is without an answer.

use std::time::Instant;

/// Whether the peer is still there.
#[derive(Default)]
pub(crate) struct Pulse {
    heard: u64,
    silent_seconds: u64,
    /// Before the next ping. The first is at once, so that the round trip is known.
    seconds_left: u64,
    pub(crate) pinged: Option<Instant>,
    /// How much was said, and for how long nothing was: where the pings are another protocol's.
    said: u64,
    quiet_seconds: u64,
}

/// What is to be done about a peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    Well,
    /// It is to be asked whether it is there.
    Ask,
    /// Nothing was heard of it for too long.
    Gone,
}

impl Pulse {
    /// Another second. `heard` is what came so far, and `is_listening` whether it is being waited for: who is not read
    /// is not silent.
    pub(crate) fn beat(&mut self, heard: u64, is_listening: bool, idle_seconds: u64) -> Beat {
        let is_silent = is_listening && self.heard == heard;
        self.silent_seconds = if is_silent { self.silent_seconds + 1 } else { 0 };
        self.heard = heard;
        if self.silent_seconds >= idle_seconds {
            return Beat::Gone;
        }
        self.seconds_left = self.seconds_left.saturating_sub(1);
        // An answer that nobody reads will not come, and the peer wants to hear something all the same.
        if self.seconds_left > 0 || (self.pinged.is_some() && is_listening) {
            return Beat::Well;
        }
        self.seconds_left = (idle_seconds / 3).max(1);
        Beat::Ask
    }

    /// The same where pings are another protocol's, and are not answered: one is said where nothing else was for
    /// `quiet` seconds.
    pub(crate) fn beat_plain(
        &mut self,
        heard: u64,
        said: u64,
        is_listening: bool,
        (idle, quiet): (u64, u64),
    ) -> Beat {
        let is_silent = is_listening && self.heard == heard;
        self.silent_seconds = if is_silent { self.silent_seconds + 1 } else { 0 };
        self.quiet_seconds = if self.said == said { self.quiet_seconds + 1 } else { 0 };
        (self.heard, self.said) = (heard, said);
        if self.silent_seconds >= idle {
            return Beat::Gone;
        }
        if self.quiet_seconds < quiet {
            return Beat::Well;
        }
        self.quiet_seconds = 0;
        Beat::Ask
    }

    /// It could not be asked, and is to be asked as soon as it can.
    pub(crate) fn was_not_asked(&mut self) {
        (self.pinged, self.seconds_left) = (None, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_asked_at_once_and_three_times_in_its_time() {
        let mut pulse = Pulse::default();
        let asked: Vec<u64> = (1..=25)
            .filter(|heard| {
                let beat = pulse.beat(*heard, true, 30);
                // It answers at once.
                pulse.pinged = None;
                beat == Beat::Ask
            })
            .collect();
        assert_eq!(asked, [1, 11, 21]);
    }

    #[test]
    fn one_that_owes_an_answer_is_not_asked_again_and_goes_when_its_time_is_over() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.beat(1, true, 5), Beat::Ask);
        pulse.pinged = Some(Instant::now());
        for _ in 0..4 {
            assert_eq!(pulse.beat(1, true, 5), Beat::Well);
        }
        assert_eq!(pulse.beat(1, true, 5), Beat::Gone);
    }

    #[test]
    fn one_that_could_not_be_asked_is_asked_at_the_next_beat() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.beat(1, true, 30), Beat::Ask);
        pulse.was_not_asked();
        assert_eq!(pulse.beat(1, true, 30), Beat::Ask);
    }

    #[test]
    fn where_pings_are_not_answered_they_come_in_quiet_times_and_silence_still_counts() {
        let mut pulse = Pulse::default();
        let mut beat = |heard, said, is_listening| pulse.beat_plain(heard, said, is_listening, (5, 3));
        let said_each_second: Vec<_> = (1..=4).map(|said| beat(said, said, true)).collect();
        assert_eq!(said_each_second, [const { Beat::Well }; 4]);
        let quiet: Vec<_> = (5..=10).map(|heard| beat(heard, 4, true)).collect();
        assert_eq!(quiet, [Beat::Well, Beat::Well, Beat::Ask, Beat::Well, Beat::Well, Beat::Ask]);
        let silent: Vec<_> = (11..=15).map(|said| beat(10, said, true)).collect();
        assert_eq!(silent, [Beat::Well, Beat::Well, Beat::Well, Beat::Well, Beat::Gone]);
        assert_eq!(beat(10, 16, false), Beat::Well, "nobody listens, or it never says that it is there");
    }

    #[test]
    fn who_is_not_read_is_not_silent() {
        let mut pulse = Pulse { pinged: Some(Instant::now()), ..Pulse::default() };
        let asked = (0..100).filter(|_| pulse.beat(0, false, 5) == Beat::Ask).count();
        assert_eq!(asked, 100, "it hears of us all the same, as often as five seconds have thirds");
        for _ in 0..4 {
            assert_eq!(pulse.beat(0, true, 5), Beat::Well);
        }
        assert_eq!(pulse.beat(1, true, 5), Beat::Well, "it said something");
    }
}

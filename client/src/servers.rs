//! The servers that a client may connect to: one attempt at a time, at whichever is next.
//!
//! In: a dialer for each, and how connections end. Out: a connection, or why there is none. Invariants: there is one
//! attempt at a time; a refusal that is about this client ends the going round; a server that swallows packets costs a
//! part of the time that connecting may take where there are others to try, and all of it where there are none.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::credential::Source;
use crate::error::ConnectError;
use crate::handshake::{self, Opened};
use crate::incoming::Skipped;
use crate::route::{Route, Step};
use crate::verdict::Verdict;
use crate::way::Dialer;

/// An attempt may take so long at least, however many servers there are: the WebSocket joins after a second.
const LEAST_SHARE: Duration = Duration::from_secs(2);

/// The servers, and where the client is among them.
pub(crate) struct Servers {
    dialers: Vec<Dialer>,
    route: Route,
    /// The place of the last connection.
    current: usize,
}

impl Servers {
    /// These servers, in an order of chance. The pauses between rounds are those of `backoff`.
    pub(crate) fn new(dialers: Vec<Dialer>, backoff: Backoff) -> Self {
        let route = Route::new(dialers.len(), backoff, fastrand::Rng::new());
        Self { dialers, route, current: 0 }
    }

    /// Connects for the first time: each server is tried once, until one takes the client, or says something about it.
    pub(crate) async fn connect(
        &mut self,
        source: &Source,
        skipped: &Skipped,
    ) -> Result<Opened, ConnectError> {
        let mut failures = Vec::new();
        while let Some(place) = self.route.rest(Instant::now()) {
            let error = match self.attempt(place, source, skipped).await {
                Ok(opened) => {
                    self.live(place);
                    return Ok(opened);
                }
                Err(error) => error,
            };
            let verdict = Verdict::of_error(&error, false);
            if matches!(verdict, Verdict::Caller { .. } | Verdict::Final) {
                return Err(error);
            }
            tracing::debug!(server = %self.name(place), %error, "connecting failed");
            self.route.failed(place, verdict, Instant::now());
            failures.push(error);
        }
        match <[ConnectError; 1]>::try_from(failures) {
            Ok([only]) => Err(only),
            Err(failures) => Err(ConnectError::AllFailed { failures }),
        }
    }

    /// One attempt at the server at this place.
    pub(crate) async fn attempt(
        &self,
        place: usize,
        source: &Source,
        skipped: &Skipped,
    ) -> Result<Opened, ConnectError> {
        let Some(dialer) = self.dialers.get(place) else {
            return Err(ConnectError::AllFailed { failures: Vec::new() });
        };
        let most = share(dialer.timeout(), self.route.servers(), self.route.is_last());
        handshake::open(dialer, source, skipped, most).await
    }

    /// The connection to the server at this place is the client's.
    pub(crate) fn live(&mut self, place: usize) {
        self.current = place;
    }

    /// That connection was lost. Gives what to do next, where something can be done.
    pub(crate) fn lost(&mut self, verdict: Verdict, lasted: bool) -> Option<Step> {
        let now = Instant::now();
        self.route.lost(self.current, verdict, lasted, now);
        self.route.next(now)
    }

    /// An attempt at the server at this place failed. The same.
    pub(crate) fn failed(&mut self, place: usize, verdict: Verdict) -> Option<Step> {
        let now = Instant::now();
        self.route.failed(place, verdict, now);
        self.route.next(now)
    }

    /// The server of the last connection, as it was given.
    pub(crate) fn current(&self) -> String {
        self.name(self.current)
    }

    /// The server at this place, as it was given.
    pub(crate) fn name(&self, place: usize) -> String {
        self.dialers.get(place).map(|dialer| dialer.server().to_string()).unwrap_or_default()
    }
}

/// How long an attempt at one of so many servers may take. The last of a round has nobody behind it who would have to
/// wait, and over a slow network one that may take its time is needed.
fn share(whole: Duration, servers: usize, is_last: bool) -> Duration {
    let parts = u32::try_from(servers).unwrap_or(u32::MAX).max(1);
    if is_last { whole } else { (whole / parts).max(LEAST_SHARE).min(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_may_take_its_part_and_the_last_of_a_round_all_of_it() {
        let seconds = Duration::from_secs;
        assert_eq!(share(seconds(10), 1, true), seconds(10));
        assert_eq!(share(seconds(10), 2, false), seconds(5));
        assert_eq!(share(seconds(10), 4, false), Duration::from_millis(2_500));
        assert_eq!(share(seconds(10), 50, false), seconds(2));
        assert_eq!(share(seconds(10), 50, true), seconds(10));
        assert_eq!(share(seconds(1), 3, false), seconds(1), "never more than the application said");
    }
}

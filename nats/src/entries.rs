//! How far the watch of the bucket is: which of what a consumer delivers is the next entry, and whether something is
//! missing.
//!
//! In: messages of a consumer, by their `$JS.ACK` subject and their headers. Out: a [`Step`]. Pure. Invariants: the
//! position only grows; a consumer that left something out is a [`Step::Gap`] before anything behind the gap is told.

use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;

use crate::jetstream::Stored;

/// One consumer's message, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// An entry that has not been told.
    Entry { key: String, value: Option<Bytes>, revision: u64, is_newest: bool },
    /// One that has.
    Known { is_newest: bool },
    /// No entry.
    Nothing,
    /// The consumer is there, and has nothing that it has not delivered.
    Idle,
    /// It wants to be told that all before this was taken.
    Flow { reply: String },
    /// Something is missing, or the consumer is gone: it is to be made anew.
    Gap,
}

/// How far one consumer is, and how far what has been told.
#[derive(Debug)]
pub(crate) struct Position {
    /// The bucket's revision that was told last, over all consumers.
    told: u64,
    /// The consumer's own number of what it delivered last.
    delivered: u64,
    /// What the bucket's subjects begin with.
    entries: String,
    /// The bucket was up to this when the watch began.
    target: Option<u64>,
}

impl Position {
    pub(crate) fn new(entries: String) -> Self {
        Self { told: 0, delivered: 0, entries, target: None }
    }

    /// What was told last; the next consumer begins behind it.
    pub(crate) fn told(&self) -> u64 {
        self.told
    }

    /// A new consumer begins behind what was told. The bucket is up to `last` now.
    pub(crate) fn begin(&mut self, last: u64) {
        self.delivered = 0;
        self.target.get_or_insert(last);
    }

    /// Whether all has been told that was in the bucket when the watch began.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.target.is_some_and(|target| self.told >= target)
    }

    pub(crate) fn step(&mut self, message: &Message) -> Step {
        match message.status {
            Some(StatusCode::IDLE_HEARTBEAT) => self.sign(message),
            None => self.deliver(message),
            // The consumer was deleted, its leader has changed, its server goes.
            Some(_) => Step::Gap,
        }
    }

    /// What a consumer says when it has no entry: that it is there, or that it wants an answer.
    fn sign(&mut self, message: &Message) -> Step {
        if let Some(reply) = &message.reply {
            return Step::Flow { reply: reply.to_string() };
        }
        let number = |name: &str| header(message.headers.as_ref(), name)?.parse::<u64>().ok();
        if number("Nats-Last-Consumer").is_some_and(|last| last != self.delivered) {
            return Step::Gap;
        }
        if let Some(stalled) = header(message.headers.as_ref(), "Nats-Consumer-Stalled") {
            return Step::Flow { reply: stalled.to_owned() };
        }
        // Where the bucket's last entries were purged, nothing with their revisions ever comes.
        if let Some(last) = number("Nats-Last-Stream") {
            self.told = self.told.max(last);
        }
        Step::Idle
    }

    fn deliver(&mut self, message: &Message) -> Step {
        let Some(place) = message.reply.as_ref().and_then(|reply| Place::parse(reply)) else {
            return Step::Nothing;
        };
        if place.delivered != self.delivered + 1 {
            return Step::Gap;
        }
        self.delivered = place.delivered;
        let value = (!is_deleted(message.headers.as_ref())).then(|| message.payload.clone());
        self.entry(&message.subject, value, (place.revision, place.pending == 0))
    }

    /// An entry as the bucket's leader has it: the one after what has been told. Whether another is behind it was not
    /// asked at the same moment.
    pub(crate) fn fetched(&mut self, stored: &Stored) -> Step {
        let value = (!stored.is_deleted()).then(|| stored.value());
        self.entry(&stored.subject, value, (stored.seq, false))
    }

    /// Up to this there is nothing more.
    pub(crate) fn pass(&mut self, last: u64) {
        self.told = self.told.max(last);
    }

    fn entry(&mut self, subject: &str, value: Option<Bytes>, (revision, is_newest): (u64, bool)) -> Step {
        if revision <= self.told {
            // Of what stands there itself, since less may be known of it than of what has been told.
            return Step::Known { is_newest: is_newest && revision == self.told };
        }
        self.told = revision;
        match subject.strip_prefix(self.entries.as_str()) {
            Some(key) => Step::Entry { key: key.to_owned(), value, revision, is_newest },
            None => Step::Nothing,
        }
    }
}

/// Where a message stands: in the stream, and among what its consumer delivered.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    revision: u64,
    delivered: u64,
    /// So many are behind it.
    pending: u64,
}

impl Place {
    /// `$JS.ACK.STREAM.CONSUMER.TRIES.REVISION.DELIVERED.TIME.PENDING`, or with a domain and an account before the
    /// stream.
    fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply.split('.').collect();
        let at = match tokens.len() {
            9 => 5,
            11.. => 7,
            _ => return None,
        };
        if tokens.get(..2)? != ["$JS", "ACK"] {
            return None;
        }
        let number = |at: usize| tokens.get(at)?.parse().ok();
        Some(Self { revision: number(at)?, delivered: number(at + 1)?, pending: number(at + 3)? })
    }
}

pub(crate) fn header<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    Some(headers?.get(name)?.as_str())
}

/// Whether an entry says that its key has none any more: by somebody, or by a limit of the bucket.
fn is_deleted(headers: Option<&HeaderMap>) -> bool {
    matches!(header(headers, "KV-Operation"), Some("DEL" | "PURGE"))
        || header(headers, "Nats-Marker-Reason").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subject: &str, reply: &str, headers: &[(&str, &str)], status: Option<u16>) -> Message {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        Message {
            subject: subject.into(),
            reply: (!reply.is_empty()).then(|| reply.into()),
            payload: Bytes::from_static(b"v"),
            headers: (!headers.is_empty()).then_some(map),
            status: status.map(|code| StatusCode::try_from(code).unwrap()),
            description: None,
            length: 0,
        }
    }

    fn entry(key: &str, revision: u64, delivered: u64) -> Message {
        message(&format!("$KV.f.{key}"), &format!("$JS.ACK.KV_f.w.1.{revision}.{delivered}.170.3"), &[], None)
    }

    #[test]
    fn promise_19_an_entry_is_the_newest_when_nothing_is_behind_it() {
        let mut position = position(0);
        let is_newest =
            |step| matches!(step, Step::Entry { is_newest: true, .. } | Step::Known { is_newest: true });
        assert!(!is_newest(position.step(&entry("a", 1, 1))), "three are behind it");
        let last = |revision: u64, delivered: u64| {
            message("$KV.f.b", &format!("$JS.ACK.KV_f.w.1.{revision}.{delivered}.170.0"), &[], None)
        };
        assert!(is_newest(position.step(&last(2, 2))));
        assert!(is_newest(position.step(&last(2, 3))), "told again, and nothing has come since");
        assert!(!is_newest(position.step(&last(1, 4))), "by a server that knows less");
    }

    fn position(target: u64) -> Position {
        let mut position = Position::new("$KV.f.".to_owned());
        position.begin(target);
        position
    }

    #[test]
    fn entries_are_told_once_and_by_growing_revisions() {
        let mut position = position(0);
        let value = Some(Bytes::from_static(b"v"));
        let first =
            Step::Entry { key: "a.b".to_owned(), value: value.clone(), revision: 7, is_newest: false };
        assert_eq!(position.step(&entry("a.b", 7, 1)), first);
        position.begin(7);
        assert_eq!(position.step(&entry("a.b", 6, 1)), Step::Known { is_newest: false });
        assert_eq!(position.step(&entry("a.b", 7, 2)), Step::Known { is_newest: false });
        assert_eq!(
            position.step(&entry("c", 9, 3)),
            Step::Entry { key: "c".to_owned(), value, revision: 9, is_newest: false }
        );
        assert_eq!(position.told(), 9);
    }

    #[test]
    fn a_gap_is_seen_before_anything_behind_it_is_told() {
        let mut position = position(0);
        position.step(&entry("a", 1, 1));
        assert_eq!(position.step(&entry("c", 3, 3)), Step::Gap);
        assert_eq!(position.told(), 1);
        position.begin(3);
        assert!(matches!(position.step(&entry("b", 2, 1)), Step::Entry { revision: 2, .. }));
        // The last was lost: its number is only in the sign of life.
        let sign = message("i", "", &[("Nats-Last-Consumer", "2"), ("Nats-Last-Stream", "3")], Some(100));
        assert_eq!(position.step(&sign), Step::Gap);
        assert_eq!(position.told(), 2);
    }

    #[test]
    fn it_is_caught_up_with_the_last_entry_or_without_one() {
        let mut one = position(2);
        one.step(&entry("a", 1, 1));
        assert!(!one.is_caught_up());
        one.step(&entry("b", 2, 2));
        assert!(one.is_caught_up());
        // All that was up to 5 has been purged.
        let mut purged = position(5);
        let sign = message("i", "", &[("Nats-Last-Consumer", "0"), ("Nats-Last-Stream", "5")], Some(100));
        assert_eq!(purged.step(&sign), Step::Idle);
        assert!(purged.is_caught_up());
        assert!(position(0).is_caught_up());
        assert!(!Position::new(String::new()).is_caught_up(), "it has not begun");
    }

    #[test]
    fn what_is_deleted_has_no_value() {
        let mut position = position(0);
        for (number, header) in
            [("KV-Operation", "DEL"), ("KV-Operation", "PURGE"), ("Nats-Marker-Reason", "MaxAge")]
                .into_iter()
                .enumerate()
        {
            let number = number as u64 + 1;
            let reply = format!("$JS.ACK.KV_f.w.1.{number}.{number}.170.0");
            let deleted = position.step(&message("$KV.f.a", &reply, &[header], None));
            assert_eq!(
                deleted,
                Step::Entry { key: "a".to_owned(), value: None, revision: number, is_newest: true }
            );
        }
    }

    #[test]
    fn it_answers_where_the_consumer_waits_for_it() {
        let mut position = position(0);
        let request = message("i", "$JS.FC.KV_f.w.abc", &[], Some(100));
        assert_eq!(position.step(&request), Step::Flow { reply: "$JS.FC.KV_f.w.abc".to_owned() });
        let stalled = [("Nats-Last-Consumer", "0"), ("Nats-Consumer-Stalled", "$JS.FC.x")];
        let step = position.step(&message("i", "", &stalled, Some(100)));
        assert_eq!(step, Step::Flow { reply: "$JS.FC.x".to_owned() });
        assert_eq!(position.step(&message("i", "", &[], Some(409))), Step::Gap);
    }

    #[test]
    fn what_was_fetched_is_not_told_again() {
        let mut position = position(0);
        let stored = |seq: u64, hdrs: &str| Stored {
            subject: "$KV.f.a".to_owned(),
            seq,
            hdrs: hdrs.to_owned(),
            data: "dg==".to_owned(),
            time: String::new(),
        };
        let told = |value: Option<&'static [u8]>, revision| Step::Entry {
            key: "a".to_owned(),
            value: value.map(Bytes::from_static),
            revision,
            is_newest: false,
        };
        assert_eq!(position.fetched(&stored(3, "")), told(Some(b"v"), 3));
        assert_eq!(position.step(&entry("a", 3, 1)), Step::Known { is_newest: false });
        // NATS/1.0, KV-Operation: DEL
        let deleted = "TkFUUy8xLjANCktWLU9wZXJhdGlvbjogREVMDQoNCg==";
        assert_eq!(position.fetched(&stored(4, deleted)), told(None, 4));
        position.pass(9);
        assert_eq!(
            (position.told(), position.fetched(&stored(8, ""))),
            (9, Step::Known { is_newest: false })
        );
    }

    #[test]
    fn places_are_read_in_both_forms() {
        let place = Some(Place { revision: 5, delivered: 6, pending: 3 });
        assert_eq!(Place::parse("$JS.ACK.KV_f.w.1.5.6.170.3"), place);
        assert_eq!(Place::parse("$JS.ACK.hub.hash.KV_f.w.1.5.6.170.3"), place);
        assert_eq!(Place::parse("$JS.ACK.hub.hash.KV_f.w.1.5.6.170.3.token"), place);
        for bad in ["", "a.b", "$JS.ACK.KV_f.w.1.x.6.170.3", "$JS.FC.KV_f.w.1.5.6.170.3"] {
            assert_eq!(Place::parse(bad), None);
        }
    }
}

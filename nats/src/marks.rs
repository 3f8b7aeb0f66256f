//! Marks of what was ended, when they are old: found, and taken out of the bucket.
//!
//! In: a connection's [`Requests`]. Out: entries, one by one, as the bucket's leader has them; that a mark is gone, or
//! why not. Invariants: what goes is what one key had up to one revision, and nothing that was put later; nothing goes
//! by a server whose consumers would pass over entries for it.
//!
//! It is a purge with a filter and a number, and no deletion of a message: buckets are made to refuse those
//! (`deny_delete`, also by the usual clients), which cannot be undone. All servers that keep the bucket do it in the
//! order of what is put, so that one that is behind has first what was put before.

use std::time::Duration;

use bytes::Bytes;

use crate::bucket::{self, Undone, is_key, put_error};
use crate::error::PutError;
use crate::jetstream::{self, Done, PurgeRequest, StoredMessage, Wanted, fault};
use crate::requests::{Requests, Unanswered};
use crate::settings::Settings;

/// A server before this one has all consumers pass over what they have not delivered yet when something is purged by
/// its subject (nats-server#3838): a watch would miss entries, and nothing would tell.
const SINCE: (i64, i64, i64) = (2, 9, 15);

/// JetStream is not there at the moment, as a fault.
const UNAVAILABLE: u16 = 503;

/// An entry of the bucket, or the mark that one has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its key.
    pub key: String,
    /// Of the whole bucket.
    pub revision: u64,
    /// Whether it says that there is none any more.
    pub is_mark: bool,
    /// When it was put, by the clock of the bucket's leader then: in seconds since 1970 (UTC). None where it does not
    /// say that.
    pub put_at: Option<u64>,
}

fn does_it_right(requests: &Requests) -> bool {
    let (major, minor, patch) = SINCE;
    requests.client.is_server_compatible(major, minor, patch)
}

/// Why marks cannot be taken out of this bucket, by this user, at this server. Nothing is changed. Where that is not
/// known now, an error.
pub(crate) async fn hindrance(requests: &Requests, settings: &Settings) -> Result<Option<String>, Undone> {
    if !does_it_right(requests) {
        let (major, minor, patch) = SINCE;
        return Ok(Some(format!(
            "NATS is nats-server {}, whose watches would miss entries: {major}.{minor}.{patch} or later does it right",
            requests.client.server_info().version
        )));
    }
    // What nobody puts, and of that nothing.
    match tried(requests, settings, "none", 1, settings.answer).await {
        Ok(()) => Ok(None),
        Err(Undone::Unanswered(why @ Unanswered::Forbidden(_))) => Ok(Some(why.to_string())),
        // The bucket was made so that nothing goes (`deny_purge`).
        Err(Undone::Fault(fault)) if fault.err_code != 0 && fault.code != UNAVAILABLE => {
            Ok(Some(fault.to_string()))
        }
        Err(undone) => Err(undone),
    }
}

/// The first entry after a revision.
pub(crate) async fn after(
    requests: &Requests,
    settings: &Settings,
    revision: u64,
) -> Result<Option<Found>, PutError> {
    // With a filter for all a server takes the next message, and does not look through its list of subjects.
    let next = Wanted::Next { seq: revision + 1, next_by_subj: ">".to_owned() };
    let get = jetstream::message_get(&settings.stream());
    let stored =
        match bucket::ask::<StoredMessage>(requests, &get, jetstream::body(&next), settings.answer).await {
            Ok(found) => found.message,
            Err(Undone::Fault(fault)) if fault.err_code == fault::NO_MESSAGE => return Ok(None),
            Err(undone) => return Err(put_error(undone)),
        };
    let entries = settings.entries();
    Ok(Some(Found {
        key: stored.subject.strip_prefix(&entries).unwrap_or_default().to_owned(),
        revision: stored.seq,
        is_mark: stored.is_deleted(),
        put_at: stored.put_at(),
    }))
}

/// Whether nobody who keeps the bucket is behind.
pub(crate) async fn is_whole(requests: &Requests, settings: &Settings) -> Result<bool, PutError> {
    let info = bucket::look(requests, settings, settings.answer).await.map_err(put_error)?;
    let replicas = info.cluster.unwrap_or_default().replicas;
    Ok(replicas.iter().all(|replica| replica.current && !replica.offline))
}

/// Takes out what a key had up to a revision.
pub(crate) async fn purge(
    requests: &Requests,
    settings: &Settings,
    key: &str,
    revision: u64,
) -> Result<(), PutError> {
    // It is a filter, which could be for more than one.
    if !is_key(key) {
        return Err(PutError::Key { key: key.to_owned() });
    }
    if !does_it_right(requests) {
        let reason = format!("nats-server {} is too old", requests.client.server_info().version);
        return Err(PutError::Unavailable { reason });
    }
    tried(requests, settings, key, revision, settings.answer).await.map_err(put_error)
}

async fn tried(
    requests: &Requests,
    settings: &Settings,
    key: &str,
    revision: u64,
    within: Duration,
) -> Result<(), Undone> {
    let filter = format!("{}{key}", settings.entries());
    // Nothing has a revision of 0; and a number of 1 would be taken for none.
    let request = PurgeRequest { filter: &filter, seq: revision.saturating_add(1).max(2) };
    let body: Bytes = jetstream::body(&request);
    let subject = jetstream::stream_purge(&settings.stream());
    bucket::ask::<Done>(requests, &subject, body, within).await.map(|Done {}| ())
}

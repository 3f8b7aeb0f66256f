//! The bucket that what was decided is in: made, looked at, and changed.
//!
//! In: a connection's [`Requests`]. Out: its state, revisions of what was put, or why not. Invariant: what is answered
//! with [`PutError::Unavailable`] or [`PutError::Conflict`] has changed nothing; all that is not known to have changed
//! nothing is [`PutError::Unknown`].

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::credentials::describe;
use crate::error::{OpenError, PutError};
use crate::jetstream::{
    self, Done, Fault, PubAck, Stored, StoredMessage, StreamConfig, StreamInfo, Wanted, fault,
};
use crate::requests::{Requests, Unanswered};
use crate::seal::Seal;
use crate::settings::{HEADER_BYTES, Settings};
use crate::shared::Expect;

/// The key of the entry with the secret that nodes know each other by: 32 bytes in base64. It is no decision, and is
/// not told.
pub(crate) const SECRET: &str = "secret";

/// The pause after an answer that may be another soon.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest key, in bytes. With the prefix it is a subject.
const KEY_BYTES: usize = 512;

/// Why JetStream did not do something.
#[derive(Debug, Clone)]
pub(crate) enum Undone {
    Unanswered(Unanswered),
    Fault(Fault),
}

impl std::fmt::Display for Undone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unanswered(why) => why.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

/// Asks JetStream's API.
pub(crate) async fn ask<T: DeserializeOwned>(
    requests: &Requests,
    subject: &str,
    body: Bytes,
    within: Duration,
) -> Result<T, Undone> {
    let answer = requests.ask(subject, HeaderMap::new(), body, within).await.map_err(Undone::Unanswered)?;
    jetstream::answer(&answer.payload).map_err(Undone::Fault)
}

/// What the bucket's leader says of it now.
pub(crate) async fn look(
    requests: &Requests,
    settings: &Settings,
    within: Duration,
) -> Result<StreamInfo, Undone> {
    ask(requests, &jetstream::stream_info(&settings.stream()), Bytes::new(), within).await
}

/// Makes the bucket where there is none. Tries until `deadline`, as long as JetStream may still be starting.
pub(crate) async fn open(
    requests: &Requests,
    settings: &Settings,
    deadline: Instant,
) -> Result<(), OpenError> {
    let stream = settings.stream();
    loop {
        let undone = match look(requests, settings, settings.answer).await {
            Ok(info) => return check(&info, settings),
            Err(Undone::Fault(fault)) if fault.err_code == fault::STREAM_NOT_FOUND => {
                let subject = jetstream::stream_create(&stream);
                let config = jetstream::body(&wanted(settings));
                match ask::<StreamInfo>(requests, &subject, config, settings.answer).await {
                    Ok(_) => continue,
                    // Another node was quicker, with other settings: these are looked at.
                    Err(Undone::Fault(fault)) if fault.err_code == fault::STREAM_EXISTS => continue,
                    Err(undone) => undone,
                }
            }
            Err(undone) => undone,
        };
        // Without a word from the server, where the answers' subscription was refused.
        let undone = requests.deaf().map_or(undone, |what| Undone::Unanswered(Unanswered::Forbidden(what)));
        let error = explain(&undone, settings);
        if is_final(&undone) || requests.signs.ended.is_cancelled() || Instant::now() + PAUSE > deadline {
            return Err(error);
        }
        tracing::debug!(%error, "trying again");
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_final(undone: &Undone) -> bool {
    match undone {
        Undone::Unanswered(why) => matches!(why, Unanswered::Forbidden(_)),
        Undone::Fault(fault) => {
            matches!(
                fault.err_code,
                fault::NOT_ENABLED_FOR_ACCOUNT | fault::NOT_CLUSTERED | fault::NOT_ENABLED
            )
        }
    }
}

/// As a reason for not starting.
pub(crate) fn explain(undone: &Undone, settings: &Settings) -> OpenError {
    match undone {
        Undone::Unanswered(Unanswered::Forbidden(what)) => {
            OpenError::Forbidden { who: describe(&settings.credentials), what: what.clone() }
        }
        Undone::Unanswered(Unanswered::Nobody) => {
            let reason = "nobody answers; is it switched on, and do more than half of the NATS servers reach each other?";
            OpenError::NoJetStream { reason: reason.to_owned() }
        }
        Undone::Fault(fault)
            if matches!(fault.err_code, fault::NOT_ENABLED_FOR_ACCOUNT | fault::NOT_ENABLED) =>
        {
            OpenError::NoJetStream { reason: fault.to_string() }
        }
        Undone::Fault(fault) if fault.err_code == fault::NOT_CLUSTERED => OpenError::Bucket {
            bucket: settings.prefix.clone(),
            reason: format!(
                "it is to be on {} servers, and this NATS server is in no cluster: {fault}",
                settings.replicas
            ),
        },
        other => OpenError::Bucket { bucket: settings.prefix.clone(), reason: other.to_string() },
    }
}

fn wanted(settings: &Settings) -> StreamConfig {
    StreamConfig {
        name: settings.stream(),
        subjects: vec![format!("{}>", settings.entries())],
        retention: "limits".to_owned(),
        storage: "file".to_owned(),
        // A bucket that is full refuses what is new, and loses nothing.
        discard: "new".to_owned(),
        max_msgs_per_subject: 1,
        max_msgs: -1,
        max_bytes: -1,
        max_age: 0,
        max_msg_size: -1,
        max_consumers: -1,
        replicas: settings.replicas,
        no_ack: false,
        sealed: false,
        deny_delete: true,
        // Old marks go (`marks.rs`).
        deny_purge: false,
        allow_rollup_hdrs: true,
        allow_direct: false,
        mirror: None,
    }
}

/// Refuses a bucket that would lose what was decided, or that is none.
fn check(info: &StreamInfo, settings: &Settings) -> Result<(), OpenError> {
    let config = &info.config;
    let refuse =
        |reason: &str| Err(OpenError::Bucket { bucket: settings.prefix.clone(), reason: reason.to_owned() });
    if config.mirror.is_some() || config.subjects != [format!("{}>", settings.entries())] {
        return refuse("its stream has other subjects than a bucket's");
    }
    if config.sealed || config.no_ack {
        return refuse("its stream takes nothing, or does not say what it has taken");
    }
    if config.max_age != 0 {
        return refuse("its entries end after a time (max_age), and decisions must not");
    }
    if config.retention != "limits" {
        return refuse("its entries end when they have been read (retention), and decisions must not");
    }
    if config.discard == "old" && (config.max_msgs > 0 || config.max_bytes > 0) {
        return refuse("it drops its oldest entries when it is full (discard), and decisions must not go");
    }
    if config.max_msgs_per_subject < 0 || config.max_msgs_per_subject > 64 {
        return refuse(
            "it keeps everything that its keys ever had, which grows for ever: history is to be 1",
        );
    }
    if config.storage != "file" {
        return refuse("it is in memory, and decisions are lost when all servers stop");
    }
    if config.replicas < settings.replicas {
        tracing::warn!(
            bucket = settings.prefix,
            replicas = config.replicas,
            wanted = settings.replicas,
            "the bucket is on fewer servers than it should be"
        );
    }
    Ok(())
}

/// Whether the user may do what will be done later. Nothing is changed.
pub(crate) async fn try_rights(
    requests: &Requests,
    settings: &Settings,
    node: [u8; 4],
) -> Result<(), OpenError> {
    let stream = settings.stream();
    let subject = format!("{}node.{}", settings.entries(), crate::settings::hex(node));
    // It is for another stream, so it is refused: by the stream, if not before by the rights.
    let headers = [("Nats-Expected-Stream", "none".to_owned())];
    let answer = put(requests, &subject, &headers, Bytes::new(), settings.answer).await;
    match answer {
        Err(Undone::Fault(fault)) if fault.err_code == fault::ANOTHER_STREAM => {}
        Ok(_) => {
            return Err(OpenError::Bucket {
                bucket: settings.prefix.clone(),
                reason: "it took what was for another stream".to_owned(),
            });
        }
        Err(undone) => return Err(explain(&undone, settings)),
    }
    let subject = jetstream::message_get(&stream);
    let absent = Wanted::Last { last_by_subj: format!("{}none", settings.entries()) };
    match ask::<Done>(requests, &subject, jetstream::body(&absent), settings.answer).await {
        Ok(Done {}) => {}
        Err(Undone::Fault(fault)) if fault.err_code == fault::NO_MESSAGE => {}
        Err(undone) => return Err(explain(&undone, settings)),
    }
    match ask::<Done>(requests, &jetstream::consumer_delete(&stream, "none"), Bytes::new(), settings.answer)
        .await
    {
        Ok(Done {}) => Ok(()),
        Err(Undone::Fault(fault)) if fault.err_code == fault::CONSUMER_NOT_FOUND => Ok(()),
        Err(undone) => Err(explain(&undone, settings)),
    }
}

/// What the nodes of this bucket know each other by, and its revision. Whoever finds none makes one; of several that is
/// what the bucket has.
pub(crate) async fn seal(
    requests: &Requests,
    settings: &Settings,
    deadline: Instant,
) -> Result<(Seal, u64), OpenError> {
    let refuse = |reason: String| OpenError::Bucket { bucket: settings.prefix.clone(), reason };
    let subject = format!("{}{SECRET}", settings.entries());
    loop {
        let error = match last(requests, settings, &subject, settings.answer).await {
            Ok(Some(stored)) if !stored.is_deleted() => {
                let seal = std::str::from_utf8(&stored.value()).ok().and_then(Seal::new);
                let seal = seal.map(|seal| (seal, stored.seq));
                return seal.ok_or_else(|| refuse(format!("its entry {SECRET:?} is not 32 bytes in base64")));
            }
            Ok(_) => {
                let secret =
                    Seal::secret().ok_or_else(|| refuse("the system gives no random bytes".to_owned()))?;
                match change(requests, settings, SECRET, Some(secret.into()), Expect::Nothing).await {
                    // It is looked at whose it is.
                    Ok(_) | Err(PutError::Conflict) => continue,
                    Err(PutError::Forbidden { what }) => {
                        OpenError::Forbidden { who: describe(&settings.credentials), what }
                    }
                    Err(error) => refuse(error.to_string()),
                }
            }
            Err(undone) => explain(&undone, settings),
        };
        let is_final = matches!(error, OpenError::Forbidden { .. });
        if is_final || requests.signs.ended.is_cancelled() || Instant::now() + PAUSE > deadline {
            return Err(error);
        }
        tracing::debug!(%error, "trying again");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether something can be a key.
pub(crate) fn is_key(key: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/=.".contains(&byte);
    !key.is_empty()
        && key.len() <= KEY_BYTES
        && key.bytes().all(is_plain)
        && !key.starts_with('.')
        && !key.ends_with('.')
        && !key.contains("..")
}

/// Puts a value, or with None says that there is none.
pub(crate) async fn change(
    requests: &Requests,
    settings: &Settings,
    key: &str,
    value: Option<Bytes>,
    over: Expect,
) -> Result<u64, PutError> {
    if !is_key(key) {
        return Err(PutError::Key { key: key.to_owned() });
    }
    let bytes = value.as_ref().map_or(0, Bytes::len);
    let limit = requests.client.max_payload().saturating_sub(HEADER_BYTES);
    if bytes > limit {
        return Err(PutError::TooLong { bytes, limit });
    }
    let deadline = Instant::now() + settings.answer;
    let subject = format!("{}{key}", settings.entries());
    let mut headers = Vec::with_capacity(2);
    if value.is_none() {
        headers.push(("KV-Operation", "DEL".to_owned()));
    }
    let value = value.unwrap_or_default();
    let expected = match over {
        Expect::Anything => None,
        Expect::Nothing => Some(0),
        Expect::Revision(revision) => Some(revision),
    };
    if let Some(revision) = expected {
        headers.push(("Nats-Expected-Last-Subject-Sequence", revision.to_string()));
    }
    let undone = match put(requests, &subject, &headers, value.clone(), settings.answer).await {
        Ok(revision) => return Ok(revision),
        Err(undone) => undone,
    };
    let error = put_error(undone);
    if error != PutError::Conflict || over != Expect::Nothing {
        return Err(error);
    }
    // There is something; but maybe that the key was deleted.
    let Some(deleted) = deleted_at(requests, settings, &subject, deadline).await? else {
        return Err(PutError::Conflict);
    };
    headers.retain(|(name, _)| *name == "KV-Operation");
    headers.push(("Nats-Expected-Last-Subject-Sequence", deleted.to_string()));
    let left = deadline.saturating_duration_since(Instant::now());
    put(requests, &subject, &headers, value, left).await.map_err(put_error)
}

async fn put(
    requests: &Requests,
    subject: &str,
    headers: &[(&'static str, String)],
    value: Bytes,
    within: Duration,
) -> Result<u64, Undone> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.as_str());
    }
    let answer = requests.ask(subject, map, value, within).await.map_err(Undone::Unanswered)?;
    let ack: PubAck = jetstream::answer(&answer.payload).map_err(Undone::Fault)?;
    Ok(ack.seq)
}

pub(crate) fn put_error(undone: Undone) -> PutError {
    match undone {
        Undone::Unanswered(Unanswered::Silence) => PutError::Unknown,
        Undone::Unanswered(Unanswered::Forbidden(what)) => PutError::Forbidden { what },
        Undone::Unanswered(other) => PutError::Unavailable { reason: other.to_string() },
        Undone::Fault(fault) if fault::WRONG_LAST_REVISION.contains(&fault.err_code) => PutError::Conflict,
        // An answer that is none: who knows.
        Undone::Fault(fault) if fault.err_code == 0 => PutError::Unknown,
        Undone::Fault(fault) => PutError::Unavailable { reason: fault.to_string() },
    }
}

/// The revision of what says that a key has no value; None where it has one.
async fn deleted_at(
    requests: &Requests,
    settings: &Settings,
    subject: &str,
    deadline: Instant,
) -> Result<Option<u64>, PutError> {
    let left = deadline.saturating_duration_since(Instant::now());
    match last(requests, settings, subject, left).await {
        Ok(Some(stored)) => Ok(stored.is_deleted().then_some(stored.seq)),
        Ok(None) => Ok(Some(0)),
        // Nothing was changed, whatever the reason that this is not known.
        Err(undone) => Err(PutError::Unavailable { reason: undone.to_string() }),
    }
}

/// The newest entry of a subject, as the leader has it. None: there is none.
async fn last(
    requests: &Requests,
    settings: &Settings,
    subject: &str,
    within: Duration,
) -> Result<Option<Stored>, Undone> {
    let body = Wanted::Last { last_by_subj: subject.to_owned() };
    let get = jetstream::message_get(&settings.stream());
    match ask::<StoredMessage>(requests, &get, jetstream::body(&body), within).await {
        Ok(found) => Ok(Some(found.message)),
        Err(Undone::Fault(fault)) if fault.err_code == fault::NO_MESSAGE => Ok(None),
        Err(undone) => Err(undone),
    }
}

/// The first entry after a revision, as the leader has it. None: there is none.
pub(crate) async fn after(
    requests: &Requests,
    settings: &Settings,
    revision: u64,
    within: Duration,
) -> Result<Option<Stored>, Undone> {
    let body = Wanted::Next { seq: revision + 1, next_by_subj: format!("{}>", settings.entries()) };
    let get = jetstream::message_get(&settings.stream());
    match ask::<StoredMessage>(requests, &get, jetstream::body(&body), within).await {
        Ok(found) => Ok(Some(found.message)),
        Err(Undone::Fault(fault)) if fault.err_code == fault::NO_MESSAGE => Ok(None),
        Err(undone) => Err(undone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_parts_of_subjects() {
        for good in ["a", "node.00ab01ff", "ban.user/x=_-Y", "a.b.c"] {
            assert!(is_key(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a*", ">", "ü", "a\r\n", &"x".repeat(513)] {
            assert!(!is_key(bad), "{bad}");
        }
    }

    fn info(change: impl FnOnce(&mut StreamConfig)) -> StreamInfo {
        let mut config = wanted(&Settings::new(vec![], "f"));
        change(&mut config);
        let state = jetstream::StreamState { last_seq: 0 };
        StreamInfo { config, state, cluster: None, created: String::new() }
    }

    #[test]
    fn a_bucket_that_loses_decisions_is_refused() {
        let settings = Settings::new(vec![], "f");
        let reason = |change: fn(&mut StreamConfig)| check(&info(change), &settings).unwrap_err().to_string();
        assert!(check(&info(|_| {}), &settings).is_ok());
        assert!(check(&info(|config| config.replicas = 1), &settings).is_ok());
        assert!(check(&info(|config| config.max_msgs_per_subject = 5), &settings).is_ok());
        assert!(reason(|config| config.max_age = 1).contains("max_age"));
        assert!(reason(|config| config.max_msgs_per_subject = -1).contains("history"));
        assert!(reason(|config| config.storage = "memory".to_owned()).contains("memory"));
        assert!(reason(|config| config.subjects = vec!["a".to_owned()]).contains("subjects"));
        assert!(reason(|config| config.retention = "workqueue".to_owned()).contains("retention"));
        assert!(reason(|config| config.sealed = true).contains("takes nothing"));
        assert!(
            reason(|config| {
                config.discard = "old".to_owned();
                config.max_bytes = 1000;
            })
            .contains("discard")
        );
    }
}

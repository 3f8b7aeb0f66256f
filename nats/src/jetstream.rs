//! JetStream's API, as much of it as a bucket and its watch need: requests and answers in JSON.
//!
//! In: what is wanted. Out: subjects and bodies, and answers taken apart. Pure. Invariant: whatever an answer has in
//! it, it is either what was asked for or a [`Fault`] with JetStream's own words.

use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What JetStream says when it does not do something.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Fault {
    #[serde(default)]
    pub(crate) code: u16,
    #[serde(default)]
    pub(crate) err_code: u16,
    #[serde(default)]
    pub(crate) description: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.description, self.err_code)
    }
}

/// Numbers of faults that something is done about.
pub(crate) mod fault {
    pub(crate) const CONSUMER_NOT_FOUND: u16 = 10014;
    pub(crate) const NO_MESSAGE: u16 = 10037;
    pub(crate) const NOT_ENABLED: u16 = 10076;
    pub(crate) const NOT_ENABLED_FOR_ACCOUNT: u16 = 10039;
    pub(crate) const STREAM_EXISTS: u16 = 10058;
    pub(crate) const STREAM_NOT_FOUND: u16 = 10059;
    pub(crate) const ANOTHER_STREAM: u16 = 10060;
    pub(crate) const WRONG_LAST_REVISION: [u16; 2] = [10071, 10164];
    pub(crate) const NOT_CLUSTERED: u16 = 10074;
}

/// What is asked, as JSON. A question that has none is empty, not `null`.
pub(crate) fn body(question: &impl Serialize) -> Bytes {
    serde_json::to_vec(question).unwrap_or_default().into()
}

/// Takes an answer apart.
pub(crate) fn answer<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    #[derive(Deserialize)]
    struct Faulty {
        error: Option<Fault>,
    }
    let unreadable = |error: serde_json::Error| Fault {
        code: 0,
        err_code: 0,
        description: format!("an answer that cannot be read: {error}"),
    };
    if let Some(fault) = serde_json::from_slice::<Faulty>(body).map_err(unreadable)?.error {
        return Err(fault);
    }
    serde_json::from_slice(body).map_err(unreadable)
}

/// A stream's settings: those that make it a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamConfig {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) subjects: Vec<String>,
    pub(crate) retention: String,
    pub(crate) storage: String,
    pub(crate) discard: String,
    pub(crate) max_msgs_per_subject: i64,
    pub(crate) max_msgs: i64,
    pub(crate) max_bytes: i64,
    /// In nanoseconds.
    pub(crate) max_age: u64,
    #[serde(default = "no_limit")]
    pub(crate) max_msg_size: i64,
    #[serde(default = "no_limit")]
    pub(crate) max_consumers: i64,
    #[serde(rename = "num_replicas")]
    pub(crate) replicas: usize,
    #[serde(default)]
    pub(crate) no_ack: bool,
    #[serde(default)]
    pub(crate) sealed: bool,
    #[serde(default)]
    pub(crate) deny_delete: bool,
    #[serde(default)]
    pub(crate) deny_purge: bool,
    #[serde(default)]
    pub(crate) allow_rollup_hdrs: bool,
    #[serde(default)]
    pub(crate) allow_direct: bool,
    #[serde(default, skip_serializing)]
    pub(crate) mirror: Option<serde_json::Value>,
}

fn no_limit() -> i64 {
    -1
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StreamState {
    pub(crate) last_seq: u64,
}

/// Those that keep a stream beside its leader.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct StreamCluster {
    #[serde(default)]
    pub(crate) replicas: Vec<Replica>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Replica {
    /// It has what the leader has.
    #[serde(default)]
    pub(crate) current: bool,
    #[serde(default)]
    pub(crate) offline: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StreamInfo {
    pub(crate) config: StreamConfig,
    pub(crate) state: StreamState,
    /// Where it is on several servers: its leader says how the others are.
    #[serde(default)]
    pub(crate) cluster: Option<StreamCluster>,
    /// When it was made: another time is another stream.
    pub(crate) created: String,
}

/// What answers a put.
#[derive(Debug, Deserialize)]
pub(crate) struct PubAck {
    pub(crate) seq: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StoredMessage {
    pub(crate) message: Stored,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) seq: u64,
    /// In base64, as they are on the wire.
    #[serde(default)]
    pub(crate) hdrs: String,
    /// In base64.
    #[serde(default)]
    pub(crate) data: String,
    /// When it was put, by the clock of the stream's leader then.
    #[serde(default)]
    pub(crate) time: String,
}

impl Stored {
    pub(crate) fn value(&self) -> Bytes {
        STANDARD.decode(&self.data).unwrap_or_default().into()
    }

    /// When it was put, in seconds since 1970 (UTC).
    pub(crate) fn put_at(&self) -> Option<u64> {
        let time = humantime::parse_rfc3339(&self.time).ok()?;
        Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
    }

    /// Whether it says that its key has no entry any more.
    pub(crate) fn is_deleted(&self) -> bool {
        let headers = STANDARD.decode(&self.hdrs).unwrap_or_default();
        String::from_utf8_lossy(&headers).lines().any(|line| {
            line.split_once(':').is_some_and(|(name, value)| {
                (name == "KV-Operation" && matches!(value.trim(), "DEL" | "PURGE"))
                    || name == "Nats-Marker-Reason"
            })
        })
    }
}

/// Which stored message is wanted.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Wanted {
    Last {
        last_by_subj: String,
    },
    /// The first from this number on.
    Next {
        seq: u64,
        next_by_subj: String,
    },
}

/// What is to go: what this subject has below this number, and nothing from it on. With a number below 2 a server takes
/// it for all that the subject has.
#[derive(Debug, Serialize)]
pub(crate) struct PurgeRequest<'a> {
    pub(crate) filter: &'a str,
    pub(crate) seq: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct ConsumerConfig {
    pub(crate) name: String,
    pub(crate) deliver_subject: String,
    pub(crate) deliver_policy: &'static str,
    pub(crate) opt_start_seq: u64,
    pub(crate) ack_policy: &'static str,
    pub(crate) replay_policy: &'static str,
    pub(crate) flow_control: bool,
    /// In nanoseconds.
    pub(crate) idle_heartbeat: u64,
    /// In nanoseconds.
    pub(crate) inactive_threshold: u64,
    pub(crate) num_replicas: usize,
    pub(crate) mem_storage: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct ConsumerRequest<'a> {
    pub(crate) stream_name: &'a str,
    pub(crate) config: ConsumerConfig,
}

/// Anything, as long as it is no fault.
#[derive(Debug, Deserialize)]
pub(crate) struct Done {}

pub(crate) fn stream_info(stream: &str) -> String {
    format!("$JS.API.STREAM.INFO.{stream}")
}

pub(crate) fn stream_create(stream: &str) -> String {
    format!("$JS.API.STREAM.CREATE.{stream}")
}

pub(crate) fn stream_purge(stream: &str) -> String {
    format!("$JS.API.STREAM.PURGE.{stream}")
}

/// Asks the stream's leader, and nobody else: a direct get may be answered by a server that is behind
/// (nats-server#4162).
pub(crate) fn message_get(stream: &str) -> String {
    format!("$JS.API.STREAM.MSG.GET.{stream}")
}

pub(crate) fn consumer_create(stream: &str, consumer: &str) -> String {
    format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}")
}

pub(crate) fn consumer_delete(stream: &str, consumer: &str) -> String {
    format!("$JS.API.CONSUMER.DELETE.{stream}.{consumer}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_something_was_put_is_read_and_what_is_no_time_is_none() {
        let stored = |time: &str| Stored {
            subject: String::new(),
            seq: 1,
            hdrs: String::new(),
            data: String::new(),
            time: time.to_owned(),
        };
        assert_eq!(stored("2026-12-01T16:26:22.123456789Z").put_at(), Some(1_796_142_382));
        assert_eq!(stored("2026-12-01T16:26:22Z").put_at(), Some(1_796_142_382));
        for none in ["", "yesterday", "2026-12-01", "2026-12-01T16:26:22+01:00", "1960-01-01T00:00:00Z"] {
            assert_eq!(stored(none).put_at(), None, "{none}");
        }
    }

    #[test]
    fn a_fault_is_told_from_an_answer() {
        let fault = answer::<PubAck>(
            br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"}}"#,
        );
        assert!(fault::WRONG_LAST_REVISION.contains(&fault.unwrap_err().err_code));
        assert_eq!(answer::<PubAck>(br#"{"stream":"KV_x","seq":5}"#).unwrap().seq, 5);
        for bad in [&b""[..], b"{}", b"[]", b"{\"seq\":\"5\"}", b"+ACK"] {
            assert!(answer::<PubAck>(bad).is_err());
        }
    }
}
